"""Exchanges weights with torchvision, in three steps:

    python exchange.py save FOLDER      (with torch, torchvision and safetensors installed)
    cargo run --release --package maskline-models --example exchange FOLDER
    python exchange.py load FOLDER

`save` makes torchvision's four networks with random weights of torchvision's own, for two
classes and for the thousand of ImageNet, and saves what torch.save and safetensors make of
them, and their logits. The program examples/exchange.rs reads the files, compares the logits, and
writes the weights back. `load` loads those strictly and compares the logits again.
"""

import sys
from collections import OrderedDict
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from make import NETWORKS, SIDE, images, line, uniform

TORCHVISION = {name: make for name, make in NETWORKS.items() if name != "efficientnet_lite0"}


@torch.no_grad()
def save(folder):
    unit = (uniform("images", (2, 3, SIDE, SIDE)) + 1) / 2
    (folder / "images.bin").write_bytes(unit.astype("<f4").tobytes())
    for seed, (name, make) in enumerate(TORCHVISION.items()):
        for classes in (2, 1000):
            torch.manual_seed(seed)
            network = make(num_classes=classes)
            # Running statistics that are not those of a new network.
            network.train()(torch.randn(8, 3, 64, 64) + 1)
            network.eval()
            stem = folder / f"{name}-{classes}"
            state = network.state_dict()
            torch.save(state, f"{stem}.pth")
            torch.save(state, f"{stem}.legacy.pth", _use_new_zipfile_serialization=False)
            save_file(state, f"{stem}.safetensors")
            logits = network(images("images", network))
            Path(f"{stem}.txt").write_text(line("logits", logits) + "\n")


def read(file):
    """A state dict with the version that torchvision's MNASNet asks for. A safetensors file has none."""
    state = OrderedDict(load_file(file))
    state._metadata = {"": {"version": 2}}
    return state


@torch.no_grad()
def load(folder):
    for name, make in TORCHVISION.items():
        network = make(num_classes=2)
        network.load_state_dict(read(folder / f"{name}-2.exported.safetensors"), strict=True)
        found = network.eval()(images("images", network)).flatten()
        words = (folder / f"{name}-2.txt").read_text().split()[1:]
        expected = torch.tensor([float(word) for word in words])
        off = ((found - expected).abs().max() / expected.abs().max()).item()
        print(f"{name}: loaded strictly, logits off by {off:.1e}")
        assert off < 1e-4


{"save": save, "load": load}[sys.argv[1]](Path(sys.argv[2]))
