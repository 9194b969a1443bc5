# SPDX-License-Identifier: Apache-2.0
"""layout: which tokens an image gets. Everything here is integers, so everything is equal."""

import json
import pathlib

import foveate
import numpy as np
import pytest
from images import LONG, random_sizes
from oracle import layout as truth
from oracle import tensor
from tolerance import assert_same

GOLDEN = pathlib.Path(__file__).parent / "golden"


def table(layout):
    """[(x, y, width, height)] of each row in px."""
    centre, size = layout.center_px.reshape(-1, 2), layout.size_px.reshape(-1, 2)[:, ::-1]
    return np.concatenate([centre - size / 2, size], 1)


def assert_layout(layout, tokens, what=""):
    """A layout of one image, or several stacked, against the oracle's rows."""
    tokens = np.stack(tokens) if isinstance(tokens, list) else tokens[None]
    assert layout.rows == tokens.shape[1], what
    assert_same(layout.center_px, tensor.center_px(tokens), f"{what} center_px")
    assert_same(layout.size_px, tensor.size_px(tokens), f"{what} size_px")
    for name in ("valid", "fixation", "rate", "image"):
        got = np.asarray(getattr(layout, name))
        assert np.array_equal(got, tokens[name]), f"{what} {name}: {np.argwhere(got != tokens[name])[:3]}"


def covered(layout, size):
    """How often each px of the image is covered by whole-px tokens."""
    count = np.zeros(size, int)
    for x, y, w, h in table(layout).astype(int):
        count[max(y, 0):max(y + h, 0), max(x, 0):max(x + w, 0)] += 1
    return count


# Literals

def test_grid_of_four(engine):
    layout = engine.layout((32, 32), budget=4)
    assert table(layout).tolist() == [[0, 0, 16, 16], [16, 0, 16, 16], [0, 16, 16, 16], [16, 16, 16, 16]]
    assert layout.valid.all() and layout.rate.tolist() == [[0, 0, 0, 0]]


def test_grid_shapes():
    assert truth.grid_shape((100, 100), 16) == (4, 4)
    assert truth.grid_shape((100, 400), 16) == (2, 8)
    assert truth.grid_shape((400, 100), 16) == (8, 2)
    assert truth.grid_shape((1, 1000), 7) == (1, 7)


def test_grid_pads_to_the_budget(engine):
    layout = engine.layout((100, 100), budget=5)
    assert layout.valid.tolist() == [[True, True, True, True, False]]
    assert layout.size_px[0, 4].tolist() == [0, 0]


def test_rings_of_twenty(engine):
    layout = engine.layout((288, 288), kind="rings", strides=(1, 2, 6), grids=(2, 3, 3), order="level",
                           budget=None, cell=16)
    assert layout.rows == 20
    assert table(layout)[:5].tolist() == [[128, 128, 16, 16], [144, 128, 16, 16], [128, 144, 16, 16],
                                          [144, 144, 16, 16], [96, 96, 32, 32]]
    assert table(layout)[-1].tolist() == [192, 192, 96, 96]


def test_rings_default_counts(engine):
    layout = engine.layout((1280, 1280), kind="rings", budget=None, cell=16)
    widths, counts = np.unique(layout.size_px[0, :, 1], return_counts=True)
    assert (widths / 16).tolist() == [1, 2, 4, 6, 8] and counts.tolist() == [16, 12, 32, 48, 64]
    assert layout.rows == 172


def test_explicit_view(engine):
    layout = engine.layout((100, 200), kind="views", views=[((0, 0, 1, 1), (1, 2))], cell=16)
    assert table(layout)[:2].tolist() == [[0, 0, 100, 100], [100, 0, 100, 100]]


# Facts

def test_count_is_the_budget(engine):
    for size in random_sizes(12):
        for kind, least in (("grid", 1), ("views", 2)):
            for budget in (least, 7, 64, 273):
                layout = engine.layout(size, kind=kind, budget=budget)
                assert layout.center_px.shape == (1, budget, 2) and layout.rows == budget


