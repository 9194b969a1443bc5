# SPDX-License-Identifier: Apache-2.0
"""layout: logpolar and cortical. The table is made on the host in double, so positions equal the oracle's but for
the last bit of a cosine: 2/65536 px; between backends they are equal by bytes."""

import math

import foveate
import numpy as np
import pytest
from images import random_image
from oracle import layout_polar as truth
from tolerance import assert_same

KINDS = "logpolar", "cortical"
ONE = 65536
CASES = [((480, 640), [(0.5, 0.5)]), ((480, 640), [(0.3, 0.6)]), ((100, 800), [(0.5, 0.0)]), ((800, 100), [(0.9, 0.1)]),
         ((64, 64), [(0.0, 0.0)]), ((333, 517), [(1.0, 0.37)]), ((300, 400), [(0.2, 0.3), (0.8, 0.7), (0.5, 0.1)]),
         ((1, 257), [(0.1, 0.5)]), ((1, 1), [(0.5, 0.5)])]


def rows_of(layout):
    """(centre x, centre y, size) in 1/131072 px and 1/65536 px, exact; of one image."""
    centre, size = layout.center_px[0].astype(np.float64), layout.size_px[0].astype(np.float64)
    assert (size[:, 0] == size[:, 1]).all()
    return centre, size[:, 0]


def distance(centre, gazes, size):
    points = np.array([(x * size[1], y * size[0]) for x, y in gazes])
    return np.linalg.norm(centre[:, None] - points[None], axis=2).min(1)


# Literals

def test_one_token_lies_on_the_gaze(engine):
    layout = engine.layout((100, 100), kind="logpolar", budget=1)
    assert layout.center_px.tolist() == [[[50.0, 50.0]]] and layout.valid.all()


def test_four_tokens_of_a_square(engine):
    """One on the gaze, three around it a third of a turn apart."""
    centre, size = rows_of(engine.layout((100, 100), kind="logpolar", budget=4, order="level"))
    assert centre[0].tolist() == [50, 50] and size[0] < size[1] == size[2] == size[3]
    angle = np.degrees(np.arctan2(*(centre[1:, ::-1] - 50).T)) % 360
    assert np.allclose(angle, [60, 180, 300], atol=1e-3) and np.ptp(np.hypot(*(centre[1:] - 50).T)) < 1e-4


def test_cortical_goes_by_the_golden_angle(engine):
    centre, _ = rows_of(engine.layout((1000, 1000), kind="cortical", budget=200, order="level"))
    angle = np.arctan2(*(centre[:50, ::-1] - 500).T)
    assert np.allclose(np.diff(angle) % (2 * math.pi), 2 * math.pi * 0.6180339887, atol=1e-3)


# Facts

@pytest.mark.parametrize("kind", KINDS)
def test_exactly_any_budget(cpu, kind):
    primes = (401, 499, 997, 2003)
    for budget in (*range(1, 401), *primes):
        size, gazes = CASES[budget % 7]
        layout = cpu.layout(size, kind=kind, budget=max(budget, len(gazes)), gaze=[gazes])
        centre, width = rows_of(layout)
        assert layout.rows == max(budget, len(gazes)) and layout.valid.all() and (width >= 16).all()
        assert (centre >= 0).all() and (centre <= size[::-1]).all()
        assert len(np.unique(centre, axis=0)) == len(centre), (size, budget)


