"""Decodes the pictures of a folder with Pillow, for the test that compares maskline with it.

Beside each picture it writes NAME.rgb: the pixels upright, in sRGB, over white. It prints
{NAME: [width, height]} as JSON, with null where Pillow can't decode the picture.
"""

import io
import json
import sys
from pathlib import Path

from PIL import Image, ImageCms, ImageOps

SRGB = ImageCms.createProfile("sRGB")


def in_srgb(picture):
    profile = picture.info.get("icc_profile")
    if not profile:
        return picture
    profile = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    if picture.mode not in ("RGB", "RGBA"):
        return picture
    return ImageCms.profileToProfile(picture, profile, SRGB)


def decoded(path):
    with Image.open(path) as picture:
        picture.load()
        picture = in_srgb(ImageOps.exif_transpose(picture))
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
