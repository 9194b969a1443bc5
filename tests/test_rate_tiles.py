# SPDX-License-Identifier: Apache-2.0
"""rate for hardware: literals, facts, and the errors of published shaders; parity is in test_rate_parity.py."""

import foveate
import numpy as np
import pytest
from foveate import rate_codes
from foveate.rate_tiles import TABLES
from images import random_image
from oracle import rate_tiles as truth
from tolerance import assert_same

COARSEST, FINEST = 10, 0
TILES = (8, 16, 32)


def gray(height, width, value=128):
    return np.full((height, width), value, np.uint8)


def checkerboard(height, width, side=1):
    y, x = np.mgrid[:height, :width] // side
    return ((x + y) % 2 * 255).astype(np.uint8)


def stripes(height, width, side=1):
    """Vertical ones: they differ along x."""
    return np.tile((np.arange(width) // side % 2 * 255).astype(np.uint8), (height, 1))


def turned(codes):
    return np.ascontiguousarray(((codes & 3) << 2 | codes >> 2).T)


# Literals

def test_rings_around_the_gaze(engine):
    rates = engine.rate_tiles((80, 80), tile=16, gaze=(0.5, 0.5))
    # distances 0, 1, sqrt 2, 2 and so on of 2 sqrt 2 tiles; 4x4 from 0.8 on
    ring, middle = [6, 5, 0, 5, 6], [6, 0, 0, 0, 6]
    assert rates.codes.tolist() == [[10, 6, 6, 6, 10], ring, middle, ring, [10, 6, 6, 6, 10]]
    assert rates.wh[0, 1].tolist() == [2, 4]
    assert rates.tile == 16 and rates.sizes == [(80, 80)]


def test_bands_in_degrees(engine):
    # 90 degrees over 1600 px: f = 800 px; 1 degree is 14 px, 5 are 70, 30 are 462
    rates = engine.rate_tiles((16, 1600), tile=16, gaze=(8, 8), unit="px", falloff="bands", fov=90)
    assert rates.codes[0].tolist() == [0] + [4] * 4 + [5] * 24 + [10] * 71


def test_three_step_table(engine):
    rates = engine.rate_tiles((16, 176), tile=16, gaze=(8, 8), unit="px", thresholds="three")
    assert rates.codes[0].tolist() == [0, 0] + [5] * 3 + [10] * 6


def test_an_edge_asks_for_a_fine_width_only(engine):
    image = gray(16, 16, 0)
    image[:8, 3:] = 255
    rates = engine.rate_tiles(image, tile=8, content="ffx")
    assert rates.wh.tolist() == [[[1, 2], [4, 4]], [[4, 4], [4, 4]]]
    assert rates.invocations == 8 * 4 + 3 * 4


def test_velocity_alone(engine):
    # at 1.71 px a frame half of the contrast is left, at 6.1 px a quarter rate's
    speeds = np.array([[0, 1.6, 1.8, 6.0, 6.3, 100]])
    rates = engine.rate_tiles((8, 48), tile=8, velocity=speeds)
    assert rates.codes[0].tolist() == [0, 0, 5, 5, 10, 10]


def test_three_sources_through_the_combiners(engine):
    """Pipeline 2x1, primitive 1x2, attachment from the gaze."""
    options = {"tile": 16, "gaze": (8, 8), "unit": "px", "pipeline": (2, 1), "primitive": (1, 2)}
    attachment = engine.rate_tiles((16, 80), tile=16, gaze=(8, 8), unit="px").codes[0].tolist()
    assert attachment == [0, 0, 5, 6, 10]
    for ops in (("keep", "replace"), ("replace", "keep"), ("max", "min"), ("mul", "max")):
        got = engine.rate_tiles((16, 80), combine=ops, **options).codes[0]
        assert_same(got, rate_codes.final(4, 1, np.array(attachment), combine=ops))
    assert engine.rate_tiles((16, 80), combine=("mul", "max"), **options).codes[0].tolist() == [5, 5, 5, 6, 10]


# Facts

@pytest.mark.parametrize("content", ["ffx", "jnd"])
@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize("value", [0, 1, 128, 255])
def test_a_flat_image_is_coarsest(engine, tile, content, value):
    assert (engine.rate_tiles(gray(67, 45, value), tile=tile, content=content).codes == COARSEST).all()


@pytest.mark.parametrize("content", ["ffx", "jnd"])
@pytest.mark.parametrize("tile", TILES)
def test_a_checkerboard_is_finest(engine, tile, content):
    assert (engine.rate_tiles(checkerboard(64, 64), tile=tile, content=content).codes == FINEST).all()


@pytest.mark.parametrize("content", ["ffx", "jnd"])
@pytest.mark.parametrize("tile", TILES)
def test_stripes_the_right_way_round(engine, tile, content):
    """Vertical stripes need every column and few rows: 1x2, code 1."""
    assert (engine.rate_tiles(stripes(64, 64), tile=tile, content=content).codes == 1).all()
    assert (engine.rate_tiles(np.ascontiguousarray(stripes(64, 64).T), tile=tile, content=content).codes == 4).all()


def test_what_a_coarse_fragment_holds_is_flat(engine):
    """Squares of 2 px on even places are flat within 2x2 fragments, of 4 px within 4x4."""
    assert (engine.rate_tiles(checkerboard(32, 32, 2), tile=8, content="ffx").codes == 5).all()
    assert (engine.rate_tiles(checkerboard(32, 32, 4), tile=8, content="ffx").codes == COARSEST).all()
    assert (engine.rate_tiles(stripes(32, 32, 2), tile=8, content="ffx").codes == 6).all()


@pytest.mark.parametrize("content", [None, "ffx", "jnd"])
@pytest.mark.parametrize("tile", TILES)
def test_flips_and_turns(engine, tile, content):
    image = random_image(3, 128, 192, 0) // 4
    image[:64] //= 6
    image[:, 64:128] = stripes(128, 64, 2)
    options = {"tile": tile, "content": content, "unit": "px", "terms": "min"}
    rows = TABLES["five"]
    codes = engine.rate_tiles(image, gaze=(180, 120), thresholds=rows, **options).codes
    assert len(np.unique(codes)) > 2
    mirror = engine.rate_tiles(np.ascontiguousarray(image[:, ::-1]), gaze=(12, 120), thresholds=rows, **options).codes
    assert_same(mirror, np.ascontiguousarray(codes[:, ::-1]))
    lying = [(limit, (h, w)) for limit, (w, h) in rows]
    image = np.ascontiguousarray(image.T)
    assert_same(engine.rate_tiles(image, gaze=(120, 180), thresholds=lying, **options).codes, turned(codes))


@pytest.mark.parametrize("tile", TILES)
def test_extents_are_rounded_up(engine, tile):
    for side in (*range(1, 34), 63, 64, 65):
        for size in ((side, 40), (40, side)):
            codes = engine.rate_tiles(size, tile=tile, gaze=(0.5, 0.5)).codes
            assert codes.shape == (-(-size[0] // tile), -(-size[1] // tile))


@pytest.mark.parametrize("falloff", ["table", "polynomial", "exponential"])
@pytest.mark.parametrize("fov", [None, 100])
@pytest.mark.parametrize("gaze", [(0.5, 0.5), (0.0, 0.1), [(0.1, 0.2), (0.9, 0.7)]])
def test_every_rate_is_reached(engine, falloff, fov, gaze):
    """From the gaze's own tile to 4x4 at the farthest one."""
    rates = engine.rate_tiles((720, 1280), tile=8, gaze=gaze, falloff=falloff, fov=fov)
    assert sorted(np.unique(rates.codes)) == [0, 5, 6, 10]
    far = truth.distances(720, 1280, 8, [(x * 1280, y * 720) for x, y in np.reshape(gaze, (-1, 2))])
    assert rates.codes[np.unravel_index(far.argmax(), far.shape)] == COARSEST
    assert rates.codes[np.unravel_index(far.argmin(), far.shape)] == FINEST


def test_rings_are_round_on_a_wide_image(engine):
    codes = engine.rate_tiles((320, 1280), tile=8, gaze=(0.5, 0.5)).codes
    fine = np.argwhere(codes == FINEST)
    height, width = np.ptp(fine, axis=0) + 1
    assert abs(height - min(width, 40)) <= 2


def test_one_tile_is_finest(engine):
    assert engine.rate_tiles((5, 7), tile=16, gaze=(0.0, 1.0)).codes.tolist() == [[0]]
    for x in (32, 40, 47, 48):     # wherever the gaze lies in a tile
        rates = engine.rate_tiles((64, 96), tile=16, gaze=(x, 20), unit="px", falloff="bands", fov=150)
        assert rates.codes[1, min(x // 16, 2)] == FINEST


def test_terms(engine):
    image = checkerboard(64, 64)
    image[:, 32:] = 77
    gaze = engine.rate_tiles((64, 64), tile=8, gaze=(0.2, 0.2)).codes
    content = engine.rate_tiles(image, tile=8, content="ffx").codes
    for terms in ("min", "max"):
        both = engine.rate_tiles(image, tile=8, gaze=(0.2, 0.2), content="ffx", terms=terms).codes
        assert_same(rate_codes.decode(both), rate_codes.combine(terms, gaze, content))
    # more terms: never finer by max, never coarser by min
    assert (rate_codes.decode(engine.rate_tiles(image, tile=8, gaze=(0.2, 0.2), content="ffx").codes)
            >= rate_codes.decode(content)).all()


def test_the_least_velocity_of_a_tile_counts(engine):
    velocity = np.zeros((16, 32, 2), np.float32)
    velocity[..., 0] = 30.0
    velocity[5, 3] = (0.3, 0.4)
    got = engine.rate_tiles((16, 32), tile=16, velocity=velocity).codes
    assert got.tolist() == [[0, 10]]
    assert_same(got, engine.rate_tiles((16, 32), tile=16, velocity=np.array([[0.5, 30.0]])).codes)
    faint = checkerboard(16, 32) // 12
    still = engine.rate_tiles(faint, tile=16, content="ffx", velocity=velocity * 0).codes
    assert_same(still, engine.rate_tiles(faint, tile=16, content="ffx").codes)
    assert engine.rate_tiles(faint, tile=16, content="ffx", velocity=velocity).codes.tolist() == [[0, 10]]


def test_primitive_rates_by_tile(engine):
    roi = np.full((4, 6), 10, np.uint8)
    roi[1:3, 2:5] = 0
    codes = engine.rate_tiles((64, 96), tile=16, gaze=(0.5, 0.5), falloff="bands", thresholds=[(9, (4, 4))],
                              primitive=roi, combine=("replace", "min")).codes
    assert_same(codes, roi)


@pytest.mark.parametrize("name", rate_codes.PROFILES)
def test_profiles(engine, name):
    profile = rate_codes.PROFILES[name]
    image = random_image(5, 70, 90) // 6
    options = {"tile": profile.tile[0], "gaze": (0.3, 0.3), "content": "ffx", "terms": "min"}
    free = engine.rate_tiles(image, **options).codes
    held = engine.rate_tiles(image, profile=name, **options)
    assert {tuple(rate) for rate in held.wh.reshape(-1, 2).tolist()} <= set(profile.rates)
    assert_same(held.codes, rate_codes.clamp(rate_codes.decode(free), name))


def test_codes_as_an_api_wants_them(engine):
    rates = engine.rate_tiles((64, 64), tile=16, gaze=(0.1, 0.1))
    assert_same(rates.encode("d3d12"), np.ascontiguousarray(rates.codes))
    assert_same(rate_codes.decode(rates.encode("nv"), "nv"), rates.wh)
    assert rates.fraction == rates.invocations / 4096
    assert rates.codes.flags.writeable is False
    assert np.from_dlpack(rates.array).tolist() == rates.codes.tolist()


def test_a_batch_of_sizes(engine):
    sizes = [(64, 64), (9, 130), (5, 7)]
    images = [random_image(i, *size) for i, size in enumerate(sizes)]
    gazes = [[(0.2, 0.2)], [(0.9, 0.5), (0.1, 0.1)], [(0.5, 0.5)]]
    speeds = [np.full((-(-h // 8), -(-w // 8)), 2.0) for h, w in sizes]
    rates = engine.rate_tiles(images, tile=8, gaze=gazes, content="jnd", velocity=speeds)
    assert len(rates) == 3 and rates.sizes == sizes
    for index, one in enumerate(rates):
        alone = engine.rate_tiles(images[index], tile=8, gaze=gazes[index], content="jnd", velocity=speeds[index])
        assert_same(one.codes, alone.codes)
    assert_same(rates[-1].codes, rates[2].codes)
    with pytest.raises(foveate.Error, match="image: got 3 images, expected one"):
        _ = rates.codes


# The seven errors of published shaders

def test_no_width_height_swap(engine):
    image = np.concatenate([stripes(8, 16), np.ascontiguousarray(stripes(16, 8).T)])
    assert engine.rate_tiles(image, tile=8, content="ffx").codes.tolist() == [[1, 1], [4, 4]]


def test_no_minimum_of_codes(engine):
    """4x2 of one term and 2x4 of the other meet in 2x2, not in the smaller number."""
    rows = [(9, (4, 2))]
    options = {"tile": 8, "gaze": (0, 0), "falloff": "bands", "thresholds": rows, "content": "ffx"}
    assert (engine.rate_tiles(stripes(16, 16, 2), terms="min", **options).codes == 5).all()
    assert (engine.rate_tiles(stripes(16, 16, 2), terms="max", **options).codes == COARSEST).all()


def test_no_reduction_that_begins_at_zero(engine):
    """A tile of 8 that is flat is not 1x1, whatever the tiles beside it are."""
    image = checkerboard(8, 64)
    image[:, 8:16] = image[:, 40:48] = 9
    assert engine.rate_tiles(image, tile=8, content="ffx").codes[0].tolist() == [0, 10, 0, 0, 0, 10, 0, 0]


def test_no_copied_difference(engine):
    """What differs down only must not be taken from what differs across."""
    down = np.ascontiguousarray(stripes(16, 16).T)
    assert (engine.rate_tiles(down, tile=16, content="ffx").codes == 4).all()
    assert (engine.rate_tiles(np.ascontiguousarray(stripes(16, 16, 2).T), tile=16, content="ffx").codes == 9).all()


@pytest.mark.parametrize("tile", TILES)
def test_no_transposed_write(engine, tile):
    image = gray(3 * tile, 5 * tile)
    image[tile:2 * tile, 4 * tile:] = checkerboard(tile, tile)
    codes = engine.rate_tiles(image, tile=tile, content="ffx").codes
    assert np.argwhere(codes != COARSEST).tolist() == [[1, 4]]


@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize("content", ["ffx", "jnd"])
def test_no_interleaved_tiles(engine, tile, content):
    """One px or block at a time: it shows in its own tile and in no other."""
    for y, x in ((0, 0), (tile - 1, tile - 1), (tile, 2 * tile - 1), (2 * tile - 1, 3 * tile), (tile // 2, 2 * tile)):
        image = gray(2 * tile, 4 * tile, 40)
        image[y, x] = 255
        codes = engine.rate_tiles(image, tile=tile, content=content, contrast=0.02).codes
        assert np.argwhere(codes != COARSEST).tolist() == [[y // tile, x // tile]]


def test_no_lost_last_tile(engine):
    """Truncated extents lose what lies in the last column and row."""
    image = gray(17, 33)
    image[16, 31] = 255
    codes = engine.rate_tiles(image, tile=8, content="ffx").codes
    assert codes.shape == (3, 5) and np.argwhere(codes != COARSEST).tolist() == [[2, 3]]
