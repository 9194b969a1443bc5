# SPDX-License-Identifier: Apache-2.0
"""A learned table of positions on a square grid, read between its entries: what to read, and its weights.

The kernels are those of torch.nn.functional.interpolate: a triangle, and the cubic of Keys (IEEE Transactions on
Acoustics, Speech and Signal Processing 29, 1981), a = -0.75, or with antialias, as Pillow has it, -0.5.
"""

from typing import Literal

import numpy as np

Kernel = Literal["bilinear", "bicubic"]


def taps(positions: np.ndarray, grid: np.ndarray, side: int, *, kernel: Kernel = "bilinear",
         antialias: bool = False, corners: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Entries and weights by which a table of side x side is read at positions of full grids.

    Args:
        positions: (B, N, 2) float32, (row, column) on the full grid. Outside it the nearest on its edge counts.
        grid: (B, 2): rows and columns of the full grids.
        side: entries of the table's edge.
        antialias: where the table is finer than the grid, widen the kernel.
        corners: the middles of the outermost patches, not their outer edges, are at the table's ends.

    Returns:
        (T, B * N) int64 indices into the flattened table, and float32 weights. T is 4 for "bilinear" and 16 for
        "bicubic", and more where antialias widens it.
    """
    where = np.ascontiguousarray(np.moveaxis(positions, 2, 0))      # long rows, whatever the kernel
    size = grid.T[:, :, None].astype(np.float32)
    if corners:
        at = np.clip(where, 0, size - 1) * np.float32(side - 1) / np.maximum(size - 1, np.float32(1))
    else:
        at = np.clip(where + np.float32(0.5), 0, size) * np.float32(side) / size - np.float32(0.5)
    wide = np.maximum(np.float32(side) / size, np.float32(1)) if antialias else np.float32(1)
    reach = (1 if kernel == "bilinear" else 2) * wide
    first = np.floor(at - reach) + np.float32(1)
    entries, weights = [], []
    for step in range(int(np.ceil(2 * float(np.max(reach))))):
        entry = first + np.float32(step)
        weight = _weight(np.abs(at - entry) / wide, kernel, -0.5 if antialias else -0.75)
        if antialias:
            weight *= (entry >= 0) & (entry < side)
        entries.append(np.clip(entry, 0, side - 1).astype(np.int64).reshape(2, -1))
        weights.append(weight.reshape(2, -1))
    if antialias:
        total = sum(weights)
        weights = [weight / total for weight in weights]
    pairs = [(row, column) for row in range(len(entries)) for column in range(len(entries))]
    rows = [entry[0] * side for entry in entries]
    return (np.stack([rows[row] + entries[column][1] for row, column in pairs]),
            np.stack([weights[row][0] * weights[column][1] for row, column in pairs]))


def _weight(x, kernel, a):
    if kernel == "bilinear":
        return np.maximum(1 - x, np.float32(0))
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, np.float32(0)))
