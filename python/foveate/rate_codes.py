# SPDX-License-Identifier: Apache-2.0
"""Shading rate codes: encoding, combining, clamping and counting, over arrays of any shape."""

from typing import Literal, NamedTuple

import numpy as np

from . import _core
from .error import InputError, choice, require, whole

Api = Literal["vulkan", "d3d12", "nv"]
Op = Literal["keep", "replace", "min", "max", "mul", "passthrough", "override", "sum"]

OPS = {"keep": 0, "replace": 1, "min": 2, "max": 3, "mul": 4, "passthrough": 0, "override": 1, "sum": 4}
# Vulkan has a number for every rate of 1, 2 and 4; a device lists those it takes. D3D12 names seven.
CODES = {"vulkan": (0, 1, 2, 4, 5, 6, 8, 9, 10), "d3d12": (0, 1, 4, 5, 6, 9, 10)}
KNOWN = {(w, h): w // 2 << 2 | h // 2 for w in (1, 2, 4) for h in (1, 2, 4)}
APIS = {"vulkan": 0, "d3d12": 1, "nv": 2}
FIXES = {"godot": False, "valar": True}


class PaletteEntry(NamedTuple):
    """One VkShadingRatePaletteEntryNV: fragments of w x h px, each shaded `invocations` times."""

    name: str
    w: int
    h: int
    invocations: int


PALETTE = tuple(PaletteEntry(*entry) for entry in _core.rate_palette())     # by its number in Vulkan


class Profile(NamedTuple):
    """What a device can do.

    rates: (w, h) pairs it shades at; tile: least and largest px of an attachment's texel; strict: MUL of 1 and 1
    is 1 (else 2); combiners: it has min, max and mul; transpose: its clamp may turn a rate; tall: of two equals it
    clamps to the tall one; clamp_inputs: it clamps what goes into a combiner too.
    """

    rates: tuple[tuple[int, int], ...] = ((1, 1), (1, 2), (1, 4), (2, 1), (2, 2), (2, 4), (4, 1), (4, 2), (4, 4))
    tile: tuple[int, int] = (8, 32)
    strict: bool = True
    combiners: bool = True
    transpose: bool = False
    tall: bool = False
    clamp_inputs: bool = False


FLAGS = ("strict", "combiners", "transpose", "tall", "clamp_inputs")    # by bit


def from_core(core):
    """The Profile of the core's own."""
    rates = tuple((1 << (code >> 2), 1 << (code & 3)) for code in range(16) if core.supported >> code & 1)
    flags = {name: bool(core.flags >> bit & 1) for bit, name in enumerate(FLAGS)}
    return Profile(rates, (core.tile_min, core.tile_max), **flags)


PROFILES = {name: from_core(core) for name, core in _core.rate_profiles().items()}


def profile_of(profile):
    """The core's profile: of a name, a Profile, or None for every rate of 1, 2 and 4."""
    if profile is None:
        profile = Profile()
    elif not isinstance(profile, Profile):
        profile = choice("rate: profile", profile, PROFILES)
    supported = 0
    for rate in profile.rates:
        supported |= 1 << code_of("rate: profile rate", rate)
    require(supported & 1, "rate: profile", f"rates {profile.rates}", "1x1 among them")
    low, high = (whole("rate: profile tile", side, 1, 1024) for side in profile.tile)
    flags = sum(bool(getattr(profile, name)) << bit for bit, name in enumerate(FLAGS))
    return _core.RateProfile(supported, flags, low, high)


def code_of(what, rate):
    """The code of one (w, h)."""
    try:
        return KNOWN[tuple(rate)]
    except (KeyError, TypeError):
        raise InputError(f"{what}: got {rate!r}, expected (w, h) of 1, 2 or 4.") from None


def names(codes):
    """'4x2' and the like, of one code or of several."""
    return ", ".join(f"{w}x{h}" for w, h in decode(codes).reshape(-1, 2))


def encode(sizes, api: Api = "vulkan", *, palette=None) -> np.ndarray:
    """Codes of rates: log2 w << 2 | log2 h, the number of both APIs.

    Args:
        sizes: (..., 2), w and h of each rate, 1, 2 or 4.
        api: "vulkan"; "d3d12", the same numbers without 1x4 and 4x1; "nv", an index into `palette`.
        palette: of VK_NV_shading_rate_image, numbers of PALETTE; None: all twelve in their order.

    Returns:
        (...) uint8.

    Raises:
        InputError: a rate that the API or the palette does not have.

    >>> from foveate import rate_codes
    >>> rate_codes.encode([(1, 1), (4, 2), (2, 4)]), rate_codes.encode((4, 2), "nv")
    (array([0, 9, 6], dtype=uint8), array(9, dtype=uint8))
    """
    kind = choice("rate: api", api, APIS)
    try:
        sizes = np.asarray(sizes, np.uint32, order="C")
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"rate: sizes: got {sizes!r}, expected (w, h) of each rate.") from None
    require(sizes.ndim >= 1 and sizes.shape[-1] == 2, "rate: sizes", f"shape {sizes.shape}", "(..., 2): w, h")
    codes = np.empty(sizes.shape[:-1], np.uint8)
    _core.rate_encoded(sizes.reshape(-1), codes.reshape(-1))
    unknown = sizes[codes == 255]
    require(not unknown.size, "rate: sizes", "x".join(map(str, unknown[:1].ravel())), "sides of 1, 2 or 4")
    if kind == 2:
        return _indices(codes, palette)
    missing = codes[~np.isin(codes, CODES[api])]
    require(not missing.size, "rate: encode", names(missing[:1]), f"one of {names(CODES[api])} in {api}",
            'Use fix(), or profile="dg2".')
    return codes


