"""Writes pictures of every kind that PNG, WebP, GIF, BMP, TIFF and JPEG have to a folder, for
the test that compares maskline with Pillow.

    write_pictures.py FOLDER

It prints null: what is right, Pillow and the test know.
"""

import sys
from pathlib import Path

from pictures import bmps, gifs, jpegs, pngs, profiles, tiffs, webps

folder = Path(sys.argv[1])
icc = profiles.every()
for kind in [pngs, webps, gifs, bmps, tiffs, jpegs]:
    for name, file in kind.files(icc):
        (folder / name).write_bytes(file)
print("null")
