# SPDX-License-Identifier: Apache-2.0
"""The model warp: log-polar and other foveated images, and the way back."""

import numpy as np

from ...presets import LIMITS
from ...warp import KINDS, NORMS
from ..fault import Fault
from ..work import Port, Work, array_tensor, check_ports, choice, flag, options_of, real, take_gaze, take_images, whole

TITLE = "an image that is fine around the gaze: log-polar or cartesian, and the way back"
BATCHES = True
INPUTS = (Port("image", ("BYTES", "UINT8"), (-1,)), Port("gaze", ("FP32",), (-1, 2), optional=True))
OUTPUTS = (Port("warped", ("UINT8",), (-1, -1, -1, 3)), Port("image_size", ("INT32",), (-1, 2)))


def parameters(limits):
    side = LIMITS["image_side"]
    return {"height": whole(1, side), "width": whole(1, side), "kind": choice(KINDS), "inverse": flag(),
            "alpha": real(1e-3, 1e6), "radius": real(1e-3, 1e6), "fov_deg": real(1e-3, 360), "norm": choice(NORMS),
            "taps": whole(1, LIMITS["warp_taps"]), "lod_bias": real(-4, 4), "color": choice(("encoded", "linear")),
            "unit": choice(("uv", "px")), "clamp": flag()}


def plan(request, limits):
    names = check_ports(request, INPUTS, OUTPUTS)
    options, _ = options_of(request, parameters(limits))
    for name in ("height", "width"):
        if name not in options:
            raise Fault("parameter", name=name, model=request.model, expected="it to be there")
    work = Work(request, names, options, ("warp", *sorted(options.items())))
    area = options["height"] * options["width"]
    if area > LIMITS["warp_pixels"]:
        raise Fault("values", limit=3 * LIMITS["warp_pixels"])
    take_images(work, limits)
    # the gaze of an inverse lies in the image that comes out
    turned = options.get("inverse", False)
    sizes, work.sizes = work.sizes, [(options["height"], options["width"])] * len(work.sizes) if turned else work.sizes
    take_gaze(work, limits, options.get("unit", "uv"), options.get("clamp", False))
    work.sizes = sizes
    if work.gaze is not None and any(len(points) != 1 for points in work.gaze):
        raise Fault("fixations", limit=1)
    work.values = 3 * area * len(work.sizes)
    if work.values > limits.values:
        raise Fault("values", limit=limits.values)
    return work


def run(engine, works):
    return [_run(engine, work) for work in works]


def _run(engine, work):
    options = dict(work.options)
    size = options.pop("height"), options.pop("width")
    gaze = None if work.gaze is None else [points[0] for points in work.gaze]
    warped = engine.warp(engine.image(work.images, channels="last"), size=size, gaze=gaze, **options).numpy()
    return {"warped": array_tensor("warped", "UINT8", warped),
            "image_size": array_tensor("image_size", "INT32", np.array(work.sizes))}
