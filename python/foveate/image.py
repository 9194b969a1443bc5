# SPDX-License-Identifier: Apache-2.0
"""image: whatever the caller has, as pixels the engine can read."""

import sys
from functools import lru_cache

import numpy as np

from . import _core
from .cuda import on_cuda, taken
from .default import engine_of
from .error import Error, InputError, LimitError, UnsupportedError, choice, require
from .types import Channels

ACCEPTED = "uint8, uint16, float16, float32 or float64"
KEPT = {"uint8": np.uint8, "uint16": np.uint16, "float32": np.float32}
WIDENED = {"float16", "float64", "bfloat16"}    # become float32
LIMITS = _core.limits()


class Image:
    """A batch of images that the engine can read.

    The pixels stay the caller's: leave them as they are until the values made from them are finished.

    >>> import foveate, numpy as np
    >>> foveate.image([np.zeros((40, 60, 3), np.uint8), np.zeros((50, 50, 3), np.uint8)]).sizes
    [(40, 60), (50, 50)]
    """

    __slots__ = ("_core", "_engine", "_sources")

    def __init__(self, core, engine, sources):
        self._core, self._engine, self._sources = core, engine, sources

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """(height, width) of each image."""
        return self._core.sizes

    @property
    def channels(self) -> int:
        """1 or 3: without alpha."""
        return self._core.channels

    @property
    def dtype(self) -> str:
        return self._core.dtype

    def __len__(self) -> int:
        return len(self._core)

    def __repr__(self) -> str:
        return f"<foveate.Image {self.dtype} {self.channels} channels {self.sizes}>"

    def plane_view(self, index: int) -> np.ndarray:
        """(C, H, W) of one image: the very memory that is read."""
        for source, axes, count in self._sources:
            length = source.shape[axes[0]] if axes[0] >= 0 else 1
            if index < length:
                array = np.asarray(source)
                array = array[index] if axes[0] >= 0 else array
                if count == 0:
                    return array[None]
                planes = array if axes[3] == axes[0] + 1 else np.moveaxis(array, 2, 0)
                return planes[: 3 if count >= 3 else 1]
            index -= length
        raise IndexError(index)


def image(images, *, channels: Channels | None = None, background=None, engine=None) -> Image:
    """Takes images of any size, without a copy where their memory allows it.

    Args:
        images: one image, a list of images, or a batch array. An image is a NumPy or torch array, a PIL
            image, or anything with __dlpack__ (on the cpu) or __array__: (H, W), (H, W, C) or (C, H, W) with
            C of 1..4; a batch has one axis more, in front. uint8 and uint16 cover their whole range, floats
            mean 0..1. Of 2 or 4 channels the last is alpha.
        channels: "first" or "last", where the shape alone does not tell.
        background: one number or three, 0..1 or 0..255, to lay an image with alpha over. None drops alpha.
        engine: the Engine to use; None: the process's own.

    Returns:
        Image. Reversed rows, odd addresses, other number types and PIL images are copied first, and counted
        in `engine.stats["image_copies"]`.

    Raises:
        InputError: a type or shape outside the above, a shape that can be read in two ways, NaN or infinity.
        LimitError: a side over 16384 px, an image over 64 Mpx, more than 4096 images.
        UnsupportedError: an array on another device.

    >>> import foveate, numpy as np
    >>> foveate.image(np.zeros((3, 480, 640), np.float32))
    <foveate.Image float32 3 channels [(480, 640)]>
    """
    if isinstance(images, Image):
        return images
    engine = engine_of(engine)
    core = engine._open()
    sources, taken = gather(images, channels, background, engine)
    return Image(core.image(sources), core, taken)


def gather(images, channels, background, engine):
    """(sources, [(source, axes, channel count)]) of everything that `image` accepts."""
    if channels is not None:
        choice("image: channels", channels, {"first": 0, "last": 1})
    if background is not None:
        background = _background(background)
    if isinstance(images, (list, tuple)):
        require(len(images) > 0, "image: count", 0, "at least 1 image")
        taken = [_take(item, channels, background, False, engine) for item in images]
        kinds = {source.dtype for source, _, _ in taken} if len(taken) > 1 else ()
        require(len(kinds) < 2, "image: dtype", " and ".join(sorted(kinds)), "one type in a batch",
                "Convert the images to one type, or call once for each.")
    else:
        taken = [_take(images, channels, background, True, engine)]
    return [source for source, _, _ in taken], taken


