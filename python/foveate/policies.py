# SPDX-License-Identifier: Apache-2.0
"""Ways to spend one number of tokens on an image: what a report shows side by side and a bench compares."""

import math
import statistics
import time
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .layout import KINDS
from .presets import preset_of
from .rate import Rates
from .relevance import Relevance


@dataclass(frozen=True)
class Policy:
    """A way of laying K tokens: the layout's kind it needs, and its options for (size, budget, cell, gaze)."""

    title: str
    about: str
    kind: str
    options: object
    gazes: bool = False


@dataclass
class Shown:
    """What a policy made of an image."""

    policy: Policy
    tokens: object
    ms: float


def grid_shape(size, budget):
    """(rows, columns), at most `budget` cells: the best trade of many cells against square ones.

    A smooth image's error goes with the mean square of a cell's sides: (a + 1/a) / 2 at an aspect a, 1 / count.
    """
    height, width = size
    shapes = [(rows, max(1, min(columns, budget // rows))) for rows in range(1, budget + 1)
              for columns in (round(rows * width / height), budget // rows)]

    def cost(shape):
        aspect = shape[1] * height / (shape[0] * width)
        return (aspect + 1 / aspect) / (shape[0] * shape[1])

    return min(shapes, key=cost)


def crop(size, budget, cell, gaze):
    """The middle of the image at full resolution, in the image's shape."""
    height, width = size
    rows, columns = grid_shape(size, budget)
    rows, columns = min(rows, max(height // cell, 1)), min(columns, max(width // cell, 1))
    x, y = (width - columns * cell) / 2, (height - rows * cell) / 2
    x, y = math.floor(max(x, 0)), math.floor(max(y, 0))
    box = (x, y, min(x + columns * cell, width), min(y + rows * cell, height))
    return {"views": [(box, (rows, columns))], "unit": "px", "gaze": None}


def rings(size, budget, cell, gaze):
    """Rings of doubling stride that reach the farthest corner: the largest pattern that fits the budget, or None."""
    height, width = size
    points = gaze or [(0.5, 0.5)]
    reach = max(max(max(x, 1 - x) * width, max(y, 1 - y) * height) for x, y in points)
    best = None
    for g in range(4, 257, 4):
        count = max(1, math.ceil(math.log2(max(2 * reach / (g * cell), 1))) + 1)
        if count <= 16 and ring_tokens([g] * count) * len(points) <= budget:
            best = [g] * count
    if best is None:
        return None
    grown = True
    while grown:                                # what is left goes to the rings in turn, finest first
        grown = False
        for ring in range(len(best)):
            wider = [g + 4 * (i == ring) for i, g in enumerate(best)]
            if ring_tokens(wider) * len(points) <= budget and all(2 * g > inner for inner, g in pairwise(wider)):
                best, grown = wider, True
    return {"strides": [2**i for i in range(len(best))], "grids": best}


def ring_tokens(grids):
    """Tokens of rings of doubling stride: each leaves out what the finer ones cover."""
    return grids[0]**2 + sum(g * g - (inner // 2)**2 for inner, g in pairwise(grids))


def plain(size, budget, cell, gaze):
    return {}


POLICIES = {
    "grid": Policy("uniform grid", "the whole image at one resolution, as any resize does", "grid",
                   lambda size, budget, cell, gaze: {"grid": grid_shape(size, budget), "gaze": None}),
    "crop": Policy("centre crop", "full resolution in the middle, nothing elsewhere", "views", crop),
    "rings": Policy("rings", "square rings around the gaze, each twice as coarse", "rings", rings, True),
    "views": Policy("views", "an overview, and a fovea at full resolution", "views", plain, True),
    "rate": Policy("rate, no gaze", "tokens split where the image has detail", "rate",
                   lambda size, budget, cell, gaze: {"gaze": None}),
    "rate gaze": Policy("rate, gaze", "tokens split where there is detail near the gaze", "rate", plain, True),
    "logpolar": Policy("log-polar", "cells of rings and sectors around the gaze", "logpolar", plain, True),
    "cortical": Policy("cortical", "density as in the visual cortex", "cortical", plain, True),
}


def missing():
    """Kinds of layout that policies need and this build does not have, sorted."""
    return sorted({policy.kind for policy in POLICIES.values()} - set(KINDS))


def encode(engine, image, name, *, budget, gaze=(), model="vit16", repeats=1, **more):
    """Shown: what a policy makes of an image with at most `budget` tokens; None where it cannot.

    Args:
        engine: an Engine.
        image: (H, W, C) uint8.
        name: of POLICIES.
        budget: tokens.
        gaze: [(x, y), ...] in uv; policies without a gaze take no notice.
        model: a preset.
        repeats: timed calls, of which the median counts; with 1 the only call is timed.
        more: other options of `Engine.tokens`, such as max_rate.
    """
    policy, size = POLICIES[name], image.shape[:2]
    points = [tuple(point) for point in gaze]
    options = policy.options(size, budget, preset_of(model).cell, points) if policy.kind in KINDS else None
    if options is None:
        return None
    options = {"layout": policy.kind, "gaze": (points or None) if policy.gazes else None, "model": model, **options}
    if not {"grid", "views", "strides"} & set(options):
        options["budget"] = budget
    options |= more
    times, tokens = [], None
    for _ in range(repeats + (repeats > 1)):
        start = time.perf_counter_ns()
        tokens = engine.tokens(image, **options)
        times.append((time.perf_counter_ns() - start) / 1e6)
    return Shown(policy, tokens, statistics.median(times[1:] or times))


def made_by(engine, tokens):
    """(Relevance or None, Rates or None) that `engine` chose the tokens by."""
    relevance, rates = tokens._made
    return relevance and Relevance(relevance, engine._open()), rates and Rates(rates, engine._open())


def same(tokens, other):
    """Whether two ways of spending tokens came to the same positions."""
    return np.array_equal(tokens.table, other.table)


def rates_of(tokens, size, index=0):
    """(rows, columns) uint32: the rate code of the token over each cell, for tokens that are whole cells."""
    cell = tokens.preset.cell
    shape = -(-size[0] // cell), -(-size[1] // cell)
    codes = np.zeros(shape, np.uint32)
    for i in np.nonzero(np.asarray(tokens.valid[index], bool))[0]:
        height, width = (round(float(side) / cell) for side in tokens.size_px[index][i])
        x, y = (round(float(v)) for v in (tokens.center_px[index][i] - tokens.size_px[index][i][::-1] / 2) / cell)
        w, h = max(width, 1).bit_length() - 1, max(height, 1).bit_length() - 1
        codes[max(y, 0):y + height, max(x, 0):x + width] = (w & 3) << 2 | h & 3 | (w >> 2) << 5 | (h >> 2) << 4
    return codes
