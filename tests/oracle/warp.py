# SPDX-License-Identifier: Apache-2.0
"""warp: each output pixel is a mean of taps x taps points, trilinear in the pyramid, with whole weights.

The map is w = log(z + alpha) (Schwartz, "Computational anatomy and functional architecture of striate cortex",
1980). Logarithms and angles are those of `math`: NumPy's may differ in the last bit.
"""

import math
from dataclasses import dataclass

import numpy as np

from . import pyramid as truth

ONE = 1 << 14


@dataclass
class Geometry:
    """Lengths are px of the image that is not warped; sizes are (height, width)."""

    kind: str
    image: tuple
    warped: tuple
    x: float
    y: float
    alpha: float
    radius: float
    round: bool = False

    @property
    def length(self):
        return math.log1p(self.radius / self.alpha)

    def distance(self, s, t):
        return math.sqrt(s * s + t * t) if self.round else max(abs(s), abs(t))


def geometry(kind, image, warped, gaze=(0.5, 0.5), alpha=None, radius=None, fov_deg=None, norm="square"):
    """With the defaults filled in: to the end of the image, and as fine as acuity, 1 / (1 + 0.35 deg)."""
    x, y = gaze[0] * image[1], gaze[1] * image[0]
    right, down = max(x, image[1] - x), max(y, image[0] - y)
    if radius is None:
        radius = max(right, down) if (kind, norm) == ("cartesian", "square") else math.sqrt(right**2 + down**2)
    px_from_deg = image[1] / fov_deg if fov_deg else radius / 60
    if alpha is None or fov_deg:
        alpha = (1 / 0.35 if alpha is None else alpha) * px_from_deg
    return Geometry(kind, image, warped, x, y, alpha, radius, norm == "round")


def px_from_uv(g, u, v):
    """From the warped unit square to (x, y) px, and the lod: px that a texel covers along a side, log2."""
    height, width = g.warped
    if g.kind == "logpolar":
        r, angle = g.alpha * math.expm1(u * g.length), 2 * math.pi * v
        across, along = 2 * math.pi * r / height, (r + g.alpha) * g.length / width
        return g.x + r * math.cos(angle), g.y + r * math.sin(angle), 0.5 * math.log2(across * along)
    s, t = 2 * u - 1, 2 * v - 1
    rho = g.distance(s, t)
    scale = g.alpha * math.expm1(rho * g.length) / rho if rho > 0 else g.alpha * g.length
    along = (g.alpha * math.expm1(rho * g.length) + g.alpha) * g.length * 2 / height
    return g.x + s * scale, g.y + t * scale, 0.5 * math.log2(scale * 2 / width * along)


def uv_from_px(g, x, y):
    """The inverse; its lod is in texels of the warped image for each px."""
    height, width = g.warped
    dx, dy = x - g.x, y - g.y
    if g.kind == "logpolar":
        r, turns = math.sqrt(dx * dx + dy * dy), math.atan2(dy, dx) / (2 * math.pi)
        across, along = height / (2 * math.pi * max(r, 0.5)), width / ((r + g.alpha) * g.length)
        u, v = math.log1p(r / g.alpha) / g.length, turns + 1 if turns < 0 else turns
        return u, v, 0.5 * math.log2(across * along)
    r = g.distance(dx, dy)
    scale = math.log1p(r / g.alpha) / g.length / r if r > 0 else 1 / (g.alpha * g.length)
    along = height / ((r + g.alpha) * g.length * 2)
    return (dx * scale + 1) / 2, (dy * scale + 1) / 2, 0.5 * math.log2(scale * width / 2 * along)


