# SPDX-License-Identifier: Apache-2.0
"""layout: views with a region of the heat, with passes, and of gaze points close together. Integers: all equal."""

import math

import foveate
import numpy as np
import pytest
from foveate.layout_roi import roi, trace_heat
from images import LONG
from oracle import layout as views_truth
from oracle import layout_roi as truth
from test_layout import assert_layout, table


def random_heats(count, seed=3):
    """Noise, few peaks, ties, lines, and single cells; all small enough to try every box."""
    rng = np.random.default_rng(seed)
    for index in range(count):
        shape = rng.integers(1, 9, 2)
        kind = index % 4
        heat = rng.random(shape) if kind == 0 else rng.integers(0, 3, shape).astype(float)
        if kind == 2:
            heat = np.where(rng.random(shape) < 0.2, rng.random(shape), 0)
        if kind == 3:
            heat = rng.integers(0, 2, shape) * 1.0
        heat.flat[rng.integers(heat.size)] += 1
        yield heat


# Literals

def test_a_peak():
    heat = np.zeros((4, 8))
    heat[1, 2] = heat[1, 3] = 1
    assert roi(heat, 0.5) == (0.25, 0.25, 0.375, 0.5), "the tie goes to the left one"
    assert roi(heat, 0.51) == (0.25, 0.25, 0.5, 0.5)
    assert roi(heat, 1.0) == (0.25, 0.25, 0.5, 0.5)


def test_growing_from_the_peak_is_not_minimal():
    """The largest cell is left out where a neighbourhood of smaller ones is denser."""
    heat = np.zeros((5, 9))
    heat[2, 0] = 10
    heat[1:3, 6:8] = 9
    assert roi(heat, 0.7) == (6 / 9, 1 / 5, 8 / 9, 3 / 5)