@pytest.mark.parametrize("gaze", [(0.5, 0.5), (0.5, 0.0), (0.0, 0.0), (1.0, 1.0), (0.97, 0.4)])
@pytest.mark.parametrize("size", [(256, 256), (80, 640), (640, 80)])
def test_every_cell_of_the_rings_is_filled(engine, size, gaze):
    """The centres, put into the rings and sectors they come from, are one in each."""
    for budget in (31, 64, 273):
        centre, _ = rows_of(engine.layout(size, kind="logpolar", gaze=gaze, budget=budget, alpha=0.1))
        region = truth.Region([(gaze[0] * size[1], gaze[1] * size[0])], 0, size)
        edges, found = truth.sectors(region, 0.1 * math.hypot(*size) / 2, budget, region.profile())
        away = np.where(region.mirror, size[1::-1] - centre, centre) - region.gaze
        ring = np.searchsorted(edges, np.hypot(*away.T)) - 1
        angle = np.arctan2(away[:, 1], away[:, 0])
        assert set(ring) == set(range(len(edges) - 1)), "a ring without tokens"
        filled = 0
        for k, _, begin, length, tokens in found:
            inside = np.sort(((angle - begin) % truth.TURN)[ring == k])
            part = np.floor(inside[inside < length] / length * tokens).astype(int)
            assert tokens > 0 and part.tolist() == list(range(tokens)), (size, gaze, budget, k)
            filled += tokens
        assert filled == budget


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_grow_with_the_distance(engine, kind):
    for size, gazes in CASES[:6]:
        centre, width = rows_of(engine.layout(size, kind=kind, budget=200, gaze=[gazes], order="level"))
        away = distance(centre, gazes, size)
        assert (np.diff(width[np.argsort(away, kind="stable")]) >= -1e-3).all()
    centre, width = rows_of(engine.layout((1080, 1920), kind=kind, budget=273, gaze=(0.5, 0.5), order="level"))
    assert width[0] < width[-1] / 3
    # the pitch is that of M = 1 / (r + a): all tokens have about the same mass
    assert np.ptp(width / (distance(centre, [(0.5, 0.5)], (1080, 1920)) + 0.15 * math.hypot(1080, 1920) / 2)) < 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_the_area_adds_up(engine, kind):
    for size, gazes in CASES[:3]:
        _, width = rows_of(engine.layout(size, kind=kind, budget=150, gaze=[gazes]))
        assert 0.8 < (width**2).sum() / (size[0] * size[1]) < 1.25


def test_logpolar_leaves_little_uncovered(engine):
    for size, gazes in CASES[:6]:
        centre, width = rows_of(engine.layout(size, kind="logpolar", budget=200, gaze=[gazes]))
        count = np.zeros(size, int)
        for (x, y), w in zip(centre, width, strict=True):
            left, right, top, bottom = (max(round(v), 0) for v in (x - w / 2, x + w / 2, y - w / 2, y + w / 2))
            count[top:bottom, left:right] += 1
        assert (count > 0).mean() > 0.84, (size, (count > 0).mean())


@pytest.mark.parametrize("kind", KINDS)
def test_flip(engine, kind):
    height, width = 480, 640
    for gazes in ([(0.3, 0.6)], [(0.0, 0.125)], [(0.2, 0.3), (0.7, 0.6)]):
        here, size = rows_of(engine.layout((height, width), kind=kind, budget=173, gaze=[gazes], order="level"))
        for axis, extent in ((0, width), (1, height)):
            there = [tuple(1 - v if i == axis else v for i, v in enumerate(gaze)) for gaze in gazes]
            flipped, flipped_size = rows_of(engine.layout((height, width), kind=kind, budget=173, gaze=[there],
                                                          order="level"))
            flipped[:, axis] = extent - flipped[:, axis]
            # 1 - 0.3 is not 0.7: one step of the table, and of the float32 that carries it
            np.testing.assert_allclose(flipped, here, rtol=0, atol=2e-4)
            np.testing.assert_allclose(flipped_size, size, rtol=0, atol=2e-3)


def test_several_gazes_share_one_budget(engine):
    size, gazes = (600, 900), [(0.2, 0.3), (0.8, 0.7), (0.201, 0.3005)]
    for kind in KINDS:
        layout = engine.layout(size, kind=kind, budget=300, gaze=gazes)
        centre, width = rows_of(layout)
        points = np.array([(x * size[1], y * size[0]) for x, y in gazes[:2]])
        nearest = np.linalg.norm(centre[:, None] - points[None], axis=2).argmin(1)
        assert np.array_equal(layout.fixation[0], nearest), "each token belongs to the gaze point it is nearest to"
        assert np.bincount(nearest).min() > 140, "the regions are alike, so are their shares"
        assert (width[nearest == 0].min() / width[nearest == 1].min()) == pytest.approx(1, abs=0.1)


def test_order(engine):
    for kind in KINDS:
        raster = engine.layout((300, 400), kind=kind, budget=99, gaze=(0.2, 0.9)).center_px[0]
        assert np.array_equal(np.lexsort((raster[:, 0], raster[:, 1])), np.arange(99))
        level = engine.layout((300, 400), kind=kind, budget=99, gaze=(0.2, 0.9), order="level").center_px[0]
        assert sorted(map(tuple, level)) == sorted(map(tuple, raster))
        away = distance(level.astype(np.float64), [(0.2, 0.9)], (300, 400))
        assert (np.diff(away) > -0.01).all()


