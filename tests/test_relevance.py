# SPDX-License-Identifier: Apache-2.0
"""relevance: how much each cell matters. Whole numbers 0..65535, so everything is equal."""

import math

import foveate
import numpy as np
import pytest
from images import LONG, random_image, random_sizes
from oracle import relevance as truth
from oracle.image import image as planes
from oracle.rate import grid_shape
from tolerance import assert_same

ONE = 65535
FOCAL = 700.0


def planes_of(image):
    return planes(image, "last")


def cells_of(relevance):
    return [np.asarray(c) for c in relevance.cells]


def cells(engine, image, **options):
    taken = engine.image(image, channels="last") if np.ndim(image) == 3 else image
    (result,) = cells_of(engine.relevance(taken, **options))
    return result


# Literals

def test_nothing_asked_is_one_everywhere(engine):
    assert cells(engine, np.zeros((40, 50), np.uint8), cell=16).tolist() == [[ONE] * 4] * 3


def test_values_are_cells(engine):
    made = engine.relevance(np.zeros((40, 50), np.uint8), gaze=(0.5, 0.5), cell=16)
    assert cells_of(made)[0].dtype == np.uint32
    assert np.allclose(np.asarray(made.values[0]), cells_of(made)[0] / ONE)


def test_gaze_in_the_middle(engine):
    got = cells(engine, np.zeros((48, 48), np.uint8), gaze=(0.5, 0.5), cell=16, floor=0)
    assert got[1, 1] == ONE and got[0, 1] == got[1, 0] == got[1, 2] == got[2, 1]
    e = 16 / math.hypot(24, 24)
    assert abs(got[0, 1] / ONE - (0.15 / (e + 0.15)) ** 2) < 0.01 * got[0, 1] / ONE


def test_bands(engine):
    got = cells(engine, np.zeros((16, 160), np.uint8), gaze=(8, 8), unit="px", cell=16, floor=0,
                falloff=("bands", (0.5, 1.0), (1.0, 0.2)))
    assert got.tolist() == [[ONE] * 3 + [13107] * 7]       # half the diagonal is 80.4 px: bands end at 40 and 80


def test_information_in_bits(engine):
    image = np.zeros((16, 80), np.uint8)
    image[:, 16:24] = 255                                   # two values: 1 bit of 5
    image[:, 32:48] = np.repeat(np.arange(4) * 60, 4)       # four: 2 bits
    image[:, 48:64] = np.arange(256).reshape(16, 16)        # all 32 bins: 5 bits
    assert cells(engine, image, information=True, cell=16, floor=0).tolist() == [[0, 13107, 26214, ONE, 0]]


def test_gradient_of_a_step(engine):
    image = np.zeros((16, 64), np.uint8)
    image[:, 32:] = 100
    got = cells(engine, image, saliency="gradient", cell=16, floor=0)
    assert got.tolist() == [[0, ONE, ONE, 0]]


def test_surround_of_a_spot(engine):
    image = np.zeros((80, 80), np.uint8)
    image[32:48, 32:48] = 90
    got = cells(engine, image, saliency="surround", cell=16, floor=0)
    assert got[2, 2] == ONE and np.unique(got).tolist()[-1] == ONE
    # the spot is one cell of 9 about it, and of 16 to 25 within 3: 90 * 256 / 9 against 90 * 256 * 24 / 25
    assert got[1, 1] == 2560 * ONE // (23040 - 921)


def test_motion_is_eight_times_the_change(engine):
    before, now = np.full((16, 48), 100, np.uint8), np.full((16, 48), 100, np.uint8)
    now[:, 16:32], now[:, 32:] = 101, 200
    first = engine.relevance(before, motion=True, cell=16, floor=0)
    assert cells_of(first)[0].tolist() == [[0, 0, 0]]
    got = cells(engine, now, motion=True, previous=first, smooth=0, cell=16, floor=0)
    assert got.tolist() == [[0, 8 * 256, ONE]]


