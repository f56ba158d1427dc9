"""Pictures as TIFF (6.0): by Pillow in every way of compression, and by hand with what Pillow
does not write."""

import io
import struct
import zlib

import numpy
from PIL import Image

from . import jpegs, scene

# The numbers of tags.
BITS, COMPRESSION, COLORS, FILL_ORDER, ORIENTATION = 258, 259, 262, 266, 274
ROWS, PLANES, PREDICTOR, EXTRA, FORMAT, ICC = 278, 284, 317, 338, 339, 34675


def by_pillow(picture, compression=None, tags=None, **options):
    file = io.BytesIO()
    picture.save(file, "tiff", compression=compression, tiffinfo=tags or {}, **options)
    return file.getvalue()


def tiff(strips, samples, bits, colors, tags=None, order="<", tile=None):
    """A file of these strips, whose tags are numbers or lists of them. With `tile`, the side of a
    square, they are tiles."""
    tags = tags or {}
    offsets, counts = (273, 279) if tile is None else (324, 325)
    if PREDICTOR in tags:
        strips, tags = [zlib.compress(strip) for strip in strips], tags | {COMPRESSION: 8}
    start = 8 + sum(map(len, strips))
    tags = {
        256: scene.WIDTH,
        257: scene.HEIGHT,
        BITS: [bits] * samples,
        COMPRESSION: 1,
        COLORS: colors,
        offsets: [8 + sum(map(len, strips[:at])) for at in range(len(strips))],
        277: samples,
        counts: [len(strip) for strip in strips],
        **({ROWS: scene.HEIGHT} if tile is None else {322: tile, 323: tile}),
    } | tags
    values, directory = b"", struct.pack(f"{order}H", len(tags))
    for tag, value in sorted(tags.items()):
        value = value if isinstance(value, list) else [value]
        kind, letter = (4, "I") if tag in (offsets, counts, ROWS) else (3, "H")
        field = struct.pack(f"{order}{len(value)}{letter}", *value).ljust(4, b"\0")
        if len(field) > 4:
            values, field = values + field, struct.pack(f"{order}I", start + len(values))
        directory += struct.pack(f"{order}HHI", tag, kind, len(value)) + field
    header = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, start + len(values))
    return header + b"".join(strips) + values + directory + bytes(4)


def ordered(values, bits, order="<"):
    rows = scene.packed(values, bits)
    return (rows.reshape(-1, 2)[:, ::-1] if bits == 16 and order == "<" else rows).tobytes()


def plain(values, bits, colors, tags=None, order="<"):
    strips = [ordered(values, bits, order)]
    return tiff(strips, values.shape[2], bits, colors, tags, order)


def planar(values, bits, colors, tags=None):
    strips = [ordered(values[..., [at]], bits) for at in range(values.shape[2])]
    return tiff(strips, len(strips), bits, colors, {PLANES: 2} | (tags or {}))


def predicted(values):
    """The difference of each sample from the one to the left of it."""
    return numpy.diff(values, axis=1, prepend=numpy.zeros_like(values[:, :1]))


def reversed_bits(values):
    return numpy.packbits(numpy.unpackbits(values, axis=-1, bitorder="little"), axis=-1)


