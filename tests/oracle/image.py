# SPDX-License-Identifier: Apache-2.0
"""image: any of the accepted arrays as planes (channels, height, width) of uint8, uint16 or float32."""

import numpy as np


def readings(shape):
    """The channel orders that a 3-axis shape allows."""
    return [name for name, axis in (("first", 0), ("last", 2)) if shape[axis] in (1, 2, 3, 4)]


def image(array, channels=None, background=None):
    """Planes of one image: 1 (gray) or 3; alpha is dropped, or laid over `background` (0..1)."""
    array = np.asarray(array)
    if array.ndim == 2:
        planes = array[None]
    else:
        order = channels or readings(array.shape)[0]
        planes = array if order == "first" else np.moveaxis(array, 2, 0)
    if planes.dtype not in (np.uint8, np.uint16):
        planes = planes.astype(np.float32)
    if len(planes) in (2, 4):
        planes = planes[:-1] if background is None else over(planes, background)
    return np.ascontiguousarray(planes)


def over(planes, background):
    """Porter and Duff's "over", straight alpha: the value nearest to c * a + background * (1 - a)."""
    unit = 1.0 if planes.dtype == np.float32 else float(np.iinfo(planes.dtype).max)
    alpha = planes[-1].astype(np.float64) / unit
    behind = np.asarray(background, np.float64)[: len(planes) - 1, None, None] * unit
    value = planes[:-1] * alpha + behind * (1.0 - alpha)
    return (np.floor(value + 0.5) if unit != 1.0 else value).astype(planes.dtype)