def test_boxes_are_shares(engine):
    image = np.zeros((32, 40), np.uint8)
    got = cells(engine, image, roi=[(8, 0, 24, 16), (16, 0, 20, 16)], unit="px", cell=16, floor=0)
    assert got.tolist() == [[32768, 32768, 0], [0, 0, 0]]
    assert cells(engine, image, roi=[(32, 16, 40, 32)], unit="px", cell=16, floor=0)[1].tolist() == [0, 0, ONE]


def test_query_map_is_stretched(engine):
    image = np.zeros((32, 48), np.uint8)
    got = cells(engine, image, query=np.array([[0.0, 1.0], [0.2, 0.4]]), cell=16, floor=0)
    assert got.tolist() == [[0, 32768, ONE], [13107, 19661, 26214]]


def test_floor(engine):
    got = cells(engine, np.zeros((32, 32), np.uint8), information=True, cell=16)
    assert np.unique(got).tolist() == [1311]
    assert np.unique(cells(engine, np.zeros((32, 32), np.uint8), information=True, cell=16, floor=0.5)) == 32768


def test_combine_by_hand(engine):
    image = np.zeros((16, 16), np.uint8)
    terms = {"query": np.array([[0.5]]), "roi": [(0, 0, 16, 4)], "unit": "px", "cell": 16, "floor": 0}

    def one(how):
        return int(cells(engine, image, combine=how, **terms)[0, 0])

    assert one("max") == 32768 and one("mean") == (32768 + 16384) // 2
    assert one("product") == (32768 * 16384 + 32767) // ONE == 8192
    assert one({"query": 1.0, "roi": 3.0}) == (32768 * 16384 >> 16) + (16384 * 49152 >> 16) == 20480


