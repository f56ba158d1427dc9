"""PyTorch's images a second on a GPU, for gpu_speed.rs.

    gpu_speed.py PIXELS BATCH,BATCH SECONDS NETWORK...

It prints a line for each network and batch: the network, the batch, the images of training a
second, and those of prediction. Both are in bfloat16 by autocast and in channels_last, as PyTorch's
documentation recommends. It prints nothing without CUDA.
"""

import pathlib
import sys
import time

import torch
import torchvision

pixels, batches, seconds = int(sys.argv[1]), sys.argv[2].split(","), float(sys.argv[3])
if not torch.cuda.is_available():
    sys.exit("PyTorch finds no CUDA")
torch.backends.cudnn.benchmark = True
sys.path.append(str(pathlib.Path(__file__).parent.parent / "tests/torchvision"))


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


def measure(name, batch):
    network = network_of(name).cuda().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    images = torch.rand(batch, 3, pixels, pixels).pin_memory()
    classes = torch.arange(batch, device="cuda") % 2
    averaging = torch.optim.swa_utils.get_ema_multi_avg_fn(0.99)
    mean = torch.optim.swa_utils.AveragedModel(network, multi_avg_fn=averaging)

    def brought():
        return images.to("cuda", non_blocking=True, memory_format=torch.channels_last)

    def train():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cuda", torch.bfloat16):
            loss = torch.nn.functional.cross_entropy(network(brought()), classes, label_smoothing=0.1)
        loss.backward()
        optimizer.step()
        mean.update_parameters(network)

    @torch.inference_mode()
    def predict():
        with torch.autocast("cuda", torch.bfloat16):
            network(brought()).float().cpu()

    training = speed(batch, train)
    network.eval()
    return training, speed(batch, predict)


for name in sys.argv[4:]:
    for batch in batches:
        training, prediction = measure(name, int(batch))
        print(name, batch, round(training), round(prediction), flush=True)
