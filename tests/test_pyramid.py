# SPDX-License-Identifier: Apache-2.0
"""pyramid: the mip chain, level by level, against the oracle on every backend."""

import functools

import foveate
import numpy as np
import pytest
from conftest import isas
from images import LONG, random_image, random_sizes
from oracle import image as planes_of
from oracle import pyramid as truth
from tolerance import assert_close, assert_same

DTYPES = {"uint8": np.uint8, "uint16": np.uint16, "float32": np.float32}


def levels(pyramid, index=0, first=1):
    return [pyramid.level(level, index).numpy() for level in range(first, pyramid.levels)]


def gray(*rows):
    return np.array(rows, np.uint8)


# Literals

def test_encoded_average_is_fixed_point(engine):
    assert levels(engine.pyramid(gray([0, 255], [255, 255])))[0].tolist() == [[[765 * 64]]]
    assert engine.pyramid(gray([0, 255])).unit == 255 * 256


def test_odd_edge_repeats(engine):
    got = levels(engine.pyramid(gray([0, 8, 100])))
    assert got[0].tolist() == [[[4 * 256, 100 * 256]]]
    assert got[1].tolist() == [[[52 * 256]]]


def test_exact_edge_keeps_the_mean_of_three(engine):
    (level,) = levels(engine.pyramid(gray([0, 3, 9]), edge="exact"))
    assert level.dtype == np.float32 and level.shape == (1, 1, 1)
    assert abs(level.item() - 4 * 256) < 1e-3


def test_linear_is_decoded_first(engine):
    assert levels(engine.pyramid(gray([0, 255], [255, 0]), color="linear"))[0].tolist() == [[[32768]]]
    middle = levels(engine.pyramid(gray([188, 188], [188, 188]), color="linear"))[0]
    assert middle.tolist() == [[[int(truth.decode_table()[188])]]]


def test_wider_types(engine):
    assert levels(engine.pyramid(np.array([[1, 2], [2, 2]], np.uint16)))[0].tolist() == [[[2]]]
    assert levels(engine.pyramid(np.array([[0, 1], [0.5, 0.5]], np.float32)))[0].tolist() == [[[0.5]]]


def test_decode_table_is_the_standard():
    table = truth.decode_table()
    assert (table[0], table[1], table[255]) == (0, round(65535 / 255 / 12.92), 65535)
    back = truth.encode_table()[table]
    assert np.array_equal(np.round(back * 255), np.arange(256))


# Facts

