# SPDX-License-Identifier: Apache-2.0
"""How much of an image is left: overall, by eccentricity, weighted by gaze, by spatial frequency, and over time.

Images are (H, W) or (H, W, C), uint8 or float 0..1. SSIM: Wang, Bovik, Sheikh and Simoncelli, 2004. Cortical
magnification: Rovamo and Virsu, 1979.
"""

import math
from itertools import pairwise
from typing import Literal

import numpy as np

from .error import choice, real, require

E0 = 0.15           # of half the diagonal: where acuity has halved
E0_DEG = 2.5        # the same with a field of view
BANDS = (0.0, 0.1, 0.2, 0.4, 0.7, 1.0, math.inf)
BANDS_DEG = (0.0, 2.0, 5.0, 10.0, 20.0, 40.0, math.inf)


def psnr(image, other) -> float:
    """Peak signal to noise ratio, dB, over all px and channels; infinite for equal images.

    >>> import numpy as np
    >>> from foveate.quality import psnr
    >>> round(psnr(np.zeros((8, 8)), np.full((8, 8), 0.1)), 6)
    20.0
    """
    return _db(float(errors(image, other).mean()))


def weighted_psnr(image, other, gaze, *, e0=None, fov_deg=None, unit="uv") -> float:
    """PSNR, dB, where a px weighs (e0 / (e + e0))^2, e its eccentricity: what the eye resolves there.

    Args:
        image, other: of one size.
        gaze: (x, y), or a list of them; the nearest counts.
        e0: None: 0.15 of half the diagonal, or 2.5 degrees with fov_deg.
        fov_deg: horizontal field of view; e is in degrees then.
        unit: of gaze, "uv" or "px".
    """
    error = errors(image, other)
    e = eccentricity(error.shape, gaze, fov_deg=fov_deg, unit=unit)
    e0 = (E0 if fov_deg is None else E0_DEG) if e0 is None else real("quality: e0", e0)
    require(e0 > 0, "quality: e0", e0, "above 0")
    weight = (e0 / (e + e0)) ** 2
    return _db(float((error * weight).sum() / weight.sum()))


def ssim(image, other, *, window: Literal["gaussian", "uniform"] = "gaussian") -> float:
    """Mean structural similarity of all windows inside the image, 1 for equal images.

    Args:
        image, other: of one size, at least 11 x 11 px, 7 x 7 for "uniform". Channels are averaged.
        window: "gaussian": 11 x 11, sigma 1.5, population covariance, as published. "uniform": 7 x 7, sample
            covariance.
    """
    return float(ssim_map(image, other, window=window).mean())


def ssim_map(image, other, *, window="gaussian"):
    """Structural similarity of every window, (H - 10, W - 10) or (H - 6, W - 6) float64."""
    taps, sample = choice("quality: window", window, {
        "gaussian": (np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2), 1.0),
        "uniform": (np.ones(7), 49 / 48)})
    a, b = _pair(image, other)
    require(min(a.shape[:2]) >= len(taps), "quality: image", f"{a.shape[1]} x {a.shape[0]} px",
            f"{len(taps)} x {len(taps)} px or more")
    taps = taps / taps.sum()

    def mean(values):
        height, width = (side - len(taps) + 1 for side in values.shape)
        values = sum(values[k:k + height] * tap for k, tap in enumerate(taps))
        return sum(values[:, k:k + width] * tap for k, tap in enumerate(taps))

    total = 0
    for channel in range(a.shape[2]):
        x, y = a[..., channel], b[..., channel]
        ux, uy = mean(x), mean(y)
        vx, vy, vxy = ((mean(p) - q) * sample for p, q in ((x * x, ux * ux), (y * y, uy * uy), (x * y, ux * uy)))
        c1, c2 = 0.01**2, 0.03**2
        total = total + ((2 * ux * uy + c1) * (2 * vxy + c2)) / ((ux * ux + uy * uy + c1) * (vx + vy + c2))
    return total / a.shape[2]


def eccentricity(size, gaze, *, fov_deg=None, unit="uv"):
    """(H, W) float64: each px's distance to the nearest gaze point, in halves of the diagonal or in degrees.

    >>> from foveate.quality import eccentricity
    >>> round(float(eccentricity((100, 100), (0.5, 0.5))[0, 0]), 2)
    0.99
    """
    height, width = size[:2]
    points = np.asarray(gaze, float).reshape(-1, 2)
    require(len(points) and np.isfinite(points).all(), "quality: gaze", repr(gaze), "(x, y) or a list of them")
    points = points * choice("quality: unit", unit, {"uv": (width, height), "px": (1, 1)})
    x, y = np.arange(width) + 0.5, (np.arange(height) + 0.5)[:, None]
    distance = np.sqrt(np.min([(x - px) ** 2 + (y - py) ** 2 for px, py in points], axis=0))
    if fov_deg is None:
        return distance / (np.hypot(width, height) / 2)
    fov = real("quality: fov_deg", fov_deg)
    require(0 < fov < 180, "quality: fov_deg", fov_deg, "0..180, both excluded")
    return np.degrees(np.arctan(distance / (width / 2 / math.tan(math.radians(fov) / 2))))


