"""Pictures as JPEG with ICC profiles. What else a JPEG may have, other tests write."""

import io
import struct

import numpy
from PIL import Image

from . import scene


def jpeg(picture, **options):
    file = io.BytesIO()
    picture.save(file, "jpeg", quality=95, **options)
    return file.getvalue()


def cmyk():
    """The scene as inks, with some black in them."""
    inks = 255 - scene.samples(3, 8)
    black = inks.min(axis=2, keepdims=True) // 2
    return Image.fromarray(numpy.concatenate([inks, black], 2), "CMYK")


def in_segments(file, icc, size):
    """The file with a profile in segments of this size, the last of which comes first."""
    parts = [icc[at : at + size] for at in range(0, len(icc), size)]
    segments = [
        b"ICC_PROFILE\0" + bytes([number, len(parts)]) + part
        for number, part in enumerate(parts, 1)
    ]
    marked = [b"\xff\xe2" + struct.pack(">H", len(data) + 2) + data for data in segments[::-1]]
    return file[:2] + b"".join(marked) + file[2:]


def files(profiles):
    pictures = {"grey": scene.picture("L"), "cmyk": cmyk()}
    for name, icc in profiles.items():
        picture = pictures.get(name, scene.picture())
        yield f"profile {name}.jpg", jpeg(picture, icc_profile=icc)
        yield f"profile {name} progressive.jpg", jpeg(picture, icc_profile=icc, progressive=True)
    yield "profile in segments.jpg", in_segments(jpeg(scene.picture()), profiles["adobe"], 100)
    yield "inks in segments.jpg", in_segments(jpeg(cmyk()), profiles["cmyk"], 1000)
    yield "inks without profile.jpg", jpeg(cmyk())
    # A profile of other colours than the picture has is ignored.
    yield "grey with colours.jpg", jpeg(scene.picture("L"), icc_profile=profiles["adobe"])
    yield "colours with inks.jpg", jpeg(scene.picture(), icc_profile=profiles["cmyk"])
    yield "inks with colours.jpg", jpeg(cmyk(), icc_profile=profiles["adobe"])
