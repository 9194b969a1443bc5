# SPDX-License-Identifier: Apache-2.0
"""rate over frames: a still scene keeps its tokens although the camera is noisy; a moved gaze settles."""

import itertools

import numpy as np
import pytest
from images import LONG
from oracle import rate as truth
from oracle.image import image as planes_of
from tolerance import assert_same

SIZE, CELL, BUDGET, MAX_RATE = (128, 192), 8, 96, 4
MOVED = 8           # frames after which a moved gaze is caught up with


def scene():
    """Shapes, an edge and a texture, with flat places between them."""
    y, x = np.mgrid[:SIZE[0], :SIZE[1]].astype(float)
    value = 90 + 20 * np.sin(x / 40) + 70 * (np.hypot(x - 60, y - 50) < 27) - 50 * (x + 2 * y > 330)
    value[80:112, 20:60] += 40 * np.sin(x[80:112, 20:60] * 1.3) * np.sin(y[80:112, 20:60] * 0.9)
    return value


def noisy(frame, sigma=2.0):
    value = scene() + np.random.default_rng(frame).normal(0, sigma, SIZE)
    return np.clip(np.floor(value + 0.5), 0, 255).astype(np.uint8)


def flicker(frames):
    """Share of cells whose code changes, from each frame to the next."""
    codes = [np.asarray(rates.codes[0]) for rates in frames]
    return [float((a != b).mean()) for a, b in itertools.pairwise(codes)]


def film(engine, gazes, sigma=2.0, content=True, budget=BUDGET, **options):
    """Rates of one frame for each gaze point, each frame with the one before as previous."""
    relevance = rates = None
    frames = []
    for index, gaze in enumerate(gazes):
        image = noisy(index, sigma)
        terms = {"information": True, "saliency": "both"} if content else {}
        relevance = engine.relevance(image, gaze=gaze, previous=relevance, cell=CELL, **terms)
        rates = engine.rate(image, relevance=relevance, budget=budget, cell=CELL, max_rate=MAX_RATE,
                            previous=rates, **options)
        frames.append(rates)
    return frames


def count(engine):
    return 150 if LONG else 40 if engine.backend["rate"] == "cpu" else 24


# Facts

def test_without_noise_nothing_moves(engine):
    frames = film(engine, [(0.4, 0.4)] * 6, sigma=0, hysteresis=0.25, smooth=True)
    assert flicker(frames)[1:] == [0] * 4


@pytest.mark.parametrize("content", [False, True])
def test_noise_does_not_flicker(engine, content):
    for budget in (60, BUDGET, 200):
        moves = flicker(film(engine, [(0.4, 0.4)] * count(engine), content=content, budget=budget, smooth=True))
        assert not any(moves), (budget, moves)


def test_what_hysteresis_and_smoothing_are_for(engine):
    """The same film without them moves."""
    plain = []
    for index in range(10):
        image = noisy(index)
        relevance = engine.relevance(image, gaze=(0.4, 0.4), cell=CELL)
        plain.append(engine.rate(image, relevance=relevance, budget=BUDGET, cell=CELL, max_rate=MAX_RATE))
    assert np.mean(flicker(plain)) > 0.01
    held = film(engine, [(0.4, 0.4)] * 10, hysteresis=0.25, smooth=True)
    assert np.mean(flicker(held)) < np.mean(flicker(plain)) / 4


def test_a_moved_gaze_settles(engine):
    gazes = [(0.2, 0.3)] * 12 + [(0.8, 0.7)] * 24
    frames = film(engine, gazes, content=False, hysteresis=0.25, smooth=True)
    moves = flicker(frames)
    assert max(moves[11:14]) > 0.05 and not any(moves[11 + MOVED:]), moves
    before, after = (np.array([[np.prod(truth.extent(c)) for c in row] for row in frames[i].codes[0]])
                     for i in (11, -1))
    rows, columns = before.shape
    old, new = np.s_[:rows // 2, :columns // 2], np.s_[rows // 2:, columns // 2:]
    assert after[old].mean() > before[old].mean() and after[new].mean() < before[new].mean()


def test_every_frame_has_its_budget(engine):
    for rates in film(engine, [(0.1 * i, 0.5) for i in range(8)], hysteresis=1.0, smooth=True):
        layout = engine.layout(SIZE, kind="rate", rates=rates)
        assert layout.rows == BUDGET and layout.valid.all()


def test_tokens_keep_what_the_stages_keep(engine):
    """tokens(previous=) is relevance(previous=) and rate(previous=), in one go."""
    relevance = rates = tokens = None
    for index in range(4):
        image, gaze = noisy(index), (0.3 + 0.1 * (index // 2), 0.4)
        tokens = engine.tokens(image, gaze=gaze, budget=BUDGET, patch=CELL, max_rate=MAX_RATE, previous=tokens,
                               relevance={"saliency": "both", "motion": True})
        relevance = engine.relevance(image, gaze=gaze, saliency="both", motion=True, cell=CELL, previous=relevance)
        rates = engine.rate(image, relevance=relevance, budget=BUDGET, cell=CELL, max_rate=MAX_RATE, previous=rates,
                            smooth=True)
        layout = engine.layout(SIZE, kind="rate", rates=rates, gaze=gaze)
        assert_same(tokens.rate, layout.rate, f"frame {index}")
        assert_same(tokens.center_px, layout.center_px, f"frame {index}")


def test_nothing_is_read_back(engine):
    """The device decides alone: the host waits once, however long the way was."""
    image, tokens = noisy(0), None
    for _ in range(3):
        before = engine.stats["host_waits"]
        tokens = engine.tokens(image, gaze=(0.5, 0.5), budget=BUDGET, patch=CELL, previous=tokens,
                               relevance={"information": True})
        assert engine.stats["host_waits"] - before == (engine.backend["rate"] != "cpu")


# Parity

@pytest.mark.parametrize("rates,smooth,hysteresis", [("vrs", True, 0.25), ("square", True, 1.0), ("vrs", True, 0.0),
                                                     ("vrs", False, 0.25), ("square", False, 0.0)])
def test_parity_over_frames(engine, rates, smooth, hysteresis):
    made = codes = detail = None
    for index in range(5):
        image = noisy(index, 12.0)
        made = engine.rate(image, budget=BUDGET, cell=CELL, max_rate=MAX_RATE, rates=rates, previous=made,
                           hysteresis=hysteresis, smooth=smooth)
        planes = planes_of(image)
        now = truth.detail(planes, CELL, MAX_RATE)
        detail = truth.smoothed(now, detail, CELL, MAX_RATE) if smooth and detail is not None else now
        codes = truth.rate(planes, BUDGET, CELL, MAX_RATE, rates=rates, before=codes, hysteresis=hysteresis,
                           gains=detail)
        assert_same(np.asarray(made.codes[0]), codes, f"frame {index}")
