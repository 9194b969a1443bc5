# SPDX-License-Identifier: Apache-2.0
"""Where tokens and their patches lie, in the units that models count in: patches of the image at full resolution."""

from typing import Literal, NamedTuple

import numpy as np

from ..error import choice
from ..tensor import Tokens

PositionMode = Literal["center", "grid"]
MODES = {"center": False, "grid": True}


class Positions(NamedTuple):
    """Positions as (row, column), in index space: the middle of patch i of the full grid is at i.

    Attributes:
        patches: (B, K * merge^2, 2) float32, in units of the full grid, in the order of the rows of `Tokens.patches`.
        tokens: (B, K, 2) float32, in units of the merged grid: merge x merge patches.
        grid: (B, 2) int64: rows and columns of the full grid. It covers the image, and merge divides it.
        valid: (B, K) bool, of the tokens.
    """

    patches: np.ndarray
    tokens: np.ndarray
    grid: np.ndarray
    valid: np.ndarray


def positions(tokens: Tokens, *, position_mode: PositionMode = "center") -> Positions:
    """Positions of the tokens of each image, and of the patches inside them.

    Args:
        tokens: of any layout; of a token w x h px, each of its merge^2 patches is w / merge x h / merge px.
        position_mode: "center": where the middle of each lies, between whole positions where it is coarser. "grid":
            the nearest whole position of the full grid, of two equally near ones the larger.

    Returns:
        Positions. With "center" a token that reaches over the edge of its image may lie outside the grid; with "grid"
        none does. Padding has the position of nothing, and must be left out by `valid`.

    Raises:
        InputError: no such mode.

    >>> import foveate, numpy as np
    >>> engine = foveate.Engine(backend="cpu")
    >>> tokens = engine.tokens(np.zeros((56, 112, 3), np.uint8), model="qwen2.5-vl", grid=(1, 2), budget=2)
    >>> positions(tokens).tokens.tolist(), positions(tokens).grid.tolist()
    ([[[0.5, 0.5], [0.5, 2.5]]], [[4, 8]])
    """
    whole = choice("model: position_mode", position_mode, MODES)
    table, patch, merge = tokens.table, tokens.preset.patch, tokens.preset.merge
    center = np.ascontiguousarray(table["center_px"][..., ::-1])
    grid = -(-np.array(tokens.sizes, np.int64) // (patch * merge)) * merge
    merged = center / np.float32(patch * merge) - np.float32(0.5)
    inside = merged
    if merge > 1:
        first = center / np.float32(patch) - np.float32(0.5)
        step = np.ascontiguousarray(table["size_px"]) / np.float32(patch * merge)
        inside = np.empty((*first.shape[:2], merge, merge, 2), np.float32)
        for index in range(merge):      # long rows: NumPy is slow over pairs
            part = first + step * np.float32(index - (merge - 1) / 2)
            inside[:, :, index, :, 0], inside[:, :, :, index, 1] = part[..., :1], part[..., 1:]
        inside = inside.reshape(len(inside), -1, 2)
    if whole:
        inside, merged = _nearest(inside, grid), _nearest(merged, grid // merge)
    return Positions(inside, merged, grid, table["valid"])


def _nearest(values, grid):
    top = (grid[:, None] - 1).astype(np.float32)
    return np.clip(np.floor(values + np.float32(0.5)), np.float32(0), top)
