# SPDX-License-Identifier: Apache-2.0
"""relevance: how much each cell of one image matters, 0..65535.

Cortical magnification: Daniel and Whitteridge, "The representation of the visual field on the cerebral cortex in
monkeys", J. Physiol. 159, 1961. Contrast threshold over eccentricity: Geisler and Perry, "A real-time foveated
multiresolution system for low-bandwidth video communication", SPIE 3299, 1998. Centre against surround: Itti, Koch
and Niebur, "A model of saliency-based visual attention", IEEE PAMI 20, 1998.
"""

import itertools
import math

import numpy as np

from oracle.pyramid import pyramid
from oracle.rate import grid_shape
from oracle.relevance_spectral import spectral

RELEVANCE_ONE = 65535
ORDER = ("gaze", "information", "saliency", "query", "motion", "roi")


def nearest(value):
    return math.floor(value + 0.5)


def to_one(value):
    """0..1 as 0..65535; a hair over the half, so that no tie hangs on the last bit of a double."""
    return np.floor(RELEVANCE_ONE * np.clip(value, 0.0, 1.0) + 0.5 + 2.0**-20).astype(np.int64)


# gaze

def cortical(e, e0=0.15):
    return (e0 / (e + e0)) ** 2


def polynomial(e, k=5.0, p=2.0):
    return 1 / (1 + k * e**p)


def exponential(e, rate=3.0):
    return math.exp(-rate * e)


def bands(e, *steps):
    return next((value for limit, value in steps if e < limit), steps[-1][1])


def geisler(e, alpha=0.106, e2=2.3, ct0=1 / 64, px_per_deg=1.0):
    highest = e2 * math.log(1 / ct0) / (alpha * (e + e2))       # cycles a degree that are still seen
    return min(1.0, highest / (0.5 * px_per_deg)) ** 2


FALLOFFS = {"cortical": cortical, "polynomial": polynomial, "exponential": exponential, "bands": bands,
            "geisler": geisler}
BANDS, BANDS_DEG = ((0.25, 1.0), (0.5, 0.5), (1.0, 0.25)), ((5.0, 1.0), (15.0, 0.5), (30.0, 0.25))


def falloff_of(spec, focal=None):
    """A function of e from "name" or ("name", parameters ...); with a focal length e is in degrees."""
    name, *given = [spec] if isinstance(spec, str) else spec
    defaults = {"cortical": [2.5] if focal else [], "bands": BANDS_DEG if focal else BANDS}
    function, parameters = FALLOFFS[name], given or defaults.get(name, [])
    more = {"px_per_deg": math.radians(focal)} if name == "geisler" else {}
    return lambda e: min(1.0, max(0.0, function(e, *parameters, **more)))


GAZE_BASE = (127 - 20) << 6         # bits of 2^-20 as float32, without the lowest 17: 64 steps an octave


def middle(index):
    """Of a bin of squared distance."""
    edges = np.array([index + GAZE_BASE, index + GAZE_BASE + 1], np.uint32) << np.uint32(17)
    return float(edges.view(np.float32).astype(np.float64).mean())


def gaze_table(spec, focal=None):
    """Values of the 2048 bins."""
    falloff, table = falloff_of(spec, focal), []
    for index in range(2048):
        e = math.sqrt(middle(index)) if index else 0.0
        table.append(nearest(RELEVANCE_ONE * falloff(math.degrees(math.atan(e)) if focal else e)))
    return np.array(table, np.int64)


def focal_px(size, fov_deg):
    return size[1] / 2 / math.tan(math.radians(fov_deg) / 2)


def gaze_term(size, cell, points_px, falloff="cortical", focal=None, beta=0.0, saliency=None):
    """focal: px, where there is a field of view; otherwise the unit of distance is half the diagonal."""
    rows, columns = grid_shape(size, cell)
    unit = 0.25 / (focal * focal) if focal else 1 / (size[0] ** 2 + size[1] ** 2)      # of a half px, squared
    y, x = np.mgrid[:rows, :columns] * 2 * cell + cell
    points = [[nearest(2 * v) for v in point] for point in points_px]
    away = np.min([(x - px) ** 2 + (y - py) ** 2 for px, py in points], axis=0)
    f = away.astype(np.float32) * np.float32(unit)
    if beta > 0:
        shrink = np.array([1 / (1 + beta * i / 255) ** 2 for i in range(256)]).astype(np.float32)
        f = f * shrink[saliency >> 8]
    index = np.clip((f.view(np.uint32) >> np.uint32(17)).astype(np.int64) - GAZE_BASE, 0, 2047)
    return gaze_table(falloff, focal)[index]


# What the pixels say

def content_level(cell, levels):
    """The finest level with 16 texels a cell, or less."""
    return next((level for level in range(levels) if cell >> level <= 16), levels - 1)


