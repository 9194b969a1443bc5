# SPDX-License-Identifier: Apache-2.0
"""sample: patches from footprints, by bytes against the oracle, on every backend."""

import functools

import foveate
import numpy as np
import pytest
from conftest import BACKENDS, isas
from images import LONG, random_image, random_sizes
from oracle import image as planes_of
from oracle import layout as rows_of
from oracle import sample as truth
from oracle import tensor
from tolerance import assert_close, assert_same, numpy_of

RAW = {"mean": (0, 0, 0), "std": (1, 1, 1)}
GRAY = {"mean": (0,), "std": (1,)}


def patches(engine, image, layout=None, *, color="encoded", **options):
    pyramid = engine.pyramid(engine.image(image, channels="last" if image.ndim == 3 else None), color=color)
    cell = options.get("patch", 16) * options.get("merge", 1)
    layout = engine.layout(pyramid, cell=cell, **(layout or {}))
    return numpy_of(engine.sample(pyramid, layout, **options).data)


# Literals

def test_one_token_of_one_texel(engine):
    got = patches(engine, np.array([[0, 255], [255, 0]], np.uint8), {"budget": 1}, patch=1, **GRAY)
    assert got.ravel().tolist() == [0.5]


def test_footprint_of_three_texels(engine):
    got = patches(engine, np.array([[0, 51, 255]], np.uint8), {"grid": (1, 1)}, patch=1, **GRAY)
    assert abs(got.item() - 0.4) < 1e-5


def test_mean_and_std(engine):
    got = patches(engine, np.full((4, 4, 3), 255, np.uint8), {"grid": (1, 1)}, patch=1, mean=(0.5, 0, 0.25),
                  std=(0.5, 2, 1))
    assert got.ravel().tolist() == [1.0, 0.5, 0.75]


def test_enlarging_is_linear(engine):
    got = patches(engine, np.array([[0, 255]], np.uint8), {"grid": (1, 1)}, patch=4, **GRAY)
    assert_close(got[..., 0, :].ravel(), [0, 0.25, 0.75, 1], "normalise")


def test_order_within_a_patch(engine):
    image = np.arange(0, 240, 20, dtype=np.uint8).reshape(2, 2, 3)
    first = patches(engine, image, {"grid": (1, 1)}, patch=2, frames=2, **RAW) * 255
    assert np.round(first).reshape(3, 2, 4)[:, 0].tolist() == [[0, 60, 120, 180], [20, 80, 140, 200],
                                                               [40, 100, 160, 220]]
    assert_same(first.reshape(3, 2, 4)[:, 0], first.reshape(3, 2, 4)[:, 1])


def test_order_of_merged_patches(engine):
    image = np.arange(16, dtype=np.uint8).reshape(4, 4)
    got = patches(engine, image, {"grid": (1, 1)}, patch=2, merge=2, **GRAY)
    assert np.round(got * 255).reshape(4, 4).tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13],
                                                          [10, 11, 14, 15]]


def test_bfloat16_ties_go_to_even():
    values = np.array([1.00390625, 1.01171875, -1.00390625, 3.4e38], np.float32)
    assert [hex(v) for v in truth.bfloat16(values)] == ["0x3f80", "0x3f82", "0xbf80", "0x7f80"]


# Facts

