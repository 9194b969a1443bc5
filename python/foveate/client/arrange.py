# SPDX-License-Identifier: Apache-2.0
"""Tokens as rows and columns of a grid: a server of Qwen-VL derives positions from one, and takes no others.

Its grid is (1, merge * rows, merge * columns) patches. Token i of it is at row i // columns and column i % columns.
"""

import math
from typing import Literal, NamedTuple

import numpy as np

from ..error import InputError, choice, require
from ..tensor import Tokens
from .preserves import between
from .regions import points_px

Grid = Literal["auto", "raster", "rings", "ranks", "line"]
LABELS = {"raster": "raster", "rings": "rings", "ranks": "ranks", "line": "order"}
NEAR = 0.01     # px: centres that are in one row
ODD = 3.0       # times that a grid may be longer or wider than its tokens lie, for "ranks" and "rings"


class Arranged(NamedTuple):
    """Where tokens go in the grids of their images.

    Attributes:
        order: for each image (N,) int64: which of its K tokens is at each place, row by row; those that are not
            valid are left out.
        shape: for each image (rows, columns), N in all.
        preserves: a word of `foveate.client.PRESERVES`; of several images the least that one has.
    """

    order: list[np.ndarray]
    shape: list[tuple[int, int]]
    preserves: str


def arrange(tokens: Tokens, grid: Grid = "auto", *, gaze=None, shape=None) -> Arranged:
    """Finds the grid that keeps most of where tokens lie.

    Args:
        tokens: of any layout.
        grid: "raster": the tokens are rows and columns of equal length, as layout="grid" makes them. "ranks": bands of
            equally many tokens from top to bottom, each from left to right. "rings": bands from the gaze outwards,
            each by angle from the right, clockwise as the image is seen. "line": one row, in the tokens' own order.
            "auto": "raster" where they are one, else "ranks" where their number has the factors, else "line".
        gaze: of "rings": (x, y) in uv, of every image.
        shape: (rows, columns) of "ranks" and "rings"; None: the factors of their number that fit best.

    Returns:
        Arranged.

    Raises:
        InputError: tokens that cannot be arranged so, an image without any.

    >>> import foveate, numpy as np
    >>> from foveate.client.arrange import arrange
    >>> engine = foveate.Engine(backend="cpu")
    >>> tokens = engine.tokens(np.zeros((112, 168, 3), np.uint8), model="qwen2.5-vl", grid=(2, 3))
    >>> arrange(tokens).shape, arrange(tokens).preserves
    ([(2, 3)], 'raster')
    """
    require(isinstance(tokens, Tokens), "client: tokens", type(tokens).__name__, "Tokens")
    choice("client: grid", grid, dict.fromkeys(("auto", *LABELS)))
    require(grid != "rings" or gaze is not None, "client: rings", "no gaze", "the gaze that they are around")
    require(shape is None or grid in ("rings", "ranks"), "client: shape", f'grid="{grid}"', '"ranks" or "rings"')
    if shape is not None:
        try:
            rows, columns = shape
        except (TypeError, ValueError):
            raise InputError(f"client: shape: got {shape!r}, expected (rows, columns).") from None
        shape = between("client: shape", rows, 1, 65536), between("client: shape", columns, 1, 65536)
    found = [_image(tokens, index, grid, gaze, shape) for index in range(len(tokens.sizes))]
    kinds = {kind for _, _, kind in found}
    least = next(kind for kind in ("line", "ranks", "rings", "raster") if kind in kinds)
    return Arranged([order for order, _, _ in found], [size for _, size, _ in found], LABELS[least])


def _image(tokens, index, grid, gaze, shape):
    """(order, (rows, columns), kind) of one image."""
    valid = np.flatnonzero(tokens.valid[index])
    require(len(valid), "client: tokens", "an image with none that is valid", "1 or more an image")
    center, size = tokens.center_px[index][valid].astype(np.float64), tokens.sizes[index]
    made = None
    if grid in ("auto", "raster"):
        made = _raster(center)
        require(made or grid == "auto", "client: grid", "tokens that are no raster", "rows and columns of equal length",
                'Make them with layout="grid", or use "ranks".')
        kind = "raster"
    if made is None and grid in ("auto", "ranks"):
        made, kind = _bands(center[:, 1], center[:, 0], size[0] / size[1], shape), "ranks"
    if grid == "rings":
        points = points_px(gaze, size)
        require(len(points) == 1, "client: rings", f"{len(points)} gaze points", "one")
        from_gaze = center - points[0]
        radius = np.hypot(*from_gaze.T)
        angle = np.arctan2(from_gaze[:, 1], from_gaze[:, 0]) % (2 * math.pi)
        edge = np.sqrt(tokens.size_px[index][valid].astype(np.float64).prod(1))
        out = np.argsort(radius, kind="stable")
        rings = max((np.diff(radius[out], prepend=0) / edge[out]).sum(), 1)     # tokens along a ray
        made, kind = _bands(radius, angle, rings**2 / len(valid), shape), "rings"
    if made is None:
        require(grid in ("auto", "line"), "client: grid", f"{len(valid)} tokens",
                "a number with two factors in the image's proportion", 'Use another budget, or grid="line".')
        made, kind = (np.arange(len(valid)), (1, len(valid))), "line"
    order, shape = made
    return valid[order], shape, kind


def _raster(center):
    """(order, (rows, columns)) of centres that are all of a raster's; None where they are not."""
    by_row = np.argsort(center[:, 1], kind="stable")
    columns = int(np.searchsorted(center[by_row, 1], center[by_row[0], 1] + NEAR, "right"))
    if len(center) % columns:
        return None
    rows = by_row.reshape(-1, columns)
    order = np.take_along_axis(rows, np.argsort(center[rows, 0], 1, kind="stable"), 1)
    x, y = center[order, 0], center[order, 1]
    level = np.ptp(y, axis=1).max() <= NEAR and np.ptp(x, axis=0).max() <= NEAR
    apart = (np.diff(x, axis=1) > NEAR).all() and (np.diff(y, axis=0) > NEAR).all()
    return (order.reshape(-1), rows.shape) if level and apart else None


def _bands(first, second, aspect, shape):
    """(order, (rows, columns)): equally many in each band of the first key, sorted by the second; None: no factors."""
    count = len(first)
    if shape is None:
        pairs = [(rows, count // rows) for rows in range(1, count + 1) if count % rows == 0]
        shape = min(pairs, key=lambda pair: abs(math.log(pair[0] / pair[1] / aspect)))
        if abs(math.log(shape[0] / shape[1] / aspect)) > math.log(ODD):
            return None
    require(shape[0] * shape[1] == count, "client: shape", f"{shape[0]} x {shape[1]}", f"{count} tokens in all")
    bands = np.lexsort((second, first)).reshape(shape)
    order = np.take_along_axis(bands, np.argsort(second[bands], 1, kind="stable"), 1)
    return order.reshape(-1), shape
