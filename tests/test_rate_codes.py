# SPDX-License-Identifier: Apache-2.0
"""rate codes: encoding, combiners, clamp and counts, each against a literal transcription of the specification."""

import itertools

import foveate
import numpy as np
import pytest
from foveate import rate_codes
from oracle import rate_tiles as truth
from tolerance import assert_same

VULKAN = ("keep", "replace", "min", "max", "mul")
D3D12 = ("passthrough", "override", "min", "max", "sum")
CODES = np.arange(16, dtype=np.uint8)
SIZES = [(1 << (c >> 2), 1 << (c & 3)) for c in range(16)]
WAYS = {
    **rate_codes.PROFILES,
    "everything": rate_codes.Profile(),
    "transposing": rate_codes.Profile(((1, 1), (1, 2), (2, 2), (2, 4)), transpose=True),
    "tall": rate_codes.Profile(((1, 1), (1, 2), (2, 1), (2, 4), (4, 2)), tall=True),
    "clamped inputs": rate_codes.PROFILES["rdna2"]._replace(clamp_inputs=True),
}


# Literals

def test_the_numbers_of_both_apis():
    named = {"1x1": 0, "1x2": 1, "2x1": 4, "2x2": 5, "2x4": 6, "4x2": 9, "4x4": 10}
    for name, number in named.items():
        sizes = tuple(map(int, name.split("x")))
        assert rate_codes.encode(sizes) == rate_codes.encode(sizes, "d3d12") == number
        assert rate_codes.names(number) == name
    # SPIR-V: Vertical2Pixels 1, Vertical4Pixels 2, Horizontal2Pixels 4, Horizontal4Pixels 8
    assert rate_codes.encode((1, 4)) == 2 and rate_codes.encode((4, 1)) == 8


def test_the_palette_is_the_extensions():
    assert [tuple(entry) for entry in rate_codes.PALETTE] == [
        ("none", 0, 0, 0), ("16 per pixel", 1, 1, 16), ("8 per pixel", 1, 1, 8), ("4 per pixel", 1, 1, 4),
        ("2 per pixel", 1, 1, 2), ("1x1", 1, 1, 1), ("2x1", 2, 1, 1), ("1x2", 1, 2, 1), ("2x2", 2, 2, 1),
        ("4x2", 4, 2, 1), ("2x4", 2, 4, 1), ("4x4", 4, 4, 1)]
    assert rate_codes.encode([(1, 1), (4, 2), (2, 4)], "nv").tolist() == [5, 9, 10]
    assert rate_codes.encode([(2, 2), (1, 1)], "nv", palette=[3, 5, 8, 0]).tolist() == [2, 1]
    assert rate_codes.decode([2, 0, 3], "nv", palette=[3, 5, 8, 0]).tolist() == [[2, 2], [1, 1], [0, 0]]


def test_the_mix_of_the_notes():
    """1024 x 1024 px in 16 px tiles: 10 % 1x1, 30 % 2x2, 40 % 4x2, 20 % 4x4."""
    codes = np.repeat(rate_codes.encode([(1, 1), (2, 2), (4, 2), (4, 4)]), [409, 1229, 1638, 820]).reshape(64, 64)
    assert rate_codes.invocations(codes, 16, 1024, 1024) == 248_896
    assert rate_codes.invocations(codes * 0, 16, 1024, 1024) == 1_048_576
    assert round(248_896 / 1_048_576, 3) == 0.237


def test_known_clamps():
    def clamped(sizes, profile):
        return rate_codes.names(rate_codes.clamp(sizes, profile))

    assert clamped((4, 4), "rdna2") == "2x2"
    assert clamped((4, 1), "rdna2") == "2x1"
    assert clamped((1, 2), "spec-min") == "1x1"
    assert clamped((16, 16), "dg2") == "4x4"
    assert clamped((4, 1), "nvidia") == "2x1"
    assert clamped((8, 2), "nvidia") == "4x2"
    assert clamped((1, 2), rate_codes.PROFILES["spec-min"]._replace(transpose=True)) == "2x1"
    narrow = rate_codes.Profile(((1, 1), (1, 2), (2, 1)))
    assert clamped((2, 2), narrow) == "2x1"
    assert clamped((2, 2), narrow._replace(tall=True)) == "1x2"


def test_multiplying_ones():
    assert rate_codes.combine("mul", 0, 0).tolist() == [1, 1]
    assert rate_codes.combine("mul", 0, 0, profile="nonstrict-mul").tolist() == [2, 2]
    assert rate_codes.combine("mul", 0, 4, profile="nonstrict-mul").tolist() == [2, 2]
    assert rate_codes.combine("sum", 10, 10).tolist() == [16, 16]


def test_fixes():
    assert rate_codes.names(rate_codes.fix([8, 2])) == "2x1, 1x2"
    assert rate_codes.names(rate_codes.fix([8, 2], "valar")) == "4x2, 1x2"
    others = np.array([0, 1, 4, 5, 6, 9, 10], np.uint8)
    assert_same(rate_codes.fix(others), others)
    assert_same(rate_codes.fix(others, "valar"), others)


