# SPDX-License-Identifier: Apache-2.0
"""rate: how many cells one token covers. Everything here is integers, so everything is equal."""

import itertools

import foveate
import numpy as np
import pytest
from images import LONG, random_image, random_sizes
from oracle import rate as truth
from oracle.image import image as planes
from test_layout import assert_layout
from tolerance import assert_same


def planes_of(image):
    return planes(image, "last")


SLOW = 1 if LONG else 25        # a driver in software sees one draw in this many


def codes(rates):
    return [np.asarray(c) for c in rates.codes]


def code_of(engine, image, **options):
    (result,) = codes(engine.rate(image, **options))
    return result


def extents(codes):
    """(..., 2): w, h in cells."""
    return np.array([truth.extent(c) for c in np.ravel(codes)]).reshape(*np.shape(codes), 2)


def boxes(layout, index=0):
    """(x, y, w, h) of the valid rows of one image, px."""
    valid = layout.valid[index]
    size = layout.size_px[index][valid][:, ::-1]
    return np.concatenate([layout.center_px[index][valid] - size / 2, size], 1).astype(int)


def covered(layout, size, index=0):
    """How often each px of the image is covered."""
    count = np.zeros(size, int)
    for x, y, w, h in boxes(layout, index):
        count[y:y + h, x:x + w] += 1
    return count


