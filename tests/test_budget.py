# SPDX-License-Identifier: Apache-2.0
"""budget: how many tokens an image deserves."""

import foveate
import numpy as np
import pytest
from foveate.budget import BUDGETS, adaptive, complexity
from images import random_image

RNG = np.random.default_rng(0)
PLAIN = np.full((64, 80), 77, np.uint8)
NOISE = RNG.integers(0, 256, (64, 80), np.uint8)
STRIPES = (np.indices((64, 80))[1] // 2 % 2 * 255).astype(np.uint8)


def direct(luma):
    """The score of one luma plane 0..255, px by px."""
    padded = np.pad(luma, 1, "edge")
    kernel = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    gradient = np.zeros(luma.shape)
    for y, x in np.ndindex(luma.shape):
        around = padded[y:y + 3, x:x + 3]
        gradient[y, x] = min(255, (abs((around * kernel).sum()) + abs((around * kernel.T).sum())) / 4)
    count = np.bincount(luma.astype(int).ravel(), minlength=256)
    share = count[count > 0] / luma.size
    return (0.4 * gradient.mean() / 255 - 0.4 * (share * np.log2(share)).sum() / 8
            + 0.2 * gradient.var() / 127.5**2)


# Literals

def test_a_constant_image_is_plain(engine):
    assert complexity(PLAIN, engine=engine).tolist() == [0.0]
    assert adaptive(PLAIN, engine=engine).tolist() == [180]


def test_two_values_have_one_bit(engine):
    halves = np.zeros((8, 8), np.uint8)
    halves[:, 4:] = 255
    # the gradient is 255 in 2 of 8 columns: mean 1/4, variance 3/16 of 255^2; entropy 1 bit
    assert complexity(halves, engine=engine)[0] == pytest.approx(0.4 / 4 + 0.4 / 8 + 0.2 * 4 * 3 / 16)


def test_contrast_is_not_stretched(engine):
    """Bins lie over 0..256, whatever the image's own range."""
    faint = (NOISE // 64 + 100).astype(np.uint8)
    assert complexity(faint, engine=engine)[0] < 0.12


# Facts

def test_range_and_order(engine):
    plain, stripes, noise = (complexity(i, engine=engine)[0] for i in (PLAIN, STRIPES, NOISE))
    assert 0 == plain < stripes < noise <= 1


def test_types_agree(engine):
    image = random_image(3, 60, 90)
    byte = complexity(image, engine=engine)[0]
    assert complexity(image.astype(np.float32) / 255, engine=engine)[0] == pytest.approx(byte, abs=0.02)
    assert complexity(image.astype(np.uint16) * 257, engine=engine)[0] == pytest.approx(byte, abs=0.02)
    assert complexity(np.repeat(NOISE[..., None], 3, 2), engine=engine)[0] == pytest.approx(
        complexity(NOISE, engine=engine)[0], abs=0.02)


def test_a_large_image_is_read_small(engine):
    small = np.kron(NOISE[:32, :32], np.ones((8, 8), np.uint8))
    large = np.kron(small, np.ones((4, 4), np.uint8))
    assert complexity(large, engine=engine)[0] == pytest.approx(complexity(small, engine=engine)[0], abs=1e-9)


def test_buckets_cover_the_batch(engine):
    images = [PLAIN, NOISE, STRIPES, PLAIN.T.copy(), NOISE[:33]]
    wanted = adaptive(images, engine=engine)
    seen = []
    for indices, tokens in engine.buckets(images, model="vit16"):
        budget = set(wanted[indices].tolist())
        assert len(budget) == 1 and tokens.valid.shape == (len(indices), *budget)
        for row, index in enumerate(indices):
            alone = engine.tokens(images[index], budget=int(wanted[index]), model="vit16")
            assert np.array_equal(tokens.numpy()[row], alone.numpy()[0])
        seen += indices.tolist()
    assert sorted(seen) == list(range(5)) and len(set(wanted.tolist())) > 1


def test_buckets_of_a_batch_array(engine):
    images = np.stack([random_image(i, 48, 64) if i % 2 else np.full((48, 64, 3), 9, np.uint8) for i in range(4)])
    found = {tuple(indices.tolist()): tokens for indices, tokens in engine.buckets(images)}
    assert sorted(sum(found, ())) == [0, 1, 2, 3] and (0, 2) in found


def test_gaze_and_heat_follow_their_image(engine):
    images = [PLAIN, NOISE, PLAIN]
    gaze = [[(0.1, 0.2)], [(0.9, 0.4)], [(0.5, 0.5)]]
    for indices, tokens in engine.buckets(images, gaze=gaze, budgets=(20, 30, 40, 50)):
        for row, index in enumerate(indices):
            alone = engine.tokens(images[index], gaze=gaze[index], budget=tokens.valid.shape[1])
            assert np.array_equal(tokens.center_px[row], alone.center_px[0])
    heat = np.zeros((3, 4, 4))
    heat[range(3), range(3), range(3)] = 1
    for indices, tokens in engine.buckets(images, heat=heat, rho=0.9, budgets=(20, 30, 40, 50)):
        for row, index in enumerate(indices):
            alone = engine.tokens(images[index], heat=heat[index], rho=0.9, budget=tokens.valid.shape[1])
            assert np.array_equal(tokens.center_px[row], alone.center_px[0])


# Parity

def test_score(engine):
    for image in (NOISE, STRIPES, PLAIN, NOISE // 3, NOISE[:1], NOISE[:, :1]):
        assert complexity(image, engine=engine)[0] == pytest.approx(direct(image.astype(np.float64)), abs=1e-6)


def test_cuts():
    score = complexity(NOISE)[0]
    for cut, budget in ((score, 2), (np.nextafter(score, 1), 1)):
        assert adaptive(NOISE, budgets=(1, 2), cuts=[cut]).tolist() == [budget]
    assert BUDGETS == (180, 273, 365, 456)


# Errors

@pytest.mark.parametrize("options,words", [
    ({"budgets": (1, 2)}, "layout: budgets: got 2 budgets for 3 cuts, expected one budget more than cuts"),
    ({"budgets": (1, 2, 3, 0)}, r"layout: budgets: got 0, expected 1\.\.65536"),
    ({"cuts": (0.5, 0.4, 0.9)}, "layout: cuts: got .*, expected rising numbers"),
    ({"cuts": (0.1, float("nan"), 0.9)}, "layout: cuts: got "),
    ({"cuts": ("a", 0.4, 0.9)}, "layout: cuts: got 'a', expected a number"),
])
def test_wrong_options(cpu, options, words):
    with pytest.raises(foveate.Error, match=rf"^{words}"):
        list(cpu.buckets([PLAIN], **options))