def test_grid_has_no_gap_and_no_overlap(cpu):
    for height, width in random_sizes(40):
        for budget in (5, 37, 273):
            tokens = truth.grid((height, width), budget)
            assert_layout(cpu.layout((height, width), budget=budget), tokens)
            tokens = tokens[tokens["valid"] == 1].astype([(n, np.int64) for n in truth.TOKEN.names])
            assert (tokens["w"] * tokens["h"]).sum() == height * width << 32
            rows, columns = truth.grid_shape((height, width), budget)
            cells = tokens.reshape(rows, columns)
            assert (cells["x"][:, 1:] == (cells["x"] + cells["w"])[:, :-1]).all()
            assert (cells["y"][1:] == (cells["y"] + cells["h"])[:-1]).all()


def test_rings_cover_once(engine):
    patterns = ((1, 2, 6), (2, 3, 3)), ((1, 2, 4, 8), (4, 4, 4, 4)), (truth.STRIDES, truth.GRIDS)
    for strides, grids in patterns:
        side = strides[-1] * grids[-1] * 4
        layout = engine.layout((side, side), kind="rings", strides=strides, grids=grids, budget=None, cell=4)
        assert (covered(layout, (side, side)) == 1).all()


def test_fovea_follows_the_gaze(engine):
    for gaze in ((0.5, 0.5), (0.0, 0.0), (1.0, 1.0), (0.31, 0.77)):
        layout = engine.layout((400, 600), kind="views", gaze=gaze, budget=100)
        fine = table(layout)[(layout.size_px[0] == 16).all(1)]
        centre = (fine[:, :2].min(0) + (fine[:, :2] + fine[:, 2:]).max(0)) / 2
        reach = 16 * np.sqrt(len(fine)) / 2
        wanted = np.clip(np.array(gaze) * (600, 400), reach, (600 - reach, 400 - reach))
        assert np.abs(centre - wanted).max() <= 1


def test_flip(engine):
    def mirrored(rows):
        rows[:, 0] = np.where(rows[:, 2] > 0, 512 - rows[:, 0] - rows[:, 2], 0)
        return sorted(map(tuple, rows))

    grid = table(engine.layout((256, 512), budget=128))
    assert mirrored(grid.copy()) == sorted(map(tuple, grid))
    for x, y in ((0.25, 0.5), (0.75, 0.125)):
        here, there = (table(engine.layout((256, 512), kind="rings", gaze=(gaze, y), budget=None))
                       for gaze in (x, 1 - x))
        assert mirrored(there) == sorted(map(tuple, here))


def test_order_is_raster(engine):
    centre = engine.layout((900, 700), kind="rings", gaze=(0.2, 0.9), budget=None).center_px[0]
    assert np.array_equal(np.lexsort((centre[:, 0], centre[:, 1])), np.arange(len(centre)))
    by_level = engine.layout((900, 700), kind="rings", gaze=(0.2, 0.9), budget=None, order="level")
    assert sorted(map(tuple, by_level.center_px[0])) == sorted(map(tuple, centre))
    assert (np.diff(by_level.size_px[0, :, 0]) >= 0).all()


def test_gaze_units_agree(engine):
    uv = engine.layout((100, 200), kind="rings", gaze=(0.25, 0.5), budget=None)
    px = engine.layout((100, 200), kind="rings", gaze=(50, 50), unit="px", budget=None)
    assert_same(px.center_px, uv.center_px)


def test_clamp_only_when_asked(engine):
    inside = engine.layout((100, 200), kind="rings", gaze=(1.0, 0.0), budget=None)
    clamped = engine.layout((100, 200), kind="rings", gaze=(1.5, -3.0), clamp=True, budget=None)
    assert_same(clamped.center_px, inside.center_px)


# Parity

GAZES = [[(0.5, 0.5)], [(0.0, 1.0)], [(0.123, 0.877), (0.9, 0.05)], [(0.3, 0.3), (0.31, 0.3), (1.0, 1.0)]]


