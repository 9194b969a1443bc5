# SPDX-License-Identifier: Apache-2.0
"""Resizing as Pillow does it with BICUBIC, to the bit, and straight into the rows of a Qwen model."""

import atexit
from functools import lru_cache

import numpy as np

from .. import _core, default
from ..types import Array
from .framework import need

LIMITS = _core.limits()
# Whether Pillow's first pass is down the columns, by (width, height, new width, new height): each byte is rounded
# twice, so that it shows. Of Pillow 11 to 12.0, 12.3, and 13.
RULES = (
    lambda w, h, to_w, to_h: False,
    lambda w, h, to_w, to_h: h > 100 * w and to_h < h,
    lambda w, h, to_w, to_h: h > to_h and h - to_h > 2 * (w - to_w),
)
# What tells the rules from each other, and shapes as usual.
PROBES = ((3, 310, 5, 90), (40, 60, 40, 28), (37, 53, 28, 84), (91, 45, 28, 28), (60, 90, 84, 56))
_resizers = {}      # of this process; those of a parent stay where they are, for their threads are not here
atexit.register(_resizers.clear)    # before the module that made them goes


def resizer(threads=None):
    """The resizer of this process with so many threads; None: all."""
    key = default.forks, threads
    if key not in _resizers:
        _resizers.setdefault(key, _core.Resizer(threads or 0, ""))
    return _resizers[key]


@lru_cache(maxsize=1)
def down_first():
    """The rule that the installed Pillow follows, found out by resizing a few small images; None: none that we know."""
    need("PIL")
    from PIL import Image as image

    noise = np.random.default_rng(0).integers(0, 256, (310, 91, 3), np.uint8)
    found = [rule for rule in RULES if all(_equal(image, noise[:h, :w], (to_w, to_h), rule(w, h, to_w, to_h))
                                           for w, h, to_w, to_h in PROBES)]
    return found[0] if found else None


def _equal(image, pixels, size, down):
    theirs = image.fromarray(np.ascontiguousarray(pixels)).resize(size, image.Resampling.BICUBIC)
    ours = resizer(1).bytes([_source(np.moveaxis(pixels, -1, 0))], (*size, down))
    return np.array_equal(np.asarray(theirs), Array(ours).numpy())


def covers(image) -> bool:
    """Whether `rows` takes it: uint8 (3, H, W), no side over the limit."""
    shape = image.shape
    return (image.dtype == np.uint8 and len(shape) == 3 and shape[0] == 3 and min(shape) > 0
            and max(shape) <= LIMITS["image_side"])


def resized(image, size) -> np.ndarray:
    """What Pillow makes of it: (3, H, W) uint8 to (H', W', 3), or (H', W', 1) where the channels are one thrice.

    size: (height, width). The installed Pillow must follow a rule that we know.
    """
    _, height, width = image.shape
    core = resizer().bytes([_source(image)], (size[1], size[0], down_first()(width, height, size[1], size[0])))
    return Array(core).numpy()


def rows(images, sizes, table, patch, merge, frames, threads=None) -> np.ndarray:
    """Images as rows of patches, (N, 3 * frames * patch^2) float32, blocks of merge x merge patches after each other.

    Args:
        images: each `covers`. Channels that are one thrice (by a stride of 0) are read once.
        sizes: (height, width) that each is resized to, multiples of patch * merge.
        table: (3, 256) float32, what a byte of each channel becomes.
    """
    first = down_first()
    plans = [(to_w, to_h, first(image.shape[2], image.shape[1], to_w, to_h))
             for image, (to_h, to_w) in zip(images, sizes, strict=True)]
    sources = [_source(image) for image in images]
    return Array(resizer(threads).patches(sources, plans, table, patch, merge, frames)).numpy()


def _source(image):
    gray = image.strides[0] == 0
    array, axes = (image[0], (-1, 0, 1, -1)) if gray else (image, (-1, 1, 2, 0))
    source = _core.Source(array, True)
    if not source.read(*axes):
        source = _core.Source(np.ascontiguousarray(array), True)
        source.read(*axes)
    return source
