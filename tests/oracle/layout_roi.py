# SPDX-License-Identifier: Apache-2.0
"""layout: the smallest box of a heat map, by trying every box; and the views it makes."""

import math

import numpy as np

from .layout import ONE, cells, grid_shape, table


def box(heat, rho):
    """(x0, y0, x1, y1) in cells."""
    heat = np.asarray(heat, np.float64)
    rows, columns = heat.shape
    mass = np.floor(heat / heat.max() * 65535 + 0.5).astype(np.int64)
    total = int(mass.sum())
    sums = np.zeros((rows + 1, columns + 1), np.int64)
    sums[1:, 1:] = mass.cumsum(0).cumsum(1)
    cx = int((mass.sum(0) * (2 * np.arange(columns) + 1)).sum())
    cy = int((mass.sum(1) * (2 * np.arange(rows) + 1)).sum())
    found = []
    for y0 in range(rows):
        for y1 in range(y0 + 1, rows + 1):
            for x0 in range(columns):
                for x1 in range(x0 + 1, columns + 1):
                    inside = sums[y1, x1] - sums[y0, x1] - sums[y1, x0] + sums[y0, x0]
                    if inside >= max(1, math.ceil(rho * float(total))):
                        away = (total * (x0 + x1) - cx) ** 2 + (total * (y0 + y1) - cy) ** 2
                        found.append(((x1 - x0) * (y1 - y0), away, y0, x0, (x0, y0, x1, y1)))
    return min(found)[-1]


def gaussian(points, size, grid=(32, 32), sigma=1 / 32):
    """The mass of a Gaussian around each point (px) in each cell."""
    height, width = size
    spread = sigma * max(size) * math.sqrt(2)

    def masses(at, extent, count):
        ends = np.array([math.erf((extent * i / count - at) / spread) for i in range(count + 1)])
        return np.diff(ends) / 2

    return sum(np.outer(masses(y, height, grid[0]), masses(x, width, grid[1])) for x, y in points)


def views(size, found, grid, budget=273, cell=16, image=0):
    """An overview and the box `found` of a heat of `grid` (rows, columns)."""
    height, width = size
    (x0, y0, x1, y1), (rows, columns) = found, grid
    left, right = (width * ONE * x // columns for x in (x0, x1))
    top, bottom = (height * ONE * y // rows for y in (y0, y1))
    r, c = grid_shape((bottom - top, right - left), budget // 2)
    r, c = min(r, -(-(bottom - top) // (cell * ONE))), min(c, -(-(right - left) // (cell * ONE)))
    a, b = grid_shape(size, budget - r * c)
    return table(cells(0, 0, width * ONE, height * ONE, a, b, size, cell) +
                 cells(left, top, right - left, bottom - top, r, c, size, cell), budget, image)
