# SPDX-License-Identifier: Apache-2.0
"""sample, FAST class: patches by hardware filters, within a tolerance of the oracle, on every backend that has them."""

import conftest
import foveate
import numpy as np
import pytest
from foveate.error import InputError
from images import random_image
from oracle import image as planes_of
from oracle import layout as rows_of
from oracle import layout_polar as polar_of
from oracle import sample_fast as truth
from tolerance import assert_close, assert_same, numpy_of

FILTERS = [name for name in conftest.BACKENDS if name in ("lavapipe", "swiftshader", "opengl", "cuda")]
RAW = {"mean": (0, 0, 0), "std": (1, 1, 1)}
GRAY = {"mean": (0,), "std": (1,)}
GAZE = (0.3, 0.6)
# (options of the layout, rows by the oracle) for a size and a cell
RINGS = {"strides": (1, 2, 6), "grids": (2, 3, 3)}
LAYOUTS = {
    "grid": ({"kind": "grid", "budget": 12}, lambda size, cell: rows_of.grid(size, 12, cell)),
    "coarse": ({"kind": "grid", "grid": (1, 2)}, lambda size, cell: rows_of.grid(size, cell=cell, shape=(1, 2))),
    "rings": ({"kind": "rings", "budget": None, "gaze": GAZE, **RINGS},
              lambda size, cell: rows_of.rings(size, [GAZE], cell, **RINGS)),
    "views": ({"kind": "views", "budget": 20, "gaze": GAZE}, lambda size, cell: rows_of.views(size, [GAZE], 20, cell)),
    "logpolar": ({"kind": "logpolar", "budget": 30, "gaze": GAZE, "order": "level"},
                 lambda size, cell: polar_of.polar("logpolar", size, [GAZE], 30, cell)),
    "cortical": ({"kind": "cortical", "budget": 30, "gaze": GAZE, "order": "level"},
                 lambda size, cell: polar_of.polar("cortical", size, [GAZE], 30, cell)),
}


@pytest.fixture(scope="module", params=FILTERS)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def fast(name, make_engine):
    engine = make_engine(name, exact=False)
    yield engine
    assert engine.stats["messages"] == 0, "the validation layer found something"
    engine.close()


def patches(engine, image, layout, *, levels=None, color="encoded", **options):
    taken = engine.image(image, channels="last" if image.ndim == 3 else None)
    pyramid = engine.pyramid(taken, levels=levels, color=color)
    rows = engine.layout(pyramid, cell=options.get("patch", 16) * options.get("merge", 1), **layout)
    return numpy_of(engine.sample(pyramid, rows, **options).data)


def filtered(engine, *args, **options):
    """What `patches` gives, by the filters and in no other way."""
    before = engine.stats["fast_samples"]
    got = patches(engine, *args, **options)
    assert engine.stats["fast_samples"] == before + 1
    return got


# Literals

def test_whole_texels_are_the_levels_bytes(fast):
    image = np.array([[0, 10, 200, 201], [20, 30, 202, 203]], np.uint8)
    for grid, patch, want in (((1, 1), 2, [5, 200.5, 25, 202.5]), ((1, 2), 1, [15, 202])):
        got = filtered(fast, image, {"grid": grid}, patch=patch, **GRAY).ravel() * 255
        assert got.round(4).tolist() == want


def test_one_pixel(fast):
    image = np.array([[[7, 99, 255]]], np.uint8)
    got = filtered(fast, image, {"grid": (2, 2)}, patch=2, **RAW).reshape(4, 3, 4) * 255
    assert (got.round(3) == np.array([7, 99, 255])[:, None]).all()


def test_enlarging_is_linear(fast):
    got = filtered(fast, np.array([[0, 255]], np.uint8), {"grid": (1, 1)}, patch=4, **GRAY)
    assert_close(got[..., 0, :].ravel(), [0, 0.25, 0.75, 1], "fast")


# Facts

@pytest.mark.parametrize("kind", LAYOUTS)
def test_constant_image_is_exact(fast, cpu, kind):
    image = np.full((75, 101, 3), (3, 128, 250), np.uint8)
    options = dict(patch=4, mean=(0.5, 0.4, 0.3), std=(0.5, 0.3, 0.2))
    assert_same(filtered(fast, image, LAYOUTS[kind][0], **options), patches(cpu, image, LAYOUTS[kind][0], **options))


