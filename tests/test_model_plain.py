# SPDX-License-Identifier: Apache-2.0
"""model: tokens as three arrays."""

import foveate
import numpy as np
import pytest
import torch
from foveate.error import UnsupportedError
from foveate.model.plain import plain

ENGINE = foveate.Engine(backend="cpu")
NOISE = np.random.default_rng(0).integers(0, 256, (224, 336, 3), np.uint8)


@pytest.mark.parametrize("preset, numbers", [("qwen2.5-vl", 1176), ("siglip2", 768), ("vit16", 768)])
def test_every_form_is_rows(preset, numbers):
    tokens = ENGINE.tokens([NOISE, NOISE], model=preset, budget=20)
    patches, coord, valid = plain(tokens)
    count = 20 * tokens.preset.merge**2
    assert (patches.shape, coord.shape, valid.shape) == ((2, count, numbers), (2, count, 2), (2, count))
    assert patches.ctypes.data == tokens.patches.pointer and valid.all()


def test_a_raster():
    """Of 8 x 12 cells of 2 x 2 patches: the coordinate times the patch is where the pixels are."""
    tokens = ENGINE.tokens(NOISE, patch=14, merge=2, grid=(8, 12))
    patches, coord, _ = plain(tokens)
    for index in (0, 1, 2, 7, 101):
        y, x = (coord[0, index] * 14).astype(int)
        pixels = NOISE[y:y + 14, x:x + 14].transpose(2, 0, 1).reshape(-1) / 255
        assert np.abs(patches[0, index] - pixels).max() < 1e-6


def test_padding_and_torch():
    tokens = ENGINE.tokens(NOISE, model="qwen3-vl", layout="rings", gaze=(0.05, 0.05), dtype="bfloat16")
    patches, coord, valid = plain(tokens, torch=True, position_mode="grid")
    assert isinstance(coord, torch.Tensor) and patches.dtype == torch.bfloat16 and (coord % 1 == 0).all()
    assert torch.equal(valid[0], torch.from_numpy(tokens.valid[0]).repeat_interleave(4)) and not valid.all()
    with pytest.raises(UnsupportedError, match="tensor: numpy"):
        plain(tokens)
