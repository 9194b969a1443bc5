# SPDX-License-Identifier: Apache-2.0
"""The model shading_rate: what a renderer's shading rate attachment holds, from gaze or content or both."""

import numpy as np

from ...rate_codes import APIS, PROFILES
from ...rate_tiles import CONTENTS, FALLOFFS, TABLES, TERMS
from ..work import (
    Port,
    Work,
    array_tensor,
    check_ports,
    choice,
    flag,
    missing,
    options_of,
    real,
    take_gaze,
    take_images,
    whole,
)

TITLE = "a rate for each tile of an image, from gaze or content, as an API's shading rate attachment holds it"
BATCHES = False
INPUTS = (Port("image", ("BYTES", "UINT8"), (1,), optional=True), Port("gaze", ("FP32",), (1, -1, 2), optional=True))
OUTPUTS = (Port("shading_rate", ("UINT8",), (-1, -1)), Port("fraction", ("FP32",), (1,)))


def parameters(limits):
    return {
        "tile": choice((8, 16, 32)), "api": choice(APIS), "falloff": choice(FALLOFFS), "thresholds": choice(TABLES),
        "content": choice(filter(None, CONTENTS)), "contrast": real(0, 1), "ambient": real(0, 1),
        "terms": choice(TERMS), "profile": choice(PROFILES), "fov": real(1e-3, 179.999), "unit": choice(("uv", "px")),
        "clamp": flag(), "height": whole(1, 16384), "width": whole(1, 16384),
    }


def plan(request, limits):
    names = check_ports(request, INPUTS, OUTPUTS)
    options, _ = options_of(request, parameters(limits))
    work = Work(request, names, options, ())
    size = (options.pop("height", None), options.pop("width", None))
    if "image" in request.inputs:
        take_images(work, limits, most=1)
    elif None in size or "content" in options:
        raise missing(request, "image", 1, len(INPUTS))
    else:
        work.sizes = [size]
    take_gaze(work, limits, options.get("unit", "uv"), options.get("clamp", False))
    if work.gaze is None and "content" not in options:
        raise missing(request, "gaze", 1, len(INPUTS))
    work.key = ("shading_rate", id(work))       # never a batch
    return work


def run(engine, works):
    return [_run(engine, work) for work in works]


def _run(engine, work):
    options = dict(work.options)
    api = options.pop("api", "vulkan")
    taken = work.images[0] if work.images else work.sizes[0]
    rates = engine.rate_tiles(taken, gaze=work.gaze, **options)
    return {"shading_rate": array_tensor("shading_rate", "UINT8", rates.encode(api)),
            "fraction": array_tensor("fraction", "FP32", np.array([rates.fraction]))}
