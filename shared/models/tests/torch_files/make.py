"""Writes the small files of weights beside this one, for tests/contract/weights_file.rs.

    python make.py        (with torch installed; a second on a CPU)

Their values are no data, but counted up.
"""

import os
from pathlib import Path

import torch

HERE = Path(__file__).parent


def state_dict():
    count = lambda *shape: torch.arange(torch.tensor(shape).prod().item()).reshape(shape)
    return {
        "layer.weight": count(2, 3) / 4,
        "layer.bias": (count(2) / 4).to(torch.float64),
        "half": (count(3) / 4).to(torch.float16),
        # A part of another tensor, which is not contiguous.
        "transposed": (count(2, 2) / 4).t(),
        "num_batches_tracked": torch.tensor(7),
    }


class RunsCode:
    """What a pickle names to be called when it is read."""

    def __reduce__(self):
        return os.system, ("touch code-was-run",)


class RunsCodeWithTensor:
    """What a pickle names to be called with a tensor."""

    def __reduce__(self):
        return os.system, ("touch code-was-run", torch.zeros(1))


state = state_dict()
torch.save(state, HERE / "zip.pth")
torch.save(state, HERE / "legacy.pth", _use_new_zipfile_serialization=False)
wrapped = {"state_dict": {f"module.{name}": value for name, value in state.items()}, "epoch": 3}
torch.save(wrapped, HERE / "wrapped.pth")
torch.save(RunsCode(), HERE / "code.pth")
torch.save({"layer.weight": torch.zeros(1), "extra": RunsCode()}, HERE / "code_beside.pth")
torch.save({"layer.weight": RunsCodeWithTensor()}, HERE / "code_with_tensor.pth")
quantized = torch.quantize_per_tensor(torch.zeros(1), 0.1, 0, torch.qint8)
torch.save({"layer.weight": quantized}, HERE / "quantized.pth")
