# SPDX-License-Identifier: Apache-2.0
"""sample, FAST class: each texel of a token is the mean of trilinear taps from levels of bytes."""

import numpy as np

from . import pyramid as truth
from .sample import ONE, level_of, order

TAP_TEXELS = 2**0.5


def byte_levels(planes, levels=None):
    """(C, H, W) of each level, rounded to bytes: what hardware has to filter."""
    return [np.floor(level / 256 + 0.5) for level in truth.pyramid(planes, "aligned", "encoded", levels)]


def taps_of(token, cell, taps, level_max):
    """lod, and the taps across and down a texel of a token."""
    steps = [int(token[name]) // cell for name in ("w", "h")]
    level = level_of(token, cell, taps, level_max)
    x, y, w, h = (int(token[name]) for name in ("x", "y", "w", "h"))
    least = min(steps)
    whole = all(step & (step - 1) == 0 and step >= ONE for step in steps) and w % cell == h % cell == 0
    if whole and x % least == y % least == 0:
        return float(level), *(step >> (16 + level) for step in steps)
    lod = min(max(0.5 * np.log2(steps[0] * steps[1]) - np.log2(taps) - 0.5, 0.0), level_max)
    between = 2**lod * ONE * TAP_TEXELS
    return lod, *(int(max(np.ceil(step / between - 0.01), 1)) for step in steps)


def bilinear(level, x, y):
    """(C, len(y), len(x)) of one level at texels x and y, its edge repeated."""
    rows, columns = level.shape[1:]
    left, top = np.floor(x - 0.5), np.floor(y - 0.5)
    right_part, lower_part = x - 0.5 - left, y - 0.5 - top
    take_x = [np.clip(left + k, 0, columns - 1).astype(int) for k in (0, 1)]
    take_y = [np.clip(top + k, 0, rows - 1).astype(int) for k in (0, 1)]
    upper, lower = (level[:, take][:, :, take_x[0]] * (1 - right_part) + level[:, take][:, :, take_x[1]] * right_part
                    for take in take_y)
    return upper * (1 - lower_part[:, None]) + lower * lower_part[:, None]


def token_texels(chain, token, cell, taps, level_max):
    """(C, cell, cell) in 0..255."""
    lod, across, down = taps_of(token, cell, taps, level_max)
    places = []
    for origin, extent, count in ((token["x"], token["w"], across), (token["y"], token["h"], down)):
        origin, extent = int(origin), int(extent)
        edges = np.array([origin + extent // cell * i + extent % cell * i // cell for i in range(cell)], float)
        inner = (np.arange(count) + 0.5) * (extent // cell) / count
        places.append(((edges[:, None] + inner) / ONE).ravel())
    below = int(lod)
    part = lod - below
    total = (1 - part) * bilinear(chain[below], places[0] / 2**below, places[1] / 2**below)
    if part:
        total = total + part * bilinear(chain[below + 1], places[0] / 2**(below + 1), places[1] / 2**(below + 1))
    return total.reshape(-1, cell, down, cell, across).mean((2, 4))


def sample(planes, tokens, patch=16, merge=1, frames=1, mean=(0, 0, 0), std=(1, 1, 1), channels="first",
           dtype="float32", taps=3.0, lod_bias=0.0, levels=None):
    """Patches of one image, in the order of oracle.sample; `levels` that hardware has."""
    cell, count = patch * merge, len(mean)
    chain = byte_levels(planes, levels)
    fixed_taps = int(np.floor(taps * 2.0**-lod_bias * ONE + 0.5))
    mean, std = (np.array(v, float)[:, None, None] for v in (mean, std))
    out = np.zeros((len(tokens), merge, merge, count, patch, patch), np.float32)
    for row, token in enumerate(tokens):
        if token["w"]:
            value = token_texels(chain, token, cell, fixed_taps, len(chain) - 1) / 255
            value = (np.repeat(value, count // len(value), 0) - mean) / std
            out[row] = value.reshape(count, merge, patch, merge, patch).transpose(1, 3, 0, 2, 4)
    return order(out, frames, channels, dtype)