@pytest.mark.parametrize("color", ["encoded", "linear"])
@pytest.mark.parametrize("kind", ["grid", "rings", "views"])
def test_constant_image_gives_constant_patches(engine, kind, color):
    image = np.full((75, 101, 3), (3, 128, 250), np.uint8)
    layout = {"kind": kind, "budget": None if kind == "rings" else 40}
    got = patches(engine, image, layout, patch=4, color=color, **RAW)
    filled = got.reshape(-1, 3, 16)[(got.reshape(len(got.reshape(-1, 48)), -1) != 0).any(1)]
    assert_close(filled, np.broadcast_to(np.array([3, 128, 250])[:, None] / 255, filled.shape),
                 "mean" if color == "encoded" else "linear_u8")
    for channel in range(3):
        assert len(np.unique(filled[:, channel])) == 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_uniform_grid_is_plain_patchify(engine, dtype):
    image = random_image(1, 64, 96, 3, dtype)
    unit = {np.uint8: 65280.0, np.uint16: 65535.0, np.float32: 1.0}[dtype]
    value = image.astype(np.float32) * np.float32(256 if dtype == np.uint8 else 1)
    plain = value.reshape(4, 16, 6, 16, 3).transpose(0, 2, 4, 1, 3).reshape(24, 3, 16, 16)
    plain = plain * np.float32(1 / unit) + np.float32(-0.0)
    assert_same(patches(engine, image, {"grid": (4, 6)}, **RAW).reshape(plain.shape), plain)


