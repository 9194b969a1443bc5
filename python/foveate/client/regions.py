# SPDX-License-Identifier: Apache-2.0
"""Parts of an image that are worth a picture of their own: around gaze points, and where foveate finds most."""

import math

import numpy as np

from ..error import choice, require
from ..layout import UNITS

CELL = 16       # px of the cells in which it is looked for
SHIFTS = 8      # that a box takes towards the middle of what it shows, at most (Fukunaga and Hostetler 1975)


def points_px(gaze, size, unit="uv", clamp=False):
    """[(x, y)] in px of one point or a list of them."""
    if gaze is None:
        return []
    known = choice("client: unit", unit, UNITS)
    values = np.asarray(gaze, np.float64) if _numbers(gaze) else np.empty(0)
    good = values.shape == (2,) or (values.ndim == 2 and values.shape[1:] == (2,) and len(values))
    require(good, "client: gaze", repr(gaze), "(x, y), or a list of them")
    values = values.reshape(-1, 2)
    height, width = size
    edge = np.array([width, height], np.float64)
    require(np.isfinite(values).all(), "client: gaze", "NaN or infinity", "finite numbers")
    most = edge if known else np.ones(2)
    within = np.clip(values, 0, most)
    for given, inside in zip(values.tolist(), within.tolist(), strict=True):
        require(clamp or given == inside, "client: gaze", tuple(given),
                f"a point in the image, up to {tuple(most.tolist())}", "Or clamp=True.")
    return [tuple(point) for point in (within if known else within * edge).tolist()]


def _numbers(value):
    try:
        np.asarray(value, np.float64)
    except (TypeError, ValueError):
        return False
    return True


def box_around(point, shape, size):
    """(x0, y0, x1, y1) in whole px: a part of (height, width) px with a point in its middle, moved into the image."""
    (x, y), (rows, columns), (height, width) = point, shape, size
    x0 = min(max(math.floor(x - columns / 2 + 0.5), 0), width - columns)
    y0 = min(max(math.floor(y - rows / 2 + 0.5), 0), height - rows)
    return x0, y0, x0 + columns, y0 + rows


def rate_heat(engine, image, options):
    """(heat, px of its cells): tokens an area, of the layout that spends a budget where it saves most error."""
    relevance = options.pop("relevance", None)
    if relevance is not None:
        relevance = engine.relevance(image, cell=CELL, **relevance)
    rates = engine.rate(image, cell=CELL, relevance=relevance, **options)
    codes = rates.codes[0].astype(np.int64)
    wide = (codes >> 2 & 3) + (codes >> 5 & 1) * 4
    high = (codes & 3) + (codes >> 4 & 1) * 4
    return 0.5 ** (wide + high), rates.cell


def relevance_heat(engine, image, options):
    """(heat, px of its cells): the stage relevance; of information and saliency where no term is named."""
    options = options or {"information": True, "saliency": "both"}
    return engine.relevance(image, cell=CELL, **({"floor": 0} | options)).values[0], CELL


BY = {"rate": rate_heat, "relevance": relevance_heat}


def best_boxes(heat, cell, shape, size, count, seen=()):
    """Up to `count` boxes with the most heat, one after another; what a box shows does not count again.

    Args:
        heat: (rows, columns), 0 or more, in cells of `cell` px from the upper left corner.
        shape: (height, width) of the boxes, px.
        size: of the image, px.
        seen: boxes that are shown already.

    Returns:
        [(x0, y0, x1, y1)] in px; fewer where no heat is left.
    """
    left = np.array(heat, np.float64)
    rows, columns = left.shape
    centers = [(np.arange(n) + 0.5) * cell for n in (rows, columns)]
    span = [min(max(round(edge / cell), 1), n) for edge, n in zip(shape, (rows, columns), strict=True)]

    def cells_of(box):
        x0, y0, x1, y1 = box
        return np.ix_((centers[0] >= y0) & (centers[0] < y1), (centers[1] >= x0) & (centers[1] < x1))

    for box in seen:
        left[cells_of(box)] = 0
    found = []
    while len(found) < count and left.max() > 0:
        total = np.zeros((rows + 1, columns + 1))
        total[1:, 1:] = left.cumsum(0).cumsum(1)
        sums = (total[span[0]:, span[1]:] - total[:-span[0], span[1]:] - total[span[0]:, :-span[1]]
                + total[:-span[0], :-span[1]])
        row, column = np.unravel_index(int(sums.argmax()), sums.shape)
        box = box_around(((column + span[1] / 2) * cell, (row + span[0] / 2) * cell), shape, size)
        rise = np.clip(left - left.mean(), 0, None)     # what stands out: the plain around it has no middle
        for _ in range(SHIFTS):     # of all boxes that show it, the one with it in the middle
            inside = cells_of(box)
            mass = rise[inside]
            if not mass.sum() > 0:
                break
            y, x = ((mass * centers[axis][inside[axis]]).sum() / mass.sum() for axis in (0, 1))
            moved = box_around((x, y), shape, size)
            if moved == box or rise[cells_of(moved)].sum() < mass.sum():
                break
            box = moved
        if not left[cells_of(box)].sum() > 0:   # what is left lies in a cell whose middle is outside the image
            break
        left[cells_of(box)] = 0
        found.append(box)
    return found
