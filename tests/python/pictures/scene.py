"""The picture that all files show, as arrays of samples."""

import io

import numpy
from PIL import Image

WIDTH, HEIGHT = 83, 59


def samples(channels, bits):
    """The scene with channels for grey, grey and alpha, RGB, or RGB and alpha."""
    y, x = numpy.mgrid[0:HEIGHT, 0:WIDTH] / [[[HEIGHT]], [[WIDTH]]]
    red = 0.5 + 0.4 * numpy.sin(5 * x) * numpy.cos(3 * y)
    green = 0.5 + 0.4 * numpy.sin(4 * y + x)
    blue = 0.5 + 0.4 * numpy.cos(3 * x + 4 * y)
    alpha = 1 - 0.9 * x
    kinds = {1: [green], 2: [green, alpha], 3: [red, green, blue], 4: [red, green, blue, alpha]}
    scaled = numpy.stack(kinds[channels], -1) * (2**bits - 1)
    return scaled.round().astype(numpy.uint16 if bits > 8 else numpy.uint8)


def picture(mode="RGB"):
    """The scene as a picture of Pillow."""
    channels = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}[mode]
    return Image.fromarray(samples(channels, 8).squeeze())


def palette(bits):
    """The scene with a palette: the index of each pixel, and the colours."""
    quantized = picture().quantize(2**bits)
    colors = numpy.array(quantized.getpalette(), numpy.uint8).reshape(-1, 3)[: 2**bits]
    return numpy.array(quantized), colors


def right(name, samples):
    """The picture that a file has where Pillow does not say so, as one that Pillow reads."""
    file = io.BytesIO()
    Image.fromarray(samples.squeeze()).save(file, "png")
    return f"{name}.right.png", file.getvalue()


def packed(values, bits):
    """Rows of samples of 1, 2, 4, 8 or 16 bits as rows of bytes. The first samples of a byte
    are its highest bits, and numbers of 16 bits begin with the higher byte."""
    rows = values.reshape(len(values), -1)
    if bits >= 8:
        return rows.astype(f">u{bits // 8}").view(numpy.uint8).reshape(len(rows), -1)
    bit = rows[..., None] >> numpy.arange(bits - 1, -1, -1) & 1
    return numpy.packbits(bit.astype(numpy.uint8).reshape(len(rows), -1), axis=1)