@pytest.mark.parametrize("cell", [1, 16, 28, 32])
def test_parity(engine, cell):
    for index, size in enumerate(random_sizes(240 if LONG else 24, seed=cell)):
        gazes = GAZES[index % len(GAZES)]
        budget = (1, 4, 17, 100, 273, 1024)[index % 6]
        assert_layout(engine.layout(size, budget=budget, cell=cell), truth.grid(size, budget, cell),
                      f"grid {size}")
        assert_layout(engine.layout(size, kind="rings", budget=None, gaze=gazes, cell=cell),
                      truth.rings(size, gazes, cell), f"rings {size}")
        few = max(budget, 2 * len(gazes))
        assert_layout(engine.layout(size, kind="views", budget=few, gaze=gazes, cell=cell),
                      truth.views(size, gazes, few, cell), f"views {size} {few}")
        if min(size) >= 20:
            rectangles = [((0, 0, 1, 1), (3, 4)), ((0.123, 0.25, 0.777, 1), (5, 1)), ((0.3, 0.1, 0.4, 0.9), (2, 2))]
            assert_layout(engine.layout(size, kind="views", views=rectangles, cell=cell),
                          truth.given_views(size, rectangles, cell), f"given views {size}")
        shape = 1 + index % 5, 1 + index % 7
        assert_layout(engine.layout(size, grid=shape, cell=cell), truth.grid(size, cell=cell, shape=shape),
                      f"grid {shape}")


def test_parity_of_a_mixed_batch(engine):
    sizes = random_sizes(9, seed=4)
    assert_layout(engine.layout(sizes, budget=60), [truth.grid(s, 60, image=i) for i, s in enumerate(sizes)])
    layout = engine.layout(sizes, kind="rings", budget=None, order="level", gaze=(0.2, 0.6))
    assert_layout(layout, [truth.rings(s, [(0.2, 0.6)], order="level", image=i) for i, s in enumerate(sizes)])
    gaze = [(0.7, 0.6), (0.1, 0.2)]
    layout = engine.layout(sizes, kind="views", budget=90, gaze=gaze)
    assert_layout(layout, [truth.views(s, gaze, 90, image=i) for i, s in enumerate(sizes)])


def test_parity_of_long_sides(engine):
    for size in ((667, 1001), (16, 4096), (17, 1), (16384, 4096), (1, 16384)):
        assert_layout(engine.layout(size), truth.grid(size), f"{size}")
        assert_layout(engine.layout(size, kind="rings", budget=None, gaze=(0.999, 0.001)),
                      truth.rings(size, [(0.999, 0.001)]), f"{size}")


def rows_of(layout):
    rows = np.concatenate([table(layout), layout.valid[0][:, None]], 1)
    return rows.astype(int).tolist()


TABLES = {
    "rings_20": lambda engine: rows_of(engine.layout((100, 150), kind="rings", strides=(1, 2, 6),
                                                     grids=(2, 3, 3), gaze=(0.25, 0.5), budget=None)),
    "rings_172": lambda engine: rows_of(engine.layout((600, 800), kind="rings", order="level", budget=None)),
    "views_64": lambda engine: rows_of(engine.layout((512, 512), kind="views", gaze=(0.25, 0.75), budget=64)),
    "grid_shapes": lambda engine: [[h, w, k, *shape_of(engine, (h, w), k)] for h, w in
                                   ((480, 640), (1080, 1920), (1001, 667), (16, 4096), (1, 1))
                                   for k in (1, 16, 64, 273, 1000)],
}


def shape_of(engine, size, budget):
    """(rows, columns) that a budget became, from where its tokens lie."""
    layout = engine.layout(size, budget=budget)
    centre = layout.center_px[0][layout.size_px[0, :, 0] > 0]
    return len(np.unique(centre[:, 1])), len(np.unique(centre[:, 0]))


@pytest.mark.parametrize("name", TABLES)
def test_golden(engine, backend, name, request):
    path = GOLDEN / f"layout_{name}.json"
    got = TABLES[name](engine)
    if request.config.getoption("--update-golden") and backend == "cpu":
        path.write_text("[\n" + ",\n".join(json.dumps(row) for row in got) + "\n]\n")
    assert got == json.loads(path.read_text())


# Errors

