"""Pictures as PNG (third edition), with every depth, interlaced or not."""

import struct
import zlib

import numpy

from . import scene

# The first column and row of each pass of Adam7, and the steps to the next ones.
ADAM7 = [
    (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
    (0, 1, 1, 2),
]  # fmt: skip


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(values, color_type, bits, interlaced=False, chunks=b""):
    """A file of these samples, with chunks before the pixels."""
    height, width = values.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, bits, color_type, 0, 0, interlaced)
    passes = ADAM7 if interlaced else [(0, 0, 1, 1)]
    # Each row begins with the number of its filter, which is 0 for none.
    rows = [
        numpy.pad(scene.packed(values[top::down, left::across], bits), ((0, 0), (1, 0))).tobytes()
        for left, top, across, down in passes
    ]
    pixels = chunk(b"IDAT", zlib.compress(b"".join(rows)))
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    return start + chunks + pixels + chunk(b"IEND", b"")


def with_palette(bits, interlaced=False, chunks=b""):
    indices, colors = scene.palette(bits)
    return png(indices, 3, bits, interlaced, chunk(b"PLTE", colors.tobytes()) + chunks)


def primaries_of(*points):
    """The chromaticities of white, which is D65, and of red, green and blue."""
    numbers = [round(100000 * number) for number in (0.3127, 0.329) + points]
    return chunk(b"cHRM", struct.pack(">8I", *numbers))


def linear(chunks=b""):
    """The scene with light as it is in nature, where half of the light is half of the value."""
    srgb = scene.samples(3, 16) / 65535
    light = numpy.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    return png((light * 65535).round().astype(numpy.uint16), 2, 16, chunks=chunks)


def clear(name, channels, color_type, bits):
    """The scene with a transparent colour. Pillow does not scale it as it scales the pixels."""
    values = scene.samples(channels, bits)
    values[:, :30] = values[9, 9]
    chunks = chunk(b"tRNS", struct.pack(f">{channels}H", *values[9, 9]))
    yield name, png(values, color_type, bits, chunks=chunks)
    shades = numpy.broadcast_to(values / (2**bits - 1) * 255, values.shape[:2] + (3,))
    alpha = 255 - 255 * (values == values[9, 9]).all(2, keepdims=True)
    yield scene.right(name, numpy.concatenate([shades, alpha], 2).round().astype(numpy.uint8))


def profile(icc):
    return chunk(b"iCCP", b"profile\0\0" + zlib.compress(icc))


def files(profiles):
    kinds = {"grey": (1, 0), "grey alpha": (2, 4), "rgb": (3, 2), "rgba": (4, 6)}
    for interlaced in [False, True]:
        order = "interlaced" if interlaced else "plain"
        for name, (channels, color_type) in kinds.items():
            for bits in [1, 2, 4, 8, 16] if name == "grey" else [8, 16]:
                values = scene.samples(channels, bits)
                yield f"{name} {bits} {order}.png", png(values, color_type, bits, interlaced)
        for bits in [1, 2, 4, 8]:
            yield f"palette {bits} {order}.png", with_palette(bits, interlaced)
            alphas = chunk(b"tRNS", bytes([0, 90, 180][: 2**bits]))
            yield f"palette {bits} clear {order}.png", with_palette(bits, interlaced, alphas)

    for channels, color_type, name in [(1, 0, "grey"), (3, 2, "rgb")]:
        for bits in [1, 2, 4, 8, 16] if channels == 1 else [8, 16]:
            yield from clear(f"{name} {bits} clear.png", channels, color_type, bits)
    # The low byte differs from that of the transparent shade, so nothing is transparent.
    wide = scene.samples(1, 16) | 1
    near = chunk(b"tRNS", struct.pack(">H", wide[9, 9, 0] & 0xFF00))
    yield "grey 16 almost clear.png", png(wide, 0, 16, chunks=near)
    yield scene.right("grey 16 almost clear.png", scene.samples(1, 8))

    gamma = chunk(b"gAMA", struct.pack(">I", 45455))
    primaries = primaries_of(0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
    srgb = chunk(b"sRGB", b"\0")
    rgb = scene.samples(3, 8)
    yield "gamma of sRGB.png", png(rgb, 2, 8, chunks=gamma)
    yield "gamma and primaries of sRGB.png", png(rgb, 2, 8, chunks=gamma + primaries)
    yield "all of sRGB.png", png(rgb, 2, 8, chunks=srgb + gamma + primaries)
    half = chunk(b"gAMA", struct.pack(">I", 100000))
    yield "sRGB rather than gamma.png", png(rgb, 2, 8, chunks=srgb + half)
    # Pillow ignores gamma, primaries and code points.
    code_points = chunk(b"cICP", bytes([1, 8, 0, 1]))
    for name, chunks in {
        "linear.png": half,
        "linear with primaries.png": half + primaries,
        "linear with nonsense.png": half + primaries_of(0, 0, 0, 0, 0, 0),
        "linear by code points.png": code_points,
        "linear by code points rather than profile.png": code_points + profile(profiles["adobe"]),
        "linear by profile rather than gamma.png": profile(profiles["linear"]) + gamma,
    }.items():
        yield name, linear(chunks)
        yield scene.right(name, scene.samples(3, 8))
    adobe = primaries_of(0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
    yield "adobe by primaries.png", png(rgb, 2, 8, chunks=gamma + adobe)
    right = png(rgb, 2, 8, chunks=profile(profiles["adobe"]))
    yield "adobe by primaries.png.right.png", right
    bent = chunk(b"gAMA", struct.pack(">I", round(100000 / 1.4)))
    yield "grey by gamma.png", png(scene.samples(1, 8), 0, 8, chunks=bent)
    right = png(scene.samples(1, 8), 0, 8, chunks=profile(profiles["grey"]))
    yield "grey by gamma.png.right.png", right
    for name, points in [("PQ", (9, 16, 0, 1)), ("HLG", (9, 18, 0, 1)), ("narrow", (1, 13, 0, 0))]:
        yield f"{name}.png", png(rgb, 2, 8, chunks=chunk(b"cICP", bytes(points)))
    # An animation of one frame is the picture that others show, too.
    still = chunk(b"acTL", struct.pack(">II", 1, 0))
    yield "animation of one frame.png", png(rgb, 2, 8, chunks=still)
    exif = scene.picture().getexif()
    exif[274] = 6
    yield "turned.png", png(rgb, 2, 8, chunks=chunk(b"eXIf", exif.tobytes()[6:]))
    for name in ["adobe", "table", "grey"]:
        channels, color_type = (1, 0) if name == "grey" else (3, 2)
        for bits in [8, 16]:
            values = scene.samples(channels, bits)
            file = png(values, color_type, bits, chunks=profile(profiles[name]))
            yield f"profile {name} {bits}.png", file
    yield "profile adobe palette.png", png(
        scene.palette(8)[0], 3, 8, False,
        profile(profiles["adobe"]) + chunk(b"PLTE", scene.palette(8)[1].tobytes()),
    )  # fmt: skip