def _take(item, channels, background, batch, engine):
    """One array: (source, axes, channel count); what cannot be read in place is copied."""
    copied = False
    if not isinstance(item, np.ndarray):
        item, copied = _opened(item, engine)
        channels = "last" if copied else channels   # Pillow's are, whatever the shape says
    source = _borrowed(item) if isinstance(item, np.ndarray) else item
    axes, count = _reading(source.shape, channels, batch)
    laid = background is not None and count in (2, 4)
    if laid or not source.read(*axes):
        array = _copy(source, axes)
        if laid:
            array, axes, count = _composite(array, axes, count, background)
        source, copied = _core.Source(array, True), True
        source.read(*axes)
    if copied:
        engine._count_copies(source.shape[0] if axes[0] >= 0 else 1)
    return source, axes, count


def _borrowed(array):
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    try:
        return _core.Source(array, True)
    except (BufferError, ValueError, TypeError) as error:
        raise InputError(f"image: dtype: got {array.dtype}, expected {ACCEPTED}.") from error


def _opened(item, engine):
    """An object that is no ndarray as (ndarray or Source, whether that was a copy)."""
    if on_cuda(item, engine):
        return taken(item, engine), False
    pillow = sys.modules.get("PIL.Image")
    if pillow and isinstance(item, pillow.Image):
        return _from_pillow(item), True
    if hasattr(item, "__dlpack__") and hasattr(item, "__dlpack_device__"):
        return _from_dlpack(item), False
    if hasattr(item, "__array__") or hasattr(item, "__array_interface__") or isinstance(item, memoryview):
        return np.asarray(item), False
    hint = "Open the file first: PIL.Image.open(path)." if isinstance(item, (str, bytes)) else ""
    raise InputError(f"image: type: got {type(item).__name__}, expected an array, a PIL image, or a list of "
                     f"them.{' ' + hint if hint else ''}")


def _from_dlpack(item):
    try:
        kind, index = item.__dlpack_device__()
        require(int(kind) in (1, 3), "image: device", f"DLPack device ({int(kind)}, {index})", "the cpu",
                "Copy the array to the host first, as with .cpu().", UnsupportedError)
        return _core.Source(item, False)
    except Error:
        raise
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"image: __dlpack__(): got {type(error).__name__} ({error}), expected an array that "
                         "can be shared.") from error


def _from_pillow(picture):
    """Pillow's modes -> gray, gray with alpha, RGB or RGBA in bytes; 16-bit gray; or float gray."""
    mode = picture.mode
    if mode.startswith("I;16"):
        return np.asarray(picture).astype(np.uint16)
    if mode == "I":     # 32-bit: what Pillow opens 16-bit files as
        array = np.asarray(picture)
        low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
        require(0 <= low and high <= 65535, 'image: PIL mode "I"', f"values {low}..{high}", "0..65535")
        return array.astype(np.uint16)
    if mode == "1":
        picture = picture.convert("L")
    elif mode in ("P", "PA"):
        alpha = mode == "PA" or "transparency" in picture.info
        picture = picture.convert("RGBA" if alpha else "RGB")
    elif mode in ("La", "RGBa"):
        picture = picture.convert(mode.upper())
    elif mode not in ("L", "LA", "RGB", "RGBA", "F"):
        picture = picture.convert("RGB")
    return np.asarray(picture)


def sizes_of(taken):
    """(height, width) of each image of what `gather` found."""
    return [(source.shape[axes[1]], source.shape[axes[2]]) for source, axes, _ in taken
            for _ in range(source.shape[axes[0]] if axes[0] >= 0 else 1)]