def test_power_of_two_footprints_are_box_averages(engine):
    image = random_image(2, 128, 256)
    for side in (2, 4, 8):
        rows, columns = 128 // (4 * side), 256 // (4 * side)
        boxes = image.astype(np.int64).reshape(rows, 4, side, columns, 4, side, 3).sum((2, 5))
        plain = (boxes * (256 // side**2)).astype(np.float32).transpose(0, 2, 4, 1, 3) * np.float32(1 / 65280)
        got = patches(engine, image, {"grid": (rows, columns)}, patch=4, **RAW)
        assert_same(got.reshape(plain.shape), plain, f"{side}x{side}")


def test_linear_ramp_stays_linear(engine):
    """A box one texel wide makes linear interpolation; wider ones see the texels' edges."""
    ramp = np.broadcast_to(np.linspace(0, 1, 257, dtype=np.float32), (64, 257))
    for columns, within in ((33, "ramp"), (50, "ramp"), (3, "staircase"), (7, "staircase"), (20, "staircase")):
        got = patches(engine, np.ascontiguousarray(ramp), {"grid": (2, columns)}, patch=8, **GRAY)
        row = got.reshape(2, columns, 8, 8)[0, :, 0].ravel()
        centre = (np.arange(columns * 8) + 0.5) * 257 / (columns * 8)
        inside = slice(2, -2)    # the ramp ends at the edge, the box may reach over it
        assert_close(row[inside], ((centre - 0.5) / 256)[inside], within)


def test_flip(engine):
    image = random_image(3, 64, 128)
    for layout in ({"grid": (2, 4)}, {"grid": (4, 8)}):
        here = patches(engine, image, layout, patch=8, **RAW).reshape(*layout["grid"], 3, 8, 8)
        there = patches(engine, image[:, ::-1], layout, patch=8, **RAW).reshape(*layout["grid"], 3, 8, 8)
        assert_close(there[:, ::-1, :, :, ::-1], here, "mean")


def test_batch_is_its_images_one_by_one(engine):
    images = [random_image(s, h, w) for s, (h, w) in enumerate([(1, 1), (200, 31), (5, 257), (64, 64)])]
    for layout in ({"budget": 9}, {"layout": "rings", "gaze": (0.9, 0.2), "order": "level"},
                   {"layout": "views", "gaze": (0.1, 0.4), "budget": 40}):
        together = engine.tokens(images, patch=8, channels="last", **layout)
        for index, image in enumerate(images):
            alone = engine.tokens(image, patch=8, channels="last", **layout)
            assert_same(together.patches.numpy()[index], alone.patches.numpy()[0], f"{layout} image {index}")


def test_gray_is_repeated(engine):
    gray = random_image(4, 40, 50, 0)
    color = np.repeat(gray[..., None], 3, 2)
    assert_same(patches(engine, gray, {"budget": 6}, **RAW), patches(engine, color, {"budget": 6}, **RAW))


def integral_means(plane, origin, strides, grids, cell):
    """Segment-This-Thing's way: box sums from an integral image, divided with the fraction cut off."""
    side = strides[-1] * grids[-1] * cell
    left, top = origin
    y = np.clip(np.arange(top, top + side), 0, plane.shape[0] - 1)
    x = np.clip(np.arange(left, left + side), 0, plane.shape[1] - 1)
    total = np.zeros((side + 1, side + 1), np.int64)
    total[1:, 1:] = plane[np.ix_(y, x)].astype(np.int64).cumsum(0).cumsum(1)
    result = []
    for col, row, stride, _ in rows_of.ring_cells(strides, grids):
        a = row * cell + stride * np.arange(cell + 1)
        b = col * cell + stride * np.arange(cell + 1)
        corner = total[np.ix_(a, b)]
        boxes = corner[1:, 1:] - corner[:-1, 1:] - corner[1:, :-1] + corner[:-1, :-1]
        result.append((boxes, stride * stride))
    return result


def test_rings_agree_with_an_integral_image(engine):
    strides, grids, cell = (1, 2, 4, 8), (4, 4, 4, 4), 8
    image = random_image(5, 300, 300, 0)
    layout = dict(kind="rings", strides=strides, grids=grids, order="level", unit="px")
    layout["gaze"] = 152, 144    # the pattern is 256 px wide: its corner lies on a multiple of 8
    got = patches(engine, image, layout, patch=cell, **GRAY)
    sums = integral_means(image, (24, 16), strides, grids, cell)
    for token, (total, area) in zip(got.reshape(-1, cell, cell), sums, strict=True):
        exact = (total * (256 // area)).astype(np.float32) * np.float32(1 / 65280) + np.float32(-0.0)
        assert_same(token, exact, f"stride^2 {area}: the average, not cut off")
        assert np.array_equal(np.floor(token.astype(np.float64) * 255 + 1e-4), total // area)


# Parity

TYPES = {"uint8": np.uint8, "uint16": np.uint16, "float32": np.float32}


@functools.cache
def case(seed):
    """Every option drawn at random; (images, layout kind, gazes, layout options, sample options, color)."""
    rng = np.random.default_rng(seed)

    def pick(*choices):
        return choices[rng.integers(len(choices))]

    dtype = pick("uint8", "uint8", "uint16", "float32")
    channels = pick(0, 3, 3, 4)
    sizes = [random_sizes(64, seed=seed)[i] for i in rng.integers(0, 64, pick(1, 1, 3))]
    images = [random_image(seed + i, h, w, channels, TYPES[dtype]) for i, (h, w) in enumerate(sizes)]
    sample = dict(patch=pick(1, 3, 4, 8, 14, 16), merge=pick(1, 1, 2), frames=pick(1, 2),
                  channels=pick("first", "last"), dtype=pick("float32", "float16", "bfloat16"),
                  taps=pick(1.0, 2.0, 3.5, 8.0), lod_bias=pick(0.0, 0.0, 0.5, -1.0, 1.25))
    if sample["dtype"] != "float32":
        sample["patch"] += sample["patch"] % 2    # 16-bit values are written in pairs
    count = 3 if channels else pick(1, 3)
    sample["mean"] = tuple(float(v) for v in rng.random(count))
    sample["std"] = tuple(float(v) for v in rng.uniform(0.2, 1, count))
    gazes = [tuple(float(v) for v in rng.random(2)) for _ in range(pick(1, 1, 2))]
    kind = pick("grid", "rings", "views")
    if kind == "rings":
        strides, grids = pick(((1, 2, 6), (2, 3, 3)), ((1, 2, 4), (4, 4, 4)), ((1, 3), (3, 3)))
        layout = dict(strides=strides, grids=grids, order=pick("raster", "level"))
    else:
        layout = dict(budget=pick(4, 9, 30))
    color = pick("encoded", "linear") if dtype == "uint8" else "encoded"
    return images, "last" if channels else None, kind, gazes, layout, sample, color


def oracle_rows(kind, size, gazes, layout, cell, index):
    if kind == "grid":
        return rows_of.grid(size, layout["budget"], cell, image=index)
    return getattr(rows_of, kind)(size, gazes, cell=cell, image=index, **layout)


@functools.cache
def expected(seed):
    images, order, kind, gazes, layout, sample, color = case(seed)
    cell = sample["patch"] * sample["merge"]
    result = []
    for index, image in enumerate(images):
        rows = oracle_rows(kind, image.shape[:2], gazes, layout, cell, index)
        result.append(truth.sample(planes_of.image(image, order), rows, color=color, **sample))
    return result


@pytest.mark.parametrize("seed", range(1000, 1400 if LONG else 1040))
def test_parity(engine, seed):
    images, order, kind, gazes, layout, sample, color = case(seed)
    pyramid = engine.pyramid(engine.image(images, channels=order), color=color)
    gaze = {} if kind == "grid" else {"gaze": gazes}
    budget = {} if "budget" in layout else {"budget": None}
    cell = sample["patch"] * sample["merge"]
    rows = engine.layout(pyramid, kind=kind, cell=cell, **gaze, **layout, **budget)
    got = numpy_of(engine.sample(pyramid, rows, **sample).data)
    want = np.stack([values for values, _ in expected(seed)])
    what = f"{kind} {[i.shape for i in images]} {images[0].dtype} {color} {sample}"
    assert_same(got.ravel(), want.ravel(), what)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_parity_at_the_ends_of_a_type(engine, dtype):
    """Halves, ties, numbers below float16's normal range and above its largest, both signs."""
    size = np.concatenate([2.0 ** np.arange(-27, 19), 1 + np.arange(1, 17) / 4096, [65503, 65519, 65520, 3e38]])
    image = np.concatenate([size, -size]).astype(np.float32).reshape(4, -1)
    rows = rows_of.grid(image.shape, cell=2, shape=(2, image.shape[1] // 2))
    want, _ = truth.sample(image[None], rows, 2, dtype=dtype, levels=1, **GRAY)
    layout = {"grid": (2, image.shape[1] // 2)}
    assert_same(patches(engine, image, layout, patch=2, dtype=dtype, **GRAY).ravel(), want.ravel(), dtype)


@pytest.mark.parametrize("model", tensor.PRESETS)
@pytest.mark.parametrize("kind", ["grid", "rings", "views"])
def test_parity_of_presets(engine, model, kind):
    images = [random_image(6, 117, 190), random_image(7, 64, 64)]
    preset = tensor.PRESETS[model]
    layout = dict(strides=(1, 2, 6), grids=(2, 3, 3)) if kind == "rings" else dict(budget=20)
    gaze = {} if kind == "grid" else {"gaze": (0.3, 0.6)}
    tokens = engine.tokens(images, layout=kind, model=model, **gaze, **layout)
    cell = preset["patch"] * preset["merge"]
    rows = [oracle_rows(kind, i.shape[:2], [(0.3, 0.6)], layout, cell, n) for n, i in enumerate(images)]
    want = [truth.sample(planes_of.image(i), r, **preset) for i, r in zip(images, rows, strict=True)]
    assert tokens.patches.shape == tensor.shape(model, 2, 20)
    assert_same(tokens.patches.numpy().ravel(), np.stack([values for values, _ in want]).ravel(), model)
    assert_same(np.asarray(tokens.level, np.uint32), np.stack([level for _, level in want]), "level")


@pytest.mark.parametrize("size", [(667, 1001), (16, 4096), (17, 1), (1, 17)])
def test_parity_of_awkward_sizes(engine, size):
    image = random_image(8, *size)
    for color, budget in (("encoded", 3), ("linear", 50)):
        got = patches(engine, image, {"budget": budget}, channels="last", color=color, **RAW)
        rows = rows_of.grid(size, budget)
        want, _ = truth.sample(planes_of.image(image, "last"), rows, channels="last", color=color)
        assert_same(got.ravel(), want.ravel(), f"{size} {color} {budget}")


@functools.cache
def largest():
    band = random_image(9, 64, 8192, 0)
    image = np.concatenate([band + np.uint8(k) for k in range(128)])
    rows = rows_of.rings(image.shape, [(0.7, 0.2)])
    return image, truth.sample(image[None], rows, levels=4, **GRAY)[0]    # no ring is coarser than 8 px


@pytest.mark.parametrize("name", [b for b in BACKENDS if LONG or b != "swiftshader"])
def test_parity_of_the_largest(make_engine, name):
    image, want = largest()
    got = make_engine(name).tokens(image, layout="rings", gaze=(0.7, 0.2), **GRAY)
    assert_same(got.patches.numpy().ravel(), want.ravel())


@pytest.mark.parametrize("isa", isas())
def test_every_instruction_set_gives_the_same_bytes(make_engine, monkeypatch, isa):
    monkeypatch.setenv("FOVEATE_ISA", isa)
    engine = make_engine("cpu")
    assert engine.caps["isa"] == isa
    for seed in range(1000, 1040):
        test_parity(engine, seed)


# Errors

IMAGE = np.zeros((32, 48, 3), np.uint8)


@pytest.mark.parametrize("options,words", [
    ({"patch": 0}, r"patch.*0.*1\.\.64"),
    ({"patch": 65}, r"patch.*65.*1\.\.64"),
    ({"patch": 3, "dtype": "float16"}, r"patch.*3.*even.*16-bit"),
    ({"merge": 9}, r"merge.*9.*1\.\.8"),
    ({"frames": 3}, r"frames.*3.*1\.\.2"),
    ({"dtype": "int8"}, r"dtype.*int8.*float32.*float16.*bfloat16"),
    ({"channels": "middle"}, r"channels.*middle.*first.*last"),
    ({"taps": 0}, r"taps.*0"),
    ({"taps": float("nan")}, r"taps.*nan"),
    ({"taps": 9}, r"taps.*9"),
    ({"lod_bias": float("inf")}, r"lod_bias.*inf"),
    ({"mean": (0, 0)}, r"mean|std"),
    ({"mean": (0, 0, 0), "std": (1, 1)}, r"mean|std"),
    ({"std": (1, 0, 1)}, r"std.*0"),
    ({"std": (1, float("nan"), 1)}, r"std.*nan"),
    ({"mean": (float("inf"), 0, 0)}, r"mean.*inf"),
    ({"model": "gpt"}, r"model.*gpt.*vit16.*siglip2.*qwen2-vl.*qwen2\.5-vl.*qwen3-vl"),
])
def test_wrong_options(cpu, options, words):
    pyramid = cpu.pyramid(IMAGE)
    layout = cpu.layout(pyramid, budget=6)
    with pytest.raises(foveate.Error, match=rf"(?s)^sample: .*{words}"):
        cpu.sample(pyramid, layout, **options)
    test_uniform_grid_is_plain_patchify(cpu, np.uint8)


def test_layout_must_fit(cpu):
    pyramid = cpu.pyramid(IMAGE)
    for layout in (cpu.layout((32, 47), budget=4), cpu.layout([(32, 48)] * 2, budget=4)):
        with pytest.raises(foveate.Error, match=r"(?s)^sample: layout.*got .*sizes.*expected"):
            cpu.sample(pyramid, layout)
    with pytest.raises(foveate.Error, match=r"(?s)^sample: .*(cell|patch).*16"):
        cpu.sample(pyramid, cpu.layout(pyramid, budget=4, cell=32))


def test_exact_edge_cannot_be_sampled(cpu):
    pyramid = cpu.pyramid(IMAGE, edge="exact")
    with pytest.raises(foveate.Error, match=r"(?s)^sample: .*edge.*exact.*aligned"):
        cpu.sample(pyramid, cpu.layout(pyramid, budget=4))


def test_values_of_another_engine(cpu, engine, backend, make_engine):
    layout = engine.layout((32, 48), budget=4)
    with pytest.raises(foveate.Error, match=r"(?s)^sample: pyramid from another engine: got .*cpu.*expected"):
        engine.sample((make_engine("cpu") if backend == "cpu" else cpu).pyramid(IMAGE), layout)
