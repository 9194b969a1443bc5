# SPDX-License-Identifier: Apache-2.0
"""tensor: what leaves the engine: patches in a preset's shape, and where each token lies, in px."""

import numpy as np

PRESETS = {
    "vit16": dict(patch=16, merge=1, frames=1, mean=(0.5,) * 3, std=(0.5,) * 3, channels="first"),
    "siglip2": dict(patch=16, merge=1, frames=1, mean=(0.5,) * 3, std=(0.5,) * 3, channels="last"),
    "qwen2-vl": dict(patch=14, merge=2, frames=2, mean=(0.48145466, 0.4578275, 0.40821073),
                     std=(0.26862954, 0.26130258, 0.27577711), channels="first"),
    "qwen3-vl": dict(patch=16, merge=2, frames=2, mean=(0.5,) * 3, std=(0.5,) * 3, channels="first"),
    "gemma4": dict(patch=16, merge=3, frames=1, mean=(0.0,) * 3, std=(1.0,) * 3, channels="last"),
}
PRESETS["qwen2.5-vl"] = PRESETS["qwen2-vl"]


def shape(model, images, rows):
    """Shape of tokens.patches."""
    p = PRESETS[model]
    elements = 3 * p["frames"] * p["patch"] ** 2
    if model == "vit16":
        return images, rows, 3, p["patch"], p["patch"]
    rows *= p["merge"] ** 2
    return (images, rows, elements) if p["channels"] == "last" else (images * rows, elements)


def center_px(tokens):
    """(x, y) of each token's centre."""
    x = (tokens["x"] + tokens["w"] / 2) / 65536
    y = (tokens["y"] + tokens["h"] / 2) / 65536
    return np.stack([x, y], -1).astype(np.float32)


def size_px(tokens):
    """(height, width) of each token."""
    return (np.stack([tokens["h"], tokens["w"]], -1) / 65536).astype(np.float32)
