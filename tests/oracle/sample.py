# SPDX-License-Identifier: Apache-2.0
"""sample: each texel of a token is the average of a box over one pyramid level."""

import numpy as np

from . import pyramid as truth

ONE = 65536


def level_of(token, cell, taps, level_max):
    """The level a token is read from: its own grid's, else the coarsest with `taps` texels under an edge."""
    x, y, w, h = (int(token[name]) for name in ("x", "y", "w", "h"))
    step, longer = min(w // cell, h // cell), max(w // cell, h // cell)
    whole = w % cell == h % cell == 0 and step & (step - 1) == longer & (longer - 1) == 0
    on_grid = step >= ONE and whole and x % step == y % step == 0
    if on_grid:
        return min(step.bit_length() - 17, level_max)
    ratio = step // taps
    return min(ratio.bit_length() - 1, level_max) if ratio else 0


def boxes(origin, extent, cell, level, inverse):
    """Per texel of one axis: first texel of the level, how many, and their weights."""
    step = extent // cell
    width = max(step, ONE << level)
    scale = np.float32(inverse) * np.float32(1 << level) if width == step else np.float32(1 / ONE)
    result = []
    for index in range(cell):
        low = origin + step * index + (extent % cell) * index // cell - ((width - step) >> 1)
        first, last = low >> (16 + level), (low + width - 1) >> (16 + level)
        weight = []
        for texel in range(first, last + 1):
            left = max(low, texel * (ONE << level))
            right = min(low + width, (texel + 1) * (ONE << level))
            weight.append(np.float32(max(right - left, 0) >> level) * scale)
        result.append((first, weight))
    return result


def average(texels, table, start, axis):
    """Box averages along an axis of texels[start..]: first texel plus weighted differences, left to right."""
    first = np.array([f for f, _ in table]) - start
    shape = [-1 if a == axis else 1 for a in range(3)]
    zero = np.take(texels, first, axis)
    total = zero
    for k in range(1, max(len(w) for _, w in table)):
        inside = np.array([k < len(w) for _, w in table])
        weight = np.array([w[k] if k < len(w) else 0 for _, w in table], np.float32).reshape(shape)
        texel = np.take(texels, np.where(inside, first + k, first), axis)
        total = np.where(inside.reshape(shape), total + weight * (texel - zero), total)
    return total


def window(size, table):
    """Texels of a level that a row of boxes touches, with the edge repeated; and where they start."""
    start = min(f for f, _ in table)
    stop = max(f + len(w) for f, w in table)
    return np.clip(np.arange(start, stop), 0, size - 1), start


def token_texels(chain, token, cell, taps):
    """(channels, cell, cell) averages of one token in level units, and the level they came from."""
    level = level_of(token, cell, taps, len(chain) - 1)
    texels = chain[level]
    rows = boxes(int(token["y"]), int(token["h"]), cell, level, token["inv_h"])
    columns = boxes(int(token["x"]), int(token["w"]), cell, level, token["inv_w"])
    take_y, start_y = window(texels.shape[1], rows)
    take_x, start_x = window(texels.shape[2], columns)
    part = texels[:, take_y][:, :, take_x].astype(np.float32)
    return average(average(part, rows, start_y, 1), columns, start_x, 2), level


def bfloat16(values):
    """float32 -> the nearest bfloat16, ties to even, as uint16."""
    bits = values.view(np.uint32)
    odd = (bits >> np.uint32(16)) & np.uint32(1)
    return ((bits + np.uint32(0x7FFF) + odd) >> np.uint32(16)).astype(np.uint16)


def sample(planes, tokens, patch=16, merge=1, frames=1, mean=(0, 0, 0), std=(1, 1, 1), channels="first",
           dtype="float32", taps=3.0, lod_bias=0.0, color="encoded", levels=None):
    """Patches (tokens * merge^2, C, T, P, P) or (.., T, P, P, C) of one image, and each token's level."""
    cell, count = patch * merge, len(mean)
    chain = truth.pyramid(planes, "aligned", color, levels)
    unit = 1.0 if color == "linear" else truth.unit(planes)
    # Both in double from float32 options; "+ 0.0" makes a bias of -0 into 0.
    mean, std = (np.array(v, np.float32).astype(np.float64)[:, None, None] for v in (mean, std))
    scale = (1.0 / (unit * std)).astype(np.float32)
    bias = (-mean / std + 0.0).astype(np.float32)
    fixed_taps = int(np.floor(taps * 2.0**-lod_bias * ONE + 0.5))
    encode = truth.encode_table() if color == "linear" else None

    out = np.zeros((len(tokens), merge, merge, count, patch, patch), np.float32)
    level = np.zeros(len(tokens), np.uint32)
    for row, token in enumerate(tokens):
        if token["w"] == 0:
            continue
        value, level[row] = token_texels(chain, token, cell, fixed_taps)
        if encode is not None:
            quantise = np.float32(65535.0 / truth.unit(planes, "linear"))
            value = encode[np.floor(value * quantise + np.float32(0.5)).astype(np.int64)]
        value = np.repeat(value, count // len(value), 0) * scale + bias
        out[row] = value.reshape(count, merge, patch, merge, patch).transpose(1, 3, 0, 2, 4)
    return order(out, frames, channels, dtype), level


def order(out, frames, channels, dtype):
    """From (tokens, my, mx, C, P, P) to the order of a model."""
    patch, count = out.shape[-1], out.shape[3]
    out = np.repeat(out.reshape(-1, count, 1, patch, patch), frames, 2)
    if channels == "last":
        out = out.transpose(0, 2, 3, 4, 1)
    out = np.ascontiguousarray(out)
    with np.errstate(over="ignore"):    # beyond 65504 float16 is infinite
        return bfloat16(out) if dtype == "bfloat16" else out.astype(dtype)
