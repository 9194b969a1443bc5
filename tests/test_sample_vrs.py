# SPDX-License-Identifier: Apache-2.0
"""sample, with shading rates: the software path against the oracle, and what is said where there is no hardware.

What the hardware path does is in test_sample_vrs_hardware.py.
"""

import foveate
import numpy as np
import pytest
from foveate import rate_codes
from foveate.rate_tiles import rate_tiles
from foveate.sample_vrs import MIX, compare, mixed, sample_vrs
from images import random_image
from oracle import rate_tiles as rules
from oracle import sample_vrs as truth
from tolerance import assert_same

CODES = np.array(rate_codes.CODES["vulkan"], np.uint8)
REASON = {"cpu": ("no rasteriser",), "opengl": ("no rasteriser",), "cuda": ("no rasteriser",),
          "lavapipe": ("no VK_KHR_fragment_shading_rate",),
          "swiftshader": ("no VK_KHR_fragment_shading_rate",)}


def random_codes(seed, height, width, tile):
    return np.random.default_rng(seed).choice(CODES, (-(-height // tile), -(-width // tile)))


# Literals

def test_a_ramp(engine):
    ramp = np.tile(np.arange(0, 80, 10, dtype=np.uint8), (8, 1))
    for code, row in ((0, [0, 10, 20, 30, 40, 50, 60, 70]), (1, [0, 10, 20, 30, 40, 50, 60, 70]),
                      (4, [5, 5, 25, 25, 45, 45, 65, 65]), (5, [5, 5, 25, 25, 45, 45, 65, 65]),
                      (10, [15, 15, 15, 15, 55, 55, 55, 55])):
        shaded = sample_vrs(ramp, [[code]], tile=8, engine=engine)
        assert shaded.image[0, :, 0].tolist() == shaded.image[7, :, 0].tolist() == row
        assert shaded.invocations == shaded.model_invocations == {0: 64, 1: 32, 4: 32, 5: 16, 10: 4}[code]


def test_wide_is_not_tall(engine):
    """The Khronos sample's bug: a rate of 4x2 is four px wide."""
    ramp = np.tile(np.arange(0, 80, 10, dtype=np.uint8), (8, 1))
    wide, tall = (sample_vrs(ramp, [[code]], tile=8, engine=engine).image[..., 0] for code in (9, 6))
    assert wide[0].tolist() == [15, 15, 15, 15, 55, 55, 55, 55]
    assert tall[0].tolist() == [5, 5, 25, 25, 45, 45, 65, 65]


def test_past_the_edge_it_is_repeated(engine):
    """A fragment of 4 px of which one is inside: its centre lies between px 1 and 2, which are none."""
    image = np.array([[0, 0, 0, 0, 200]] * 5, np.uint8)
    assert sample_vrs(image, [[10]], tile=8, engine=engine).image[..., 0].tolist() == [[0, 0, 0, 0, 200]] * 5


def test_the_mix_of_the_notes(engine):
    """1024 x 1024 px in 16 px tiles at 10 % 1x1, 30 % 2x2, 40 % 4x2, 20 % 4x4: a quarter of the fragments."""
    codes = mixed(64, 64)
    counts = [int((codes == rate_codes.encode(rate)).sum()) for _, rate in MIX]
    assert counts == [410, 1228, 1639, 819]
    shaded = sample_vrs(random_image(1, 1024, 1024), codes, engine=engine)
    assert shaded.invocations == shaded.model_invocations == 410 * 256 + 1228 * 64 + 1639 * 32 + 819 * 16
    assert round(shaded.invocations / 1024**2, 3) == 0.238 and shaded.agrees


# Facts

def test_the_path_is_said(engine, backend):
    shaded = sample_vrs(random_image(1, 16, 16), [[5]], engine=engine)
    assert (shaded.path, shaded.reasons, shaded.statistic) == ("software", REASON[backend], None)
    asked = sample_vrs(random_image(1, 16, 16), [[5]], path="software", engine=engine)
    assert asked.reasons == ("software was asked for", *REASON[backend])
    rate = engine.caps["shading_rate"]
    assert rate == {"usable": False, "reasons": list(REASON[backend]), "rates": [], "tile": [], "strict": False,
                    "combiners": False}
    assert "software path" in repr(shaded)


def test_candidates_say_it():
    found = {c["device"]: c["shading_rate"] for c in foveate.info()["candidates"]}
    assert all(not rate["usable"] and rate["reasons"] for rate in found.values())


def test_fine_is_the_image(engine):
    for channels in (1, 3):
        image = random_image(2, 37, 53)[..., :channels]
        shaded = sample_vrs(image, np.zeros((3, 4), np.uint8), engine=engine)
        assert_same(np.ascontiguousarray(shaded.image), image)
        assert shaded.invocations == 37 * 53 and not shaded.rates.any()


def test_a_constant_stays(engine):
    image = np.full((29, 43, 3), (7, 130, 255), np.uint8)
    shaded = sample_vrs(image, random_codes(1, 29, 43, 8), tile=8, engine=engine)
    assert_same(np.ascontiguousarray(shaded.image), image)


def test_mirrored(engine):
    """Of a size that tiles fit, a flipped image at flipped rates is the flipped result."""
    image, codes = random_image(3, 64, 96), random_codes(3, 64, 96, 16)
    shaded = sample_vrs(image, codes, engine=engine)
    turned = sample_vrs(image[::-1, ::-1].copy(), codes[::-1, ::-1], engine=engine)
    assert_same(np.ascontiguousarray(turned.image[::-1, ::-1]), np.ascontiguousarray(shaded.image))


def test_rates_of_the_stage_rate(engine):
    image = random_image(4, 100, 130)
    rates = rate_tiles(image, tile=8, gaze=(0.3, 0.6), content="ffx", engine=engine)
    shaded = engine.sample_vrs(image, rates)
    assert shaded.tile == 8 and shaded.invocations == rates.invocations and shaded.agrees
    assert_same(np.ascontiguousarray(shaded.rates[::8, ::8]), np.ascontiguousarray(rates.codes))


def test_a_profile_clamps(engine):
    shaded = sample_vrs(random_image(5, 40, 40), np.full((3, 3), 10), profile="rdna2", engine=engine)
    assert set(np.unique(shaded.rates)) == {5} and shaded.agrees and shaded.profile == rate_codes.PROFILES["rdna2"]
    assert "a profile is given, and the device has its own" in shaded.reasons


def test_arrays_outlive_the_engine(make_engine, backend):
    with make_engine(backend) as made:
        array = sample_vrs(np.full((9, 9), 5, np.uint8), [[5, 5], [5, 5]], tile=8, engine=made).array
    assert array.shape == (9, 9, 1) and (np.from_dlpack(array) == 5).all()


def test_the_comparison(engine):
    rows = compare(size=(75, 107), path="auto", engine=engine)
    assert len(rows) == 3 + 25 and {row["path"] for row in rows} == {"software"}
    assert all(row["agrees"] and row["image"] and row["rates"] == 1 for row in rows)
    with pytest.raises(foveate.error.UnsupportedError, match="vrs path"):
        compare(size=(8, 8), engine=engine)


def test_every_entry_of_the_palette(engine):
    """VK_NV_shading_rate_image: rates through a palette and back shade the same."""
    image, codes = random_image(6, 64, 64), random_codes(6, 64, 64, 16)
    codes[(codes == 2) | (codes == 8)] = 0      # no entry is 1x4 or 4x1
    palette = [11, 0, 5, 6, 7, 8, 9, 10]
    entries = rate_codes.encode(rate_codes.decode(codes), "nv", palette=palette)
    back = rate_codes.encode(rate_codes.decode(entries, "nv", palette=palette))
    assert_same(back, codes)
    assert (rate_codes.invocations(entries, 16, 64, 64, api="nv", palette=palette)
            == sample_vrs(image, back, engine=engine).invocations)


# Parity

SIZES = [(1, 1), (3, 5), (8, 8), (17, 31), (33, 32), (64, 47), (129, 70)]


@pytest.mark.parametrize("height,width", SIZES)
@pytest.mark.parametrize("tile", [8, 16, 32])
def test_parity(engine, tile, height, width):
    for channels in (1, 3):
        image = random_image(height * width + tile, height, width)[..., :channels]
        codes = random_codes(tile, height, width, tile)
        taken = foveate.image(image, channels="last", engine=engine)
        shaded = sample_vrs(taken, codes, tile=tile, engine=engine)
        want, rates, count = truth.shade(np.moveaxis(image, 2, 0), rate_codes.decode(codes).tolist(), tile)
        assert_same(np.ascontiguousarray(shaded.image), want)
        assert_same(np.ascontiguousarray(shaded.rates), rates)
        assert shaded.invocations == count and shaded.agrees


@pytest.mark.parametrize("op1", ["keep", "replace", "min", "max", "mul"])
@pytest.mark.parametrize("op0", ["keep", "replace", "min", "max", "mul"])
def test_combiners(engine, op0, op1):
    image = random_image(8, 48, 48)
    codes = random_codes(9, 48, 48, 8)
    for profile in ("dg2", "nonstrict-mul"):
        known = rate_codes.PROFILES[profile]
        shaded = sample_vrs(image, codes, tile=8, pipeline_rate=(2, 1), primitive_rate=(1, 2), combiners=(op0, op1),
                            profile=profile, engine=engine)
        finals = [[rules.final((2, 1), (1, 2), tuple(rate), (op0, op1), known.rates, known.strict) for rate in row]
                  for row in rate_codes.decode(codes).tolist()]
        want, rates, count = truth.shade(np.moveaxis(image, 2, 0), finals, 8)
        assert_same(np.ascontiguousarray(shaded.image), want)
        assert_same(np.ascontiguousarray(shaded.rates), rates)
        assert shaded.invocations == count and shaded.agrees


LAYOUTS = {
    "planar": lambda image: (np.ascontiguousarray(np.moveaxis(image, 2, 0)), "first"),
    "padded": lambda image: (np.pad(image, ((0, 0), (0, 5), (0, 0)))[:, :-5], "last"),
    "four stored": lambda image: (np.pad(image, ((0, 0), (0, 0), (0, 1)))[..., :3], "last"),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_memory_layouts(engine, name):
    image = random_image(10, 45, 61)
    codes = random_codes(10, 45, 61, 8)
    other, channels = LAYOUTS[name](image)
    taken = foveate.image(other, channels=channels, engine=engine)
    assert_same(np.ascontiguousarray(sample_vrs(taken, codes, tile=8, engine=engine).image),
                np.ascontiguousarray(sample_vrs(image, codes, tile=8, engine=engine).image))


@pytest.mark.long
def test_the_largest_image(engine, backend):
    """64 Mpx of gray make 256 MiB of colors: more than lavapipe and OpenGL bind at once."""
    image = np.zeros((8192, 8192), np.uint8)
    codes = np.full((256, 256), 10, np.uint8)
    if backend in ("cpu", "swiftshader", "cuda"):
        assert sample_vrs(image, codes, tile=32, engine=engine).invocations == 1 << 22
        return
    with pytest.raises(foveate.error.LimitError, match="sample: vrs colors: got 268435456 bytes, expected at most"):
        sample_vrs(image, codes, tile=32, engine=engine)


# Errors

IMAGE = random_image(1, 20, 30)
FINE = np.zeros((2, 2), np.uint8)
CALLS = {
    "batch": (lambda e: sample_vrs([IMAGE, IMAGE], FINE, engine=e), "image: got 2 images, expected one. Call once"),
    "16 bit": (lambda e: sample_vrs(IMAGE.astype(np.uint16), FINE, engine=e), "image: got uint16, expected uint8"),
    "float": (lambda e: sample_vrs(IMAGE.astype(np.float32), FINE, engine=e), "image: got float32, expected uint8"),
    "tile": (lambda e: sample_vrs(IMAGE, np.zeros((5, 8), int), tile=4, engine=e), "tile: got 4, expected 8, 16 or 32"),
    "tile word": (lambda e: sample_vrs(IMAGE, FINE, tile=0, engine=e), "tile: got 0, expected 1..1024"),
    "other tile": (lambda e: sample_vrs(IMAGE, rate_tiles((20, 30), gaze=(0.5, 0.5)), tile=8, engine=e),
                   "tile: got 8, expected 16 px, as the rates have"),
    "shape": (lambda e: sample_vrs(IMAGE, FINE[:1], engine=e),
              r"rates: got uint8 \(1, 2\), expected codes \(2, 2\) for tiles of 16 px"),
    "type": (lambda e: sample_vrs(IMAGE, FINE + 0.5, engine=e), "rates: got float64"),
    "code": (lambda e: sample_vrs(IMAGE, FINE + 3, engine=e), r"rates: got \[3\], expected codes of widths"),
    "pipeline": (lambda e: sample_vrs(IMAGE, FINE, pipeline_rate=(3, 1), engine=e), "pipeline_rate: got .* of 1, 2"),
    "primitive": (lambda e: sample_vrs(IMAGE, FINE, primitive_rate=5, engine=e), "primitive_rate: got 5, expected"),
    "one op": (lambda e: sample_vrs(IMAGE, FINE, combiners="keep", engine=e), "combiners: got 'keep', expected two"),
    "op": (lambda e: sample_vrs(IMAGE, FINE, combiners=("avg", "keep"), engine=e), "combiners: got 'avg'"),
    "no combiner": (lambda e: sample_vrs(IMAGE, FINE, combiners=("max", "keep"), profile="spec-min", engine=e),
                    "combiners: got max, expected keep or replace on this profile"),
    "path": (lambda e: sample_vrs(IMAGE, FINE, path="gpu", engine=e), "path: got 'gpu', expected one of 'auto'"),
}


@pytest.mark.parametrize("name", CALLS)
def test_wrong_arguments(engine, name):
    call, words = CALLS[name]
    with pytest.raises(foveate.error.InputError, match=f"^sample: vrs {words}"):
        call(engine)


def test_no_hardware(engine, backend):
    reasons = ", ".join(REASON[backend])
    with pytest.raises(foveate.error.UnsupportedError) as error:
        sample_vrs(IMAGE, FINE, path="hardware", engine=engine)
    assert str(error.value) == (f'sample: vrs path: got "hardware" ({reasons}), expected a device and options for it. '
                                'Use path="auto" or path="software".')