def test_strength(engine):
    for kind, name in (("logpolar", "alpha"), ("cortical", "e0")):
        weak, strong = (rows_of(engine.layout((1080, 1920), kind=kind, budget=273, **{name: value}))[1]
                        for value in (1.0, 0.05))
        assert weak.max() / weak.min() < 3 < 5 < strong.max() / strong.min()


def test_tokens_of_a_constant_image(engine):
    for kind in KINDS:
        tokens = engine.tokens(np.full((96, 128, 3), 51, np.uint8), layout=kind, budget=37, gaze=(0.9, 0.9))
        assert np.allclose(tokens.numpy(), 0.2, atol=1e-6) and tokens.valid.all()


# Parity

@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", range(len(CASES)))
def test_oracle(engine, kind, case):
    size, gazes = CASES[case]
    for budget, cell, strength in ((5, 16, None), (61, 14, 0.3), (200, 4, None)):
        want = truth.polar(kind, size, gazes, budget, cell, strength)
        name = "alpha" if kind == "logpolar" else "e0"
        got = engine.layout(size, kind=kind, budget=budget, gaze=[gazes], cell=cell, order="level", **{name: strength})
        centre, width = rows_of(got)
        exact = np.stack([want["x"] + want["w"] / 2, want["y"] + want["h"] / 2], 1) / ONE
        # 2/65536 px, and float32 at 800 px
        np.testing.assert_allclose(centre, exact, rtol=0, atol=2 / ONE + 800 * 2.0**-24, err_msg=f"{size} {budget}")
        np.testing.assert_allclose(width, want["w"] / ONE, rtol=0, atol=cell / ONE + 800 * 2.0**-24)
        for name in ("valid", "fixation", "image"):
            assert np.array_equal(getattr(got, name)[0], want[name]), name


@pytest.mark.parametrize("kind", KINDS)
def test_backends_agree(engine, cpu, kind):
    sizes = [size for size, _ in CASES]
    gaze = [points for _, points in CASES]
    for order in ("raster", "level"):
        options = {"kind": kind, "budget": 97, "gaze": gaze, "order": order}
        here, there = (e.layout(sizes, **options).table for e in (engine, cpu))
        assert_same(here.view(np.uint8), there.view(np.uint8))
    image = random_image(5, 97, 143)
    options = {"layout": kind, "budget": 41, "gaze": (0.7, 0.2)}
    assert_same(engine.tokens(image, **options).numpy(), cpu.tokens(image, **options).numpy())


# Errors

@pytest.mark.parametrize("options,words", [
    ({"kind": "logpolar", "alpha": 0}, r"alpha: got 0, expected 0\.001\.\.100"),
    ({"kind": "logpolar", "alpha": 0.0001}, r"alpha: got 0\.0001, expected 0\.001\.\.100"),
    ({"kind": "logpolar", "alpha": float("nan")}, r"alpha: got nan"),
    ({"kind": "logpolar", "alpha": "wide"}, r"alpha: got 'wide', expected a number"),
    ({"kind": "cortical", "e0": 101}, r"e0: got 101, expected 0\.001\.\.100"),
    ({"kind": "cortical", "e0": 0}, r"e0: got 0"),
    ({"kind": "grid", "alpha": 0.1}, r'alpha: got kind="grid", expected kind="logpolar"'),
    ({"kind": "logpolar", "e0": 0.1}, r'e0: got kind="logpolar", expected kind="cortical"'),
    ({"kind": "cortical", "budget": 0}, r"budget: got 0"),
    ({"kind": "cortical", "budget": 1, "gaze": [(0.1, 0.1), (0.9, 0.9)]}, r"budget: got 1, expected 2 or more"),
    ({"kind": "logpolar", "gaze": (2, 0)}, r"gaze.*2"),
])
def test_wrong_options(cpu, options, words):
    with pytest.raises(foveate.Error, match=rf"(?s)^layout: .*{words}"):
        cpu.layout((64, 96), **options)


def test_too_many_tokens(cpu):
    with pytest.raises(foveate.Error, match="at most 16777216 a call"):
        cpu.layout([(64, 96)] * 300, kind="logpolar", budget=65536)