@lru_cache(maxsize=512)
def _reading(shape, channels, batch):
    """((image, row, column, channel) axes, stored channels; 0: no channel axis)."""
    axes, first = len(shape), 0
    if axes == 4 and batch:
        first = 1
    elif axes not in (2, 3):
        expected = "2 axes (height, width), 3 with channels" + (", 4 for a batch" if batch else " in a list")
        raise InputError(f"image: shape: got {shape}, expected {expected}.")
    image_axis = first - 1
    if axes == 2:
        return (image_axis, 0, 1, -1), 0
    a, b, c = shape[first:]
    as_first, as_last = a in (1, 2, 3, 4), c in (1, 2, 3, 4)
    if channels:
        count = a if channels == "first" else c
        require(count in (1, 2, 3, 4), f'image: channels="{channels}"', f"{count} in shape {shape}",
                "1..4 channels")
    elif as_first and as_last:
        raise InputError(f'image: shape: got {shape}, expected one reading: channels="first" makes it '
                         f'{b} x {c} px of {a}, channels="last" {a} x {b} px of {c}. Say which.')
    elif not (as_first or as_last):
        hint = " A batch of gray images needs a channel axis: images[..., None]." if axes == 3 else ""
        raise InputError(f"image: shape: got {shape}, expected 1..4 channels first or last.{hint}")
    if channels == "first" or (as_first and not channels):
        return (image_axis, first + 1, first + 2, first), a
    return (image_axis, first, first + 1, first + 2), c


def _copy(source, axes):
    """A compact array of a type that the engine reads."""
    name, shape = source.dtype, source.shape
    require(name in KEPT or name in WIDENED, "image: dtype", name, ACCEPTED)
    height, width = shape[axes[1]], shape[axes[2]]
    count = shape[axes[0]] if axes[0] >= 0 else 1
    size = f"{height} x {width}"
    require(max(height, width) <= LIMITS["image_side"], "image: size", size,
            f"sides of at most {LIMITS['image_side']} px", "Cut the image into parts.", LimitError)
    require(height * width <= LIMITS["image_pixels"], "image: size", size,
            f"at most {LIMITS['image_pixels']} px", "Cut the image into parts.", LimitError)
    require(count <= LIMITS["batch_images"], "image: count", count,
            f"at most {LIMITS['batch_images']} images", "Send them in several calls.", LimitError)
    require(height > 0 and width > 0 and count > 0, "image: size", size, "at least 1 x 1 px")
    array = np.asarray(source)
    if name == "bfloat16":      # seen as its bits: the upper half of a float32
        return (array.astype(np.uint32) << 16).view(np.float32)
    return np.array(array, dtype=KEPT.get(name, np.float32), order="C")


def _background(value):
    """Three numbers 0..1."""
    try:
        color = np.broadcast_to(np.asarray(value, np.float64), 3)
    except (TypeError, ValueError):
        color = np.array([np.nan])
    good = bool(np.isfinite(color).all()) and color.min() >= 0 and color.max() <= 255
    require(good, "image: background", repr(value), "one number or three, 0..1 or 0..255")
    return color / 255.0 if color.max() > 1 else color


def _composite(array, axes, count, background):
    """Porter and Duff's "over" with straight alpha: (array, axes, channel count)."""
    batch = axes[0] >= 0
    pixels = array if axes[3] == array.ndim - 1 else np.moveaxis(array, axes[3], -1)
    unit = 1.0 if array.dtype == np.float32 else float(np.iinfo(array.dtype).max)
    if count == 2 and len(set(background)) > 1:     # gray over a colour is a colour
        pixels = np.concatenate([pixels[..., :1]] * 3 + [pixels[..., 1:]], -1)
    alpha = pixels[..., -1:].astype(np.float64) / unit
    behind = background[: pixels.shape[-1] - 1] * unit
    value = pixels[..., :-1] * alpha + behind * (1.0 - alpha)
    if unit != 1.0:
        value = np.floor(value + 0.5)
    result = np.ascontiguousarray(value.astype(array.dtype))
    return result, ((0, 1, 2, 3) if batch else (-1, 0, 1, 2)), result.shape[-1]
