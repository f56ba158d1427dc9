"""ICC profiles (ICC.1:2001-04), of every kind of colours."""

import struct

import numpy
from PIL import ImageCms

WHITE = (0.9642, 1.0, 0.8249)


def fixed(number):
    return struct.pack(">i", round(number * 65536))


def point(x, y, z):
    return b"XYZ \0\0\0\0" + fixed(x) + fixed(y) + fixed(z)


def gamma(number):
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(number * 256)) + b"\0\0"


def profile(kind, colors, connection, tags):
    """A profile of a kind of device, from its colours to XYZ or Lab."""
    tags = {"desc": b"desc\0\0\0\0\0\0\0\1\0".ljust(90, b"\0"), "wtpt": point(*WHITE)} | tags
    start = 128 + 4 + 12 * len(tags)
    table, data = struct.pack(">I", len(tags)), b""
    for name, value in tags.items():
        table += name.encode() + struct.pack(">II", start + len(data), len(value))
        data += value + bytes(-len(value) % 4)
    head = struct.pack(">I4sI", start + len(data), b"none", 0x02400000)
    head += kind + colors + connection
    head += struct.pack(">6H", 2024, 1, 1, 0, 0, 0) + b"acsp".ljust(32, b"\0")
    head += b"".join(map(fixed, WHITE))
    return head.ljust(128, b"\0") + table + data


def matrix(gamma_of_all, columns):
    tags = {f"{name}TRC": gamma(gamma_of_all) for name in "rgb"}
    tags |= {f"{name}XYZ": point(*column) for name, column in zip("rgb", columns)}
    return profile(b"mntr", b"RGB ", b"XYZ ", tags)


def lab(xyz):
    """Lab of colours, which the tables of version 2 write as numbers of 16 bits."""
    ratio = xyz / numpy.array(WHITE)
    root = numpy.where(ratio > 0.008856, numpy.cbrt(ratio), 7.787 * ratio + 16 / 116)
    x, y, z = numpy.moveaxis(root, -1, 0)
    light, a, b = 116 * y - 16, 500 * (x - y), 200 * (y - z)
    return numpy.stack([light / 100 * 65280, (a + 128) * 256, (b + 128) * 256], -1)


def table(kind, colors, channels, steps, xyz_of):
    """A profile that has a table of the colours at each step of each channel."""
    grid = numpy.stack(numpy.meshgrid(*[numpy.linspace(0, 1, steps)] * channels, indexing="ij"), -1)
    values = lab(xyz_of(grid)).round().clip(0, 65535).astype(">u2")
    same = [fixed(number) for number in [1, 0, 0, 0, 1, 0, 0, 0, 1]]
    ramp = struct.pack(">HH", 0, 65535)
    lut = b"mft2\0\0\0\0" + bytes([channels, 3, steps, 0]) + b"".join(same)
    lut += struct.pack(">HH", 2, 2) + ramp * channels + values.tobytes() + ramp * 3
    return profile(kind, colors, b"Lab ", {"A2B0": lut})


# The columns of red, green and blue.
SRGB = numpy.array([(0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141)])
ADOBE = [(0.6097, 0.3111, 0.0195), (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446)]


def of_inks(grid):
    """Inks on paper: each takes away most of a primary colour, and black takes away all."""
    light = 1 - 0.85 * grid[..., :3] ** 0.8
    return (light * (1 - 0.95 * grid[..., 3:])) @ SRGB


def every():
    return {
        "adobe": matrix(2.19921875, ADOBE),
        "linear": matrix(1, SRGB),
        "srgb": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
        "grey": profile(b"mntr", b"GRAY", b"XYZ ", {"kTRC": gamma(1.4)}),
        "table": table(b"scnr", b"RGB ", 3, 17, lambda rgb: rgb**1.6 @ SRGB),
        # Larger than a segment of a JPEG.
        "cmyk": table(b"prtr", b"CMYK", 4, 11, of_inks),
    }
