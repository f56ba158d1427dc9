"""Writes what torchvision's networks and EfficientNet-Lite0 are and compute, for
tests/contract/torchvision.rs.

    python make.py        (with torch and torchvision installed; seconds on a CPU)

For each network of two classes, a text file beside this one holds the number of
parameters, the name and shape of every tensor of the state dict in its order,
and the logits of two images: with the running statistics as filled, and again
with them recomputed over two other batches. Weights and images are no data but
a formula of a tensor's name and a value's index, which the test repeats.
"""

from pathlib import Path

import numpy as np
import torch
import torchvision

from efficientnet_lite0 import EfficientNetLite0

CLASSES, SIDE = 2, 64
NETWORKS = {
    "mobilenet_v2": torchvision.models.mobilenet_v2,
    "mobilenet_v3_small": torchvision.models.mobilenet_v3_small,
    "mnasnet1_0": torchvision.models.mnasnet1_0,
    "efficientnet_b0": torchvision.models.efficientnet_b0,
    "efficientnet_lite0": EfficientNetLite0,
}


def uniform(name, shape):
    """Values in [-1, 1): splitmix64 of the FNV-1a hash of the name plus the index."""
    mask = (1 << 64) - 1
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = ((seed ^ byte) * 0x100000001B3) & mask
    with np.errstate(over="ignore"):
        index = np.arange(int(np.prod(shape)), dtype=np.uint64)
        z = np.uint64(seed) + (index + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    unit = (z >> np.uint64(40)).astype(np.float64) / 2.0**24
    return (2 * unit - 1).astype(np.float32).reshape(shape)


def filled(name, shape):
    """The variance of what flows stays about one; variances stay positive."""
    values = uniform(name, shape)
    if len(shape) > 1:
        return values * np.float32(np.sqrt(6.0 / np.prod(shape[1:])))
    if name.endswith("running_var"):
        return 1 + values / 2
    if name.endswith("weight"):
        return 1 + values / 8
    return values / 8


def images(name, network):
    unit = torch.from_numpy((uniform(name, (2, 3, SIDE, SIDE)) + 1) / 2)
    if isinstance(network, EfficientNetLite0):
        return (unit * 255 - 127) / 128
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    deviation = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    return (unit - mean) / deviation


def line(word, values):
    return " ".join([word, *(repr(float(value)) for value in values.flatten())])


@torch.no_grad()
def describe(make):
    network = make(num_classes=CLASSES).eval()
    state = network.state_dict()
    for name, tensor in state.items():
        if not name.endswith("num_batches_tracked"):
            tensor.copy_(torch.from_numpy(filled(name, tuple(tensor.shape))))
    lines = [f"parameters {sum(p.numel() for p in network.parameters())}"]
    lines.append(line("logits", network(images("images", network))))

    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # the cumulative average
            module.train()
    for batch in ("first", "second"):
        network(images(batch, network))
    lines.append(line("recalibrated", network.eval()(images("images", network))))
    lines += [" ".join(["tensor", name, *map(str, t.shape)]) for name, t in state.items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    for name, make in NETWORKS.items():
        Path(__file__).with_name(f"{name}.txt").write_text(describe(make))
