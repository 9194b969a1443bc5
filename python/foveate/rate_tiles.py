# SPDX-License-Identifier: Apache-2.0
"""rate, for hardware: one shading rate for each tile of px."""

from typing import Literal

import numpy as np

from . import _core, rate_codes
from .default import engine_of
from .error import InputError, choice, real, require, whole
from .image import Image
from .image import image as take_image
from .rate_codes import code_of
from .types import Array, Unit

FALLOFFS = {"table": 0, "polynomial": 1, "exponential": 2, "bands": 3}
CONTENTS = {None: 0, "ffx": 1, "jnd": 2}
TERMS = {"min": 2, "max": 3}
CONTRAST = {None: 0.05, "ffx": 0.05, "jnd": 0.15}
# (relevance above which, (w, h)); the last row is for all that is left. five and three: the notes that this
# project began with, whose 1x1 supersampled is 1x1 here. The others are their falloffs' own cuts.
TABLES = {
    "five": ((0.8, (1, 1)), (0.6, (1, 1)), (0.4, (2, 2)), (0.2, (2, 4)), (0.0, (4, 4))),
    "three": ((0.8, (1, 1)), (0.5, (2, 2)), (0.0, (4, 4))),
    "polynomial": ((1 / 1.5, (1, 1)), (1 / 3, (2, 2)), (1 / 6, (2, 4)), (0.0, (4, 4))),
    "exponential": ((0.5, (1, 1)), (0.25, (2, 2)), (0.125, (2, 4)), (0.0, (4, 4))),
    # (degrees below which, (w, h)): the fovea is 2 degrees across, 1 from its middle
    "bands": ((1.0, (1, 1)), (5.0, (2, 1)), (30.0, (2, 2)), (np.inf, (4, 4))),
}
DEFAULT = {"table": "five", "polynomial": "polynomial", "exponential": "exponential", "bands": "bands"}
VELOCITY_MAX = 1023     # in 1/16 px a frame


class TileRates:
    """The shading rates of an image: what a shading rate attachment holds. `rates[i]` of a batch.

    >>> from foveate.rate_tiles import rate_tiles
    >>> rates = rate_tiles((48, 80), tile=16, gaze=(0.1, 0.5))
    >>> rates.codes.tolist()[1], rates.fraction
    ([0, 0, 5, 6, 10], 0.4875)
    """

    __slots__ = ("_core", "_engine", "_images", "sizes", "tile")

    def __init__(self, core, engine, sizes, tile, images):
        self._core, self._engine = core, engine
        self.sizes, self.tile, self._images = sizes, tile, images

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, image: int):
        require(-len(self) <= image < len(self), "rate: image", image, f"0..{len(self) - 1}")
        image %= len(self)
        return TileRates(self._core, self._engine, [self.sizes[image]], self.tile, [self._images[image]])

    def __iter__(self):
        return (self[image] for image in range(len(self)))

    def _one(self):
        require(len(self) == 1, "rate: image", f"{len(self)} images", "one", "Take rates[i] of a batch.")
        return self._images[0]

    @property
    def array(self) -> Array:
        """(rows, columns) uint8, by DLPack; rows may be padded."""
        return Array(_core.rate_tiles_array(self._engine, self._core, self._one()))

    @property
    def codes(self) -> np.ndarray:
        """(rows, columns) uint8, log2 w << 2 | log2 h: ceil(height / tile) rows. Shared memory, read-only."""
        return self.array.numpy()

    @property
    def wh(self) -> np.ndarray:
        """(rows, columns, 2) uint32: w and h, px that share one shading."""
        return rate_codes.decode(self.codes)

    @property
    def invocations(self) -> int:
        """Fragments shaded over the image."""
        height, width = self.sizes[0]
        return rate_codes.invocations(self.codes, self.tile, width, height)

    @property
    def fraction(self) -> float:
        """Of the fragments of 1x1."""
        height, width = self.sizes[0]
        return self.invocations / (width * height)

    def encode(self, api: rate_codes.Api = "vulkan", *, palette=None) -> np.ndarray:
        """(rows, columns) uint8 as an API wants them; see `rate_codes.encode`."""
        return rate_codes.encode(self.wh, api, palette=palette)

    def _repr_html_(self) -> str:
        from .notebook import rates_html

        return rates_html("foveate.TileRates", [one.codes for one in self], [
            ("tile", f"{self.tile} px"), ("fragments", f"{sum(one.fraction for one in self) / len(self):.1%} of 1x1")])

    def __repr__(self) -> str:
        return f"<foveate.TileRates {self.tile} px tiles of {len(self)} images>"


