"""Pictures as GIF (GIF89a) of one frame, and as an animation of each format."""

import io
import struct

import numpy

from . import scene


def lzw(indices):
    """The indices as LZW that begins anew so often that all codes have nine bits."""
    codes = []
    for at, index in enumerate(indices):
        codes += [256, index] if at % 100 == 0 else [index]
    bits = sum(code << 9 * at for at, code in enumerate(codes + [257]))
    data = bits.to_bytes((9 * len(codes) + 9 + 7) // 8, "little")
    blocks = [data[at : at + 255] for at in range(0, len(data), 255)]
    return b"\x08" + b"".join(bytes([len(block)]) + block for block in blocks) + b"\0"


def gif(corner=(0, 0), clear=None, interlaced=False, local=False, background=0):
    """A frame whose upper left corner lies there on the screen, which is as large as the scene.
    `clear` is the index that is transparent."""
    indices, colors = scene.palette(8)
    left, top = corner
    frame = numpy.pad(indices, 8)[8 + top : -8 - top, 8 + left : -8 - left]
    height, width = frame.shape
    left, top = max(left, 0), max(top, 0)
    if interlaced:
        starts = [(0, 8), (4, 8), (2, 4), (1, 2)]
        order = [row for first, step in starts for row in range(first, height, step)]
        frame = frame[order]
    table = colors.tobytes().ljust(768, b"\0")
    others = table[::-1] if local else table
    file = b"GIF89a" + struct.pack("<HHBBB", scene.WIDTH, scene.HEIGHT, 0xF7, background, 0)
    file += others
    if clear is not None:
        file += b"!\xf9\x04\x01\0\0" + bytes([clear]) + b"\0"
    flags = interlaced * 0x40 | local * 0x87
    file += b"," + struct.pack("<HHHHB", left, top, width, height, flags)
    file += table if local else b""
    return file + lzw(frame.flatten().tolist()) + b";"


def animations():
    """Two frames, the first of which does not fill the picture, or is transparent."""
    frames = [scene.picture("RGBA"), scene.picture("RGBA").rotate(180)]
    for kind in ["gif", "png", "webp"]:
        for disposal in [0, 1]:
            file = io.BytesIO()
            frames[0].save(
                file, kind, save_all=True, append_images=frames[1:], disposal=disposal
            )
            yield f"animation {disposal}.{kind}", file.getvalue()


def files(_):
    indices, _ = scene.palette(8)
    often = int(indices[30, 40])
    yield "plain.gif", gif()
    yield "interlaced.gif", gif(interlaced=True)
    yield "local palette.gif", gif(local=True)
    yield "clear.gif", gif(clear=often)
    yield "smaller clear.gif", gif((11, 7), clear=often)
    yield "smaller clear interlaced.gif", gif((11, 7), often, True, True)
    yield "smaller.gif", gif((11, 7))
    yield "smaller with background.gif", gif((11, 7), background=often)
    yield "larger.gif", gif((-3, -2))
    yield "larger clear.gif", gif((-3, -2), clear=often)
    for colors in [2, 4, 16]:
        file = io.BytesIO()
        scene.picture().quantize(colors).save(file, "gif")
        yield f"{colors} colours.gif", file.getvalue()
    yield "narrow.gif", gif((0, 7), clear=often)
    yield from animations()