def test_views_of_a_region(engine):
    heat = np.zeros((4, 4))
    heat[1, 1] = 1
    layout = engine.layout((256, 256), kind="views", rho=0.9, heat=heat, budget=32)
    rows = table(layout)
    assert rows[:16, 2:].tolist() == [[64, 64]] * 16, "the overview"
    assert rows[16:].tolist() == [[64 + 16 * (i % 4), 64 + 16 * (i // 4), 16, 16] for i in range(16)]


def test_three_passes(engine):
    layout = engine.layout((960, 960), kind="views", gaze=(0.5, 0.5), budget=75, passes=3)
    rows = table(layout)
    assert layout.valid.all() and np.unique(rows[:, 2], return_counts=True)[1].tolist() == [25, 25, 25]
    assert [rows[i, 2] for i in (0, 25, 50)] == [192, 55, 16]
    assert (np.abs(rows[50:, :2] - 472).max()) == 32, "5 x 5 at full resolution in the middle"


# Facts

def test_all_of_the_mass_is_the_bounding_box():
    for heat in random_heats(40):
        rows, columns = heat.shape
        y, x = np.nonzero(np.floor(heat / heat.max() * 65535 + 0.5))
        assert roi(heat, 1.0) == (x.min() / columns, y.min() / rows, (x.max() + 1) / columns, (y.max() + 1) / rows)


def test_the_box_grows_with_rho():
    heat = np.random.default_rng(2).random((32, 32)) ** 4
    areas = [(x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in (roi(heat, rho) for rho in np.linspace(0.05, 1, 20))]
    assert areas == sorted(areas)


def test_heat_of_a_trace(cpu):
    rng = np.random.default_rng(5)
    trace = np.clip(rng.normal((0.7, 0.3), 0.05, (500, 2)), 0, 1)
    heat = trace_heat(trace, (480, 640))
    assert heat.shape == (32, 32) and heat.min() >= 0
    x0, y0, x1, y1 = roi(heat, 0.8)
    inside = ((trace >= (x0, y0)) & (trace <= (x1, y1))).all(1).mean()
    assert 0.7 < inside <= 1 and (x1 - x0) * (y1 - y0) < 0.1
    narrow = trace_heat([(0.5, 0.5)], (480, 640), grid=(1, 1), sigma=0.001)
    assert narrow[0, 0] == pytest.approx(1), "no Gaussian is too narrow for its cell"
    layout = cpu.layout((480, 640), kind="views", rho=0.8, heat=heat, budget=100)
    fine = table(layout)[layout.valid[0] & (layout.size_px[0, :, 0] < layout.size_px[0, 0, 0] / 2)]
    assert np.allclose([fine[:, 0].min() / 640, fine[:, 1].min() / 480], [x0, y0], atol=1e-3)


def test_no_finer_than_the_image(engine):
    """A region of few px takes as few tokens, and the overview has the rest."""
    heat = np.zeros((8, 8))
    heat[3, 3] = 1
    layout = engine.layout((512, 512), kind="views", rho=0.5, heat=heat, budget=273)
    size = layout.size_px[0, :, 0]
    assert (size == 16).sum() == 16 and layout.valid.sum() == 16 + 256


def test_close_foveas_show_nothing_twice(engine):
    for gaze in ([(0.5, 0.5), (0.51, 0.5)], [(0.1, 0.1), (0.12, 0.1), (0.1, 0.14), (0.9, 0.9)], [(0.3, 0.3)] * 5):
        layout = engine.layout((480, 640), kind="views", gaze=gaze, budget=273)
        fine = table(layout)[layout.size_px[0, :, 0] == 16]
        assert len(fine) == math.isqrt(136 // len(gaze)) ** 2 * len(gaze)
        assert len(np.unique(fine, axis=0)) == len(fine) and (fine % 16 == 0).all()
        # the nearest ones: no cell outside is nearer than one inside
        points = np.array(gaze) * (640, 480)
        cells = np.array([(16 * c + 8, 16 * r + 8) for r in range(30) for c in range(40)])
        away = np.abs(cells[:, None] - points[None]).max(2).min(1)
        taken = {tuple(centre) for centre in fine[:, :2] + 8}
        inside = np.array([tuple(cell) in taken for cell in cells.tolist()])
        assert away[inside].max() <= away[~inside].min()


def test_distant_foveas_are_squares(engine):
    layout = engine.layout((480, 640), kind="views", gaze=[(0.2, 0.5), (0.8, 0.5)], budget=100)
    assert np.bincount(layout.fixation[0][layout.size_px[0, :, 0] == 16]).tolist() == [25, 25]


def test_passes_are_left_out_of_small_images(engine):
    layout = engine.layout((64, 64), kind="views", budget=100, passes=4)
    fine = table(layout)[layout.size_px[0, :, 0] == 16]
    assert len(np.unique(fine, axis=0)) == len(fine), "no pass repeats another"


def test_budget_is_kept(cpu):
    rng = np.random.default_rng(1)
    for budget in (8, 17, 64, 101, 273, 400):
        for size in ((480, 640), (50, 900), (17, 23)):
            gaze = [tuple(point) for point in rng.random((2, 2))]
            for options in ({"passes": 3}, {"passes": 4}, {"rho": 0.4}, {"rho": 0.9, "grid": (7, 5), "sigma": 0.1}):
                layout = cpu.layout(size, kind="views", budget=budget, gaze=gaze, **options)
                assert layout.rows == budget and layout.valid.sum() >= 0.5 * budget, (size, options)


# Parity

def test_smallest_box():
    for heat in random_heats(400 if LONG else 60):
        rows, columns = heat.shape
        for rho in (0.05, 0.3, 0.5, 0.8, 1.0):
            x0, y0, x1, y1 = truth.box(heat, rho)
            assert roi(heat, rho) == (x0 / columns, y0 / rows, x1 / columns, y1 / rows), (heat, rho)


def test_parity_of_regions(engine):
    rng = np.random.default_rng(7)
    for index, heat in enumerate(random_heats(24, seed=8)):
        size = tuple(int(v) for v in rng.integers(20, 700, 2))
        budget, cell = (2, 9, 64, 273)[index % 4], (16, 14)[index % 2]
        want = truth.views(size, truth.box(heat, 0.6), heat.shape, budget, cell)
        assert_layout(engine.layout(size, kind="views", rho=0.6, heat=heat, budget=budget, cell=cell), want)
    for size, gaze in (((120, 90), [(0.3, 0.2)]), ((64, 200), [(0.1, 0.9), (0.15, 0.8), (0.9, 0.5)])):
        points = [(x * size[1], y * size[0]) for x, y in gaze]
        heat = truth.gaussian(points, size, (6, 8), 0.1)
        want = truth.views(size, truth.box(heat, 0.5), heat.shape, 80)
        assert_layout(engine.layout(size, kind="views", gaze=gaze, rho=0.5, grid=(6, 8), sigma=0.1, budget=80), want)


def test_parity_of_passes(engine):
    for size in ((480, 640), (333, 111), (1000, 90), (12, 300), (5, 3)):
        for gazes in ([(0.5, 0.5)], [(0.1, 0.9), (0.12, 0.85)], [(0.0, 0.0), (1.0, 1.0), (0.5, 0.4)]):
            for passes, budget, cell in ((2, 90, 16), (3, 90, 16), (4, 273, 14), (3, 200, 1)):
                want = views_truth.views(size, gazes, budget, cell, passes=passes)
                assert_layout(engine.layout(size, kind="views", gaze=[gazes], budget=budget, cell=cell, passes=passes),
                              want, f"{size} {gazes} {passes}")


def test_a_batch_has_a_heat_for_each_image(engine):
    rng = np.random.default_rng(3)
    sizes, heats = [(100, 200), (300, 150)], rng.random((2, 4, 5))
    want = [truth.views(size, truth.box(heat, 0.5), (4, 5), 60, image=i)
            for i, (size, heat) in enumerate(zip(sizes, heats, strict=True))]
    for heat in (heats, list(heats), heats.tolist()):
        assert_layout(engine.layout(sizes, kind="views", rho=0.5, heat=heat, budget=60), want)


# Errors

HEAT = [[1.0, 2.0]]


@pytest.mark.parametrize("options,words", [
    ({"rho": 0, "heat": HEAT}, r"rho: got 0, expected above 0, and 1 at most"),
    ({"rho": 1.01, "heat": HEAT}, r"rho: got 1\.01, expected above 0"),
    ({"rho": float("nan"), "heat": HEAT}, r"rho: got nan"),
    ({"rho": "half", "heat": HEAT}, r"rho: got 'half', expected a number"),
    ({"rho": 0.5}, r"rho: got neither heat nor gaze, expected one of them"),
    ({"heat": HEAT}, r"rho: got none with heat or sigma"),
    ({"sigma": 0.1}, r"rho: got none with heat or sigma"),
    ({"rho": 0.5, "heat": HEAT, "passes": 3}, r"rho: got 3 passes, expected rho alone"),
    ({"rho": 0.5, "heat": HEAT, "views": [((0, 0, 1, 1), (1, 1))]}, r"rho: got views, expected rho alone"),
    ({"rho": 0.5, "heat": [[-1.0, 2.0]]}, r"heat: got -1, expected finite numbers of 0 or more"),
    ({"rho": 0.5, "heat": [[float("nan"), 2.0]]}, r"heat: got nan, expected finite"),
    ({"rho": 0.5, "heat": [[0.0, 0.0]]}, r"heat: got no mass, expected a value above 0"),
    ({"rho": 0.5, "heat": np.ones((257, 2))}, r"heat: got 257 x 2, expected rows and columns of 1\.\.256"),
    ({"rho": 0.5, "heat": np.ones((0, 2))}, r"heat: got 0 x 2"),
    ({"rho": 0.5, "heat": [1.0, 2.0]}, r"heat: got shape \(2,\), expected \(rows, columns\)"),
    ({"rho": 0.5, "heat": "hot"}, r"heat: got str, expected an array of numbers"),
    ({"rho": 0.5, "heat": np.ones((2, 3, 3))}, r"heat: got 2 maps for 1 images"),
    ({"rho": 0.5, "gaze": (0.5, 0.5), "sigma": 2}, r"sigma: got 2, expected 0\.001\.\.1"),
    ({"rho": 0.5, "gaze": (0.5, 0.5), "grid": (257, 3)}, r"grid: got 257 x 3, expected a heat grid"),
    ({"rho": 0.5, "heat": HEAT, "budget": 1}, r"budget: got 1, expected 2 or more for an overview and a region"),
    ({"passes": 1}, r"passes: got 1, expected 2\.\.4"),
    ({"passes": 5}, r"passes: got 5, expected 2\.\.4"),
    ({"passes": 3, "views": [((0, 0, 1, 1), (1, 1))]}, r"passes: got 3, expected none with views"),
    ({"passes": 3, "budget": 2}, r"budget: got 2, expected 3 or more for an overview"),
    ({"kind": "grid", "passes": 3}, r'passes: got kind="grid", expected kind="views"'),
    ({"kind": "rings", "rho": 0.5}, r'rho: got kind="rings", expected kind="views"'),
])
def test_wrong_options(cpu, options, words):
    with pytest.raises(foveate.Error, match=rf"(?s)^layout: .*{words}"):
        cpu.layout((64, 96), **{"kind": "views", **options})


@pytest.mark.parametrize("options,words", [
    ({"points": [(2, 2)]}, "points: got none in the image"),
    ({"points": [1, 2]}, r"points: got shape \(2,\), expected \(n, 2\)"),
    ({"points": None}, "points: got "),
    ({"size": 5}, "size: got 5, expected a pair"),
    ({"size": (0, 5)}, r"size: got 0, expected 1\.\.16384"),
    ({"grid": (0, 5)}, r"grid: got 0, expected 1\.\.256"),
    ({"grid": (300, 5)}, "grid: got 300 x 5, expected a heat grid"),
    ({"sigma": 0}, r"sigma: got 0\.0, expected 0\.001"),
])
def test_wrong_traces(options, words):
    values = {"points": [(0.5, 0.5)], "size": (10, 20), **options}
    with pytest.raises(foveate.Error, match=f"^layout: {words}"):
        trace_heat(values.pop("points"), values.pop("size"), **values)