@pytest.mark.parametrize("edge", ["aligned", "exact"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_constant_stays_constant(engine, edge, dtype):
    value = {"uint8": 77, "uint16": 12345, "float32": np.float32(0.3)}[dtype]
    image = np.full((37, 53, 3), value, DTYPES[dtype])
    expected = float(value) * (256 if dtype == "uint8" else 1)
    for level in levels(engine.pyramid(image, edge=edge)):
        if edge == "aligned":
            assert np.unique(level).tolist() == [expected]
        else:
            assert_close(level / expected, np.ones(level.shape), "mean")


@pytest.mark.parametrize("edge", ["aligned", "exact"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_mean_is_kept_at_powers_of_two(engine, edge, dtype):
    image = random_image(1, 64, 256, 3, DTYPES[dtype])
    pyramid = engine.pyramid(image, edge=edge)
    mean = image.mean((0, 1), dtype=np.float64) / (1.0 if dtype == "float32" else np.iinfo(image.dtype).max)
    for level in levels(pyramid):
        got = level.mean((1, 2), dtype=np.float64) / pyramid.unit
        assert_close(got, mean, "mean" if level.dtype == np.float32 else "mean_u16")


def test_exact_edge_keeps_the_mean_at_every_size(engine):
    for height, width in random_sizes(8):
        image = random_image(height, height, width, 0)
        last = levels(engine.pyramid(image, edge="exact"), first=0)[-1]
        if (height, width) != (1, 1):
            assert_close(last.item() / 65280, image.mean(dtype=np.float64) / 255, "mean")


@pytest.mark.parametrize("color", ["encoded", "linear"])
def test_flip(engine, color):
    image = random_image(2, 32, 64)
    mirror = levels(engine.pyramid(image[:, ::-1], color=color))
    for level, flipped in zip(levels(engine.pyramid(image, color=color)), mirror, strict=True):
        assert_same(flipped[:, :, ::-1], level)


def test_levels_asked_for(engine):
    image = random_image(3, 40, 50)
    for count in (1, 2, 4):
        pyramid = engine.pyramid(image, levels=count)
        assert pyramid.levels == count
        last = pyramid.level(count - 1).numpy()
        assert last.shape == (3, -(-40 // 2 ** (count - 1)), -(-50 // 2 ** (count - 1)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("stored", [2, 3, 4])
def test_one_channel_of_several(engine, dtype, stored):
    pixels = random_image(stored, 37, 200, 4).astype(DTYPES[dtype])[..., :stored]
    for channel in range(stored):
        one = pixels[..., channel:channel + 1]
        for level, same in zip(levels(engine.pyramid(one)), levels(engine.pyramid(one.copy())), strict=True):
            assert_same(level, same)


# Parity

@functools.cache
def expected(seed, height, width, channels, dtype, edge, color, count=None):
    image = random_image(seed, height, width, channels, DTYPES[dtype])
    return truth.pyramid(planes_of.image(image, "last" if channels else None), edge, color, count)[1:]


def compare(engine, cases, channels, dtype, edge, color, count=None):
    """One call for all cases (seed, height, width), every level of every image by bytes."""
    images = [random_image(s, h, w, channels, DTYPES[dtype]) for s, h, w in cases]
    order = "last" if channels else None
    pyramid = engine.pyramid(engine.image(images, channels=order), edge=edge, color=color, levels=count)
    for index, (seed, height, width) in enumerate(cases):
        chain = expected(seed, height, width, channels, dtype, edge, color, count)
        for level, want in enumerate(chain, 1):
            assert_same(pyramid.level(level, index).numpy(), want, f"{height}x{width} level {level}")


KINDS = [("uint8", "aligned", "encoded"), ("uint8", "aligned", "linear"), ("uint8", "exact", "encoded"),
         ("uint8", "exact", "linear"), ("uint16", "aligned", "encoded"), ("uint16", "exact", "encoded"),
         ("float32", "aligned", "encoded"), ("float32", "exact", "encoded")]


@pytest.mark.parametrize("dtype,edge,color", KINDS)
@pytest.mark.parametrize("channels", [0, 3, 4])
def test_parity_over_sizes(engine, dtype, edge, color, channels):
    sizes = random_sizes(600 if LONG else 60)
    # The default run deals the sizes out over the kinds; the corners go to each.
    share, every = (0, 1) if LONG else (KINDS.index((dtype, edge, color)), len(KINDS))
    picked = sizes[:5] + sizes[5 + share::every]
    for start in range(0, len(picked), 6):
        cases = [(h * 1000 + w, h, w) for h, w in picked[start:start + 6]]
        compare(engine, cases, channels, dtype, edge, color)


@pytest.mark.parametrize("height,width", [(667, 1001), (16, 4096), (17, 1), (1, 17)])
@pytest.mark.parametrize("dtype,edge,color", [KINDS[0], KINDS[1], KINDS[2], KINDS[6]])
def test_parity_of_awkward_sizes(engine, height, width, dtype, edge, color):
    compare(engine, [(4, height, width)], 3, dtype, edge, color)


def test_parity_of_the_largest(cpu):
    image = random_image(5, 64, 8192, 0)
    image = np.concatenate([image + np.uint8(k) for k in range(128)])
    pyramid = cpu.pyramid(image)
    for level, want in enumerate(truth.pyramid(image[None])[1:], 1):
        assert_same(pyramid.level(level).numpy(), want, f"level {level}")


@pytest.mark.parametrize("isa", isas())
def test_every_instruction_set_gives_the_same_bytes(make_engine, monkeypatch, isa):
    monkeypatch.setenv("FOVEATE_ISA", isa)
    engine = make_engine("cpu")
    assert engine.caps["isa"] == isa
    cases = [(h * 1000 + w, h, w) for h, w in random_sizes(24, seed=9)]
    for kind in KINDS:
        for channels in (0, 3, 4):
            compare(engine, cases, channels, *kind)


# Errors

IMAGE = np.zeros((8, 8, 3), np.uint8)


@pytest.mark.parametrize("options,words", [
    ({"edge": "round"}, r"edge.*round.*aligned.*exact"),
    ({"color": "srgb"}, r"colou?r.*srgb.*encoded.*linear"),
    ({"levels": 0}, r"levels.*0.*1"),
    ({"levels": -1}, r"levels.*-1"),
    ({"levels": 17}, r"levels.*17"),
])
def test_wrong_options(engine, options, words):
    with pytest.raises(foveate.Error, match=rf"(?s)^pyramid: .*{words}") as error:
        engine.pyramid(IMAGE, **options)
    assert "got" in str(error.value) and "expected" in str(error.value)
    compare(engine, [(6, 9, 9)], 3, "uint8", "aligned", "encoded")


def test_level_out_of_range(engine):
    pyramid = engine.pyramid(IMAGE)
    for level, image in ((-1, 0), (pyramid.levels, 0), (0, 1), (0, -1)):
        with pytest.raises((foveate.Error, IndexError), match=r"(?s)got .*expected"):
            pyramid.level(level, image)


def test_a_pyramid_is_no_image(engine):
    with pytest.raises((foveate.Error, TypeError)):
        engine.pyramid(engine.pyramid(IMAGE))