def test_opponent_by_hand():
    terms = {"information": np.array([40000]), "saliency": np.array([10000]), "gaze": np.array([20000])}
    assert truth.opponent(terms, (0.25, 0.5, 1.0)).tolist() == [(32500 + 30000 + 20000) // 3]


def test_smooth_goes_half_way(engine):
    image = np.zeros((16, 48), np.uint8)

    def shares(*values):
        return {"query": np.array([values]), "cell": 16, "floor": 0}

    first = engine.relevance(image, **shares(0.0, 1.0, 0.5))
    got = cells(engine, image, previous=first, **shares(1.0, 0.0, 0.505))
    assert got.tolist() == [[32767, 32768, 32768]]
    got = cells(engine, image, previous=first, smooth=0, **shares(1.0, 0.0, 0.505))
    assert got.tolist() == [[ONE, 0, 33095]]


# Facts

FALLOFFS = ["cortical", ("cortical", 0.3), "polynomial", ("polynomial", 9.0, 1.5), "exponential",
            ("exponential", 5.0), "bands"]


@pytest.mark.parametrize("falloff", FALLOFFS)
def test_gaze_falls_with_distance(engine, falloff):
    got = cells(engine, np.zeros((256, 400), np.uint8), gaze=(0.31, 0.609375), falloff=falloff, cell=8, floor=0)
    y, x = np.mgrid[:32, :50] * 8 + 4
    order = np.argsort((x - 124) ** 2 + (y - 156) ** 2, axis=None, kind="stable")
    fall = np.diff(got.ravel()[order].astype(int))
    assert (fall <= 0).all() and got[19, 15] == ONE and got.min() < 20000


def test_more_points_never_matter_less(engine):
    image = np.zeros((200, 300), np.uint8)
    one, two = ([(0.2, 0.3)], [(0.2, 0.3), (0.8, 0.9)])
    a, b, both = (cells(engine, image, gaze=g, cell=16) for g in (one, two[1:], two))
    assert_same(both, np.maximum(a, b))


def test_acuity_in_degrees(engine):
    image, gaze = np.zeros((320, 640), np.uint8), (0.5125, 0.525)      # the centre of a cell
    fov = math.degrees(2 * math.atan(320 / FOCAL))
    for falloff in ("cortical", "geisler", "bands"):
        by_fov = cells(engine, image, gaze=gaze, fov_deg=fov, falloff=falloff, cell=16)
        by_distance = cells(engine, image, gaze=gaze, viewing_px=FOCAL, falloff=falloff, cell=16)
        assert np.abs(by_fov.astype(int) - by_distance).max() <= ONE // 50 and by_fov[10, 20] == ONE
    e = math.degrees(math.atan(160 / FOCAL))
    got = cells(engine, image, gaze=gaze, viewing_px=FOCAL, cell=16)[0, 20]
    assert abs(got / ONE - (2.5 / (e + 2.5)) ** 2) < 0.005


def test_salient_cells_are_nearer(engine):
    image = random_image(1, 160, 160)
    plain, near = (cells(engine, image, gaze=(0, 0), saliency="both", combine={"gaze": 1.0}, beta=beta, cell=16)
                   for beta in (0, 2.0))
    assert (near >= plain).all() and (near > plain).any()


def test_constant_image_says_nothing(engine):
    for value, method in ((0, "both"), (255, "spectral"), (100, "gradient"), (7, "surround")):
        got = cells(engine, np.full((70, 90, 3), value, np.uint8), saliency=method, information=True, cell=16, floor=0)
        assert not got.any()


@pytest.mark.parametrize("method", ["gradient", "surround", "both"])
def test_flip(engine, method):
    image = random_image(6, 96, 128)
    options = {"saliency": method, "information": True, "cell": 16}
    here = cells(engine, image, gaze=(0.25, 0.5), **options)
    there = cells(engine, np.ascontiguousarray(image[:, ::-1]), gaze=(0.75, 0.5), **options)
    assert_same(np.ascontiguousarray(there[:, ::-1]), here)
    turned = cells(engine, np.ascontiguousarray(image.swapaxes(0, 1)), gaze=(0.5, 0.25), **options)
    assert_same(np.ascontiguousarray(turned.T), here)


@pytest.mark.parametrize("method", ["gradient", "surround", "spectral"])
def test_what_stands_out(engine, method):
    image = np.tile(np.array([[100, 120], [120, 100]], np.uint8), (128, 128))
    image[96:128, 160:192] = random_image(2, 32, 32, 0)
    got = cells(engine, image, saliency=method, cell=16, floor=0)
    assert divmod(int(got.argmax()), 16)[0] in (5, 6, 7, 8) and divmod(int(got.argmax()), 16)[1] in (9, 10, 11, 12)


def test_a_still_scene_does_not_move(engine):
    image, last = random_image(3, 64, 64), None
    for _ in range(3):
        last = engine.relevance(image, gaze=(0.5, 0.5), motion=True, combine="max", previous=last, cell=16)
    assert_same(cells_of(last)[0], cells(engine, image, gaze=(0.5, 0.5), cell=16))


def test_smoothing_arrives(engine):
    image = np.zeros((160, 160), np.uint8)
    last = engine.relevance(image, gaze=(0.1, 0.1), cell=16)
    target = cells(engine, image, gaze=(0.9, 0.8), cell=16).astype(int)
    frames = 0
    while (np.abs((now := cells_of(last)[0].astype(int)) - target) > ONE // 64 + now // 3).any():
        last, frames = engine.relevance(image, gaze=(0.9, 0.8), previous=last, cell=16), frames + 1
        assert frames <= 6                                  # half the way each time: 2^-6 after six
    assert frames >= 3


# Parity

CASES = [
    {}, {"information": True}, {"saliency": "gradient"}, {"saliency": "surround"}, {"saliency": "both"},
    {"saliency": "spectral"}, {"gaze": [(0.3, 0.8)]}, {"gaze": [(0.1, 0.2), (0.9, 0.5), (0.5, 0.5)]},
    {"gaze": [(0.3, 0.8)], "information": True, "saliency": "both"},
    {"gaze": [(0.3, 0.8)], "saliency": "spectral", "beta": 3.0, "knobs": (0.1, 0.9, 0.4)},
    {"gaze": [(1.0, 0.0)], "information": True, "combine": "product", "floor": 0.0},
    {"gaze": [(0.5, 0.5)], "information": True, "saliency": "both", "combine": "mean"},
    {"gaze": [(0.5, 0.5)], "saliency": "gradient", "combine": {"gaze": 1.0, "saliency": 2.5}},
]


def oracle(image, cell, color="encoded", gaze=None, falloff="cortical", focal=None, beta=0.0, information=False,
           saliency=None, query=None, motion=False, luma_before=None, share=None, combine=None,
           knobs=(0.5, 0.5, 0.5), **rest):
    planes = planes_of(image)
    height, width = planes.shape[1:]
    points = [(x * width, y * height) for x, y in gaze] if gaze else None
    terms = truth.terms_of(planes, cell, points, falloff, focal, beta, information, saliency, query, motion,
                           luma_before, share, color)
    return truth.relevance(grid_shape(planes.shape[1:], cell), terms, combine, knobs, **rest)


@pytest.mark.parametrize("cell", [1, 7, 16, 17, 28, 32])
def test_parity(engine, cell):
    for index, size in enumerate(random_sizes(60 if LONG else 9, seed=cell, largest=min(257, 12 * cell))):
        dtype, channels = (np.uint8, np.uint16, np.float32)[index % 3], (3, 0, 1)[index % 3]
        image = random_image(index, *size, channels, dtype)
        for case in CASES if LONG else CASES[index % 3::3]:
            assert_same(cells(engine, image, cell=cell, **case), oracle(image, cell, **case), f"{size} {case}")


@pytest.mark.parametrize("falloff", [*FALLOFFS, "geisler", ("geisler", 0.2, 3.0, 0.02)])
def test_parity_of_falloffs(engine, falloff):
    for index, size in enumerate(random_sizes(5, seed=2)):
        image, gaze = np.zeros(size, np.uint8), [(0.41, 0.77), (0.9, 0.1)]
        if "geisler" not in falloff:
            assert_same(cells(engine, image, cell=8, gaze=gaze, falloff=falloff, floor=0),
                        oracle(image, 8, gaze=gaze, falloff=falloff, floor=0), f"{size}")
        degrees = ("bands", (4.0, 1.0), (9.0, 0.3)) if falloff == "bands" and index % 2 else falloff
        assert_same(cells(engine, image, cell=8, gaze=gaze, falloff=degrees, floor=0, fov_deg=60),
                    oracle(image, 8, gaze=gaze, falloff=degrees, floor=0, focal=truth.focal_px(size, 60)), f"{size}")


def test_parity_of_linear_light(engine):
    for cell in (16, 28):
        image = random_image(cell, 100, 130)
        case = {"information": True, "saliency": "both"}
        pyramid = engine.pyramid(image, color="linear")
        assert_same(cells(engine, pyramid, cell=cell, **case), oracle(image, cell, "linear", **case))


def test_parity_over_frames(engine):
    last, wanted, before = None, None, None
    for index in range(4):
        image, gaze = random_image(index, 90, 120), [(0.2 * index, 0.5)]
        case = {"gaze": gaze, "information": True, "motion": True, "smooth": 0.7, "band": 0.03}
        last = engine.relevance(image, cell=28, previous=last, **case)
        wanted = oracle(image, 28, before=wanted, luma_before=before, **case)
        assert_same(cells_of(last)[0], wanted, f"frame {index}")
        before = truth.luma(planes_of(image), 28)[1]


def test_parity_of_maps(engine):
    rng = np.random.default_rng(1)
    for size in random_sizes(6, seed=3):
        image = np.zeros(size, np.uint8)
        given = rng.random(tuple(rng.integers(1, 30, 2)))
        assert_same(cells(engine, image, cell=16, query=given), oracle(image, 16, query=given), f"query {size}")
        corner = rng.random((3, 2)) * 0.8
        boxes = np.concatenate([corner, corner + 0.2], 1)
        share = truth.box_share(boxes * np.tile(size[::-1], 2), size, 16)
        assert_same(cells(engine, image, cell=16, roi=boxes.tolist()), oracle(image, 16, share=share), f"roi {size}")
        mask = rng.random(size) < 0.3
        assert_same(cells(engine, image, cell=16, roi=mask),
                    oracle(image, 16, share=truth.area_mean(mask, size, 16)), f"mask {size}")
        trace = rng.random((9, 3))
        share = truth.heat(trace * (size[1], size[0], 1.0), size, 16)
        assert_same(cells(engine, image, cell=16, trace=trace.tolist()), oracle(image, 16, share=share), f"{size}")


def test_parity_of_a_mixed_batch(engine):
    sizes = random_sizes(6, seed=9)
    images, case = [random_image(i, *s) for i, s in enumerate(sizes)], CASES[8]
    made = engine.relevance(engine.image(images, channels="last"), cell=28, **case)
    for got, image in zip(cells_of(made), images, strict=True):
        assert_same(got, oracle(image, 28, **case))


# Errors

@pytest.mark.parametrize("options,words", [
    ({"gaze": (1.2, 0.5)}, r"gaze.*1\.2"),
    ({"gaze": (float("nan"), 0.5)}, r"gaze.*nan"),
    ({"falloff": "linear"}, r"falloff.*cortical.*polynomial.*exponential.*bands.*geisler"),
    ({"falloff": "geisler", "gaze": (0.5, 0.5)}, r"falloff|fov"),
    ({"fov_deg": 180, "gaze": (0.5, 0.5)}, r"fov_deg.*180"),
    ({"fov_deg": 60, "viewing_px": 500, "gaze": (0.5, 0.5)}, r"viewing_px|fov_deg"),
    ({"saliency": "deep"}, r"saliency.*gradient.*surround.*both.*spectral"),
    ({"combine": "sum"}, r"combine.*opponent.*max.*mean.*product"),
    ({"combine": {"gaze": 1.0}}, r"combine|weight"),
    ({"beta": -1.0, "gaze": (0.5, 0.5), "saliency": "both"}, r"beta.*-1"),
    ({"beta": 1.0, "gaze": (0.5, 0.5)}, r"beta|saliency"),
    ({"floor": 1.5}, r"floor.*1\.5"),
    ({"smooth": -0.1}, r"smooth.*-0\.1"),
    ({"band": -0.1}, r"band.*-0\.1"),
    ({"knobs": (0.5, 0.5, 1.5)}, r"knobs?.*1\.5"),
    ({"knobs": (0.5, 0.5)}, r"knobs"),
    ({"cell": 0}, r"cell: got 0"),
    ({"roi": [(0.5, 0.5, 0.4, 0.6)]}, r"roi"),
    ({"query": np.full((2, 2), np.nan)}, r"query"),
    ({"previous": 3}, r"previous: got "),
])
def test_wrong_options(cpu, options, words):
    with pytest.raises(foveate.Error, match=rf"(?s)^relevance: .*(?:{words})") as error:
        cpu.relevance(np.zeros((32, 48), np.uint8), **{"cell": 16, **options})
    assert "got" in str(error.value) and "expected" in str(error.value)
    assert np.unique(cells(cpu, np.zeros((32, 48), np.uint8), cell=16)) == ONE, "after an error"


def test_another_geometry(cpu):
    before = cpu.relevance(np.zeros((64, 64), np.uint8), cell=16)
    with pytest.raises(foveate.Error, match=r"(?s)^relevance: previous.*got .*expected"):
        cpu.relevance(np.zeros((32, 48), np.uint8), cell=16, previous=before)