def decode(codes, api: Api = "vulkan", *, palette=None) -> np.ndarray:
    """(..., 2) uint32: w and h of each code; 0, 0 where a palette says that nothing is shaded.

    >>> from foveate import rate_codes
    >>> rate_codes.decode([0, 9]).tolist()
    [[1, 1], [4, 2]]
    """
    kind = choice("rate: api", api, APIS)
    codes = _codes("rate: codes", codes)
    if kind == 2:
        entries = _palette(palette)
        require(not codes.size or codes.max() < len(entries), "rate: codes", codes.max(initial=0),
                f"0..{len(entries) - 1}, an index into the palette")
        return np.array([PALETTE[entry][1:3] for entry in entries], np.uint32)[codes]
    sizes = np.empty((*codes.shape, 2), np.uint32)
    _core.rate_decoded(codes.reshape(-1), sizes.reshape(-1))
    return sizes


def combine(op: Op, a, b, *, profile=None) -> np.ndarray:
    """(..., 2) uint32: w and h of one combination of codes, along each axis by itself; not clamped.

    Args:
        op: "keep", "replace", "min", "max", "mul" (Vulkan), or "passthrough", "override", "sum" (D3D12).
        a, b: codes, of shapes that broadcast.
        profile: a name of PROFILES, a Profile, or None.

    >>> from foveate import rate_codes
    >>> rate_codes.combine("min", 9, 6).tolist()    # 4x2 and 2x4: not min(9, 6)
    [2, 2]
    """
    number, device = choice("rate: combine", op, OPS), profile_of(profile)
    _check_op(number, device)
    a, b = _together(("rate: a", a), ("rate: b", b))
    logs = np.empty((*a.shape, 2), np.uint8)
    _core.rate_combined(number, a.reshape(-1), b.reshape(-1), device, logs.reshape(-1))
    return np.uint32(1) << logs.astype(np.uint32)


def clamp(sizes, profile) -> np.ndarray:
    """(...) uint8: the code that a device takes for each (w, h), by the Vulkan specification's rules.

    Sides are any powers of two up to 2^15. Of the device's rates no larger along either axis: the largest area,
    then the least w + h, then always the wide or always the tall one.

    >>> from foveate import rate_codes
    >>> rate_codes.decode(rate_codes.clamp((4, 1), "rdna2")).tolist()
    [2, 1]
    """
    sizes = np.asarray(sizes)
    require(sizes.ndim >= 1 and sizes.shape[-1] == 2 and sizes.dtype.kind in "iu", "rate: sizes",
            f"shape {sizes.shape} of {sizes.dtype}", "(..., 2): w, h")
    require(not sizes.size or (sizes.min() >= 1 and sizes.max() <= 1 << 15 and not (sizes & (sizes - 1)).any()),
            "rate: sizes", "another number", "powers of two up to 32768")
    logs = np.asarray(np.log2(sizes), np.uint8, order="C")
    codes = np.empty(sizes.shape[:-1], np.uint8)
    _core.rate_clamped(logs.reshape(-1), profile_of(profile), codes.reshape(-1))
    return codes


