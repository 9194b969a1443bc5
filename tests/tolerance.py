# SPDX-License-Identifier: Apache-2.0
"""How two results are compared: by bytes, or within a named tolerance with its reason."""

import ctypes
import hashlib
import math

import numpy as np

TOLERANCE = {
    # float32 sums of n values in another order than NumPy's pairwise one: n * 2^-24 of the largest value
    "mean": 2e-6,
    # eight levels of u16 rounding, each at most half of 1/65280, in the mean of a whole image
    "mean_u16": 8 * 0.5 / 65280,
    # an 8-bit value through 16-bit linear light and back: half a step of the decode table at its steepest
    "linear_u8": 12.92 * 0.5 / 65535 + 1e-6,
    # a box whose corner is rounded to 1/65536 px, on a ramp of 1/256 a px; and float32 sums
    "ramp": 1e-6,
    # texels of level 2 are 4 px wide; a box of two or more misses the ramp under them by 1/16 texel at most
    "staircase": 4 / 16 / 256,
    # value * scale + bias: two float32 roundings near 1
    "normalise": 3e-7,
    # composition rounds to a whole step of the image's own type
    "composite_u8": 1.0 / 255 + 1e-7,
    # hardware filters: 8 bits of a position in a texel along x and y, and between levels, each off by 1/512 of 255 at
    # most; and bytes that llvmpipe blends in 8 bits
    "fast": 2.0 / 255,
    # the same in bfloat16, which rounds by 1/512 of a value up to 1
    "fast_bf16": 2.0 / 255 + 1 / 512 + 1 / 256,
    # against the exact way, on sines of 180 px and more: a byte's rounding in each level, and taps over a wider reach
    "fast_exact": 3.5 / 255,
    # bytes filtered by OpenGL: llvmpipe blends in 8 bits, and may round each time
    "filtered_u8": 1.0 / 255 + 1e-7,
}


def numpy_of(array):
    """One of our arrays as NumPy, which keeps it alive; bfloat16, which NumPy lacks, as its bits, copied."""
    if array.dtype != "bfloat16":
        return array.numpy()
    memory = (ctypes.c_uint16 * math.prod(array.shape)).from_address(array.pointer)
    return np.array(memory, np.uint16).reshape(array.shape)


def digest(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def assert_same(got, expected, what=""):
    """Equal by shape, dtype and bytes; says how many elements differ and where the first one lies."""
    got, expected = np.asarray(got), np.asarray(expected)
    assert (got.shape, got.dtype) == (expected.shape, expected.dtype), what
    if digest(got) == digest(expected):
        return
    bits = np.dtype(f"u{got.dtype.itemsize}")
    wrong = np.argwhere(np.ascontiguousarray(got).view(bits) != np.ascontiguousarray(expected).view(bits))
    at = tuple(int(i) for i in wrong[0])
    raise AssertionError(f"{what}: {len(wrong)} of {got.size} differ, first at {at}: {got[at]!r}, "
                         f"expected {expected[at]!r}")


def assert_close(got, expected, name):
    np.testing.assert_allclose(np.asarray(got, np.float64), np.asarray(expected, np.float64), rtol=0,
                               atol=TOLERANCE[name], err_msg=name)
