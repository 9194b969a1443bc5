# SPDX-License-Identifier: Apache-2.0
"""Image files as pixels: the one way in for bytes that a stranger may have made.

The header is read first and held to the limits before anything is allocated. Three codecs are let run, JPEG by
libjpeg-turbo through simplejpeg, PNG and WebP through Pillow, and what they say of a broken file is not repeated.
"""

import io

import numpy as np

from . import _core
from .decode_header import Header, read_header
from .error import InputError, UnsupportedError

LIMITS = _core.limits()
SCANS = 500             # of a JPEG: each is a pass over all its pixels
SCALES = (1, 2, 4, 8)   # that a JPEG's blocks of 8 x 8 px are decoded at
# Exif's orientations as (transposed, rows reversed, columns reversed), in that order
TURNS = {2: (0, 0, 1), 3: (0, 1, 1), 4: (0, 1, 0), 5: (1, 0, 0), 6: (1, 0, 1), 7: (1, 1, 1), 8: (1, 1, 0)}


class DecodeError(InputError):
    """Bytes that are no image, or one outside the limits. `code` is a word for each kind."""

    def __init__(self, code, got, expected):
        super().__init__(f"decode: {code}: got {got}, expected {expected}.")
        self.code, self.args = code, (code, got, expected)

    def __str__(self):
        code, got, expected = self.args
        return f"decode: {code}: got {got}, expected {expected}."


def header(data, *, pixels: int = LIMITS["image_pixels"], side: int = LIMITS["image_side"]) -> Header:
    """Format and size of an image file, from its first bytes.

    Args:
        data: bytes, or a memoryview of bytes.
        pixels, side: the most there may be, of the image and of its longer side.

    Returns:
        Header: format ("jpeg", "png" or "webp"), width, height, channels, bits, frames, scans, orientation.

    Raises:
        DecodeError: with `code` "empty", "format", "header", "size", "pixels", "frames" or "scans".

    >>> from foveate.decode import header
    >>> header(b"GIF89a and so on")
    Traceback (most recent call last):
    foveate.decode.DecodeError: decode: format: got bytes of another format, expected JPEG, PNG or WebP.
    """
    data = data if isinstance(data, bytes) else bytes(data)
    if not data:
        raise DecodeError("empty", "0 bytes", "an image file")
    try:
        found = read_header(data)
    except ValueError:
        raise DecodeError("header", "one that cannot be read", "that of a JPEG, PNG or WebP file") from None
    if found is None:
        raise DecodeError("format", "bytes of another format", "JPEG, PNG or WebP")
    size = f"{found.height} x {found.width}"
    if max(found.width, found.height) > side:
        raise DecodeError("size", size, f"sides of at most {side} px")
    if found.width * found.height > pixels:
        raise DecodeError("pixels", size, f"at most {pixels} px")
    if found.frames > 1:
        raise DecodeError("frames", "an animation", "1 frame")
    if found.scans > SCANS:
        raise DecodeError("scans", found.scans, f"at most {SCANS}")
    return found


def decode(data, *, scale: int = 1, orient: bool = True, background=None, pixels: int = LIMITS["image_pixels"],
           side: int = LIMITS["image_side"], into=None) -> np.ndarray:
    """The pixels of an image file.

    Args:
        data: bytes, or a memoryview of bytes.
        scale: 2, 4 or 8 decodes a JPEG at that part of its size, sides rounded up; others come whole.
        orient: turn it as its Exif orientation says.
        background: three numbers 0..255 to lay an image with alpha over; None drops alpha.
        pixels, side: see `header`.
        into: memory to write to, where a JPEG that fits and is not turned is decoded; the array is a view of it then.

    Returns:
        (H, W, 3) uint8, RGB; gray, palette, CMYK and 16-bit files too.

    Raises:
        DecodeError: as `header` does, and with `code` "truncated" or "corrupt".
        UnsupportedError: Pillow is missing.

    >>> import io
    >>> import numpy as np, PIL.Image
    >>> from foveate.decode import decode
    >>> file = io.BytesIO()
    >>> PIL.Image.fromarray(np.zeros((40, 60), np.uint8)).save(file, "PNG")
    >>> decode(file.getvalue()).shape
    (40, 60, 3)
    """
    data = data if isinstance(data, bytes) else bytes(data)
    found = header(data, pixels=pixels, side=side)
    array = None
    if found.format == "jpeg" and found.channels != 4:
        array = _jpeg(data, found, scale, None if orient and found.orientation != 1 else into)
    if array is None:
        array = _pillow(data, found, background)
    return _turned(array, found.orientation) if orient and found.orientation != 1 else array


def scaled(length: int, scale: int) -> int:
    """Of a side of a JPEG decoded at a part of its size."""
    return -(-length // scale)


def _jpeg(data, found, scale, into):
    """None where libjpeg-turbo objects to something: Pillow, which forgives what is harmless, decides then."""
    try:
        import simplejpeg
    except ModuleNotFoundError:
        return None
    least = {"min_height": scaled(found.height, scale), "min_width": scaled(found.width, scale)} if scale > 1 else {}
    if into is not None and scaled(found.height, scale) * scaled(found.width, scale) * 3 <= memoryview(into).nbytes:
        least["buffer"] = into
    try:
        return simplejpeg.decode_jpeg(data, "RGB", min_factor=scale, **least)
    except ValueError:
        return None


def _pillow(data, found, background):
    try:
        from PIL import Image
    except ModuleNotFoundError:
        raise UnsupportedError("decode: Pillow: got no PIL, expected it installed. pip install pillow") from None
    try:
        with Image.open(io.BytesIO(data), formats=[found.format.upper()]) as picture:
            if picture.size != (found.width, found.height):
                raise DecodeError("header", "two sizes in one file", "one")
            picture.load()
            return _rgb(picture, background)
    except (DecodeError, MemoryError):
        raise
    except Exception as error:      # a codec given hostile bytes raises what it likes
        if "truncated" in str(error):
            raise DecodeError("truncated", "a file that ends early", "a whole one") from None
        raise DecodeError("corrupt", "a file that cannot be decoded", "a valid one") from None


def _rgb(picture, background):
    from PIL import Image

    if picture.mode.startswith("I"):        # 16-bit gray, to the nearest of 256
        gray = np.asarray(picture).astype(np.uint32)
        return np.repeat(((gray + 128) // 257).astype(np.uint8)[..., None], 3, -1)
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        picture = picture if picture.mode == "RGBA" else picture.convert("RGBA")
        if background is not None:
            below = Image.new("RGBA", picture.size, (*background, 255))
            picture = Image.alpha_composite(below, picture)
    return np.array(picture if picture.mode == "RGB" else picture.convert("RGB"))


def _turned(array, orientation):
    transposed, rows, columns = TURNS[orientation]
    array = array.transpose(1, 0, 2) if transposed else array
    array = array[::-1] if rows else array
    return np.ascontiguousarray(array[:, ::-1] if columns else array)