def final(pipeline, primitive, attachment, *, combine: tuple[Op, Op] = ("keep", "replace"),
          profile=None) -> np.ndarray:
    """(...) uint8: the code that is shaded: op 0 of pipeline and primitive, op 1 of that and the attachment, clamped.

    >>> from foveate import rate_codes
    >>> rate_codes.final(5, 0, [0, 6, 10], combine=("max", "max"), profile="rdna2").tolist()
    [5, 5, 5]
    """
    ops, device = ops_of(combine), profile_of(profile)
    for op in ops:
        _check_op(op, device)
    arrays = _together(("rate: pipeline", pipeline), ("rate: primitive", primitive), ("rate: attachment", attachment))
    codes = np.empty(arrays[0].shape, np.uint8)
    _core.rate_finals(*(array.reshape(-1) for array in arrays), *ops, device, codes.reshape(-1))
    return codes


def fix(codes, how: Literal["godot", "valar"] = "godot") -> np.ndarray:
    """Codes without 4x1 and 1x4: "godot" takes from the longer side; "valar" makes 4x1 4x2 and 1x4 1x2.

    >>> from foveate import rate_codes
    >>> rate_codes.fix([8, 2]).tolist(), rate_codes.fix([8, 2], "valar").tolist()
    ([4, 1], [9, 1])
    """
    valar = choice("rate: fix", how, FIXES)
    codes = _codes("rate: codes", codes)
    fixed = np.empty(codes.shape, np.uint8)
    _core.rate_fixed(codes.reshape(-1), valar, fixed.reshape(-1))
    return fixed


def invocations(codes, tile: int, width: int, height: int, *, api: Api = "vulkan", palette=None) -> int:
    """Fragments shaded over an image of width x height px, one at least for each tile it touches.

    Args:
        codes: (rows, columns), ceil(height / tile) and ceil(width / tile) of them.
        tile: px.
        api, palette: as for `encode`; entries of "nv" that shade a px many times count as often, and "none" 0.

    >>> from foveate import rate_codes
    >>> rate_codes.invocations([[0, 10]], 8, 10, 8)     # the second tile is cut to 2 px
    66
    """
    kind = choice("rate: api", api, APIS)
    codes = _codes("rate: codes", codes)
    if kind == 2:
        entries = np.array(_palette(palette), np.uint8)
        require(not codes.size or codes.max() < len(entries), "rate: codes", codes.max(initial=0),
                f"0..{len(entries) - 1}, an index into the palette")
        codes = entries[codes]
    sides = (whole("rate: tile", tile, 1, 1024), whole("rate: width", width, 1, 1 << 20),
             whole("rate: height", height, 1, 1 << 20))
    return _core.rate_invocations(codes.reshape(-1), *sides, kind == 2)


def ops_of(combine):
    """The numbers of a pair of combiners."""
    require(isinstance(combine, (tuple, list)) and len(combine) == 2, "rate: combine", repr(combine),
            "two combiners: of pipeline and primitive, and of that and the attachment")
    return tuple(choice("rate: combine", op, OPS) for op in combine)


def _check_op(op, device):
    require(device.flags & 2 or op <= 1, "rate: combine", list(OPS)[op], "keep or replace on this profile",
            "The device has no other combiner.")


def _palette(palette):
    if palette is None:
        return list(range(len(PALETTE)))
    entries = [whole("rate: palette", entry, 0, len(PALETTE) - 1) for entry in palette]
    require(all(entry < len(PALETTE) for entry in entries), "rate: palette", max(entries, default=0), "0..11")
    return entries


def _indices(codes, palette):
    entries = _palette(palette)
    known = [(PALETTE[entry], i) for i, entry in enumerate(entries) if PALETTE[entry].invocations == 1]
    index = {(entry.w, entry.h): i for entry, i in reversed(known)}     # the first of equals
    table = np.array([index.get((1 << (code >> 2), 1 << (code & 3)), 255) for code in range(16)], np.uint8)
    found = np.asarray(table[codes])
    missing = codes[found == 255]
    require(not missing.size, "rate: palette", f"none for {names(missing[:1])}", "an entry of this rate")
    return found


def _codes(what, codes):
    array = np.asarray(codes)
    fits = array.dtype.kind in "iu" and (not array.size or (array.min() >= 0 and array.max() < 16))
    require(fits, what, repr(codes) if array.size < 9 else f"{array.dtype} {array.shape}", "codes, 0..15")
    return np.asarray(array, np.uint8, order="C")


def _together(*pairs):
    arrays = [_codes(what, codes) for what, codes in pairs]
    try:
        return [np.array(array, order="C") for array in np.broadcast_arrays(*arrays)]
    except ValueError:
        shapes = ", ".join(str(array.shape) for array in arrays)
        raise InputError(f"rate: codes: got shapes {shapes}, expected ones that broadcast.") from None
