# SPDX-License-Identifier: Apache-2.0
"""Quality metrics against hand-made cases and scikit-image."""

import math

import numpy as np
import pytest
from foveate import Engine, quality
from foveate.error import InputError
from foveate.reconstruct import reconstruct
from images import random_image
from skimage import metrics


def pair(seed=1, size=(61, 83), channels=3):
    image = random_image(seed, *size, channels)
    noise = np.random.default_rng(seed).normal(0, 12, image.shape)
    return image, np.clip(image + noise, 0, 255).astype(np.uint8)


# ---- literals and analytic facts ---------------------------------------------------------------------------


def test_psnr_literals():
    black = np.zeros((4, 4, 3), np.uint8)
    assert quality.psnr(black, black) == math.inf
    assert quality.psnr(black, black + 255) == 0
    assert quality.psnr(black, np.full((4, 4, 3), 0.01)) == pytest.approx(40)


def test_eccentricity():
    e = quality.eccentricity((60, 80), (0, 0), unit="px")
    assert e[0, 0] == pytest.approx(math.hypot(0.5, 0.5) / 50) and e[-1, -1] == pytest.approx(2, abs=0.02)
    two = quality.eccentricity((60, 80), [(0, 0), (1, 1)])
    assert two[0, 0] == pytest.approx(two[-1, -1]) and two.max() < 1.61
    degrees = quality.eccentricity((60, 80), (0.5, 0.5), fov_deg=90)
    assert degrees[30, 0] == pytest.approx(math.degrees(math.atan(39.5 / 40)), abs=0.1)


def test_weights_fall_as_the_cortex_does():
    """An error at the gaze counts (e + e0)^2 / e0^2 times as much as one at e; far away it is a fourth at e = e0."""
    image = np.zeros((101, 101))
    at_gaze, away = image.copy(), image.copy()
    radius = quality.E0 * math.hypot(101, 101) / 2
    at_gaze[50, 50] = away[50, 50 + round(radius)] = 1
    loss = [10 ** (-quality.weighted_psnr(image, other, (0.5, 0.5)) / 10) for other in (at_gaze, away)]
    assert loss[0] / loss[1] == pytest.approx(4, rel=0.1)
    assert quality.weighted_psnr(image, image + 0.1, (0.2, 0.7), fov_deg=40) == pytest.approx(20)


def test_bands():
    image, other = pair()
    rows = quality.bands(image, other, (0.5, 0.5))
    assert sum(row["pixels"] for row in rows) == 61 * 83
    total = sum(row["pixels"] * 10 ** (-row["psnr"] / 10) for row in rows) / (61 * 83)
    assert -10 * math.log10(total) == pytest.approx(quality.psnr(image, other))
    half = other.copy()
    half[:, :41] = image[:, :41]
    left, right = (quality.bands(image, half, (x, 0.5), edges=(0, 0.3))[0] for x in (0.1, 0.9))
    assert left["psnr"] == math.inf and left["ssim"] == pytest.approx(1) and right["psnr"] < 30
    assert quality.bands(image, other, (0.5, 0.5), fov_deg=30)[-1]["to"] <= 20


def test_flicker():
    a = np.zeros((4, 5), np.uint32)
    b = a.copy()
    b[0, :2] = 5
    assert quality.flicker(a, a) == 0 and quality.flicker(a, b) == 0.1


def test_mtf_of_nothing_lost_and_of_a_box():
    frequencies = [1 / 64, 1 / 16, 1 / 8, 3 / 16]
    same = quality.mtf(lambda chart: chart, (64, 64), (0.5, 0.5), edges=(0, 2), frequencies=frequencies)
    assert np.allclose(same[0]["transfer"], 1, atol=0.01) and same[0]["mtf50"] is None

    def boxed(chart):
        means = chart.reshape(16, 4, 16, 4, 3).mean(axis=(1, 3)) / 255
        return np.kron(means, np.ones((4, 4, 1)))

    ring = quality.mtf(boxed, (64, 64), (0.5, 0.5), edges=(0, 2), frequencies=frequencies)[0]
    # a box average of 4 px, then held for 4 px: the square of sin(4 pi f) / (4 sin(pi f))
    expected = [(math.sin(4 * math.pi * f) / (4 * math.sin(math.pi * f))) ** 2 for f in frequencies]
    assert np.allclose(ring["transfer"], expected, atol=0.015)
    assert frequencies[1] < ring["mtf50"] < frequencies[2]


