"""Makes the detector's weights, and the values that its test compares with.

    npm pack @mediapipe/face_detection@0.4.1657300184
    tar xzf mediapipe-face_detection-0.4.1657300184.tgz package/face_detection_short_range.tflite
    pip install ai-edge-litert numpy safetensors
    python data/convert.py package/face_detection_short_range.tflite

It writes two files beside this crate's sources, and prints the SHA-256 of the weights:

    data/blazeface_short_range.safetensors   the weights, as the original has them (16-bit floats),
                                             in the layout of PyTorch
    tests/golden.safetensors                 the original's outputs for two inputs that are computed
                                             here and in `tests/golden.rs` by the same formulas
"""

import hashlib
import sys
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from safetensors.numpy import save, save_file

ORIGINAL = "3bc182eb9f33925d9e58b5c8d59308a760f4adea8f282370e428c51212c26633"
CRATE = Path(__file__).resolve().parent.parent
SIDE = 128

# The original's names of the heads, and those of `src/network.rs`.
HEADS = {
    "classificator_8": "fine.scores",
    "regressor_8": "fine.boxes",
    "classificator_16": "coarse.scores",
    "regressor_16": "coarse.boxes",
}


def new_name(layer):
    """`conv2d` is the stem, `conv2d_N` and `depthwise_conv2d_N-1` are block N - 1."""
    if layer in HEADS:
        return HEADS[layer]
    if layer == "conv2d":
        return "stem"
    kind, _, number = layer.rpartition("_")
    if layer == "depthwise_conv2d":
        return "blocks.0.depthwise"
    if kind == "depthwise_conv2d":
        return f"blocks.{number}.depthwise"
    return f"blocks.{int(number) - 1}.pointwise"


def weights(interpreter):
    tensors = {}
    for detail in interpreter.get_tensor_details():
        layer, _, part = detail["name"].partition("/")
        if part not in ("Kernel", "Bias"):
            continue
        values = interpreter.get_tensor(detail["index"])
        assert values.dtype == np.float16, detail
        name = new_name(layer)
        if part == "Bias":
            tensors[f"{name}.bias"] = values
        elif name.endswith(".depthwise"):
            # [1, height, width, channels] to [channels, 1, height, width]
            tensors[f"{name}.weight"] = values.transpose(3, 0, 1, 2).copy()
        else:
            # [filters, height, width, channels] to [filters, channels, height, width]
            tensors[f"{name}.weight"] = values.transpose(0, 3, 1, 2).copy()
    return tensors


def noise():
    """Values in [-1, 1) by SplitMix64, in the order of rows, columns and channels."""
    with np.errstate(over="ignore"):
        z = (np.arange(SIDE * SIDE * 3, dtype=np.uint64) + 1) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    values = 2.0 * ((z >> np.uint64(40)).astype(np.float64) / (1 << 24)) - 1.0
    return values.astype(np.float32).reshape(SIDE, SIDE, 3)


# The centre, the radii and the colour of each ellipse of a drawn face, from back to front.
FACE = [
    ((64, 50), (34, 40), (60, 40, 30)),
    ((64, 66), (28, 38), (215, 165, 135)),
    ((64, 118), (40, 22), (40, 60, 120)),
    ((52, 50), (7, 2), (70, 45, 35)),
    ((76, 50), (7, 2), (70, 45, 35)),
    ((52, 58), (6, 3), (245, 245, 245)),
    ((76, 58), (6, 3), (245, 245, 245)),
    ((52, 58), (3, 3), (40, 25, 20)),
    ((76, 58), (3, 3), (40, 25, 20)),
    ((64, 72), (4, 5), (190, 135, 110)),
    ((64, 86), (11, 4), (165, 70, 75)),
]


def drawn():
    """A face of ellipses, which the detector finds."""
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    picture = np.zeros((SIDE, SIDE, 3), np.int64)
    picture[:] = (96, 120, 140)
    for (left, top), (a, b), colour in FACE:
        inside = ((x - left) * b) ** 2 + ((y - top) * a) ** 2 <= (a * b) ** 2
        picture[inside] = colour
    return (picture / 127.5 - 1.0).astype(np.float32)


def outputs(interpreter, image):
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[None])
    interpreter.invoke()
    found = {}
    for detail in interpreter.get_output_details():
        values = interpreter.get_tensor(detail["index"])[0]
        found["boxes" if values.shape[-1] == 16 else "scores"] = values
    return found


original = Path(sys.argv[1])
digest = hashlib.sha256(original.read_bytes()).hexdigest()
assert digest == ORIGINAL, f"{original} is another file: its SHA-256 is {digest}"
# The plain operations: an accelerated runtime rounds differently.
plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
interpreter = Interpreter(str(original), num_threads=1, experimental_op_resolver_type=plain)
interpreter.allocate_tensors()
stored = save(weights(interpreter))
(CRATE / "data/blazeface_short_range.safetensors").write_bytes(stored)
golden = {}
for name, image in [("noise", noise()), ("drawn", drawn())]:
    for output, values in outputs(interpreter, image).items():
        golden[f"{name}.{output}"] = values
save_file(golden, CRATE / "tests/golden.safetensors")
print(hashlib.sha256(stored).hexdigest(), len(stored))
for name, values in golden.items():
    print(name, values.shape, f"{values.min():.3f} to {values.max():.3f}")
