# SPDX-License-Identifier: Apache-2.0
"""rate for hardware: against the oracle on every backend, and every error."""

import functools

import foveate
import numpy as np
import pytest
from conftest import isas
from foveate import rate_codes
from foveate.rate_tiles import CONTRAST, DEFAULT, TABLES, TileRates
from images import LONG, random_image, random_sizes
from oracle import image as planes_of
from oracle import rate_tiles as truth
from tolerance import assert_same

TILES = (8, 16, 32)

# Parity

KINDS = ["uint8", "uint16", "float32"]


@functools.cache
def picture(seed, height, width, channels, dtype):
    """Noise of a strength that changes from tile to tile, so that every rate is met."""
    y, x = np.mgrid[:height, :width]
    strength = np.array([0.0, 0.02, 0.06, 0.15, 1.0])[(x // 16 + 3 * (y // 16) + seed) % 5]
    noise = random_image(seed, -(-height // 2), -(-width // 2), channels, np.float64).repeat(2, 0).repeat(2, 1)
    value = noise[:height, :width] if seed % 2 else random_image(seed, height, width, channels, np.float64)
    value = 0.5 + (value - 0.5) * (strength[..., None] if channels else strength)
    return value.astype(dtype) if dtype == "float32" else np.round(value * np.iinfo(dtype).max).astype(dtype)


def compare(engine, seed, height, width, channels=3, dtype="uint8", layout="last", **options):
    rng = np.random.default_rng(seed)
    image = picture(seed, height, width, channels, dtype)
    options.setdefault("tile", TILES[seed % 3])
    shape = -(-height // options["tile"]), -(-width // options["tile"])
    falloff = options.setdefault("falloff", list(DEFAULT)[seed % 4])
    points = [tuple(p) for p in (rng.random((1 + seed % 3, 2)) * (width, height)).tolist()]
    rows = TABLES[DEFAULT[falloff]]
    fov = [None, 70.0, 130.0][seed % 3]
    velocity = rng.random(shape) * 8 if seed % 2 else None
    primitive = rng.choice(rate_codes.CODES["vulkan"], shape).astype(np.uint8) if seed % 3 == 1 else None
    content = options.get("content")
    gaze = points if options.pop("gazed", True) else None
    if gaze is None and content is None and velocity is None:
        velocity = rng.random(shape) * 8
    given = image if layout == "last" else np.ascontiguousarray(np.moveaxis(image, 2, 0))
    got = engine.rate_tiles(engine.image(given, channels=layout if channels else None), gaze=gaze, unit="px", fov=fov,
                            velocity=velocity, primitive=(1, 1) if primitive is None else primitive,
                            pipeline=(2, 1), **options).codes
    profile = rate_codes.PROFILES.get(options.get("profile"), rate_codes.Profile())
    want = truth.rate_tiles(
        planes_of.image(given, layout if channels else None), options["tile"], gaze, rows, falloff, fov, content,
        CONTRAST[content], velocity=None if velocity is None else np.floor(velocity * 16),
        terms=options.get("terms", "max"), pipeline=(2, 1), ops=options.get("combine", ("keep", "replace")),
        primitive=None if primitive is None else rate_codes.decode(primitive).tolist(), supported=profile.rates,
        strict=profile.strict, transpose=profile.transpose, tall=profile.tall)
    assert_same(np.ascontiguousarray(got), want, f"{seed}: {height}x{width} {options}")
    return want


@pytest.mark.parametrize("content", [None, "ffx", "jnd"])
@pytest.mark.parametrize("gazed", [True, False])
def test_parity_over_sizes(engine, content, gazed):
    met = set()
    for seed, (height, width) in enumerate(random_sizes(60 if LONG else 12, seed=4, largest=130)):
        met |= set(compare(engine, seed, height, width, content=content, gazed=gazed, terms="min").ravel().tolist())
    assert met >= ({0, 5, 10} if content != "jnd" else {0, 10})


@pytest.mark.parametrize("content", ["ffx", "jnd"])
@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("channels", [0, 3, 4])
def test_parity_of_pixels(engine, content, dtype, channels):
    for seed in (2, 6):
        compare(engine, seed, 61, 83, channels, dtype, content=content, gazed=False)
    if channels:
        compare(engine, 9, 40, 67, channels, dtype, layout="first", content=content)


@pytest.mark.parametrize("combine", [("keep", "min"), ("max", "mul"), ("replace", "max")])
@pytest.mark.parametrize("profile", [None, "dg2", "nonstrict-mul"])
def test_parity_of_combiners(engine, combine, profile):
    for seed in (1, 4):
        compare(engine, seed, 70, 50, content="ffx", combine=combine, profile=profile, tile=8)


@pytest.mark.parametrize("isa", isas())
def test_every_instruction_set_gives_the_same_bytes(make_engine, monkeypatch, isa):
    monkeypatch.setenv("FOVEATE_ISA", isa)
    engine = make_engine("cpu")
    assert engine.caps["isa"] == isa
    for seed, width in enumerate((1, 15, 16, 17, 63, 64, 65, 127, 200, 333)):
        for channels in (0, 3, 4):
            compare(engine, seed, 33, width, channels, content=["ffx", "jnd"][seed % 2])


def test_no_result_depends_on_threads(make_engine):
    image = picture(3, 300, 500, 3, "uint8")
    engines = [make_engine("cpu", threads=count) for count in (1, 2, 5)]
    results = [engine.rate_tiles(image, tile=8, gaze=(0.3, 0.3), content="ffx") for engine in engines]
    for rates in results[1:]:
        assert_same(rates.codes, results[0].codes)


# Errors

IMAGE = np.zeros((16, 24, 3), np.uint8)
CALLS = {
    "tile": ({"tile": 12}, "tile: got 12, expected 8, 16 or 32 px"),
    "tile 0": ({"tile": 0}, "tile: got 0, expected"),
    "tile of the profile": ({"tile": 16, "profile": "rdna2"}, r"tile: got 16, expected 8\.\.8 px on this profile"),
    "no terms": ({"gaze": None}, "terms: got none, expected one or more of gaze, content and velocity"),
    "terms": ({"terms": "mul"}, "terms: got 'mul', expected one of"),
    "gaze": ({"gaze": "left"}, "gaze: got 'left', expected"),
    "gaze of none": ({"gaze": []}, r"gaze: got \[\], expected"),
    "gaze points": ({"gaze": [[]]}, "gaze: got 0 points, expected"),
    "gaze outside": ({"gaze": (1.5, 0)}, r"gaze: got \(1.5, 0\), expected"),
    "gaze nan": ({"gaze": (np.nan, 0)}, "gaze: got .*finite"),
    "gaze sets": ({"gaze": [[(0, 0)], [(0, 0)]]}, "gaze: got 2 sets for 1 images"),
    "unit": ({"unit": "mm"}, "unit: got 'mm', expected one of"),
    "fov": ({"fov": 180}, "fov: got 180, expected above 0, below 180 degrees"),
    "fov 0": ({"fov": 0}, "fov: got 0.0, expected above 0, below 180 degrees"),
    "fov text": ({"fov": "wide"}, "fov: got 'wide', expected a number"),
    "falloff": ({"falloff": "cosine"}, "falloff: got 'cosine', expected one of"),
    "thresholds": ({"thresholds": "seven"}, "thresholds: got 'seven', expected one of"),
    "thresholds shape": ({"thresholds": [0.5]}, r"thresholds: got \[0.5\], expected rows"),
    "thresholds rise": ({"thresholds": [(0.2, (1, 1)), (0.5, (2, 2)), (0, (4, 4))]},
                        "thresholds: got 0.5, expected relevance"),
    "thresholds of bands": ({"falloff": "bands", "thresholds": [(5, (1, 1)), (2, (2, 2)), (9, (4, 4))]},
                            "thresholds: got 2, expected eccentricities"),
    "thresholds count": ({"thresholds": [(0, (1, 1))] * 9}, "thresholds: got 9 rows, expected 1..8"),
    "thresholds rate": ({"thresholds": [(0, (3, 1))]},
                        r"thresholds rate: got \(3, 1\), expected \(w, h\) of 1, 2 or 4"),
    "content": ({"content": "sobel"}, "content: got 'sobel', expected one of"),
    "contrast": ({"content": "ffx", "contrast": 0}, "contrast: got 0, expected above 0, up to 1"),
    "contrast text": ({"content": "ffx", "contrast": "high"}, "contrast: got 'high', expected a number"),
    "ambient": ({"content": "jnd", "ambient": -1}, "ambient: got -1, expected 0..1"),
    "velocity shape": ({"velocity": np.zeros((3, 3))},
                       r"velocity: got float64 \(3, 3\), expected \(16, 24, 2\) or \(1, 2\)"),
    "velocity nan": ({"velocity": np.full((1, 2), np.nan)}, "velocity: got NaN or infinity"),
    "velocity sign": ({"velocity": np.full((1, 2), -1.0)}, "velocity: got -1.0, expected speeds"),
    "velocity maps": ({"velocity": [np.zeros((1, 2))] * 2}, "velocity: got 2 maps, expected 1"),
    "pipeline": ({"pipeline": 5}, r"pipeline: got 5, expected \(w, h\)"),
    "primitive": ({"primitive": "2x2"}, r"primitive: got '2x2', expected \(w, h\)"),
    "primitive shape": ({"primitive": np.zeros((2, 2), int)}, r"primitive: got int64 \(2, 2\)"),
    "primitive code": ({"primitive": np.full((1, 2), 3)}, "primitive: got 3, expected a code"),
    "primitive sign": ({"primitive": np.full((1, 2), -1)}, "primitive: got -1, expected a code"),
    "combine": ({"combine": ("max",)}, r"combine: got \('max',\), expected two combiners"),
    "combine op": ({"combine": ("max", "avg")}, "combine: got 'avg', expected one of"),
    "combine of the profile": ({"combine": ("keep", "max"), "profile": "spec-min"},
                               "combine: got max, expected keep or replace"),
    "profile": ({"profile": "voodoo"}, "profile: got 'voodoo', expected one of"),
}


@pytest.mark.parametrize("name", CALLS)
def test_wrong_options(cpu, name):
    options, words = CALLS[name]
    with pytest.raises(foveate.error.InputError, match=f"^rate: {words}"):
        cpu.rate_tiles(IMAGE, **{"gaze": (0.5, 0.5), "tile": 16, **options})


def test_wrong_images(cpu):
    with pytest.raises(foveate.Error, match="rate: size: got 0, expected"):
        cpu.rate_tiles((0, 4), gaze=(0, 0))
    with pytest.raises(foveate.Error, match="rate: size: got 16385 x 4, expected"):
        cpu.rate_tiles((16385, 4), gaze=(0, 0))
    with pytest.raises(foveate.Error, match=r"rate: image: got .*expected an image"):
        cpu.rate_tiles([(4, 4), (4,)], gaze=(0, 0))
    with pytest.raises(foveate.Error, match=r"rate: image: got 1, expected 0..0"):
        _ = cpu.rate_tiles((4, 4), gaze=(0, 0))[1]
    with pytest.raises(foveate.error.LimitError, match="rate: images: got 4097, expected at most 4096"):
        cpu.rate_tiles([(1, 1)] * 4097, gaze=(0, 0))


def test_values_outlive_their_engine(make_engine):
    engine = make_engine("cpu")
    rates = engine.rate_tiles((32, 32), tile=16, gaze=(0, 0))
    codes = rates.codes
    del engine, rates
    assert isinstance(codes, np.ndarray) and codes.tolist() == [[0, 6], [6, 10]]
    assert "16 px tiles" in repr(TileRates(None, None, [(1, 1)], 16, [0]))