def test_uniform_grid_is_plain_patchify(fast, cpu):
    image = random_image(1, 64, 96)
    for dtype in ("float32", "float16", "bfloat16"):
        plain = (image, {"grid": (4, 6)})
        options = dict(RAW, dtype=dtype, channels="last", frames=2)
        assert_same(filtered(fast, *plain, **options), patches(cpu, *plain, **options))


def test_power_of_two_footprints_are_box_averages_in_bytes(fast, cpu):
    image = random_image(2, 128, 256)
    for grid in ((16, 32), (8, 16), (4, 8), (2, 4)):
        got, want = (of(engine, image, {"grid": grid}, patch=4, **RAW)
                     for of, engine in ((filtered, fast), (patches, cpu)))
        assert_same(np.floor(want * np.float32(255) + 0.5), np.round(got * np.float32(255)), grid)


def test_linear_ramp_stays_linear(fast):
    ramp = np.broadcast_to(np.arange(0, 256, dtype=np.uint8), (64, 256))
    for columns in (33, 50, 3, 7, 20):
        row = filtered(fast, np.ascontiguousarray(ramp), {"grid": (2, columns)}, patch=8, **GRAY)
        row = row.reshape(2, columns, 8, 8)[0, :, 0].ravel()
        centre = (np.arange(columns * 8) + 0.5) * 256 / (columns * 8)
        inside = (centre > 16) & (centre < 240)
        assert_close(row[inside], ((centre - 0.5) / 255)[inside], "fast")


def test_flip(fast):
    image = random_image(3, 60, 130)
    for grid in ((2, 5), (3, 7)):
        here, there = (filtered(fast, one, {"grid": grid}, patch=8, **RAW).reshape(*grid, 3, 8, 8)
                       for one in (image, np.ascontiguousarray(image[:, ::-1])))
        assert_close(there[:, ::-1, :, :, ::-1], here, "fast")


def test_gray_is_repeated(fast):
    gray = random_image(4, 40, 50, 0)
    color = np.repeat(gray[..., None], 3, 2)
    assert_same(filtered(fast, gray, {"budget": 6}, **RAW), filtered(fast, color, {"budget": 6}, **RAW))


def test_it_is_close_to_the_exact_way(fast, cpu):
    """A smooth picture: what is left is a byte a level, and how taps and boxes differ on curves."""
    y, x = np.mgrid[:300, :420]
    wave = np.sin(x / 37) * np.cos(y / 29)
    image = np.round(127.5 + 127 * wave[..., None] * [1, 0.5, -1]).astype(np.uint8)
    for layout, _ in LAYOUTS.values():
        got, want = filtered(fast, image, layout, **RAW), patches(cpu, image, layout, **RAW)
        assert_close(got, want, "fast_exact")


def test_geometry_is_the_exact_one(fast, cpu):
    images = [random_image(5, 61, 83), random_image(6, 120, 40)]
    for layout in ("rate", "rings", "logpolar", "cortical", "views"):
        budget = {} if layout == "rings" else {"budget": 40}
        options = {"layout": layout, "gaze": GAZE, "model": "vit16", **budget}
        got, want = fast.tokens(images, **options), cpu.tokens(images, **options)
        for field in ("center_px", "size_px", "level", "rate", "valid", "image", "fixation"):
            assert_same(getattr(got, field), getattr(want, field), f"{layout} {field}")


def test_batch_is_its_images_one_by_one(fast):
    images = [random_image(s, h, w) for s, (h, w) in enumerate([(1, 1), (200, 31), (5, 257), (64, 64)])]
    for layout in ({"budget": 9}, {"layout": "rings", "gaze": (0.9, 0.2)}, {"layout": "cortical", "budget": 40}):
        together = fast.tokens(images, patch=8, channels="last", **layout).patches.numpy()
        for index, image in enumerate(images):
            alone = fast.tokens(image, patch=8, channels="last", **layout).patches.numpy()
            assert_close(together[index], alone[0], "fast")


def test_any_number_of_tokens_and_bytes_a_token(fast):
    """The output of an image begins at any word, where a binding may not."""
    images = [np.full((9, 14), 10 * k, np.uint8) for k in range(1, 8)]
    for budget, patch in ((1, 1), (3, 1), (5, 3)):
        got = fast.tokens(images, layout="grid", budget=budget, patch=patch, **GRAY).patches.numpy() * 255
        assert [set(np.unique(one.round(3)).tolist()) - {0} for one in got] == [{10 * k} for k in range(1, 8)]


# Parity

