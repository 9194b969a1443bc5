# SPDX-License-Identifier: Apache-2.0
"""The model patchify: the same cells everywhere, or what the stock image processor of a Qwen-VL model gives."""

import math

import numpy as np

from ...layout import BUDGET
from ...presets import DTYPES, LIMITS, preset_of, presets
from ..fault import Fault
from ..protocol import Tensor
from ..work import Port, Work, array_tensor, check_ports, choice, options_of, take_images, whole
from .foveate import split

TITLE = "tokens of one size, or what the stock processor of a Qwen-VL model gives"
BATCHES = True
INPUTS = (Port("image", ("BYTES", "UINT8"), (-1,)),)
OUTPUTS = (Port("pixel_values", ("FP32", "FP16", "BF16"), (-1, -1)), Port("image_grid_thw", ("INT64",), (-1, 3)),
           Port("image_size", ("INT32",), (-1, 2)))
# Pixels after resizing, least and most, as the stock processors have them.
STOCK = {"qwen2-vl": (56 * 56, 28 * 28 * 1280), "qwen2.5-vl": (56 * 56, 28 * 28 * 1280),
         "qwen3-vl": (256 * 256, 4096 * 4096)}


def parameters(limits):
    most = LIMITS["image_pixels"]
    return {"budget": whole(1, limits.tokens), "model": choice(presets), "dtype": choice(DTYPES),
            "min_pixels": whole(1, most), "max_pixels": whole(1, most)}


def plan(request, limits):
    names = check_ports(request, INPUTS, OUTPUTS)
    options, _ = options_of(request, parameters(limits))
    preset = preset_of(options.get("model"))
    stock = preset.name in STOCK and "budget" not in options
    work = Work(request, names, {**options, "stock": stock}, ())
    take_images(work, limits)
    if stock:
        _plan_stock(work, preset, limits)
    else:
        for name in ("min_pixels", "max_pixels"):
            if name in options:
                raise Fault("parameter", name=name, model=request.model, expected="a Qwen-VL preset and no budget")
        work.values = math.prod(preset.shape(len(work.sizes), options.get("budget", BUDGET)))
    if work.values > limits.values:
        raise Fault("values", limit=limits.values)
    work.key = ("patchify", *sorted(work.options.items()))
    return work


def _plan_stock(work, preset, limits):
    model = work.request.model
    if work.options.pop("dtype", "float32") != "float32":
        raise Fault("parameter", name="dtype", model=model, expected="float32, as the stock processor gives")
    least, most = STOCK[preset.name]
    least = work.options.setdefault("min_pixels", least)
    most = work.options.setdefault("max_pixels", max(most, least))
    if most < max(least, preset.cell**2):
        raise Fault("parameter", name="max_pixels", model=model, expected="min_pixels and a token or more")
    for index, (height, width) in enumerate(work.sizes):
        if max(height, width) > 200 * min(height, width):
            raise Fault("image", index=index, what="its sides are further than 200 to 1 apart")
        rows, columns = (side // preset.cell for side in resized(height, width, preset.cell, least, most))
        if rows * columns > limits.tokens or max(rows, columns) * preset.cell > LIMITS["image_side"]:
            raise Fault("tokens", limit=limits.tokens)
        work.values += math.prod(preset.shape(1, rows * columns))


def resized(height, width, cell, least, most):
    """(height, width) that Qwen's processors resize to: multiples of a cell, within the range of pixels."""
    high, wide = (round(side / cell) * cell for side in (height, width))
    if high * wide > most:
        scale = math.sqrt(height * width / most)
        return tuple(max(cell, math.floor(side / scale / cell) * cell) for side in (height, width))
    if high * wide < least:
        scale = math.sqrt(least / (height * width))
        return tuple(math.ceil(side * scale / cell) * cell for side in (height, width))
    return high, wide


def table_of(preset):
    """(3, 256) float32: what a byte becomes, in the stock processors' own order of rounding."""
    unit = (np.arange(256) * (1 / 255)).astype(np.float32)
    mean, std = (np.array(values, np.float32)[:, None] for values in (preset.mean, preset.std))
    return np.ascontiguousarray((unit - mean) / std)


def run(engine, works):
    return _run_stock(works) if works[0].options["stock"] else _run_grid(engine, works)


def _run_grid(engine, works):
    options = {name: value for name, value in works[0].options.items() if name != "stock"}
    images = [image for work in works for image in work.images]
    tokens = engine.tokens(images, channels="last", layout="grid", **options)
    preset = tokens.preset
    grid = (1, preset.merge, tokens.table.shape[1] * preset.merge)
    made = []
    for work, one in zip(works, split(works, tokens), strict=True):
        patches = one.pop("patches")
        made.append({"pixel_values": Tensor("pixel_values", patches.datatype, patches.shape, patches.data),
                     "image_grid_thw": array_tensor("image_grid_thw", "INT64", np.array([grid] * len(work.images))),
                     "image_size": one["image_size"]})
    return made


def _run_stock(works):
    from ...model.resize import down_first, rows

    options = works[0].options
    preset = preset_of(options["model"])
    if down_first() is None:
        raise Fault("unsupported", what="the stock processor with the Pillow installed")
    made = []
    for work in works:
        images = [np.moveaxis(image, -1, 0) for image in work.images]
        sizes = [resized(*image.shape[1:], preset.cell, options["min_pixels"], options["max_pixels"])
                 for image in images]
        pixels = rows(images, sizes, table_of(preset), preset.patch, preset.merge, preset.frames)
        grids = np.array([(1, high // preset.patch, wide // preset.patch) for high, wide in sizes])
        made.append({"pixel_values": array_tensor("pixel_values", "FP32", pixels),
                     "image_grid_thw": array_tensor("image_grid_thw", "INT64", grids),
                     "image_size": array_tensor("image_size", "INT32", np.array(work.sizes))})
    return made
