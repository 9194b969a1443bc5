# SPDX-License-Identifier: Apache-2.0
"""Input by gaze: the part of an image that was looked at, and an overview of the rest.

After Chen and Qi, Eye Gaze Tells You Where to Compute (GazeVLM), 2025: the smallest box with a share rho of the gaze's
heat, in the tokens of a small square image, beside an overview of few tokens.
"""

import math

from ..default import engine_of
from ..error import require, whole
from ..layout_roi import SIGMA, roi, trace_heat
from ..presets import preset_of
from ..tensor import Tokens

SIDE = 224      # px: of the image that the paper's token counts are for; 8 x 8 tokens of 28 px
FINE = 64       # cells of a trace's heat, a side: at rho = 0.05 a box is a few of them


def gaze_input(image, *, rho: float, trace=None, heat=None, sigma: float = SIGMA, side: int = SIDE,
               least: int = 4, overview: int = 1, model="qwen2.5-vl", engine=None, **options) -> Tokens:
    """Tokens of the box that holds a share of the gaze, and of the whole image coarsely.

    Args:
        image: one image, as `foveate.image` takes it.
        rho: above 0, at most 1: the share of the heat that the box holds.
        trace: [(x, y), ...] in uv, of any length; or
        heat: (rows, columns), as `foveate.layout_roi.roi` takes it.
        sigma: of a trace: how far a point reaches, in the longer sides of the image.
        side: px that the longer side of the image would be resized to: what sets the number of tokens.
        least: fewest tokens of the box, 1..4096; a smaller one is read finer. 4 are the smallest image of Qwen2.5-VL.
        overview: rows of tokens over the whole image, before the box; columns in its proportion; 0: none.
        model: a preset.
        engine: the Engine to use; None: the process's own.
        options: what else `Engine.tokens` takes, such as dtype.

    Returns:
        Tokens whose number follows the box: about its area in tokens of the small image. The overview comes first;
        pixels are read from the image itself, not from a small one.

    Raises:
        InputError: neither or both of trace and heat, a side smaller than a token, or what `roi` or `trace_heat`
            refuses.

    >>> import numpy as np
    >>> from foveate.model.roi import gaze_input
    >>> gaze_input(np.zeros((448, 448, 3), np.uint8), rho=0.5, trace=[(0.3, 0.4)]).valid.shape
    (1, 5)
    """
    engine, preset = engine_of(engine), preset_of(model)
    require((trace is None) != (heat is None), "model: gaze_input", "neither or both of trace and heat", "one of them")
    whole("model: side", side, preset.cell, 16384)
    least, overview = whole("model: least", least, 1, 4096), whole("model: overview", overview, 0, 64)
    taken = engine.image(image)
    require(len(taken) == 1, "model: gaze_input", f"{len(taken)} images", "one; call it for each")
    height, width = taken.sizes[0]
    if heat is None:
        heat = trace_heat(trace, (height, width), grid=(FINE, FINE), sigma=sigma)
    x0, y0, x1, y1 = roi(heat, rho)
    box = (x0 * width, y0 * height, x1 * width, y1 * height)
    scale = side / max(height, width) / preset.cell     # tokens a px
    views = [(box, _shape((box[3] - box[1]) * scale, (box[2] - box[0]) * scale, least))]
    if overview:
        views.insert(0, ((0, 0, width, height), (overview, max(round(overview * width / height), 1))))
    return engine.tokens(taken, layout="views", views=views, unit="px", model=preset, **options)


def _shape(rows, columns, least):
    """Whole rows and columns; where they are too few, as many more as keep the box's proportion, as Qwen resizes."""
    shape = max(math.floor(rows + 0.5), 1), max(math.floor(columns + 0.5), 1)
    if shape[0] * shape[1] >= least:
        return shape
    finer = math.sqrt(least / (rows * columns))
    return math.ceil(rows * finer - 1e-9), math.ceil(columns * finer - 1e-9)
