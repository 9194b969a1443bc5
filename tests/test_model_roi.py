# SPDX-License-Identifier: Apache-2.0
"""model: input by gaze, a box and an overview."""

from itertools import pairwise

import numpy as np
import pytest
from foveate.error import InputError
from foveate.model.roi import gaze_input

# Chen and Qi, 2025, table for the 3 B model on VOILA-COCO: rho, mean tokens.
PAPER = {0.05: 4.4, 0.30: 15.6, 0.50: 23.4}


def traces(count):
    """As of mouse traces that follow a caption: a few strokes, each wandering over something."""
    rng = np.random.default_rng(5)
    for _ in range(count):
        strokes = []
        for _ in range(rng.integers(2, 6)):
            path = np.cumsum(rng.normal(0, 1, (60, 2)), 0)
            path = (path - path.mean(0)) / np.abs(path - path.mean(0)).max() * rng.uniform(0.05, 0.2)
            strokes.append(np.clip(rng.uniform(0.15, 0.85, 2) + path, 0, 1))
        yield np.concatenate(strokes).tolist()


def test_a_heat_of_one_quarter(cpu):
    """224 px: the upper left quarter is 4 x 4 tokens of 28 px; with the overview 17."""
    image = np.random.default_rng(0).integers(0, 256, (448, 448, 3), np.uint8)
    heat = np.zeros((8, 8))
    heat[:4, :4] = 1
    tokens = gaze_input(image, rho=1.0, heat=heat, engine=cpu)
    assert tokens.valid.shape == (1, 17) and tokens.patches.shape == (17 * 4, 1176)
    assert tokens.size_px[0, 0].tolist() == [448, 448] and (tokens.size_px[0, 1:] == 56).all()
    assert tokens.center_px[0, 1:].max() == 224 - 28
    bare = gaze_input(image, rho=1.0, heat=heat, overview=0, engine=cpu)
    assert np.array_equal(bare.numpy(), tokens.numpy()[4:])


def test_everything_is_the_whole_grid(cpu):
    tokens = gaze_input(np.zeros((300, 600, 3), np.uint8), rho=1.0, heat=np.ones((32, 32)), overview=2, engine=cpu)
    assert tokens.valid.shape == (1, 2 * 4 + 4 * 8)


def test_a_small_box_is_read_finer(cpu):
    image = np.zeros((448, 448, 3), np.uint8)
    heat = np.zeros((32, 32))
    heat[3, 5] = 1
    assert gaze_input(image, rho=0.5, heat=heat, overview=0, engine=cpu).size_px[0].tolist() == [[7, 7]] * 4
    assert gaze_input(image, rho=0.5, heat=heat, overview=0, least=1, engine=cpu).size_px[0].tolist() == [[14, 14]]
    heat[3, 5:9] = 1                                     # 1 x 4 of its cells: 0.25 x 1 tokens
    assert gaze_input(image, rho=1.0, heat=heat, overview=0, engine=cpu).valid.shape == (1, 4)


@pytest.mark.parametrize("rho", PAPER)
def test_the_papers_counts_lie_between(cpu, rho):
    """Heat on a few things takes fewer tokens than the paper's people did, heat that is everywhere more."""
    image, options = np.zeros((224, 224, 3), np.uint8), {"rho": rho, "overview": 0, "engine": cpu}
    few = [gaze_input(image, trace=trace, least=1, **options).valid.shape[1] for trace in traces(40)]
    everywhere = gaze_input(image, heat=np.ones((32, 32)), **options).valid.shape[1]
    assert np.mean(few) <= PAPER[rho] <= everywhere
    assert everywhere == {0.05: 7, 0.30: 24, 0.50: 32}[rho]


def test_more_of_the_gaze_is_more_tokens(cpu):
    image = np.zeros((224, 224, 3), np.uint8)
    for trace in traces(10):
        counts = [gaze_input(image, rho=rho, trace=trace, least=1, overview=0, engine=cpu).valid.shape[1]
                  for rho in (0.05, 0.3, 0.5, 0.9, 1.0)]
        assert counts[0] <= 2 and counts[-1] >= 6
        assert all(b >= a - 1 for a, b in pairwise(counts))     # a larger box may round to a row less


@pytest.mark.parametrize("options, text", [
    ({}, "model: gaze_input: got neither or both of trace and heat, expected one of them."),
    ({"trace": [(0, 0)], "heat": [[1]]},
     "model: gaze_input: got neither or both of trace and heat, expected one of them."),
    ({"trace": [(0.5, 0.5)], "side": 27}, "model: side: got 27, expected 28..16384."),
    ({"trace": [(0.5, 0.5)], "overview": -1}, "model: overview: got -1, expected 0..64."),
    ({"trace": [(0.5, 0.5)], "least": 0}, "model: least: got 0, expected 1..4096."),
])
def test_errors(cpu, options, text):
    with pytest.raises(InputError) as error:
        gaze_input(np.zeros((64, 64, 3), np.uint8), rho=0.5, engine=cpu, **options)
    assert str(error.value) == text


def test_more_images_than_one(cpu):
    with pytest.raises(InputError, match=r"model: gaze_input: got 2 images, expected one; call it for each\."):
        gaze_input(np.zeros((2, 64, 64, 3), np.uint8), rho=0.5, trace=[(0.5, 0.5)], engine=cpu)
