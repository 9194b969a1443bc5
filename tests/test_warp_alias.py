# SPDX-License-Identifier: Apache-2.0
"""warp: what its pixels miss of a supersampled truth, over a photograph, text, texture, a zone plate and noise.

PSNR in dB over 64 x 64 texels of a field of 16 degrees, alpha = 0.5 and 2.786 degrees, against
16 x 16 bilinear samples a texel. The numbers are those of trilinear sampling in float, 2 x 2 taps.
"""

import math

import numpy as np
import pytest
from images import picture

REACHED = {"astronaut": (39.2, 42.9), "page": (36.7, 41.3), "gravel": (36.9, 40.4), "zone plate": (31.8, 33.5),
           "white noise": (34.7, 39.1)}


def subject(name, side=1024):
    if name == "zone plate":
        y, x = np.mgrid[0:side, 0:side] - (side - 1) / 2
        return (0.5 + 0.5 * np.cos(np.pi * (x * x + y * y) / side)).astype(np.float32)[..., None]
    if name == "white noise":
        return np.random.default_rng(0).random((side, side, 3), np.float32)
    return picture(name, side)


def bilinear(image, x, y):
    """Samples at px, boundaries at integers, the edge repeated."""
    x, y = np.clip(x - 0.5, 0, image.shape[1] - 1), np.clip(y - 0.5, 0, image.shape[0] - 1)
    x0, y0 = np.minimum(x.astype(int), image.shape[1] - 2), np.minimum(y.astype(int), image.shape[0] - 2)
    right, down = (x - x0)[..., None], (y - y0)[..., None]
    upper = image[y0, x0] * (1 - right) + image[y0, x0 + 1] * right
    return upper * (1 - down) + (image[y0 + 1, x0] * (1 - right) + image[y0 + 1, x0 + 1] * right) * down


def supersampled(image, alpha_deg, texels=64, samples=16):
    """The mean of samples^2 points a texel: u v / rho with v = a (e^(rho L) - 1), fov 16 degrees over the image."""
    n, side, a = texels * samples, image.shape[0], alpha_deg / 8
    t, s = np.meshgrid(*[np.linspace(-1 + 1 / n, 1 - 1 / n, n)] * 2, indexing="ij")
    rho = np.maximum(abs(s), abs(t))
    scale = a * np.expm1(rho * math.log1p(1 / a)) / rho
    got = np.concatenate([bilinear(image, side / 2 * (1 + s[i] * scale[i]), side / 2 * (1 + t[i] * scale[i]))
                          for i in np.split(np.arange(n), 8)])
    return got.reshape(texels, samples, texels, samples, -1).mean((1, 3))


def psnr(a, b):
    return -10 * math.log10(np.mean((a - b) ** 2))


@pytest.mark.parametrize("name", REACHED)
def test_anti_aliasing(cpu, name):
    image = subject(name)
    unit = 255.0 if image.dtype == np.uint8 else 1.0
    for alpha, reached in zip((0.5, 2.786), REACHED[name], strict=True):
        expected = supersampled(image / unit, alpha)
        options = {"kind": "cartesian", "size": (64, 64), "fov_deg": 16, "alpha": alpha, "dtype": "float32"}
        got = psnr(cpu.warp(image, **options).numpy()[0], expected)
        one = psnr(cpu.warp(image, taps=1, **options).numpy()[0], expected)
        assert got > reached - 0.5 and got > one, (name, alpha, got, one)
