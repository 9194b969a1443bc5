# SPDX-License-Identifier: Apache-2.0
"""The region of interest: heat from gaze, and the smallest box that holds a share of it."""

import numpy as np

from . import _core
from .error import InputError, real, require, whole

HEAT = _core.limits()["heat"]
SIGMA = 1 / 32


def roi(heat, rho: float) -> tuple[float, float, float, float]:
    """The smallest axis-aligned box of cells that holds a share of the mass.

    Args:
        heat: (rows, columns) of numbers, 0 or more, up to 256 each way. They are read as whole 1/65535 of the
            largest, so that sums are exact.
        rho: above 0, at most 1.

    Returns:
        (x0, y0, x1, y1) in uv. Of several boxes of one area, the one whose centre is nearest to the centroid,
        then the topmost, then the leftmost.

    Raises:
        InputError: no such map, or rho outside its range.

    >>> from foveate.layout_roi import roi
    >>> roi([[0, 0, 0, 0], [0, 9, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]], 0.8)
    (0.25, 0.25, 0.5, 0.5)
    """
    rows, columns, mass = heat_of(heat)
    x0, y0, x1, y1 = _core.roi_box(rows, columns, mass, real("layout: rho", rho))
    return x0 / columns, y0 / rows, x1 / columns, y1 / rows


def trace_heat(points, size, *, grid=(32, 32), sigma: float = SIGMA) -> np.ndarray:
    """The heat of a gaze trace of any length: a Gaussian around each point.

    Args:
        points: [(x, y), ...] in uv; those outside the image are left out.
        size: (height, width) of the image in px.
        grid: (rows, columns) of the heat, up to 256 each.
        sigma: the Gaussian's standard deviation as a share of the longer side, 0.001..1.

    Returns:
        (rows, columns) float64: the Gaussians' mass in each cell.

    Raises:
        InputError: no point in the image, or an option outside the above.

    >>> from foveate.layout_roi import trace_heat
    >>> trace_heat([(0.5, 0.5), (0.5, 0.6)], (480, 640)).shape
    (32, 32)
    """
    rows, columns = (whole("layout: grid", side, 1, HEAT) for side in _two("layout: grid", grid))
    require(max(rows, columns) <= HEAT, "layout: grid", f"{rows} x {columns}",
            f"a heat grid of 1..{HEAT} rows and columns")
    height, width = (whole("layout: size", side, 1, 16384) for side in _two("layout: size", size))
    sigma = real("layout: sigma", sigma)
    require(0.001 <= sigma <= 1, "layout: sigma", sigma, "0.001..1 of the longer side")
    trace = _numbers("layout: points", points)
    require(trace.ndim == 2 and trace.shape[1:] == (2,), "layout: points", f"shape {trace.shape}", "(n, 2)")
    trace = trace[((trace >= 0) & (trace <= 1)).all(1)] * (width, height)
    require(len(trace), "layout: points", "none in the image", "one or more")
    mass = _core.trace_heat([tuple(point) for point in trace.tolist()], width, height, rows, columns, sigma)
    return np.array(mass).reshape(rows, columns)


def heat_of(heat):
    """(rows, columns, values) as the core takes a map."""
    values = _numbers("layout: heat", heat)
    require(values.ndim == 2, "layout: heat", f"shape {values.shape}", "(rows, columns)")
    rows, columns = values.shape
    return rows, columns, values.ravel().tolist()


def heats_of(heat):
    """One map, or a list of them, as the core takes them."""
    if heat is None:
        return []
    if isinstance(heat, (list, tuple)) and len(heat) and np.ndim(heat[0]) == 2:
        return [heat_of(one) for one in heat]
    values = _numbers("layout: heat", heat)
    return [heat_of(one) for one in (values if values.ndim == 3 else values[None])]


def _numbers(what, values):
    try:
        return np.asarray(values, np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{what}: got {type(values).__name__}, expected an array of numbers.") from None


def _two(what, value):
    try:
        first, second = value
    except (TypeError, ValueError):
        raise InputError(f"{what}: got {value!r}, expected a pair.") from None
    return first, second
