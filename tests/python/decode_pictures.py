"""Decodes the pictures of a folder with Pillow, for the test that compares maskline with it.

Beside each picture it writes NAME.rgb: the pixels upright, in sRGB, over white. It prints
{NAME: [width, height]} as JSON, with null where Pillow can't decode the picture.
"""

import io
import json
import sys
from pathlib import Path

import numpy
from PIL import Image, ImageCms, ImageOps

SRGB = ImageCms.createProfile("sRGB")


# The colours of a profile, by the channels of a picture beside alpha.
COLORS = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}


def in_srgb(picture):
    """The picture in RGB. A profile of other colours than the picture has is ignored."""
    profile = picture.info.get("icc_profile")
    mode = picture.mode.removesuffix("A")
    if not profile or mode not in COLORS:
        return picture
    profile = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    if profile.profile.xcolor_space.strip() != COLORS[mode]:
        return picture
    converted = ImageCms.profileToProfile(picture.convert(mode), profile, SRGB, outputMode="RGB")
    if picture.mode != mode:
        converted.putalpha(picture.getchannel("A"))
    return converted


def decoded(path):
    with Image.open(path) as picture:
        picture.load()
        picture = ImageOps.exif_transpose(picture)
        if picture.mode == "P":
            picture = picture.convert("RGBA")
        if picture.mode.startswith("I;16"):
            # Pillow would take all that is above 255 for white.
            shades = (numpy.asarray(picture) / 257).round().astype(numpy.uint8)
            profile = picture.info.get("icc_profile")
            picture = Image.fromarray(shades)
            picture.info["icc_profile"] = profile
        picture = in_srgb(picture)
        if "A" in picture.getbands() or "transparency" in picture.info:
            picture = picture.convert("RGBA")
            white = Image.new("RGBA", picture.size, "white")
            picture = Image.alpha_composite(white, picture)
        return picture.convert("RGB")


sizes = {}
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        picture = decoded(path)
    except (OSError, SyntaxError, ValueError):
        sizes[path.name] = None
        continue
    path.with_name(path.name + ".rgb").write_bytes(picture.tobytes())
    sizes[path.name] = picture.size
print(json.dumps(sizes))