@pytest.mark.parametrize("size", [(150, 211), (37, 53), (5, 7), (1, 40), (64, 64)])
@pytest.mark.parametrize("kind", LAYOUTS)
def test_parity(fast, kind, size):
    layout, rows = LAYOUTS[kind]
    for channels, patch, options in ((3, 8, {}), (0, 4, GRAY), (4, 6, {"dtype": "float16", "frames": 2, "merge": 2}),
                                     (0, 4, {"dtype": "bfloat16", "channels": "last", "taps": 1.0}),
                                     (3, 5, {"channels": "last", "taps": 2.5, "lod_bias": 0.5})):
        image = random_image(7, *size, channels)
        got = filtered(fast, image, layout, patch=patch, **{**RAW, **options})
        want = truth.sample(planes_of.image(image, "last" if channels else None),
                            rows(size, patch * options.get("merge", 1)), patch, **{**RAW, **options})
        if options.get("dtype") == "bfloat16":
            got, want = ((bits.astype(np.uint32) << 16).view(np.float32) for bits in (got, want))
        assert_close(got.ravel(), want.ravel(), "fast_bf16" if options.get("dtype") == "bfloat16" else "fast")


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_fewer_levels_than_a_footprint_asks_for(fast, levels):
    image = random_image(8, 200, 130)
    got = filtered(fast, image, {"grid": (2, 1)}, patch=8, levels=levels, **RAW)
    rows = rows_of.grid((200, 130), cell=8, shape=(2, 1))
    want = truth.sample(planes_of.image(image, "last"), rows, 8, levels=levels)
    assert_close(got.ravel(), want.ravel(), "fast")


# What it does not cover

@pytest.mark.parametrize("dtype, color", [(np.uint16, "encoded"), (np.float32, "encoded"), (np.uint8, "linear")])
def test_the_rest_takes_the_exact_way(fast, cpu, dtype, color):
    image = random_image(9, 50, 70, dtype=dtype)
    before = fast.stats["fast_samples"]
    options = {"layout": "rings", "gaze": GAZE, "color": color, "patch": 8}
    assert_same(fast.tokens(image, **options).numpy(), cpu.tokens(image, **options).numpy())
    assert_same(patches(fast, image, {"budget": 9}, color=color), patches(cpu, image, {"budget": 9}, color=color))
    assert fast.stats["fast_samples"] == before


def test_more_images_than_it_takes_at_once(fast, cpu):
    images = [np.full((3, 4), k % 251, np.uint8) for k in range(257)]
    before = fast.stats["fast_samples"]
    got = fast.tokens(images, layout="grid", budget=1, patch=2).numpy()
    assert fast.stats["fast_samples"] == before
    assert_same(got, cpu.tokens(images, layout="grid", budget=1, patch=2).numpy())
    fast.tokens(images[1:], layout="grid", budget=1, patch=2)
    assert fast.stats["fast_samples"] == before + 1


def test_exact_is_the_default(make_engine, name, cpu):
    image = random_image(10, 50, 70)
    options = {"layout": "rings", "gaze": GAZE, "patch": 8}
    with make_engine(name) as engine:
        assert engine.caps["filter_side"] >= 4096
        assert_same(engine.tokens(image, **options).numpy(), cpu.tokens(image, **options).numpy())
        assert engine.stats["fast_samples"] == 0


def test_the_cpu_is_exact_either_way(cpu):
    image = random_image(11, 50, 70)
    options = {"layout": "rings", "gaze": GAZE, "patch": 8}
    with foveate.Engine(backend="cpu", exact=False) as engine:
        assert_same(engine.tokens(image, **options).numpy(), cpu.tokens(image, **options).numpy())
        assert (engine.stats["fast_samples"], engine.caps["filter_side"]) == (0, 0)


def test_stages_of_other_backends(name, make_engine):
    image = random_image(12, 60, 90)
    options = {"layout": "cortical", "budget": 30, "gaze": GAZE, "patch": 8}
    mixed = {"sample": conftest.options(name)["backend"], "*": "cpu"}
    with make_engine(name, backend=mixed, exact=False) as engine, make_engine(name, exact=False) as whole:
        assert_close(engine.tokens(image, **options).numpy(), whole.tokens(image, **options).numpy(), "fast")
        assert engine.stats["fast_samples"] == 1


# Errors

@pytest.mark.parametrize("value", [1, None, "no"])
def test_wrong_options(value):
    with pytest.raises(InputError, match=f"^Engine: exact: got {value!r}, expected True or False"):
        foveate.Engine(backend="cpu", exact=value)