def luma(planes, cell, color="encoded", levels=None):
    """(level, luma of its texels in 0..65280)."""
    chain = pyramid(planes, color=color, levels=levels)
    level = content_level(cell, len(chain))
    v = planes.astype(np.int64) * 256 if planes.dtype == np.uint8 and level == 0 else chain[level]
    if v.dtype == np.float32:
        v = np.floor(np.clip(v, np.float32(0), np.float32(1)) * np.float32(65280) + np.float32(0.5))
    v = np.minimum(v.astype(np.int64), 65280)
    return level, v[0] if len(v) == 1 else (38 * v[0] + 75 * v[1] + 15 * v[2] + 64) >> 7


def owner(texels, level, cell):
    """The cell that each texel's centre lies in, along one axis."""
    return ((2 * np.arange(texels) + 1) << level) // (2 * cell)


def cells_of(values, level, cell, shape):
    """[rows][columns] lists of each cell's texels. One whose centre lies outside the image may belong to none."""
    across, down = owner(values.shape[1], level, cell), owner(values.shape[0], level, cell)
    return [[values[np.ix_(down == r, across == c)].ravel() for c in range(shape[1])] for r in range(shape[0])]


def mean(cells):
    return np.array([[v.sum() // v.size if v.size else 0 for v in line] for line in cells], np.int64)


LOGS = np.array([0] + [nearest(k * math.log2(k) * 4096) for k in range(1, 1025)], np.int64)     # k log2 k


def entropy(texels):
    """Of 32 bins of luma; 5 bits are 65535."""
    n = texels.size
    if n == 0:
        return 0
    bits = max(0, LOGS[n] - LOGS[np.bincount(texels >> 11, minlength=32)].sum())
    return min(RELEVANCE_ONE, bits // n * RELEVANCE_ONE // 20480)


def gradient(y):
    wide, high = np.pad(y, ((0, 0), (1, 1)), "edge"), np.pad(y, ((1, 1), (0, 0)), "edge")
    return np.minimum(RELEVANCE_ONE, abs(wide[:, 2:] - wide[:, :-2]) + abs(high[2:] - high[:-2]))


def surround(cells):
    """The most that a cell's mean differs from that of the cells about it, itself included."""
    m, filled = mean(cells), np.array([[v.size > 0 for v in line] for line in cells])
    result = np.zeros_like(m)
    for (r, c), _ in np.ndenumerate(m):
        for reach in (1, 3) if filled[r, c] else ():
            near = np.s_[max(r - reach, 0):r + reach + 1, max(c - reach, 0):c + reach + 1]
            result[r, c] = max(result[r, c], abs(m[r, c] - m[near][filled[near]].sum() // filled[near].sum()))
    return result


def normalised(value):
    """The largest becomes 65535, unless it is under 1/50."""
    return value * RELEVANCE_ONE // max(int(value.max()), 1311)


def saliency(y, level, cell, shape, method="both"):
    cells = cells_of(y, level, cell, shape)
    if method == "spectral":
        return spectral(y, level, cell, np.array([[v.size > 0 for v in line] for line in cells]))
    found = []
    if method != "surround":
        found.append(normalised(mean(cells_of(gradient(y), level, cell, shape))))
    if method != "gradient":
        found.append(normalised(surround(cells)))
    return sum(found) >> len(found) - 1


def motion(y, before, level, cell, shape):
    return np.minimum(RELEVANCE_ONE, 8 * mean(cells_of(abs(y - before), level, cell, shape)))


# What the caller says

def area_mean(values, size, cell):
    """Mean of a float32 map, stretched over the image, over the part of each cell that lies in the image."""
    values = np.asarray(values, np.float32).astype(np.float64)
    for axis, extent in enumerate(size):
        count, scale = values.shape[axis], values.shape[axis] / extent
        begin = np.arange(0, extent, cell)
        end = np.minimum(begin + cell, extent)
        cover = np.minimum(np.arange(1, count + 1), end[:, None] * scale) - np.maximum(np.arange(count),
                                                                                       begin[:, None] * scale)
        weight = np.maximum(cover, 0) / ((end - begin) * scale)[:, None]
        values = np.moveaxis(np.tensordot(weight, values, (1, axis)), 0, axis)
    return values


def box_share(boxes_px, size, cell):
    """Share of each cell's part in the image that boxes (x0, y0, x1, y1) cover together."""
    result = np.zeros(grid_shape(size, cell))
    for (r, c), _ in np.ndenumerate(result):
        left, top = c * cell, r * cell
        right, bottom = min(left + cell, size[1]), min(top + cell, size[0])
        clipped = [(max(x0, left), max(y0, top), min(x1, right), min(y1, bottom)) for x0, y0, x1, y1 in boxes_px]
        clipped = [b for b in clipped if b[0] < b[2] and b[1] < b[3]]
        across = sorted({x for b in clipped for x in (b[0], b[2])})
        down = sorted({y for b in clipped for y in (b[1], b[3])})
        area = sum((x1 - x0) * (y1 - y0)
                   for x0, x1 in itertools.pairwise(across) for y0, y1 in itertools.pairwise(down)
                   if any(b[0] <= x0 and x1 <= b[2] and b[1] <= y0 and y1 <= b[3] for b in clipped))
        result[r, c] = area / ((right - left) * (bottom - top))
    return result


def heat(points_px, size, cell, sigma=0.05):
    """A gaze trace: points (x, y) or (x, y, weight) in px, counted by cell and blurred; the largest is 1."""
    shape = grid_shape(size, cell)
    result = np.zeros(shape)
    for x, y, *weight in points_px:
        at = (min(int(v // cell), count - 1) for v, count in zip((y, x), shape, strict=True))
        result[tuple(at)] += weight[0] if weight else 1.0
    spread = sigma * size[1]
    reach = min(math.ceil(3 * spread / cell), max(shape))
    for axis in (1, 0):
        apart = np.subtract.outer(np.arange(shape[axis]), np.arange(shape[axis]))
        taps = np.where(abs(apart) <= reach, np.exp(-0.5 * (apart * cell / spread) ** 2), 0.0)
        result = np.moveaxis(np.tensordot(taps, result, (1, axis)), 0, axis)
    return result / result.max()


# One value

def tension(a, b, knob):
    """From a (0) to b (65536); a missing side leaves the other one alone."""
    if a is None or b is None:
        return b if a is None else a
    return (a * (65536 - knob) + b * knob) >> 16


def opponent(terms, knobs=(0.5, 0.5, 0.5)):
    asked = terms.get("query", terms.get("gaze"))
    sides = [(terms.get("information"), terms.get("saliency")), (asked, terms.get("information")),
             (terms.get("saliency"), asked)]
    pulls = [tension(a, b, nearest(65536 * knob)) for (a, b), knob in zip(sides, knobs, strict=True)]
    pulls = [pull for pull in pulls if pull is not None]
    result = sum(pulls) // len(pulls) if pulls else 0
    for extra in ("motion", "roi"):
        result = np.maximum(result, terms[extra]) if extra in terms else result
    return result


def combine(terms, how=None, knobs=(0.5, 0.5, 0.5)):
    """terms: {name: cells}; how: a word, or {name: weight}."""
    values = [terms[name] for name in ORDER if name in terms]
    if how is None:
        sides = ("information" in terms) + ("saliency" in terms) + ("gaze" in terms or "query" in terms)
        how = "opponent" if sides > 1 else "max"
    if how == "opponent":
        return opponent(terms, knobs)
    if how == "max":
        return np.max(values, axis=0)
    if how == "mean":
        return sum(values) // len(values)
    if how == "product":
        result = values[0]
        for value in values[1:]:
            result = (result * value + 32767) // RELEVANCE_ONE
        return result
    total = sum(how.values())
    weighted = sum(terms[name] * nearest(65536 * how[name] / total) >> 16 for name in ORDER if name in how)
    return np.minimum(RELEVANCE_ONE, weighted)


def smoothed(now, before, smooth=0.5, band=1 / 64):
    """Part of the way from the previous value, at least 1; not at all within the band and a third of the value."""
    d, part = now - before, nearest(256 * (1 - smooth))
    step = np.sign(d) * np.maximum(abs(d) * part // 256, 1)
    return np.where(abs(d) <= nearest(RELEVANCE_ONE * band) + before // 3, before, before + step)


def terms_of(planes, cell=16, gaze_px=None, falloff="cortical", focal=None, beta=0.0, information=False,
             method=None, query=None, moved=False, luma_before=None, share=None, color="encoded"):
    """{name: cells} of the terms that are asked for; query: a map; share: of each cell, for roi."""
    size = planes.shape[1:]
    shape, result = grid_shape(size, cell), {}
    if information or method or moved:
        level, y = luma(planes, cell, color)
    if information:
        cells = cells_of(y, level, cell, shape)
        result["information"] = np.array([[entropy(v) for v in line] for line in cells], np.int64)
    if method:
        result["saliency"] = saliency(y, level, cell, shape, method)
    if gaze_px is not None:
        result["gaze"] = gaze_term(size, cell, gaze_px, falloff, focal, beta, result.get("saliency"))
    if query is not None:
        result["query"] = to_one(area_mean(query, size, cell))
    if moved:
        result["motion"] = motion(y, y if luma_before is None else luma_before, level, cell, shape)
    if share is not None:
        result["roi"] = to_one(share)
    return result


def relevance(shape, terms=None, how=None, knobs=(0.5, 0.5, 0.5), floor=0.02, before=None, smooth=0.5, band=1 / 64):
    """Cells (rows, columns) of one image from its terms; without any, all matter alike."""
    result = combine(terms, how, knobs) if terms else np.full(shape, RELEVANCE_ONE, np.int64)
    result = np.maximum(result, nearest(RELEVANCE_ONE * floor))
    if before is not None and smooth > 0:
        result = smoothed(result, np.asarray(before, np.int64), smooth, band)
    return result.astype(np.uint32)
