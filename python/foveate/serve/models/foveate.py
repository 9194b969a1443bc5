# SPDX-License-Identifier: Apache-2.0
"""The model foveate: exactly K tokens of each image, fine where it matters."""

import math

import numpy as np

from ...layout import BUDGET, KINDS
from ...presets import DTYPES, preset_of, presets
from ...rate import SETS
from ...relevance import COMBINES, FALLOFFS, SALIENCIES
from ...types import bits
from ..fault import Fault
from ..protocol import Tensor
from ..work import Port, Work, array_tensor, check_ports, choice, flag, options_of, real, take_gaze, take_images, whole

TITLE = "exactly K tokens of each image, fine where it matters"
BATCHES = True
PATCHES = {"float32": "FP32", "float16": "FP16", "bfloat16": "BF16"}
INPUTS = (Port("image", ("BYTES", "UINT8"), (-1,)), Port("gaze", ("FP32",), (-1, 2), optional=True))
OUTPUTS = (Port("patches", ("FP32", "FP16", "BF16"), (-1, -1)), Port("center_px", ("FP32",), (-1, -1, 2)),
           Port("size_px", ("FP32",), (-1, -1, 2)), Port("rate", ("INT32",), (-1, -1)),
           Port("level", ("INT32",), (-1, -1)), Port("valid", ("BOOL",), (-1, -1)),
           Port("image_size", ("INT32",), (-1, 2)))
RINGS = 172     # tokens of the pattern of rings, where no budget is given


def parameters(limits):
    """What a request may say: options of `Engine.tokens`, and of relevance."""
    return {
        "budget": whole(1, limits.tokens), "model": choice(presets), "layout": choice(KINDS), "dtype": choice(DTYPES),
        "rates": choice(SETS), "max_rate": choice((1, 2, 4, 8, 16)), "order": choice(("raster", "level")),
        "unit": choice(("uv", "px")), "clamp": flag(), "alpha": real(0.001, 100), "e0": real(0.001, 100),
        "passes": whole(2, 4), "rho": real(1e-6, 1), "color": choice(("encoded", "linear")),
        "saliency": choice(filter(None, SALIENCIES), term=True), "information": flag(term=True),
        "falloff": choice(FALLOFFS, term=True), "fov_deg": real(1e-3, 360, term=True),
        "beta": real(0, 1000, term=True), "floor": real(0, 1, term=True),
        "combine": choice(filter(None, COMBINES), term=True),
    }


def plan(request, limits):
    work = planned(request, limits, OUTPUTS, parameters(limits))
    work.values = math.prod(preset_of(work.options.get("model")).shape(len(work.sizes), tokens_of(work)))
    if work.values > limits.values:
        raise Fault("values", limit=limits.values)
    return work


def planned(request, limits, outputs, known):
    """Work for tokens, but for its price."""
    names = check_ports(request, INPUTS, outputs)
    options, terms = options_of(request, known)
    kind = options.setdefault("layout", "rate")
    if terms and kind != "rate":
        name = next(iter(terms))
        raise Fault("parameter", name=name, model=request.model, expected="the layout rate")
    work = Work(request, names, {**options, "relevance": terms} if terms else options, ())
    take_images(work, limits)
    take_gaze(work, limits, options.get("unit", "uv"), options.get("clamp", False))
    work.key = (request.model, work.gaze is None, *sorted(options.items()), *sorted(terms.items()))
    return work


def tokens_of(work):
    """Tokens an image."""
    return work.options.get("budget") or (RINGS if work.options["layout"] == "rings" else BUDGET)


def run(engine, works):
    """Works as one batch. Rows of an image depend on nothing else in it."""
    tokens = cut(engine, works)
    return [outputs for work, outputs in zip(works, split(works, tokens), strict=True)]


def cut(engine, works, **more):
    """Tokens of all their images."""
    images = [image for work in works for image in work.images]
    gaze = None if works[0].gaze is None else [one for work in works for one in work.gaze]
    return engine.tokens(images, channels="last", gaze=gaze, **works[0].options, **more)


def split(works, tokens):
    """The tensors of each work, by name."""
    total, table = sum(len(work.images) for work in works), tokens.table
    datatype, patches = PATCHES[tokens.patches.dtype], bits(tokens.patches)
    # patches one after the other, whatever axes the preset has: metadata name one rank for all
    rows, first = len(table[0]) * tokens.preset.merge**2, 0
    patches = patches.reshape(total * rows, -1)
    for work in works:
        last = first + len(work.images)
        part = table[first:last]
        part_of = patches[first * rows:last * rows]
        made = {"patches": Tensor("patches", datatype, part_of.shape, part_of)}
        for name, kind in (("center_px", "FP32"), ("size_px", "FP32"), ("rate", "INT32"), ("level", "INT32"),
                           ("valid", "BOOL")):
            if name in work.names:
                made[name] = array_tensor(name, kind, part[name])
        made["image_size"] = array_tensor("image_size", "INT32", np.array(tokens.sizes[first:last]))
        yield made
        first = last