SIZE = (64, 96)


@pytest.mark.parametrize("options,words", [
    ({"budget": 0}, r"budget: got 0, expected 1\.\.65536"),
    ({"budget": -5}, r"budget: got -5, expected 1\.\.65536"),
    ({"budget": 65537}, r"budget: got 65537, expected 1\.\.65536"),
    ({"kind": "spiral"}, r"kind.*spiral.*grid.*rings.*views"),
    ({"kind": "rings", "gaze": (1.01, 0.5)}, r"gaze.*1\.01.*0.*1.*clamp"),
    ({"kind": "rings", "gaze": (0.5, -0.01)}, r"gaze.*-0\.01"),
    ({"kind": "rings", "gaze": (float("nan"), 0.5)}, r"gaze.*nan"),
    ({"kind": "rings", "gaze": (0.5, float("inf"))}, r"gaze.*inf"),
    ({"kind": "rings", "gaze": (float("nan"), 0.5), "clamp": True}, r"gaze.*nan"),
    ({"kind": "rings", "gaze": (97, 5), "unit": "px"}, r"gaze.*97"),
    ({"kind": "rings", "gaze": (1, 2, 3)}, r"gaze"),
    ({"kind": "rings", "unit": "deg", "gaze": (0.5, 0.5)}, r"unit.*deg.*uv.*px"),
    ({"kind": "rings", "order": "hilbert"}, r"order.*hilbert.*raster.*level"),
    ({"kind": "rings", "strides": (1, 2), "grids": (4,)}, r"grids|strides"),
    ({"kind": "rings", "strides": (2, 1), "grids": (4, 4)}, r"strides"),
    ({"kind": "rings", "strides": (1, 3), "grids": (4, 4)}, r"strides|grids"),
    ({"kind": "rings", "strides": (1, 2), "grids": (4, 5)}, r"grids"),
    ({"kind": "rings", "strides": (1, 65), "grids": (65, 3)}, r"strides"),
    ({"kind": "rings", "strides": (), "grids": ()}, r"strides"),
    ({"kind": "rings", "budget": 100}, r"budget.*100.*172"),
    ({"kind": "rings", "gaze": [(0.5, 0.5)] * 65}, r"gaze.*65.*64"),
    ({"grid": (0, 4)}, r"grid"),
    ({"grid": (1000, 1000)}, r"65536"),
    ({"cell": 0}, r"cell.*0"),
    ({"cell": 100000}, r"cell.*100000"),
    ({"kind": "views", "views": [((0.5, 0, 0.5, 1), (2, 2))]}, r"views?"),
    ({"kind": "views", "views": [((0, 0, 2, 1), (2, 2))]}, r"views?"),
    ({"kind": "views", "views": [((0, 0, 1, 1), (2, 2))] * 65}, r"views?.*65.*64"),
])
def test_wrong_options(cpu, options, words):
    with pytest.raises(foveate.Error, match=rf"(?s)^layout: .*{words}") as error:
        cpu.layout(SIZE, **options)
    assert "got" in str(error.value) and "expected" in str(error.value)
    assert_layout(cpu.layout(SIZE), truth.grid(SIZE), "after an error")


@pytest.mark.parametrize("size", [(0, 4), (4, 0), (-1, 4), (16385, 1), (1, 16385)])
def test_wrong_sizes(cpu, size):
    with pytest.raises(foveate.Error, match=r"(?s)^(layout|image): .*got .*expected"):
        cpu.layout(size)


def test_gaze_of_each_image(cpu):
    layout = cpu.layout([SIZE, SIZE], kind="rings", gaze=[[(0.1, 0.2)], [(0.8, 0.9)]], budget=None)
    gazes = enumerate([(0.1, 0.2), (0.8, 0.9)])
    assert_layout(layout, [truth.rings(SIZE, [gaze], image=i) for i, gaze in gazes])
    with pytest.raises(foveate.Error, match=r"(?s)^layout: gaze"):
        cpu.layout([SIZE] * 3, kind="rings", gaze=[[(0.1, 0.2)], [(0.8, 0.9)]], budget=None)