def inks(bits):
    values = 2**bits - 1 - scene.samples(3, bits)
    return numpy.concatenate([values, values[..., :1] // 3], 2)


def of_jpegs(picture, side, colors, tile=False, **options):
    """A file of JPEGs, each a strip of `side` rows or a square of this side."""
    width, height = picture.size
    across = side if tile else width
    corners = [(left, top) for top in range(0, height, side) for left in range(0, width, across)]
    parts = []
    for left, top in corners:
        bottom = top + side if tile else min(top + side, height)
        part = picture.crop((left, top, left + across, bottom))
        parts.append(jpegs.jpeg(part, **options))
    tags = {COMPRESSION: 7} | ({} if tile else {ROWS: side})
    samples = len(picture.getbands())
    return tiff(parts, samples, 8, colors, tags, tile=side if tile else None)


def all_of_jpegs(rgb, grey, cmyk):
    yield "jpeg.tif", by_pillow(rgb, "jpeg")
    yield "jpeg grey.tif", by_pillow(grey, "jpeg")
    yield "jpeg strips.tif", by_pillow(rgb, "jpeg", {ROWS: 16})
    yield "jpeg cmyk.tif", by_pillow(cmyk, "jpeg")
    for sampling in ["4:4:4", "4:2:2", "4:2:0"]:
        for side, tile in [(scene.HEIGHT, False), (16, False), (32, True)]:
            file = of_jpegs(rgb, side, 6, tile, subsampling=sampling)
            name = f"jpeg {sampling} {side} {tile}.tif"
            yield name, file
            # Pillow expects the sampling in another tag, too.
            yield scene.right(name, scene.samples(3, 8))
    yield "jpeg of rgb.tif", of_jpegs(rgb, 16, 2, keep_rgb=True)
    yield "jpeg tiles of grey.tif", of_jpegs(grey, 32, 1, tile=True)
    yield "jpeg progressive.tif", of_jpegs(grey, scene.HEIGHT, 1, progressive=True)
    yield "jpeg narrower.tif", tiff([jpegs.jpeg(rgb)], 3, 8, 6, {COMPRESSION: 7, 256: 82})
    rows = [jpegs.jpeg(grey.crop((0, 0, 1, 1)))] * 5000
    yield "jpeg rows.tif", tiff(rows, 1, 8, 1, {COMPRESSION: 7, 256: 1, 257: 5000, ROWS: 1})


def by_hand(bits):
    """Layouts of samples of 8 or 16 bits."""
    yield f"inks {bits}.tif", plain(inks(bits), bits, 5)
    yield f"inks {bits} planes.tif", planar(inks(bits), bits, 5)
    inks_and_alpha = numpy.concatenate([inks(bits), inks(bits)[..., :1]], 2)
    yield f"inks {bits} and alpha.tif", plain(inks_and_alpha, bits, 5, {EXTRA: 2})
    yield f"grey {bits} signed.tif", plain(scene.samples(1, bits), bits, 1, {FORMAT: 2})
    for name, file, channels in known(bits):
        yield f"{name}.tif", file
        # Pillow does not read all of these, and some of 16 bits wrong.
        yield scene.right(f"{name}.tif", scene.samples(channels, 8))


def known(bits):
    """The name, the file and the number of channels that it is to be read as."""
    most = 2**bits - 1
    for order, name in [("<", "little"), (">", "big")]:
        for channels, colors in [(1, 0), (1, 1), (3, 2)]:
            values = scene.samples(channels, bits)
            stored = most - values if colors == 0 else values
            name = f"colours {colors} of {bits} {name}"
            yield name, plain(stored, bits, colors, order=order), channels
            file = plain(predicted(stored), bits, colors, {PREDICTOR: 2}, order)
            yield f"{name} predicted", file, channels
    rgba = scene.samples(4, bits)
    share = rgba[..., 3:] / most
    associated = numpy.concatenate([rgba[..., :3] * share, rgba[..., 3:]], 2)
    associated = associated.round().astype(rgba.dtype)
    for extra, channels in [(0, 3), (1, 4), (2, 4), (None, 4)]:
        tags = {} if extra is None else {EXTRA: extra}
        values = associated if extra == 1 else rgba
        name = f"extra {extra} of {bits}"
        yield name, plain(values, bits, 2, tags), channels
        yield f"{name} planes", planar(values, bits, 2, tags), channels
        tags |= {PREDICTOR: 2}
        yield f"{name} predicted", plain(predicted(values), bits, 2, tags), channels
        yield f"{name} planes predicted", planar(predicted(values), bits, 2, tags), channels
    two = numpy.concatenate([rgba, rgba[..., :1]], 2)
    yield f"extras 2 of {bits}", plain(two, bits, 2, {EXTRA: [2, 0]}), 4
    yield f"extras 2 of {bits} planes", planar(two, bits, 2, {EXTRA: [2, 0]}), 4
    rgb = scene.samples(3, bits)
    yield f"rgb {bits} planes", planar(rgb, bits, 2), 3
    yield f"rgb {bits} planes predicted", planar(predicted(rgb), bits, 2, {PREDICTOR: 2}), 3


def files(profiles):
    rgb, grey = scene.picture(), scene.picture("L")
    modes = {
        "rgb": rgb,
        "rgba": scene.picture("RGBA"),
        "grey": grey,
        "grey and alpha": scene.picture("LA"),
        "bilevel": grey.convert("1"),
        "indices": rgb.quantize(256),
        "cmyk": jpegs.cmyk(),
        "lab": rgb.convert("LAB"),
        "grey 16": Image.fromarray(scene.samples(1, 16).squeeze()),
    }
    for name, picture in modes.items():
        for compression in [None, "tiff_lzw", "packbits", "tiff_adobe_deflate", "tiff_deflate"]:
            yield f"{name} {compression}.tif", by_pillow(picture, compression)
            if compression and name not in ("bilevel", "indices", "lab"):
                file = by_pillow(picture, compression, {PREDICTOR: 2})
                yield f"{name} {compression} predicted.tif", file
    for compression in ["group3", "group4", "tiff_ccitt"]:
        yield f"bilevel {compression}.tif", by_pillow(modes["bilevel"], compression)
        for tags in [{COLORS: 0}, {FILL_ORDER: 2}, {ROWS: 7}, {ROWS: 2**32 - 1}]:
            file = by_pillow(modes["bilevel"], compression, tags)
            yield f"bilevel {compression} {tags}.tif", file
    yield from all_of_jpegs(rgb, grey, modes["cmyk"])
    yield "ycbcr.tif", by_pillow(rgb.convert("YCbCr"))
    yield "pages.tif", by_pillow(rgb, save_all=True, append_images=[grey, rgb.rotate(180)])
    for orientation in range(1, 9):
        file = by_pillow(rgb, "tiff_lzw", {ORIENTATION: orientation})
        yield f"orientation {orientation}.tif", file
    for name, icc in profiles.items():
        picture = modes.get(name, rgb)
        yield f"profile {name}.tif", by_pillow(picture, icc_profile=icc)
    yield "profile grey 16.tif", by_pillow(modes["grey 16"], icc_profile=profiles["grey"])
    yield "profile adobe rgba.tif", by_pillow(modes["rgba"], icc_profile=profiles["adobe"])

    for bits in [8, 16]:
        yield from by_hand(bits)
    for bits in [1, 2, 4]:
        values = scene.samples(1, bits)
        yield f"grey {bits}.tif", plain(values, bits, 1)
        yield f"grey {bits} white is 0.tif", plain((1 << bits) - 1 - values, bits, 0)
        yield f"rgb {bits}.tif", plain(scene.samples(3, bits), bits, 2)
    for bits, channels, colors in [(1, 1, 1), (8, 3, 2)]:
        rows = reversed_bits(scene.packed(scene.samples(channels, bits), bits))
        file = tiff([rows.tobytes()], channels, bits, colors, {FILL_ORDER: 2})
        yield f"reversed bits {bits}.tif", file
    # As many rows as a number can say: all are in one strip.
    yield "endless strip.tif", plain(scene.samples(3, 8), 8, 2, {ROWS: 2**32 - 1})