def test_mtf_of_rings_falls_with_eccentricity():
    engine = Engine(backend="cpu")

    def seen(chart):
        tokens = engine.tokens(chart, layout="rings", gaze=(0.5, 0.5), model="vit16")
        return reconstruct(chart.shape[:2], tokens, "bilinear")

    rings = quality.mtf(seen, (256, 256), (0.5, 0.5), edges=(0.2, 0.4, 0.7, 1),
                        frequencies=[1 / 32, 1 / 16, 1 / 8, 1 / 4])
    limits = [ring["mtf50"] for ring in rings]
    assert limits == sorted(limits, reverse=True) and limits[0] > limits[-1]


# ---- parity ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [0, 3])
@pytest.mark.parametrize("size", [(61, 83), (11, 40)])
def test_agrees_with_scikit_image(channels, size):
    image, other = pair(3, size, channels)
    axis = {"channel_axis": 2} if channels else {}
    assert quality.psnr(image, other) == pytest.approx(metrics.peak_signal_noise_ratio(image, other), abs=1e-9)
    gaussian = metrics.structural_similarity(image, other, gaussian_weights=True, sigma=1.5,
                                             use_sample_covariance=False, data_range=255, **axis)
    uniform = metrics.structural_similarity(image, other, data_range=255, **axis)
    assert quality.ssim(image, other) == pytest.approx(gaussian, abs=1e-9)
    assert quality.ssim(image, other, window="uniform") == pytest.approx(uniform, abs=1e-9)
    assert quality.ssim(image, image) == pytest.approx(1)


# ---- errors ------------------------------------------------------------------------------------------------

A, B = np.zeros((16, 16)), np.zeros((16, 17))


@pytest.mark.parametrize("call,message", [
    (lambda: quality.psnr(A, B), "quality: images: got shapes (16, 16, 1) and (16, 17, 1), expected two of one shape."),
    (lambda: quality.psnr(A[0], A[0]), "quality: image: got shape (16,), expected (H, W) or (H, W, C)."),
    (lambda: quality.psnr(A.astype(int), A), "quality: image: got int64, expected uint8, or float 0..1."),
    (lambda: quality.ssim(A[:8], A[:8]), "quality: image: got 16 x 8 px, expected 11 x 11 px or more."),
    (lambda: quality.ssim(A, A, window="box"), "quality: window: got 'box', expected one of 'gaussian', 'uniform'."),
    (lambda: quality.weighted_psnr(A, A, (0.5, math.nan)),
     "quality: gaze: got (0.5, nan), expected (x, y) or a list of them."),
    (lambda: quality.weighted_psnr(A, A, (0, 0), e0=0), "quality: e0: got 0.0, expected above 0."),
    (lambda: quality.weighted_psnr(A, A, (0, 0), fov_deg=180),
     "quality: fov_deg: got 180, expected 0..180, both excluded."),
    (lambda: quality.weighted_psnr(A, A, (0, 0), unit="m"), "quality: unit: got 'm', expected one of 'uv', 'px'."),
    (lambda: quality.bands(A, A, (0, 0), edges=[1, 0]),
     "quality: edges: got [1.0, 0.0], expected two or more, rising."),
    (lambda: quality.mtf(None, (8, 8), (0, 0), frequencies=[0.7]),
     "quality: frequencies: got [0.7], expected 0..0.5 cycles/px."),
    (lambda: quality.flicker(A, B), "quality: rates: got shapes (16, 16) and (16, 17), expected two of one shape."),
])
def test_errors(call, message):
    with pytest.raises(InputError) as error:
        call()
    assert str(error.value) == message
