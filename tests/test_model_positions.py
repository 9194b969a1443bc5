# SPDX-License-Identifier: Apache-2.0
"""model: where tokens and their patches lie, in the units that models count in."""

import foveate
import numpy as np
import pytest
from foveate.error import InputError
from foveate.model.positions import positions
from foveate.tensor import Tokens
from foveate.types import POSITION

ENGINE = foveate.Engine(backend="cpu")


def by_hand(rows, size, preset="qwen2.5-vl"):
    """Tokens of one image: (x, y, width, height) in px for each; width 0 is padding."""
    table = np.zeros((1, len(rows)), POSITION)
    for index, (x, y, w, h) in enumerate(rows):
        table[0, index]["center_px"], table[0, index]["size_px"] = (x + w / 2, y + h / 2), (h, w)
        table[0, index]["valid"] = w > 0
    return Tokens(None, table, foveate.presets[preset], [size])


# Literals

def test_one_cell_and_coarser_ones():
    """Patches of 14 px, tokens of 2 x 2: a cell, 2 x 1 cells, 2 x 2 cells, 4 x 2 cells (width x height)."""
    cells = [(0, 0, 28, 28), (28, 0, 56, 28), (0, 28, 56, 56), (56, 28, 112, 56)]
    found = positions(by_hand(cells, (112, 224)))
    assert found.tokens[0].tolist() == [[0, 0], [0, 1.5], [1.5, 0.5], [1.5, 3.5]]
    assert found.patches[0].reshape(4, 4, 2).tolist() == [
        [[0, 0], [0, 1], [1, 0], [1, 1]],
        [[0, 2.5], [0, 4.5], [1, 2.5], [1, 4.5]],
        [[2.5, 0.5], [2.5, 2.5], [4.5, 0.5], [4.5, 2.5]],
        [[2.5, 5.5], [2.5, 9.5], [4.5, 5.5], [4.5, 9.5]]]
    assert found.grid.tolist() == [[8, 16]] and found.valid.all()
    assert (found.patches.dtype, found.tokens.dtype, found.grid.dtype) == (np.float32, np.float32, np.int64)


def test_grid_takes_the_nearest_and_the_larger_of_two():
    cells = [(0, 0, 28, 28), (28, 0, 56, 28), (0, 28, 56, 56), (50, 3, 28, 28)]
    found = positions(by_hand(cells, (112, 224)), position_mode="grid")
    assert found.tokens[0].tolist() == [[0, 0], [0, 2], [2, 1], [0, 2]]
    assert found.patches[0, 4:8].tolist() == [[0, 3], [0, 5], [1, 3], [1, 5]]
    assert found.patches[0, 12:].tolist() == [[0, 4], [0, 5], [1, 4], [1, 5]]


def test_over_the_edge():
    """Only "grid" brings a position back; the full grid covers an image that cells do not divide."""
    tokens = by_hand([(-56, -28, 112, 112), (200, 100, 112, 112), (0, 0, 0, 0)], (100, 200))
    found, whole = positions(tokens), positions(tokens, position_mode="grid")
    assert found.grid.tolist() == [[8, 16]]
    assert found.tokens[0, :2].tolist() == [[0.5, -0.5], [pytest.approx(156 / 28 - 0.5), pytest.approx(256 / 28 - 0.5)]]
    assert whole.tokens[0].tolist() == [[1, 0], [3, 7], [0, 0]]
    assert whole.patches[0, 4:8].tolist() == [[7, 15], [7, 15], [7, 15], [7, 15]]
    assert found.valid.tolist() == [[True, True, False]]


def test_tokens_of_one_patch():
    found = positions(by_hand([(16, 32, 16, 16), (0, 0, 32, 64)], (64, 64), "siglip2"))
    assert found.patches.tolist() == found.tokens.tolist() == [[[2, 1], [1.5, 0.5]]]
    assert found.grid.tolist() == [[4, 4]]


# Facts

@pytest.mark.parametrize("preset, merge", [("qwen2.5-vl", 2), ("qwen3-vl", 2), ("siglip2", 1)])
@pytest.mark.parametrize("mode", ["center", "grid"])
def test_a_plain_grid_is_the_plain_positions(preset, merge, mode):
    rows, columns, cell = 5, 7, foveate.presets[preset].cell
    images = [np.zeros((rows * cell, columns * cell, 3), np.uint8)] * 2
    found = positions(ENGINE.tokens(images, model=preset, grid=(rows, columns)), position_mode=mode)
    y, x = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    plain = np.stack([y, x], -1).reshape(-1, 2)
    inside = np.stack(np.meshgrid(np.arange(merge), np.arange(merge), indexing="ij"), -1).reshape(-1, 2)
    blocks = (plain[:, None] * merge + inside).reshape(-1, 2)
    for image in range(2):
        assert np.array_equal(found.tokens[image], plain) and np.array_equal(found.patches[image], blocks)
    assert found.grid.tolist() == [[rows * merge, columns * merge]] * 2


@pytest.mark.parametrize("options", [{"budget": 60}, {"layout": "rings", "gaze": (0.1, 0.9)}, {"layout": "logpolar"}])
def test_patches_are_around_their_token(options):
    noise = np.random.default_rng(0).integers(0, 256, (500, 700, 3), np.uint8)
    tokens = ENGINE.tokens(noise, model="qwen2.5-vl", **options)
    found = positions(tokens)
    four = found.patches.reshape(1, -1, 4, 2)
    assert np.allclose(four.mean(2) / 2 - 0.25, found.tokens, atol=1e-4)
    assert np.allclose((four[:, :, 3] - four[:, :, 0]) * 14 * 2, tokens.size_px, atol=2e-3)
    whole = positions(tokens, position_mode="grid")
    assert ((whole.patches >= 0) & (whole.patches <= found.grid[:, None] - 1)).all()
    inside = (found.patches >= 0).all(-1) & (found.patches <= found.grid[:, None] - 1).all(-1)
    assert np.abs(whole.patches - found.patches)[inside].max() <= 0.5


def test_images_of_a_batch_have_their_own_grids():
    images = [np.zeros((28, 57, 3), np.uint8), np.zeros((84, 28, 3), np.uint8)]
    assert positions(ENGINE.tokens(images, model="qwen2-vl", budget=3)).grid.tolist() == [[2, 6], [6, 2]]


# Errors

def test_an_unknown_mode():
    with pytest.raises(InputError, match=r"model: position_mode: got 'middle', expected one of 'center', 'grid'\."):
        positions(by_hand([(0, 0, 28, 28)], (28, 28)), position_mode="middle")