def rate_tiles(image, *, tile: int = 16, gaze=None, unit: Unit = "uv", clamp: bool = False,
               fov: float | None = None, falloff: Literal["table", "polynomial", "exponential", "bands"] = "table",
               thresholds=None, content: Literal["ffx", "jnd"] | None = None, contrast: float | None = None,
               ambient: float = 0.05, velocity=None, terms: Literal["min", "max"] = "max", pipeline=(1, 1),
               primitive=(1, 1), combine=("keep", "replace"), profile=None, engine=None) -> TileRates:
    """Chooses a shading rate for each tile of each image, as a renderer's shading rate attachment holds it.

    Args:
        image: an Image, or anything that `foveate.image` takes; without `content` also (height, width) in px, or
            a list of such sizes.
        tile: 8, 16 or 32 px: what the device says.
        gaze: (x, y); a list of points; or one list for each image. None: no gaze term.
        unit, clamp: of gaze, as for `foveate.layout`.
        fov: degrees that the image's width covers; then eccentricity is an angle, else a distance.
        falloff: how relevance falls from 1 at the gaze: "table" evenly, "polynomial" as 1 / (1 + k r^2),
            "exponential" as exp(-k r), each so that the last row begins at the farthest tile (table: before it).
            "bands": no relevance, rows go by eccentricity: degrees with fov, else half diagonals.
        thresholds: "five", "three", or rows (relevance above which, (w, h)), the last one for all that is left;
            bands: (eccentricity below which, (w, h)). None: the falloff's own.
        content: "ffx": contrast within quads and between them; "jnd": error against what is just noticeable.
        contrast: of white; ffx: the least that counts; jnd: the share of luminance just noticed. None: 0.05, 0.15.
        ambient: jnd: of white, light that is always added.
        velocity: px a frame: (H, W, 2), the least of each tile counts; or (rows, columns) speeds, one for each tile;
            or a list, one for each image. Moving content may be coarser.
        terms: "max": coarse where gaze or content or velocity allows it; "min": where all of them do.
        pipeline, primitive: (w, h) of the draw and of what is drawn; primitive also (rows, columns) codes.
        combine: two combiners, of pipeline and primitive, and of that and the attachment; see `rate_codes.combine`.
        profile: a name of `rate_codes.PROFILES` or a Profile: what the rates are clamped to.
        engine: the Engine to use; None: the process's own.

    Returns:
        TileRates.

    Raises:
        InputError: an option outside the above, no term at all, a combiner or a tile the profile does not have.
        LimitError: more images or tiles than fit.

    >>> import numpy as np
    >>> from foveate.rate_tiles import rate_tiles
    >>> rate_tiles(np.zeros((16, 16, 3), np.uint8), tile=8, content="ffx").wh.tolist()
    [[[4, 4], [4, 4]], [[4, 4], [4, 4]]]
    """
    engine = engine_of(engine)
    core = engine._open()
    tile = whole("rate: tile", tile, 1, 1024)
    kind, method = choice("rate: content", content, CONTENTS), choice("rate: falloff", falloff, FALLOFFS)
    given, sizes = _taken(image, kind, engine)
    grids = [(-(-height // tile), -(-width // tile)) for height, width in sizes]
    spec = _core.RateTilesSpec(
        tile, gaze is not None, _points(gaze), choice("rate: unit", unit, {"uv": False, "px": True}), bool(clamp),
        0.0 if fov is None else _above("rate: fov", fov), method, _rows(thresholds, falloff), kind,
        CONTRAST[content] if contrast is None else real("rate: contrast", contrast), real("rate: ambient", ambient),
        _velocities(velocity, sizes, grids, tile), _primitives(primitive, grids), code_of("rate: pipeline", pipeline),
        0 if _is_map(primitive) else code_of("rate: primitive", primitive), choice("rate: terms", terms, TERMS),
        *rate_codes.ops_of(combine), rate_codes.profile_of(profile))
    made = _core.rate_tiles(core, [(width, height) for height, width in sizes], given, spec)
    return TileRates(made, core, sizes, tile, list(range(len(sizes))))


def _taken(image, kind, engine):
    """(the core's image or None, sizes)."""
    if not isinstance(image, Image):
        listed = isinstance(image, (tuple, list)) and len(image) > 0
        if kind == 0 and listed and isinstance(image[0], (int, np.integer, tuple, list)):
            return None, _sizes(image)
        image = take_image(image, engine=engine)
    return (image._core if kind else None), image.sizes


def _sizes(value):
    pairs = [value] if not hasattr(value[0], "__len__") else value
    require(all(hasattr(pair, "__len__") and len(pair) == 2 for pair in pairs), "rate: image", repr(value),
            "an image, (height, width), or a list of them")
    return [tuple(whole("rate: size", side, 1, 16384) for side in pair) for pair in pairs]


def _above(what, value):
    value = real(what, value)
    require(value != 0, what, value, "above 0, below 180 degrees")
    return value


def _points(gaze):
    if gaze is None:
        return []
    lists = gaze
    try:
        points = np.asarray(gaze, np.float64)
        if points.ndim in (1, 2, 3) and points.shape[-1] == 2:
            lists = points.reshape((1,) * (3 - points.ndim) + points.shape)
    except (TypeError, ValueError):
        pass    # lists of different lengths, or no numbers
    try:
        result = [[(float(x), float(y)) for x, y in image] for image in lists]
    except (TypeError, ValueError):
        result = []
    require(result, "rate: gaze", repr(gaze), "(x, y), a list of them, or a list for each image")
    return result


def _rows(thresholds, falloff):
    name = DEFAULT[falloff] if thresholds is None else thresholds
    rows = choice("rate: thresholds", name, TABLES) if isinstance(name, str) else name
    try:
        rows = [(float(limit), tuple(rate)) for limit, rate in rows]
    except (TypeError, ValueError):
        raise InputError(f"rate: thresholds: got {thresholds!r}, expected rows (limit, (w, h)).") from None
    return [(limit, code_of("rate: thresholds rate", rate)) for limit, rate in rows]


def _is_map(primitive):
    first = primitive[0] if isinstance(primitive, list) and primitive else primitive
    return hasattr(first, "ndim")


def _each(what, value, count):
    values = value if isinstance(value, list) else [value]
    require(len(values) == count, what, f"{len(values)} maps", f"{count}, one for each image")
    return [np.asarray(item) for item in values]


def _primitives(primitive, grids):
    if not _is_map(primitive):
        return []
    maps = _each("rate: primitive", primitive, len(grids))
    for codes, grid in zip(maps, grids, strict=True):
        require(codes.shape == grid and codes.dtype.kind in "iu", "rate: primitive", f"{codes.dtype} {codes.shape}",
                f"(w, h), or codes {grid}")
        require(codes.min() >= 0, "rate: primitive", codes.min(), "a code of widths and heights 1, 2, 4")
    return [np.ascontiguousarray(codes, np.uint32).ravel() for codes in maps]


def _velocities(velocity, sizes, grids, tile):
    if velocity is None:
        return []
    maps = _each("rate: velocity", velocity, len(sizes))
    return [_speeds(item, size, grid, tile) for item, size, grid in zip(maps, sizes, grids, strict=True)]


def _speeds(velocity, size, grid, tile):
    """Of each tile in 1/16 px, rounded down: never coarser for it."""
    fits = velocity.dtype.kind in "fiu" and velocity.shape in ((*size, 2), grid)
    require(fits, "rate: velocity", f"{velocity.dtype} {velocity.shape}", f"{(*size, 2)} or {grid}")
    speed = velocity.astype(np.float64)
    require(np.isfinite(speed).all(), "rate: velocity", "NaN or infinity", "finite numbers")
    if speed.ndim == 3:
        speed = np.hypot(speed[..., 0], speed[..., 1])
        for axis in (0, 1):
            speed = np.minimum.reduceat(speed, np.arange(0, size[axis], tile), axis)
    require(speed.min() >= 0, "rate: velocity", speed.min(), "speeds of 0 or more")
    return np.minimum(np.floor(speed * 16), VELOCITY_MAX).astype(np.uint32).ravel()