# Facts

def test_encode_decode_is_a_round_trip():
    every = np.array(rate_codes.CODES["vulkan"], np.uint8)
    assert_same(rate_codes.encode(rate_codes.decode(every)), every)
    assert_same(rate_codes.decode(CODES), np.array(SIZES, np.uint32))
    whole = np.arange(5, 12, dtype=np.uint8)
    assert_same(rate_codes.encode(rate_codes.decode(whole, "nv"), "nv"), whole)


def test_shapes_are_kept():
    assert rate_codes.encode((2, 2)).shape == ()
    assert rate_codes.encode(np.ones((3, 0, 2), int)).shape == (3, 0)
    assert rate_codes.combine("max", CODES[:, None], CODES).shape == (16, 16, 2)
    assert rate_codes.final(0, CODES[:, None], CODES[::-1][::2]).shape == (16, 8)
    assert rate_codes.decode(CODES.reshape(4, 4)[:, ::-1])[0, 0].tolist() == [1, 8]


def test_width_is_not_swapped_with_height():
    """The Khronos sample's bug: width in the low bits."""
    assert rate_codes.encode((4, 1)) == 8 and rate_codes.decode(8).tolist() == [4, 1]
    for w, h in truth.RATES:
        assert rate_codes.decode(rate_codes.encode((w, h))).tolist() == [w, h]
        assert rate_codes.encode((w, h)) == w // 2 << 2 | h // 2


def test_min_of_codes_is_by_axis():
    """min(4x2, 2x4) of the numbers 9 and 6 would be 2x4, bitwise and 1x1."""
    assert rate_codes.combine("min", 9, 6).tolist() == [2, 2]
    assert rate_codes.combine("max", 9, 6).tolist() == [4, 4]
    wrong = [(a, b) for a, b in itertools.product(range(11), repeat=2)
             if a & 3 < 3 and b & 3 < 3 and rate_codes.combine("min", a, b).tolist() != list(SIZES[min(a, b)])]
    assert len(wrong) > 10, "then the test would prove nothing"


@pytest.mark.parametrize("op", ["min", "max", "mul"])
def test_combiners_commute_and_turn(op):
    a, b = CODES[:, None], CODES[None]
    both = rate_codes.combine(op, a, b)
    assert_same(both, rate_codes.combine(op, b, a))
    turned = (CODES & 3) << 2 | CODES >> 2
    assert_same(rate_codes.combine(op, turned[:, None], turned[None]), np.ascontiguousarray(both[..., ::-1]))


def test_d3d12_combiners_are_vulkans():
    for ours, theirs in zip(VULKAN, D3D12, strict=True):
        assert_same(rate_codes.combine(ours, CODES[:, None], CODES), rate_codes.combine(theirs, CODES[:, None], CODES))


@pytest.mark.parametrize("name", WAYS)
def test_a_clamped_rate_is_one_of_the_device(name):
    codes = rate_codes.clamp(np.array(list(itertools.product([1, 2, 4, 8, 16, 64], repeat=2))), WAYS[name])
    assert {tuple(size) for size in rate_codes.decode(codes).tolist()} <= set(WAYS[name].rates)
    own = np.array(WAYS[name].rates)
    assert_same(rate_codes.decode(rate_codes.clamp(own, WAYS[name])), own.astype(np.uint32))


