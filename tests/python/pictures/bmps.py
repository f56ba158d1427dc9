"""Pictures as BMP, with the headers of Windows and of OS/2."""

import struct

import numpy

from . import pngs, scene


def bmp(pixels, bits, compression=0, header=40, colors=b"", masks=(), top_down=False):
    """A file of these bytes. Masks of the channels lie in the header where it has room."""
    height = -scene.HEIGHT if top_down else scene.HEIGHT
    if header == 12:
        info = struct.pack("<IHHHH", header, scene.WIDTH, height, 1, bits)
    else:
        info = struct.pack("<IiiHHI", header, scene.WIDTH, height, 1, bits, compression)
        count = len(colors) // 4
        info += struct.pack("<IIIII", len(pixels), 2835, 2835, count, 0)
    info += struct.pack(f"<{len(masks)}I", *masks)
    if header > 56:
        info = info.ljust(56, b"\0") + b"BGRs"
    info = info.ljust(header, b"\0") + colors
    start = 14 + len(info)
    return b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start) + info + pixels


def rows(values, top_down=False):
    """Rows of bytes, the lowest first, each of a multiple of four bytes."""
    values = values.reshape(len(values), -1)
    values = numpy.pad(values, ((0, 0), (0, -values.shape[1] % 4)))
    return (values if top_down else values[::-1]).tobytes()


def with_palette(bits, header=40, top_down=False):
    indices, colors = scene.palette(bits)
    colors = colors[:, ::-1]
    if header != 12:
        colors = numpy.pad(colors, ((0, 0), (0, 1)))
    pixels = rows(scene.packed(indices, bits), top_down)
    return bmp(pixels, bits, 0, header, colors.tobytes(), top_down=top_down)


def run_lengths(bits):
    """Each row has a run of one index where two pixels are alike, and else plain indices."""
    indices, colors = scene.palette(bits)
    pixels = bytearray()
    for row in indices[::-1]:
        at = 0
        while at < len(row):
            end = at + 1
            while end < len(row) and row[end] == row[at] and end - at < 255:
                end += 1
            if end - at > 1 or at + 4 > len(row):
                index = row[at] if bits == 8 else row[at] << 4 | row[at]
                pixels += bytes([end - at, index])
                at = end
            else:
                plain = row[at : at + 4]
                packed = scene.packed(plain[None], bits).tobytes()
                pixels += bytes([0, len(plain)]) + packed + bytes(len(packed) % 2)
                at += 4
        pixels += b"\0\0"
    pixels += b"\0\1"
    colors = numpy.pad(colors[:, ::-1], ((0, 0), (0, 1))).tobytes()
    return bmp(bytes(pixels), bits, 1 if bits == 8 else 2, colors=colors)


def masked(masks, header, size, rgba=None):
    """Pixels of 16 or 32 bits, in which the masks say where each channel is."""
    rgba = scene.samples(4, 8) if rgba is None else rgba
    pixels = numpy.zeros(rgba.shape[:2], numpy.uint64)
    for channel, mask in enumerate(masks):
        low = (mask & -mask).bit_length() - 1
        most = mask >> low if mask else 0
        value = (rgba[..., channel].astype(float) * most / 255).round().astype(numpy.uint64)
        pixels |= value << numpy.uint64(max(low, 0))
    bytes_of_rows = pixels.astype(f"<u{size // 8}").view(numpy.uint8).reshape(len(pixels), -1)
    return bmp(rows(bytes_of_rows), size, 3, header, masks=masks)


def files(profiles):
    for bits in [1, 4, 8]:
        yield f"palette {bits}.bmp", with_palette(bits)
        yield f"palette {bits} top-down.bmp", with_palette(bits, top_down=True)
        for header in [12, 64, 108, 124]:
            yield f"palette {bits} header {header}.bmp", with_palette(bits, header)
    # Pillow does not know of palettes of four colours.
    yield "palette 2.bmp", with_palette(2)
    indices, colors = scene.palette(2)
    yield scene.right("palette 2.bmp", colors[indices])
    for bits in [4, 8]:
        yield f"run lengths {bits}.bmp", run_lengths(bits)

    bgr = scene.samples(3, 8)[..., ::-1]
    for header in [12, 40, 52, 56, 108, 124]:
        yield f"24 header {header}.bmp", bmp(rows(bgr), 24, 0, header)
    yield "24 top-down.bmp", bmp(rows(bgr, True), 24, top_down=True)
    shades = (scene.samples(3, 8).astype(float) * 31 / 255).round().astype("<u2")
    words = shades[..., 0] << 10 | shades[..., 1] << 5 | shades[..., 2]
    yield "16.bmp", bmp(rows(words.view(numpy.uint8)), 16)
    # The fourth byte means nothing where no mask says so.
    for fourth in [0, 90, 255]:
        unused = numpy.full(bgr.shape[:2] + (1,), fourth, numpy.uint8)
        yield f"32 and {fourth}.bmp", bmp(rows(numpy.concatenate([bgr, unused], 2)), 32)

    for header in [40, 52, 56, 108, 124]:
        alpha = [0xFF000000] if header >= 56 else []
        file = masked([0xFF0000, 0xFF00, 0xFF] + alpha, header, 32)
        yield f"masks 32 header {header}.bmp", file
        yield f"masks 555 header {header}.bmp", masked([0x7C00, 0x3E0, 0x1F], header, 16)
        yield f"masks 565 header {header}.bmp", masked([0xF800, 0x7E0, 0x1F], header, 16)
    bgra = [0xFF0000, 0xFF00, 0xFF, 0xFF000000]
    yield "masks rgba.bmp", masked([0xFF, 0xFF00, 0xFF0000, 0xFF000000], 124, 32)
    # Pillow does not know these masks, or not that of alpha.
    rgba = scene.samples(4, 8)
    rgba[..., 3] = 255 * (rgba[..., 3] > 127)
    rgba = rgba // 17 * 17
    for name, masks, size in [
        ("masks 4444.bmp", [0xF00, 0xF0, 0xF, 0xF000], 16),
        ("masks 1555.bmp", [0x7C00, 0x3E0, 0x1F, 0x8000], 16),
        ("masks of 10 bits.bmp", [0x3FF00000, 0xFFC00, 0x3FF, 0xC0000000], 32),
    ]:
        yield name, masked(masks, 108, size, rgba)
        yield scene.right(name, rgba)
    # Alpha that is 0 everywhere is none.
    rgba[..., 3] = 0
    yield "invisible.bmp", masked(bgra, 124, 32, rgba)
    yield scene.right("invisible.bmp", rgba[..., :3])
    # Pillow ignores the profile, which lies at the end. The header has its place and its size.
    icc = profiles["adobe"]
    file = bytearray(bmp(rows(bgr), 24, 0, 124))
    file[14 + 56 : 14 + 60] = b"DEBM"
    file[14 + 112 : 14 + 120] = struct.pack("<II", len(file) - 14, len(icc))
    yield "profile.bmp", bytes(file) + icc
    right = pngs.png(scene.samples(3, 8), 2, 8, chunks=pngs.profile(icc))
    yield "profile.bmp.right.png", right