def draw(seed, block_multiple=False):
    """(image, options) of a random case that has room for its budget."""
    rng = np.random.default_rng(seed)
    # equal gains along both axes go to x, and are common where a cell is a px or two
    cell = int(rng.choice([4, 7, 8] if block_multiple else [1, 2, 4, 7, 8]))
    max_rate = int(rng.choice([1, 2, 4, 8, 16]))
    height, width = (int(v) for v in rng.integers(1, 18, 2) * cell)
    if block_multiple:
        height, width = (int(v) * max_rate * cell for v in rng.integers(1, max(2, 17 // max_rate), 2))
    elif rng.random() < 0.7:
        height, width = (max(1, v - int(rng.integers(0, cell))) for v in (height, width))
    image = random_image(seed, height, width, 0 if min(height, width) < 5 else int(rng.choice([0, 3])))
    cells, least = int(np.prod(truth.grid_shape((height, width), cell))), truth.blocks((height, width), cell, max_rate)
    budget = int(rng.integers(least, cells + 1)) if rng.random() < 0.9 else cells + int(rng.integers(0, 9))
    return image, {"cell": cell, "max_rate": max_rate, "budget": budget}, tuple(rng.random(2))


# Literals

def test_codes():
    assert [truth.code(*size) for size in ((1, 1), (1, 2), (2, 1), (2, 4), (4, 4), (8, 4), (8, 8))] == [
        0, 1, 4, 6, 10, 14, 15]
    assert [truth.code(*size) for size in ((8, 16), (16, 8), (16, 16))] == [28, 35, 48]
    for w, h in itertools.product((1, 2, 4, 8, 16), repeat=2):
        assert truth.extent(truth.code(w, h)) == (w, h)


def test_slots():
    assert [truth.slot(*split) for split in truth.slots(16)] == list(range(16))
    assert truth.slots(2) == [("x", 2, 1), ("y", 1, 2), ("x", 2, 2), ("y", 2, 2)]


def test_an_edge_is_split_first(engine):
    image = np.zeros((4, 4), np.uint8)
    image[:, 2:] = 255
    got = [code_of(engine, image, budget=k, cell=1, max_rate=4) for k in (1, 2, 16)]
    assert np.unique(got[0]).tolist() == [10] and np.unique(got[1]).tolist() == [6]
    assert np.unique(got[2]).tolist() == [0]
    assert np.unique(code_of(engine, image.T.copy(), budget=2, cell=1, max_rate=4)).tolist() == [9]


def test_a_corner(engine):
    image = np.zeros((4, 4), np.uint8)
    image[3, 3] = 200
    assert code_of(engine, image, budget=5, cell=1, max_rate=4).tolist() == [
        [6, 6, 5, 5], [6, 6, 5, 5], [6, 6, 1, 0], [6, 6, 1, 0]]
    assert code_of(engine, image, budget=4, cell=1, max_rate=4, rates="square").tolist() == [[5] * 4] * 4


def test_flat_is_coarse_first_in_raster_order(engine):
    image = np.full((8, 8), 77, np.uint8)
    got = [code_of(engine, image, budget=k, cell=1, max_rate=4) for k in range(4, 65)]
    assert np.unique(got[0]).tolist() == [10] and np.unique(got[4]).tolist() == [6]
    assert got[1].tolist() == [[6] * 4 + [10] * 4] * 4 + [[10] * 8] * 4
    assert got[2].tolist() == [[6] * 8] * 4 + [[10] * 8] * 4
    assert np.unique(got[5][:4, :2]).tolist() == [5] and np.unique(got[5][4:]).tolist() == [6]


def test_budget_of_whole_blocks(engine):
    rates = engine.rate(np.zeros((64, 96), np.uint8), budget=2, cell=8, max_rate=8)
    assert codes(rates)[0].tolist() == [[15] * 8 + [11] * 4] * 8
    assert (rates.budget, rates.max_rate) == (2, 8)
    assert [tuple(size) for size in rates.grid_sizes] == [(8, 12)]


def test_max_rate_follows_the_budget(engine):
    image = np.zeros((256, 256), np.uint8)         # 16 x 16 cells of 16 px: 16 blocks of 4
    assert [engine.rate(image, budget=k, cell=16).max_rate for k in (64, 63, 16, 15)] == [4, 8, 8, 16]


# Facts

def test_every_budget_is_met(engine):
    image = random_image(5, 60, 91)
    for max_rate, cell in ((4, 7), (16, 8), (2, 13)):
        rows, columns = truth.grid_shape((60, 91), cell)
        least, before = truth.blocks((60, 91), cell, max_rate), None
        for budget in range(least, rows * columns + 3, 1 if engine.backend["rate"] == "cpu" else 7):
            rates = engine.rate(image, budget=budget, cell=cell, max_rate=max_rate)
            layout = engine.layout(rates.sizes, kind="rate", rates=rates)
            assert layout.rows == budget
            assert layout.valid.sum() == min(budget, rows * columns)
            now = extents(codes(rates)[0])
            assert before is None or (now <= before).all(), "a split was taken back"
            before = now


def check_draw(engine, seed, rates="vrs"):
    image, options, gaze = draw(seed)
    size = image.shape[:2]
    relevance = engine.relevance(image, gaze=gaze, cell=options["cell"])
    made = engine.rate(image, relevance=relevance, rates=rates, **options)
    layout = engine.layout(made.sizes, kind="rate", rates=made)
    cells = int(np.prod(truth.grid_shape(size, options["cell"])))
    short = min(options["budget"], cells) - int(layout.valid.sum())
    assert layout.rows == options["budget"]
    assert short == 0 if rates == "vrs" else 0 <= short <= 2, f"{seed}: {short} tokens are missing"
    assert (covered(layout, size) == 1).all(), f"{seed}: a gap or an overlap"
    table = boxes(layout)
    assert (np.lexsort((table[:, 0], table[:, 1])) == np.arange(len(table))).all(), f"{seed}: order"
    valid = layout.valid[0]
    assert not valid[valid.sum():].any() and valid[:valid.sum()].all()
    w, h = (table[:, 2:] // options["cell"]).T
    assert (np.maximum(w, h) <= 2 * np.minimum(w, h)).all() and (rates == "vrs" or (w == h).all())
    codes = [truth.code(a, b) for a, b in zip(w.tolist(), h.tolist(), strict=True)]
    assert np.array_equal(layout.rate[0][valid], codes)
    return made, layout


def test_random_draws(engine):
    """2,000 draws: exact count, exact cover, raster order; each tenth again with squares."""
    cpu = engine.backend["rate"] == "cpu"
    for seed in range(0, 10000 if LONG else 2000, 1 if cpu else SLOW):
        check_draw(engine, seed)
        if seed % 10 == 0:
            check_draw(engine, seed, "square")


def test_same_bytes_everywhere(engine, cpu):
    for seed in range(0, 200, 1 if LONG else 7):
        made, layout = check_draw(engine, seed)
        other, table = check_draw(cpu, seed)
        again, _ = check_draw(engine, seed)
        assert_same(codes(made)[0], codes(other)[0], f"{seed}")
        assert_same(codes(made)[0], codes(again)[0], f"{seed} again")
        assert layout.table.tobytes() == table.table.tobytes(), seed


def test_flip_and_transpose(engine):
    swap = {truth.code(w, h): truth.code(h, w) for w, h in itertools.product((1, 2, 4, 8, 16), repeat=2)}
    tried = 0
    for seed in range(40 if engine.backend["rate"] == "cpu" else 6):
        image, options, _ = draw(seed, block_multiple=True)
        if options["max_rate"] == 1:
            continue
        budgets = truth.hull(truth.grown(planes_of(image), options["cell"], options["max_rate"]))
        options["budget"] = budgets[np.searchsorted(budgets, options["budget"]) % len(budgets)]
        here = code_of(engine, image, **options)
        for axis in (0, 1):
            there = code_of(engine, np.ascontiguousarray(np.flip(image, axis)), **options)
            assert_same(np.ascontiguousarray(np.flip(there, axis)), here, f"{seed} flip {axis} {options}")
        there = code_of(engine, np.ascontiguousarray(np.swapaxes(image, 0, 1)), **options)
        assert [[swap[c] for c in row] for row in there.T.tolist()] == here.tolist(), f"{seed} {options}"
        tried += 1
    assert tried >= 3


def test_splits_go_where_relevance_is(engine):
    image = random_image(2, 256, 256)
    for gaze in ((0.1, 0.1), (0.9, 0.5)):
        relevance = engine.relevance(image, gaze=gaze, cell=8)
        area = np.prod(extents(code_of(engine, image, relevance=relevance, budget=300, cell=8, max_rate=8)), -1)
        weight = np.asarray(relevance.cells[0]).astype(float)
        high, low = weight >= np.quantile(weight, 0.9), weight <= np.quantile(weight, 0.5)
        assert area[high].mean() * 4 < area[low].mean()


def test_fine_detail_gets_fine_tokens(engine):
    image = np.full((128, 128), 90, np.uint8)
    image[32:64, 64:96] = random_image(4, 32, 32, 0)
    area = np.prod(extents(code_of(engine, image, budget=64, cell=8, max_rate=4)), -1)
    assert (area[4:8, 8:12] == 1).all() and area.mean() > 4


def test_tokens_in_one_go(engine):
    image = random_image(8, 128, 192)
    tokens = engine.tokens(image, layout="rate", patch=16, budget=96, max_rate=4)
    plain = engine.tokens(image, layout="grid", patch=16, grid=(8, 12))
    assert_same(tokens.patches.numpy(), plain.patches.numpy(), "all cells are tokens")
    coarse = engine.tokens(image, layout="rate", patch=16, budget=6, max_rate=4)
    assert_same(coarse.patches.numpy(), engine.tokens(image, layout="grid", patch=16, grid=(2, 3)).patches.numpy())
    relevance = engine.relevance(image, gaze=(0.2, 0.7), cell=16)
    rates = engine.rate(image, relevance=relevance, budget=40, cell=16, max_rate=4)
    layout = engine.layout(rates.sizes, kind="rate", rates=rates)
    for given in ({"gaze": (0.2, 0.7)}, {"relevance": {"gaze": (0.2, 0.7)}}):
        tokens = engine.tokens(image, layout="rate", patch=16, budget=40, max_rate=4, **given)
        assert_same(tokens.center_px, layout.center_px)
        assert_same(tokens.size_px, layout.size_px)
        assert_same(np.asarray(tokens.rate), np.asarray(layout.rate))


def test_small_budgets_have_larger_cells(engine):
    """300 x 200 cells of 8 px are 247 blocks of 16: for 40 tokens a texel of the finest is 4 px."""
    image, size = random_image(3, 1600, 2400), (1600, 2400)
    assert truth.auto_scale([size], 8, 40) == 4
    rates = engine.rate(image, budget=40, cell=8)
    assert (rates.scale, rates.cell, rates.max_rate, rates.grid_sizes) == (4, 32, 16, [(50, 75)])
    layout = engine.layout(size, kind="rate", rates=rates)
    tokens = engine.tokens(image, budget=40, patch=8)
    want = truth.rows(np.asarray(rates.codes[0]), size, 32, 40, scale=4)
    assert_same(layout.rate[0], want["rate"].astype(np.int32))
    assert_same(tokens.rate, layout.rate)
    assert_same(tokens.center_px, layout.center_px)
    assert layout.valid.all() and (covered(layout, (1600, 2400)) == 1).all()
    assert layout.size_px[0].min() >= 32 and (layout.size_px % 32 == 0).all()


# Parity

@pytest.mark.parametrize("cell", [4, 8, 12, 28])
@pytest.mark.parametrize("width", [61, 125, 126, 127, 128])
def test_parity_of_boxes_that_cells_cut(engine, cell, width):
    """Boxes of 8 and 16 px over cells of less, of more, and over the edge of the image."""
    image = random_image(width, 67, width, 0)
    for max_rate in (8, 16):
        least = truth.blocks((67, width), cell, max_rate)
        for budget in (least + 9, least + 40):
            rates = engine.rate(image, budget=budget, cell=cell, max_rate=max_rate)
            want = truth.rate(planes_of(image), budget, cell, max_rate)
            assert_same(np.asarray(rates.codes[0]), want, f"{max_rate} {budget}")


@pytest.mark.parametrize("cell", [1, 3, 8, 16, 28])
@pytest.mark.parametrize("rates", ["vrs", "square"])
def test_parity(engine, cell, rates):
    for index, size in enumerate(random_sizes(40 if LONG else 8, seed=cell, largest=min(200, 12 * cell))):
        max_rate = (4, 2, 8, 16, 1)[index % 5]
        array = random_image(index, *size, (3, 0, 1)[index % 3], (np.uint8, np.uint16, np.float32)[index % 3])
        image = engine.image(array, channels="last" if array.ndim == 3 else None)
        least, cells = truth.blocks(size, cell, max_rate), int(np.prod(truth.grid_shape(size, cell)))
        budget = least + (cells - least) * (index % 4 + 1) // 4
        relevance = engine.relevance(image, gaze=(0.3, 0.8), cell=cell) if index % 2 else None
        weights = relevance and np.asarray(relevance.cells[0])
        made = engine.rate(image, relevance=relevance, budget=budget, cell=cell, max_rate=max_rate, rates=rates)
        what = f"{size} {max_rate} {budget}"
        wanted = truth.rate(planes_of(array), budget, cell, max_rate, rates=rates, relevance=weights)
        assert_same(codes(made)[0], wanted, what)
        gazes = [(0.2, 0.9), (0.7, 0.1)]
        layout = engine.layout(made.sizes, kind="rate", rates=made, gaze=gazes)
        px = [(x * size[1], y * size[0]) for x, y in gazes]
        assert_layout(layout, truth.rows(wanted, size, cell, budget, px), what)


def test_parity_of_a_mixed_batch(engine):
    sizes = random_sizes(5, seed=4, largest=60)
    images = [random_image(i, *size) for i, size in enumerate(sizes)]
    taken = engine.image(images, channels="last")
    made = engine.rate(taken, budget=70, cell=8, max_rate=8)
    wanted = [truth.rate(planes_of(image), 70, 8, 8) for image in images]
    for got, want in zip(codes(made), wanted, strict=True):
        assert_same(got, want)
    assert_layout(engine.layout(made.sizes, kind="rate", rates=made),
                  [truth.rows(c, s, 8, 70, image=i) for i, (c, s) in enumerate(zip(wanted, sizes, strict=True))])


def test_parity_with_a_previous_frame(engine):
    for rates, max_rate in (("vrs", 4), ("square", 8)):
        frames = [random_image(i, 60, 90) for i in range(3)]
        before = wanted = None
        for frame in frames:
            before = engine.rate(frame, budget=40, cell=6, max_rate=max_rate, rates=rates, previous=before,
                                 hysteresis=0.5)
            wanted = truth.rate(planes_of(frame), 40, 6, max_rate, rates=rates, before=wanted, hysteresis=0.5)
            assert_same(codes(before)[0], wanted, f"{rates} {max_rate}")


# Errors

IMAGE = np.zeros((64, 96), np.uint8)


@pytest.mark.parametrize("options,words", [
    ({"budget": 23, "max_rate": 1}, r"budget: got 23, expected 24 or more for 6 x 4 cells in blocks of 1\. "
                                    r"Raise max_rate or the budget\."),
    ({"budget": 1, "max_rate": 4}, r"budget: got 1, expected 2 or more for 6 x 4 cells in blocks of 4\."),
    ({"budget": 0}, r"budget: got 0, expected 1\.\.65536"),
    ({"budget": 65537}, r"budget: got 65537"),
    ({"max_rate": 3}, r"max_rate: got 3.*1, 2, 4, 8.*16"),
    ({"max_rate": 32}, r"max_rate: got 32.*16"),
    ({"rates": "hex"}, r"rates: got 'hex'.*vrs.*square"),
    ({"hysteresis": 1.5}, r"hysteresis: got 1\.5"),
    ({"hysteresis": float("nan")}, r"hysteresis: got nan"),
    ({"cell": 0}, r"cell: got 0"),
    ({"relevance": 3}, r"relevance: got "),
    ({"previous": 3}, r"previous: got "),
])
def test_wrong_options(cpu, options, words):
    with pytest.raises(foveate.Error, match=rf"(?s)^rate: .*{words}"):
        cpu.rate(IMAGE, **{"cell": 16, **options})
    assert np.unique(code_of(cpu, IMAGE, budget=24, cell=16)).tolist() == [0], "after an error"


def test_wrong_company(cpu):
    other = cpu.relevance(np.zeros((64, 64), np.uint8), gaze=(0.5, 0.5), cell=16)
    with pytest.raises(foveate.Error, match=r"(?s)^rate: relevance.*got .*expected"):
        cpu.rate(IMAGE, relevance=other, cell=16)
    before = cpu.rate(np.zeros((64, 64), np.uint8), budget=16, cell=16)
    with pytest.raises(foveate.Error, match=r"(?s)^rate: previous.*got .*expected"):
        cpu.rate(IMAGE, previous=before, budget=16, cell=16)
    with pytest.raises(foveate.Error, match=r"(?s)^layout: .*rates.*got .*expected"):
        cpu.layout((64, 96), kind="rate")
    with pytest.raises(foveate.Error, match=r"(?s)^layout: .*got .*expected"):
        cpu.layout((64, 96), kind="rate", rates=before)
