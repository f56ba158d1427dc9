"""Pictures as WebP: lossy, lossless, with alpha, and with one frame of an animation."""

import io
import struct

from . import scene


def webp(picture, **options):
    file = io.BytesIO()
    picture.save(file, "webp", **options)
    return file.getvalue()


def chunk(kind, data):
    return kind + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)


def size_24(number):
    return (number - 1).to_bytes(3, "little")


def single_frame(background):
    """An animation of one frame, which does not fill the picture."""
    small = scene.picture("RGBA").crop((12, 8, 71, 50))
    whole = size_24(scene.WIDTH) + size_24(scene.HEIGHT)
    still = webp(small, lossless=True)[12:]
    if still.startswith(b"VP8X"):
        still = still[18:]
    # The offset is counted in steps of two pixels.
    place = (6).to_bytes(3, "little") + (4).to_bytes(3, "little")
    frame = place + size_24(small.width) + size_24(small.height) + b"\x64\0\0\0" + still
    chunks = chunk(b"VP8X", b"\x12\0\0\0" + whole)
    chunks += chunk(b"ANIM", background + b"\0\0") + chunk(b"ANMF", frame)
    return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WEBP" + chunks


def files(profiles):
    for quality in [20, 80, 100]:
        yield f"lossy {quality}.webp", webp(scene.picture(), quality=quality)
        yield f"lossy alpha {quality}.webp", webp(scene.picture("RGBA"), quality=quality)
    for method in [0, 6]:
        yield f"method {method}.webp", webp(scene.picture("RGBA"), method=method)
    yield "coarse alpha.webp", webp(scene.picture("RGBA"), alpha_quality=30)
    yield "lossless.webp", webp(scene.picture(), lossless=True)
    yield "lossless alpha.webp", webp(scene.picture("RGBA"), lossless=True)
    yield "palette.webp", webp(scene.picture().quantize(16).convert("RGB"), lossless=True)
    yield "single frame.webp", single_frame(b"\0\0\0\0")
    yield "single frame with background.webp", single_frame(b"\x10\x90\x20\xff")
    for name in ["adobe", "table"]:
        for mode in ["RGB", "RGBA"]:
            for lossless in [False, True]:
                kind = "lossless" if lossless else "lossy"
                file = webp(scene.picture(mode), lossless=lossless, icc_profile=profiles[name])
                yield f"profile {name} {mode} {kind}.webp", file
    exif = scene.picture().getexif()
    exif[274] = 6
    yield "turned.webp", webp(scene.picture(), exif=exif)