def level_sizes(size):
    sizes = [size]
    while sizes[-1] != (1, 1):
        sizes.append(((sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2))
    return sizes


def texels(sizes, wrap, x, y, level):
    """((row, column), weight of 65536) of the four texels of a level around a point in texels of level 0."""
    height, width = sizes[level]
    at_x, at_y = (math.floor((v * 0.5**level - 0.5) * 256 + 0.5) for v in (x, y))
    for down in (0, 1):
        for right in (0, 1):
            row, column = (at_y >> 8) + down, min(max((at_x >> 8) + right, 0), width - 1)
            row = row % height if wrap else min(max(row, 0), height - 1)
            weight = (at_x & 255 if right else 256 - (at_x & 255)) * (at_y & 255 if down else 256 - (at_y & 255))
            yield (row, column), weight


def pixel_weights(sizes, wrap, level_max, points, lod_bias, taps):
    """[((level, row, column), weight)] in that order; the weights sum to 2^14."""
    found = {}
    for x, y, lod in points:
        fixed = math.floor((lod - math.log2(taps) + lod_bias) * 256 + 0.5)
        fixed = min(max(fixed, 0), level_max * 256)
        for level, part in ((fixed >> 8, 256 - (fixed & 255)), ((fixed >> 8) + 1, fixed & 255)):
            for at, weight in texels(sizes, wrap, x, y, level) if part else ():
                if weight:
                    found[level, *at] = found.get((level, *at), 0) + weight * part
    total = taps * taps << 24
    keys = sorted(found)
    weights = [(found[key] * ONE + total // 2) // total for key in keys]
    weights[weights.index(max(weights))] += ONE - sum(weights)      # a constant stays what it is
    return [(key, weight) for key, weight in zip(keys, weights, strict=True) if weight]


def table(g, inverse, taps, lod_bias):
    """The weights of every output pixel, row by row."""
    source, size = (g.warped, g.image) if inverse else (g.image, g.warped)
    sizes = level_sizes(source)
    wrap = inverse and g.kind == "logpolar"
    level_max = len(sizes) - 1
    if wrap:    # above an odd number of angles the levels no longer close
        level_max = min(level_max, (source[0] & -source[0]).bit_length() - 1)
    rows, columns = size[0] * taps, size[1] * taps
    for row in range(size[0]):
        for column in range(size[1]):
            points = []
            for tap in range(taps * taps):
                x, y = column * taps + tap % taps + 0.5, row * taps + tap // taps + 0.5
                if inverse:
                    u, v, lod = uv_from_px(g, x / taps, y / taps)
                    points.append((u * source[1], v * source[0], lod))
                else:
                    points.append(px_from_uv(g, x / columns, y / rows))
            yield pixel_weights(sizes, wrap, level_max, points, lod_bias, taps)


def value_of(texel, weights):
    """(C,) sums: whole numbers, or float32 differences from the first texel in order."""
    values = [texel[level][:, row, column] for (level, row, column), _ in weights]
    if values[0].dtype != np.float32:
        return sum(int(w) * v.astype(np.int64) for v, (_, w) in zip(values, weights, strict=True))
    total = values[0].copy()
    for value, (_, weight) in zip(values, weights, strict=True):
        total = total + np.float32(weight) * np.float32(1 / ONE) * (value - values[0])
    return total


def warp(planes, g, inverse=False, taps=2, lod_bias=-0.5, dtype=None, color="encoded"):
    """(height, width, C) of the planes' own type, or float32 0..1."""
    chain = truth.pyramid(planes, "aligned", color)
    height, width = g.image if inverse else g.warped
    sums = np.array([value_of(chain, weights) for weights in table(g, inverse, taps, lod_bias)])
    sums = sums.reshape(height, width, -1)
    if planes.dtype == np.float32:
        return sums
    if color == "linear":
        value = truth.encode_table()[(sums + (ONE >> 1)) >> 14]
        return value if dtype else np.floor(value * np.float32(255) + np.float32(0.5)).astype(np.uint8)
    if dtype:
        return ((sums + 32) >> 6).astype(np.float32) * np.float32(1 / (256 * truth.unit(planes)))
    return (sums + (1 << 21) >> 22 if planes.dtype == np.uint8 else sums + (1 << 13) >> 14).astype(planes.dtype)
