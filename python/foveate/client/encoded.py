# SPDX-License-Identifier: Apache-2.0
"""Pixels as image files inside a URL (Masinter, RFC 2397, 1998), and at another size."""

import base64
import io

import numpy as np

from ..error import UnsupportedError, choice
from .preserves import between

FORMS = {"jpeg": "image/jpeg", "png": "image/png"}


def data_url(pixels: np.ndarray, form: str = "jpeg", quality: int = 92) -> str:
    """A picture as a `data:` URL.

    Args:
        pixels: (H, W, 3) uint8.
        form: "jpeg" or "png".
        quality: of JPEG, 1..100. Colour is at full resolution: letters lose most where it is not.

    Raises:
        InputError: an option outside the above.
        UnsupportedError: Pillow is missing.
    """
    kind = choice("client: form", form, FORMS)
    quality = between("client: quality", quality, 1, 100)
    pixels = np.ascontiguousarray(pixels)
    data = _jpeg(pixels, quality) if form == "jpeg" else None
    if data is None:
        file = io.BytesIO()
        options = {"quality": quality, "subsampling": 0} if form == "jpeg" else {}
        pillow().fromarray(pixels).save(file, form.upper(), **options)
        data = file.getvalue()
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def resized(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) uint8 at another (height, width), by Pillow's cubic, which reads every pixel where it shrinks."""
    if pixels.shape[:2] == tuple(size):
        return pixels
    image = pillow()
    picture = image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(picture.resize((size[1], size[0]), image.Resampling.BICUBIC))


def pillow():
    """Pillow's module of images."""
    try:
        from PIL import Image
    except ModuleNotFoundError:
        raise UnsupportedError("client: Pillow: got none, expected it installed. "
                               "Run: pip install 'foveate[serve]'") from None
    return Image


def _jpeg(pixels, quality):
    """By libjpeg-turbo itself; None where simplejpeg is not there."""
    try:
        import simplejpeg
    except ModuleNotFoundError:
        return None
    return simplejpeg.encode_jpeg(pixels, quality, "RGB", "444")
