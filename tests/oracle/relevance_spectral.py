# SPDX-License-Identifier: Apache-2.0
"""relevance: saliency by the spectral residual (Hou and Zhang, "Saliency detection: a spectral residual approach",
CVPR 2007), on 64 x 64 bins of the picture, in float32 with every step in a stated order.
"""

import math

import numpy as np

SIDE = 64
FLOAT = np.float32


def table(function, count):
    return np.array([function(i) for i in range(count)]).astype(FLOAT)


COS = table(lambda k: 0.0 if k == 16 else math.cos(2 * math.pi * k / SIDE), 32)
SIN = table(lambda k: math.sin(2 * math.pi * k / SIDE), 32)
LOG = table(lambda i: math.log2(1 + (i + 0.5) / 4096), 4096)
EXP = table(lambda i: 2 ** (i / 4096), 4096)
GAUSS = [math.exp(-k * k / (2 * 1.2**2)) for k in range(3)]
GAUSS = [FLOAT(w / (GAUSS[0] + 2 * GAUSS[1] + 2 * GAUSS[2])) for w in GAUSS]
ORDER = [int(f"{i:06b}"[::-1], 2) for i in range(SIDE)]


def bins(size):
    """(first texel, texel after the last) of each bin of an axis; of a short axis bins share texels."""
    first = np.arange(SIDE) * size // SIDE
    return first, np.maximum(first + 1, (np.arange(SIDE) + 1) * size // SIDE)


def picture(y):
    """(64, 64) means."""
    (top, bottom), (left, right) = bins(y.shape[0]), bins(y.shape[1])
    return np.array([[FLOAT(v.sum() // v.size) for v in (y[t:b, q:r] for q, r in zip(left, right, strict=True))]
                     for t, b in zip(top, bottom, strict=True)])


def fft_rows(re, im, sign):
    """Radix 2, decimation in time, of every row; sign -1 forward, +1 back. No scaling."""
    re, im = re[:, ORDER].copy(), im[:, ORDER].copy()
    m = 2
    while m <= SIDE:
        for j in range(m // 2):
            c, s = COS[j * SIDE // m], FLOAT(sign) * SIN[j * SIDE // m]
            u, v = np.arange(j, SIDE, m), np.arange(j, SIDE, m) + m // 2
            tr = re[:, v] * c - im[:, v] * s
            ti = re[:, v] * s + im[:, v] * c
            re[:, u], re[:, v] = re[:, u] + tr, re[:, u] - tr
            im[:, u], im[:, v] = im[:, u] + ti, im[:, u] - ti
        m *= 2
    return re, im


def fft(re, im, sign):
    """Rows, then columns."""
    re, im = fft_rows(re, im, sign)
    re, im = fft_rows(re.T, im.T, sign)
    return re.T, im.T


def log2_amplitude(re, im):
    bits = np.maximum(re * re + im * im, FLOAT(1e-6)).view(np.uint32).astype(np.int64)
    return FLOAT(0.5) * (((bits >> 23) - 127).astype(FLOAT) + LOG[bits >> 11 & 4095])


def box_mean(values):
    """Of 3 x 3, which wraps around."""
    total = None
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            term = np.roll(values, (-dy, -dx), (0, 1))
            total = term if total is None else total + term
    return total * FLOAT(1 / 9)


def exp2_of_minus(a):
    u = ((FLOAT(64) - a) * FLOAT(4096) + FLOAT(0.5)).astype(np.uint32)
    return ((u >> np.uint32(12)) + np.uint32(63) << np.uint32(23)).view(FLOAT) * EXP[u & np.uint32(4095)]


def gauss_rows(a):
    a = np.pad(a, ((0, 0), (2, 2)), "edge")
    near, one, two = GAUSS
    a = [a[:, k:k + SIDE] for k in range(5)]
    return (((two * a[0] + one * a[1]) + near * a[2]) + one * a[3]) + two * a[4]


def reciprocal(m):
    r = (np.uint32(0x7EF311C7) - np.array([m], FLOAT).view(np.uint32)).view(FLOAT)
    for _ in range(4):
        r = r * (FLOAT(2) - FLOAT(m) * r)
    return r


def residual(y):
    """Saliency of the 64 x 64 bins, 0..65535."""
    re, im = fft(picture(y), np.zeros((SIDE, SIDE), FLOAT), -1)
    factor = exp2_of_minus(box_mean(log2_amplitude(re, im)))
    re, im = re * factor, im * factor
    re[0, 0] = im[0, 0] = 0                         # a constant image stands out nowhere
    re, im = fft(re, im, 1)
    e = gauss_rows(gauss_rows(re * re + im * im).T).T
    if e.max() <= FLOAT(2.0**-20):
        return np.zeros((SIDE, SIDE), np.int64)
    scale = reciprocal(e.max()) * FLOAT(65535)
    return np.minimum(65535, (e * scale + FLOAT(0.5)).astype(np.int64))


def spectral(y, level, cell, filled):
    """Each cell takes the bin that its centre texel lies in; filled: cells (rows, columns) that have texels."""
    row, column = (np.minimum((2 * np.arange(count) + 1) * cell >> level + 1, size - 1) * SIDE // size
                   for count, size in zip(filled.shape, y.shape, strict=True))
    return np.where(filled, residual(y)[np.ix_(row, column)], 0)