def test_invocations_at_the_edges():
    for width, height in itertools.product((1, 7, 8, 9, 31, 33), repeat=2):
        rows, columns = -(-height // 8), -(-width // 8)
        for rate in truth.RATES:
            codes = np.full((rows, columns), rate_codes.encode(rate))
            # tiles are whole multiples of every rate, so tiling adds nothing
            assert rate_codes.invocations(codes, 8, width, height) == -(-width // rate[0]) * -(-height // rate[1])


def test_invocations_of_a_palette():
    assert rate_codes.invocations([[0, 1, 5, 11]], 16, 64, 16, api="nv") == 0 + 16 * 256 + 256 + 16
    assert rate_codes.invocations([[1, 0]], 16, 32, 16, api="nv", palette=[3, 8]) == 64 + 4 * 256


# Parity: every combination there is

def combined(op, a, b, strict):
    return truth.combine(op, a, b, strict)


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("op", VULKAN)
def test_every_pair(op, strict):
    got = rate_codes.combine(op, CODES[:, None], CODES, profile=rate_codes.Profile(strict=strict))
    want = [[combined(op, a, b, strict) for b in SIZES] for a in SIZES]
    assert_same(got, np.array(want, np.uint32))


@pytest.mark.parametrize("name", WAYS)
def test_every_triple_of_codes_and_pair_of_ops(name):
    """16^3 inputs through both stages and the clamp, 25 pairs of ops."""
    profile = WAYS[name]
    rules = {"strict": profile.strict}
    clamps = {}     # of a size, once

    def clamp(rate):
        if rate not in clamps:
            clamps[rate] = truth.clamp(rate, profile.rates, profile.transpose, profile.tall)
        return clamps[rate]

    def held(rate):
        return clamp(rate) if profile.clamp_inputs else rate

    ops = VULKAN if profile.combiners else VULKAN[:2]
    for op0, op1 in itertools.product(ops, repeat=2):
        got = rate_codes.final(CODES[:, None, None], CODES[:, None], CODES, combine=(op0, op1), profile=profile)
        firsts = {(a, b): held(truth.combine(op0, held(a), held(b), **rules)) for a in SIZES for b in SIZES}
        seconds = {(ab, c): truth.code(clamp(truth.combine(op1, ab, held(c), **rules)))
                   for ab in set(firsts.values()) for c in SIZES}
        want = [seconds[firsts[a, b], c] for a in SIZES for b in SIZES for c in SIZES]
        assert_same(got, np.array(want, np.uint8).reshape(16, 16, 16), f"{op0}, {op1}")


def test_the_transcription_is_that_of_the_oracle():
    for rates in itertools.product(SIZES[::3], repeat=3):
        codes = [truth.code(rate) for rate in rates]
        for ops in itertools.product(VULKAN, repeat=2):
            assert int(rate_codes.final(*codes, combine=ops)) == truth.code(truth.final(*rates, ops))


def test_invocations_against_the_oracle():
    rng = np.random.default_rng(1)
    for _ in range(40):
        tile = int(rng.choice([8, 16, 32]))
        width, height = (int(v) for v in rng.integers(1, 120, 2))
        codes = rng.choice(rate_codes.CODES["vulkan"], (-(-height // tile), -(-width // tile)))
        want = truth.invocations(rate_codes.decode(codes).tolist(), tile, width, height)
        assert rate_codes.invocations(codes, tile, width, height) == want


# Errors

CALLS = {
    "api": (lambda: rate_codes.encode((1, 1), "metal"), "api: got 'metal', expected one of"),
    "sizes": (lambda: rate_codes.encode("4x4"), "sizes: got '4x4', expected"),
    "sizes shape": (lambda: rate_codes.encode([1, 2, 4]), r"sizes: got shape \(3,\)"),
    "side": (lambda: rate_codes.encode((8, 1)), "sizes: got 8x1, expected sides of 1, 2 or 4"),
    "d3d12": (lambda: rate_codes.encode((1, 4), "d3d12"), "encode: got 1x4, expected one of 1x1, 1x2, 2x1, 2x2"),
    "palette lacks": (lambda: rate_codes.encode((2, 2), "nv", palette=[5]), "palette: got none for 2x2"),
    "palette entry": (lambda: rate_codes.encode((2, 2), "nv", palette=[12]), "palette: got 12, expected 0..11"),
    "codes": (lambda: rate_codes.decode([16]), r"codes: got \[16\], expected codes, 0..15"),
    "index": (lambda: rate_codes.decode([3], "nv", palette=[5]), "codes: got 3, expected 0..0"),
    "op": (lambda: rate_codes.combine("avg", 0, 0), "combine: got 'avg', expected one of"),
    "shapes": (lambda: rate_codes.combine("min", [0, 1], [0, 1, 4]), "codes: got shapes"),
    "a": (lambda: rate_codes.combine("min", -1, 0), "a: got -1, expected codes"),
    "b": (lambda: rate_codes.combine("min", 0, 0.5), "b: got 0.5, expected codes"),
    "profile": (lambda: rate_codes.clamp((1, 1), "voodoo"), "profile: got 'voodoo', expected one of"),
    "profile 1x1": (lambda: rate_codes.clamp((1, 1), rate_codes.Profile(((2, 2),))), "profile: got rates .*1x1"),
    "profile tile": (lambda: rate_codes.clamp((1, 1), rate_codes.Profile(tile=(0, 8))), "profile tile: got 0"),
    "no combiners": (lambda: rate_codes.combine("max", 0, 0, profile="spec-min"), "combine: got max, expected keep"),
    "no combiners, both": (lambda: rate_codes.final(0, 0, 0, combine=("keep", "mul"), profile="spec-min"),
                           "combine: got mul, expected keep"),
    "one op": (lambda: rate_codes.final(0, 0, 0, combine="max"), "combine: got 'max', expected two"),
    "clamp shape": (lambda: rate_codes.clamp(4, "dg2"), r"sizes: got shape \(\)"),
    "clamp side": (lambda: rate_codes.clamp((3, 1), "dg2"), "sizes: got another number, expected powers"),
    "fix": (lambda: rate_codes.fix(8, "up"), "fix: got 'up', expected one of"),
    "tiles": (lambda: rate_codes.invocations([[0]], 16, 17, 16), "codes: got 1 tiles, expected 1 x 2"),
    "tile": (lambda: rate_codes.invocations([[0]], 0, 1, 1), "tile: got 0, expected"),
    "width": (lambda: rate_codes.invocations([[0]], 8, 0, 1), "width: got 0, expected"),
    "height": (lambda: rate_codes.invocations([[0]], 8, 1, -1), "height: got -1, expected"),
}


@pytest.mark.parametrize("name", CALLS)
def test_wrong_arguments(name):
    call, words = CALLS[name]
    with pytest.raises(foveate.error.InputError, match=f"^rate: {words}"):
        call()