def bands(image, other, gaze, *, edges=None, fov_deg=None, unit="uv", window="gaussian"):
    """PSNR and SSIM by eccentricity.

    Args:
        image, other: of one size.
        gaze, fov_deg, unit: as for `weighted_psnr`.
        edges: rising, of the bands; None: 0, 0.1, 0.2, 0.4, 0.7, 1 and beyond in halves of the diagonal, or
            0, 2, 5, 10, 20, 40 degrees and beyond.
        window: of `ssim_map`; a window belongs to the band of its centre.

    Returns:
        [{"from", "to", "pixels", "psnr", "ssim"}, ...]; bands without px are left out, ssim is None where no
        window has its centre in the band.
    """
    edges = (BANDS if fov_deg is None else BANDS_DEG) if edges is None else [real("quality: edges", e) for e in edges]
    require(len(edges) > 1 and all(a < b for a, b in pairwise(edges)), "quality: edges", edges,
            "two or more, rising")
    error = errors(image, other)
    similar = ssim_map(image, other, window=window)
    e = eccentricity(error.shape, gaze, fov_deg=fov_deg, unit=unit)
    margin = (error.shape[0] - similar.shape[0]) // 2
    inner = e[margin:e.shape[0] - margin, margin:e.shape[1] - margin]
    rows = []
    for low, high in pairwise(edges):
        at, middle = (e >= low) & (e < high), (inner >= low) & (inner < high)
        if at.any():
            rows.append({"from": low, "to": high, "pixels": int(at.sum()), "psnr": _db(float(error[at].mean())),
                         "ssim": float(similar[middle].mean()) if middle.any() else None})
    return rows


def mtf(encode, size, gaze, *, edges=None, frequencies=None, unit="uv"):
    """Modulation transfer by ring: how much of a sinusoidal grating's contrast is left at each frequency.

    Vertical and horizontal gratings in two phases are encoded; the part of the answer that has the grating's own
    frequency and phase counts, so aliases do not.

    Args:
        encode: image (H, W, 3) uint8 -> what the model sees of it, (H, W, C) float 0..1.
        size: (height, width) px.
        gaze: centre of the rings, in `unit`.
        edges: of the rings, as for `bands`.
        frequencies: cycles/px, rising, 0..0.5; None: 1/64 to 1/2 in steps of half an octave.

    Returns:
        [{"from", "to", "frequencies", "transfer", "mtf50"}, ...]; mtf50 is the frequency in cycles/px where the
        transfer falls to one half, None where it does not.
    """
    frequencies = 2.0 ** np.arange(-6, -0.75, 0.5) if frequencies is None else np.asarray(frequencies, float)
    require(frequencies.ndim == 1 and len(frequencies) and np.all((frequencies > 0) & (frequencies <= 0.5)),
            "quality: frequencies", frequencies, "0..0.5 cycles/px")
    e = eccentricity(size, gaze, unit=unit)
    edges = BANDS if edges is None else [real("quality: edges", edge) for edge in edges]
    rings = [(low, high, (e >= low) & (e < high)) for low, high in pairwise(edges)]
    rings = [ring for ring in rings if ring[2].any()]
    transfer = np.zeros((len(rings), len(frequencies)))
    height, width = size
    for column, frequency in enumerate(frequencies):
        for axis in (0, 1):
            place = np.arange(height)[:, None] if axis else np.arange(width)[None]
            phase = 2 * np.pi * frequency * (place + 0.5)
            waves = [np.broadcast_to(np.cos(phase + shift), (height, width)) for shift in (0, np.pi / 2)]
            got = [_gray(encode(_chart(wave))) - 0.5 for wave in waves]
            for row, (_, _, at) in enumerate(rings):
                # cos^2 + sin^2 = 1: both phases together have the same power at every px of a ring
                power = sum(float((wave[at] ** 2).sum()) for wave in waves)
                kept = sum(float((wave[at] * answer[at]).sum()) for wave, answer in zip(waves, got, strict=True))
                transfer[row, column] += kept / power / 0.45 / 2
    return [{"from": low, "to": high, "frequencies": frequencies.tolist(), "transfer": transfer[row].tolist(),
             "mtf50": _crossing(frequencies, transfer[row])} for row, (low, high, _) in enumerate(rings)]


def _chart(wave):
    return np.repeat(np.floor((0.5 + 0.45 * wave) * 255 + 0.5).astype(np.uint8)[..., None], 3, axis=2)


def _gray(image):
    return _float(image).mean(axis=2)


def _crossing(frequencies, transfer):
    below = np.nonzero(transfer < 0.5)[0]
    if not len(below) or below[0] == 0:
        return None
    i = below[0]
    part = (transfer[i - 1] - 0.5) / (transfer[i - 1] - transfer[i])
    return float(2 ** (np.log2(frequencies[i - 1]) * (1 - part) + np.log2(frequencies[i]) * part))


def flicker(before, after) -> float:
    """Share of the cells whose rate differs between two rate images, 0..1.

    >>> from foveate.quality import flicker
    >>> flicker([[0, 5], [5, 10]], [[0, 5], [5, 5]])
    0.25
    """
    a, b = np.asarray(before), np.asarray(after)
    require(a.shape == b.shape and a.size, "quality: rates", f"shapes {a.shape} and {b.shape}", "two of one shape")
    return float((a != b).mean())


def errors(image, other):
    """(H, W) float64: squared difference, 0..1, mean over the channels."""
    a, b = _pair(image, other)
    return ((a - b) ** 2).mean(axis=2)


def _pair(image, other):
    a, b = _float(image), _float(other)
    require(a.shape == b.shape and a.size, "quality: images", f"shapes {a.shape} and {b.shape}", "two of one shape")
    return a, b


def _float(image):
    values = np.asarray(image)
    require(values.ndim in (2, 3), "quality: image", f"shape {values.shape}", "(H, W) or (H, W, C)")
    require(values.dtype == np.uint8 or values.dtype.kind == "f", "quality: image", values.dtype,
            "uint8, or float 0..1")
    values = values / 255.0 if values.dtype == np.uint8 else values.astype(np.float64)
    return values[..., None] if values.ndim == 2 else values


def _db(error):
    return 10 * math.log10(1 / error) if error > 0 else math.inf
