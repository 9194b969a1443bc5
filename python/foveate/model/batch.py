# SPDX-License-Identifier: Apache-2.0
"""What a foveated image processor returned, as the Tokens that the adapters take."""

import math

import numpy as np

from ..error import require
from ..layout import POSITION
from ..presets import Preset
from ..tensor import Tokens
from ..types import Array, Given

KEYS = ("pixel_values", "image_grid_thw", "token_center", "token_size", "image_sizes")


class _Rows(Given):
    """A torch.Tensor, wherever it is, in the place of an array of ours."""

    __slots__ = ()

    shape = property(lambda self: tuple(self._array.shape))
    strides = property(lambda self: self._array.stride())
    dtype = property(lambda self: str(self._array.dtype).removeprefix("torch."))
    pointer = property(lambda self: self._array.data_ptr())
    device = property(lambda self: str(self._array.device))
    read_only = property(lambda self: False)


def tokens_of(batch) -> Tokens:
    """The Tokens of a batch of `FoveatedQwen2VLImageProcessor` and its like, made with a budget.

    Args:
        batch: the BatchFeature, alone or as a processor of texts and images returns it, with arrays of NumPy or
            torch. pixel_values may have been moved or cast; what says where tokens lie must be float32 still.

    Returns:
        Tokens whose patches are pixel_values itself. Mean, std and level are not known: 0, 1 and 0.

    Raises:
        InputError: keys are missing, or positions have lost their precision.

    >>> import numpy as np
    >>> from foveate.model import FoveatedQwen2VLImageProcessor
    >>> tokens_of(FoveatedQwen2VLImageProcessor(budget=4)(np.zeros((56, 56, 3), np.uint8))).center_px[0].tolist()
    [[14.0, 14.0], [42.0, 14.0], [14.0, 42.0], [42.0, 42.0]]
    """
    missing = [key for key in KEYS if key not in batch]
    require(not missing, "model: batch", "no " + ", ".join(missing), "what a processor with a budget returns",
            "Make it with budget=..., and keep every key.")
    pixels = batch["pixel_values"]
    center, size, grids, sizes = (np.asarray(_host(batch[key])) for key in KEYS[2:4] + KEYS[1:2] + KEYS[4:])
    kinds = {str(batch[key].dtype).removeprefix("torch.") for key in KEYS[2:4]}
    require(kinds == {"float32"}, "model: batch positions", " and ".join(sorted(kinds)), "float32",
            "Cast pixel_values alone: batch['pixel_values'].to(dtype).")
    images, merge = len(grids), int(grids[0][1])
    texels = pixels.shape[1] // 3
    patch = math.isqrt(texels)
    frames = 1 if patch * patch == texels else 2
    table = np.zeros(len(center), POSITION)
    table["center_px"], table["size_px"] = center[:, ::-1], size
    table["valid"] = (size > 0).all(1)
    table["image"] = np.repeat(np.arange(images), len(center) // images)
    preset = Preset("batch", patch=math.isqrt(texels // frames), merge=merge, frames=frames, form="packed")
    kind = Given if isinstance(pixels, np.ndarray) else _Rows
    return Tokens(Array(kind(pixels)), table.reshape(images, -1), preset, [tuple(map(int, one)) for one in sizes])


def _host(array):
    return array if isinstance(array, np.ndarray) else array.float().cpu().numpy() if array.is_floating_point() \
        else array.cpu().numpy()
