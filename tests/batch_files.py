# SPDX-License-Identifier: Apache-2.0
"""Folders of pictures for the tests of the batch, and hashes of what came out."""

import hashlib
import io
import json

import numpy as np
from images import random_image
from PIL import Image

SIZES = ((96, 128), (100, 70), (33, 57), (64, 64), (128, 40))
CORRUPT = {"empty": b"", "format": b"not a picture at all", "header": b"\xff\xd8\xff\xe0\0\x10JFIF",
           "truncated": None, "corrupt": None}


def picture(number):
    height, width = SIZES[number % len(SIZES)]
    small = random_image(number, height // 4 + 1, width // 4 + 1)
    return np.repeat(np.repeat(small, 4, 0), 4, 1)[:height, :width]


def encoded(number, kind=None):
    kind = kind or ("JPEG", "PNG", "WEBP")[number % 3]
    file = io.BytesIO()
    Image.fromarray(picture(number)).save(file, kind, **({"quality": 92} if kind == "JPEG" else {}))
    return file.getvalue()


def broken(kind, number=0):
    """Bytes that fail with this code."""
    if kind == "truncated":
        data = encoded(number, "JPEG")
        return data[: len(data) // 2]
    if kind == "corrupt":
        data = bytearray(encoded(number, "PNG"))
        data[60:90] = bytes(30)
        return bytes(data)
    return CORRUPT[kind]


def fill(folder, count, *, gaze=False):
    """`count` files of three kinds in two folders."""
    for number in range(count):
        path = folder / ("even", "odd")[number % 2] / f"{number:04d}.{('jpg', 'png', 'webp')[number % 3]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(number))
        if gaze:
            path.with_suffix(".json").write_text(json.dumps({"gaze": [number % 7 / 7, 0.25]}))
    return folder


def hashes(out):
    """Of every file that a run leaves for its reader, by name."""
    files = sorted(path for path in out.iterdir() if path.is_file())
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
