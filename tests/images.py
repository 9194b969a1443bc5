# SPDX-License-Identifier: Apache-2.0
"""Images made by code, the same on every machine."""

import os
from pathlib import Path

import numpy as np

LONG = os.environ.get("FOVEATE_LONG") == "1"


def random_image(seed, height, width, channels=3, dtype=np.uint8):
    """Noise over a gradient, so that neither smooth nor rough errors can hide. (H, W, C), or (H, W) for 0."""
    rng = np.random.default_rng(seed)
    shape = (height, width, channels) if channels else (height, width)
    wave = np.linspace(0, 1, max(height * width, 1)).reshape(height, width)
    value = 0.5 * rng.random(shape) + 0.5 * (wave[..., None] if channels else wave)
    if np.issubdtype(dtype, np.floating):
        return value.astype(dtype)
    return np.round(value * np.iinfo(dtype).max).astype(dtype)


def random_sizes(count, seed=1, largest=257):
    """(height, width) pairs; the corners of the range always among them."""
    rng = np.random.default_rng(seed)
    fixed = [(1, 1), (1, largest), (largest, 1), (2, 3), (largest, largest - 1)]
    drawn = [tuple(int(v) for v in rng.integers(1, largest + 1, 2)) for _ in range(count)]
    return (fixed + drawn)[:count]


def picture(name, side=1024):
    """The largest square in the middle of a picture of scikit-image, enlarged."""
    import skimage
    from PIL import Image

    path = Path(skimage.__file__).parent / "data" / f"{name}.png"
    image = Image.open(path).convert("RGB")
    edge = min(image.size)
    left, top = (image.width - edge) // 2, (image.height - edge) // 2
    return np.asarray(image.crop((left, top, left + edge, top + edge)).resize((side, side), Image.BICUBIC))
