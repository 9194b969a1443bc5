# SPDX-License-Identifier: Apache-2.0
"""pyramid: levels of one image, each (channels, height, width).

edge="exact" is the area-exact kernel for odd sizes (nvpro_pyramid, NVIDIA, "Downsampling kernels").
"""

import numpy as np


def decode_table():
    """sRGB byte -> linear light, 0..65535 (IEC 61966-2-1)."""
    encoded = np.arange(256) / 255.0
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    return np.floor(65535.0 * linear + 0.5).astype(np.uint16)


def encode_table():
    """Linear light in 1/65535 -> sRGB 0..1."""
    linear = np.arange(65536) / 65535.0
    encoded = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return encoded.astype(np.float32)


def unit(planes, color="encoded"):
    """The stored value that means 1.0."""
    if planes.dtype == np.float32:
        return 1.0
    return 65280.0 if planes.dtype == np.uint8 and color == "encoded" else 65535.0


def base(planes, color="encoded"):
    """Level 0 in the units of the levels above it."""
    if planes.dtype != np.uint8:
        return planes
    return decode_table()[planes] if color == "linear" else planes.astype(np.uint16) * np.uint16(256)


def quads(level):
    """The four texels under each one of the next aligned level; at an odd edge the last texel is repeated."""
    level = np.pad(level, ((0, 0), (0, level.shape[1] % 2), (0, level.shape[2] % 2)), mode="edge")
    return level[:, 0::2, 0::2], level[:, 0::2, 1::2], level[:, 1::2, 0::2], level[:, 1::2, 1::2]


def halve(level):
    if level.dtype == np.float32:
        a, b, c, d = quads(level)
        return ((a + b) + (c + d)) * np.float32(0.25)
    a, b, c, d = quads(level.astype(np.uint32))
    return ((a + b + c + d + 2) >> 2).astype(np.uint16)


def taps(size):
    """(first source texel, three weights) of each output texel of one axis, edge="exact"."""
    if size == 1:
        return [(0, (1.0, 0.0, 0.0))]
    n = size // 2
    if size % 2 == 0:
        return [(2 * i, (0.5, 0.5, 0.0)) for i in range(n)]
    return [(2 * i, ((n - i) / size, n / size, (i + 1) / size)) for i in range(n)]


def reduce_axis(level, axis):
    table = taps(level.shape[axis])
    first = np.array([t[0] for t in table])
    shape = [-1 if a == axis else 1 for a in range(3)]
    texel, weight = [], []
    for k in range(3):
        texel.append(np.take(level, np.minimum(first + k, level.shape[axis] - 1), axis))
        weight.append(np.array([t[1][k] for t in table], np.float32).reshape(shape))
    return (weight[0] * texel[0] + weight[1] * texel[1]) + weight[2] * texel[2]


def pyramid(planes, edge="aligned", color="encoded", levels=None):
    """Level 0 in level units (uint16 or float32), then each level made from the one before, to 1x1."""
    level = base(planes, color)
    if edge == "exact":
        level = level.astype(np.float32)
    chain = [level]
    while chain[-1].shape[1:] != (1, 1) and len(chain) != levels:
        level = chain[-1]
        chain.append(halve(level) if edge == "aligned" else reduce_axis(reduce_axis(level, 1), 2))
    return chain
