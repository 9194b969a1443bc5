# SPDX-License-Identifier: Apache-2.0
"""layout: which tokens an image gets, as integers in 1/65536 px.

Rings: the geometry of Schmidt and Newcombe, "Segment This Thing: Foveated Tokenization for Efficient
Point-Prompted Segmentation", CVPR 2025.
"""

import math

import numpy as np

ONE = 65536
TOKEN = np.dtype([("x", np.int32), ("y", np.int32), ("w", np.uint32), ("h", np.uint32), ("inv_w", np.float32),
                  ("inv_h", np.float32), ("image", np.uint32), ("fixation", np.uint32), ("rate", np.uint32),
                  ("valid", np.uint32), ("row", np.uint32), ("level", np.uint32)])
STRIDES, GRIDS = (1, 2, 4, 6, 8), (4, 4, 6, 8, 10)


def edge(extent, count, index):
    """Where cell `index` of `count` begins: floor(extent * index / count), in 32-bit steps."""
    return (extent // count) * index + (extent % count) * index // count


def rate(w, h, cell):
    """log2 w << 2 | log2 h of a footprint in cells, each the nearest of 0..3."""
    log_w, log_h = (min(3, max(0, math.floor(math.log2(v / (cell * ONE)) + 0.5))) for v in (w, h))
    return log_w << 2 | log_h


def token(x, y, w, h, size, cell, fixation=0, nominal=None):
    """One row; size is the image's (height, width) in px.

    nominal: (w, h) all cells of a grid have but for 1/65536 px; their inverse steps and rate are the same.
    """
    row = np.zeros((), TOKEN)
    row["x"], row["y"], row["w"], row["h"], row["fixation"] = x, y, w, h, fixation
    step_w, step_h = nominal or (w, h)
    row["inv_w"], row["inv_h"] = 1.0 / max(1, step_w // cell), 1.0 / max(1, step_h // cell)
    row["rate"] = rate(step_w, step_h, cell)
    row["valid"] = x < size[1] * ONE and y < size[0] * ONE and x + w > 0 and y + h > 0
    return row


def table(rows, budget, image=0):
    """Rows in order, padded to `budget`."""
    result = np.zeros(budget, TOKEN)
    for index, row in enumerate(rows):
        result[index] = row
    result["image"], result["row"] = image, np.arange(budget)
    return result


def grid_shape(size, budget):
    """(rows, columns) with the squarest cells; the fewer rows where two are equal."""
    height, width = size
    best = None
    for rows in range(1, budget + 1):
        a, b = width * rows, height * (budget // rows)
        over, under = max(a, b), min(a, b)
        if best is None or over * best[1] < best[0] * under:
            best = over, under, rows
    return best[2], budget // best[2]


def cells(x, y, w, h, rows, columns, size, cell, fixation=0):
    """A grid over a rectangle, all in 1/65536 px, row by row."""
    result = []
    for r in range(rows):
        top, bottom = edge(h, rows, r), edge(h, rows, r + 1)
        for c in range(columns):
            left, right = edge(w, columns, c), edge(w, columns, c + 1)
            result.append(token(x + left, y + top, right - left, bottom - top, size, cell, fixation,
                                (w // columns, h // rows)))
    return result


def grid(size, budget=None, cell=16, shape=None, image=0):
    """`shape` is (rows, columns); without one the budget chooses, 273 where there is none."""
    budget = budget or (shape[0] * shape[1] if shape else 273)
    rows, columns = shape or grid_shape(size, budget)
    return table(cells(0, 0, size[1] * ONE, size[0] * ONE, rows, columns, size, cell), budget, image)


def ring_cells(strides=STRIDES, grids=GRIDS):
    """(x, y, stride, level) of the pattern, corners in stride-1 tokens, by level from the centre."""
    result, inner, last = [], 0, strides[-1] * grids[-1]
    for level, (s, g) in enumerate(zip(strides, grids, strict=True)):
        corner, hole = (last - s * g) // 2, inner // s
        k = (g - hole) // 2
        for row in range(g):
            middle = level > 0 and k <= row < g - k
            for column in (*range(k), *range(g - k, g)) if middle else range(g):
                result.append((corner + s * column, corner + s * row, s, level))
        inner = s * g
    return result


def gaze_px(gaze, size, unit="uv"):
    scale = (size[1], size[0]) if unit == "uv" else (1, 1)
    return gaze[0] * scale[0], gaze[1] * scale[1]


def rings(size, gazes=((0.5, 0.5),), cell=16, strides=STRIDES, grids=GRIDS, order="raster", unit="uv",
          budget=None, image=0):
    pattern = ring_cells(strides, grids)
    if order == "raster":
        pattern = sorted(pattern, key=lambda t: (2 * t[1] + t[2], 2 * t[0] + t[2]))
    extent = strides[-1] * grids[-1] * cell
    rows = []
    for fixation, gaze in enumerate(gazes):
        left, top = (math.floor(g - extent / 2) * ONE for g in gaze_px(gaze, size, unit))
        for x, y, stride, _ in pattern:
            side = stride * cell * ONE
            rows.append(token(left + x * cell * ONE, top + y * cell * ONE, side, side, size, cell, fixation))
    return table(rows, budget or len(rows), image)


def given_views(size, rectangles, cell=16, unit="uv", budget=None, image=0):
    """[((x0, y0, x1, y1), (rows, columns)), ...]; corners to the nearest 1/65536 px."""
    result = []
    for (x0, y0, x1, y1), (rows, columns) in rectangles:
        scale = (size[1], size[0]) if unit == "uv" else (1, 1)
        left, right = (math.floor(x * scale[0] * ONE + 0.5) for x in (x0, x1))
        top, bottom = (math.floor(y * scale[1] * ONE + 0.5) for y in (y0, y1))
        result += cells(left, top, right - left, bottom - top, rows, columns, size, cell)
    return table(result, budget or len(result), image)


def lattice(size, points, side, count, cell):
    """The `count` cells of a lattice of `side` px nearest to any of the points, by the longer axis."""
    height, width = size
    across, down = min(side, width), min(side, height)
    columns, rows = max(1, width // side), max(1, height // side)
    gazes = [tuple(math.floor(v * ONE + 0.5) for v in point) for point in points]
    found = []
    for row in range(rows):
        for column in range(columns):
            x, y = (2 * column + 1) * across * ONE, (2 * row + 1) * down * ONE
            found.append((*min((max(abs(x - 2 * gx), abs(y - 2 * gy)), i) for i, (gx, gy) in enumerate(gazes)),
                          row, column))
    nearest = sorted(found)[:count]
    return [token(column * across * ONE, row * down * ONE, across * ONE, down * ONE, size, cell, fixation)
            for _, fixation, row, column in sorted(nearest, key=lambda f: f[2:])]


def squares(size, points, n, side, cell):
    """n x n tokens of `side` px around each point; of one lattice where two of them would overlap."""
    height, width = size
    across, down = min(n * side, width), min(n * side, height)
    corners = [(max(min(math.floor(x - across / 2), width - across), 0),
                max(min(math.floor(y - down / 2), height - down), 0)) for x, y in points]
    if any(abs(a[0] - b[0]) < across and abs(a[1] - b[1]) < down
           for i, a in enumerate(corners) for b in corners[:i]):
        return lattice(size, points, side, n * n * len(points), cell)
    return [row for fixation, (left, top) in enumerate(corners)
            for row in cells(left * ONE, top * ONE, across * ONE, down * ONE, n, n, size, cell, fixation)]


def views(size, gazes=((0.5, 0.5),), budget=273, cell=16, unit="uv", image=0, passes=2):
    """An overview of the whole image, then pass by pass finer squares around the gaze points."""
    height, width = size
    points = [gaze_px(gaze, size, unit) for gaze in gazes]
    share, sides, left, result = budget // passes, [], budget, []
    coarse = math.sqrt(width * height / share) / cell
    for step in range(passes - 1):
        side = math.floor(cell * max(1.0, coarse ** (step / (passes - 1))) + 0.5)
        if sides and side <= sides[-1][1]:
            continue
        n = max(1, math.isqrt(share // len(points)))
        while n > 1 and n * side > min(width, height):
            n -= 1
        sides.append((n, side))
        left -= n * n * len(points)
    for n, side in reversed(sides):
        result += squares(size, points, n, side, cell)
    rows, columns = grid_shape(size, left)
    return table(cells(0, 0, width * ONE, height * ONE, rows, columns, size, cell) + result, budget, image)
