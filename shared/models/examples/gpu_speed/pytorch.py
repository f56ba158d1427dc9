"""PyTorch's images a second on a GPU, for gpu_speed.

    pytorch.py PIXELS SECONDS

It prints which PyTorch and which GPU there are. Then it answers each line of its input, such as
{"work": "training", "network": "mobilenet_v2", "batch": 64}, with the images a second. Training and
prediction are in bfloat16 by autocast and in channels_last, as PyTorch's documentation recommends,
and without torch.compile. Images are brought to the GPU as bytes, as maskline brings them, and the
logits of a prediction are read while the next one is computed. It ends with an error without CUDA.
"""

import json
import pathlib
import sys
import time

import torch
import torchvision

pixels, seconds = int(sys.argv[1]), float(sys.argv[2])
if not torch.cuda.is_available():
    sys.exit(f"PyTorch {torch.__version__} finds no CUDA")
torch.backends.cudnn.benchmark = True
sys.path.append(str(pathlib.Path(__file__).parents[2] / "tests/torchvision"))


def network_of(name):
    if name == "efficientnet_lite0":  # torchvision has no such network.
        from efficientnet_lite0 import EfficientNetLite0

        return EfficientNetLite0(num_classes=2)
    return getattr(torchvision.models, name)(num_classes=2)


def speed(batch, step):
    """Repeats a step for so many seconds, after a few that do not count."""
    for _ in range(5):
        step()
    torch.cuda.synchronize()
    begin, steps = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        for _ in range(16):
            step()
        torch.cuda.synchronize()
        steps += 16
    return batch * steps / (time.perf_counter() - begin)


def training(network, images):
    network.train()
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    classes = torch.arange(len(images), device="cuda") % 2
    averaging = torch.optim.swa_utils.get_ema_multi_avg_fn(0.99)
    mean = torch.optim.swa_utils.AveragedModel(network, multi_avg_fn=averaging)

    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cuda", torch.bfloat16):
            logits = network(brought(images))
            loss = torch.nn.functional.cross_entropy(logits, classes, label_smoothing=0.1)
        loss.backward()
        optimizer.step()
        mean.update_parameters(network)

    return speed(len(images), step)


@torch.inference_mode()
def prediction(network, images):
    network.eval()
    unread = []

    def step():
        with torch.autocast("cuda", torch.bfloat16):
            unread.append(network(brought(images)).float())
        if len(unread) > 1:
            unread.pop(0).cpu()

    return speed(len(images), step)


def brought(images):
    there = images.to("cuda", non_blocking=True)
    return there.to(torch.float32, memory_format=torch.channels_last).div_(255)


def measured(work, network, batch):
    network = network_of(network).cuda().to(memory_format=torch.channels_last)
    images = torch.randint(0, 256, (batch, 3, pixels, pixels), dtype=torch.uint8).pin_memory()
    return {"training": training, "prediction": prediction}[work](network, images)


print(f"PyTorch {torch.__version__} on {torch.cuda.get_device_name()}", flush=True)
for line in sys.stdin:
    print(json.dumps(measured(**json.loads(line))), flush=True)
    # The memory that PyTorch keeps is needed by others.
    torch.cuda.empty_cache()
