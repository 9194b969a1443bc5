# SPDX-License-Identifier: Apache-2.0
"""sample, with shading rates: an image as a rasteriser shades it whose fragments are coarse."""

import itertools
from typing import Literal

import numpy as np

from . import _core, rate_codes
from .default import engine_of
from .error import choice, require, whole
from .image import Image
from .image import image as take_image
from .rate_codes import OPS, Op, code_of, profile_of
from .rate_tiles import TileRates
from .types import Array

PATHS = {"auto": 0, "hardware": 1, "software": 2}
# The mix of the notes that this project began with: shares of 1x1, 2x2, 4x2 and 4x4.
MIX = ((0.1, (1, 1)), (0.3, (2, 2)), (0.4, (4, 2)), (0.2, (4, 4)))


class Shaded:
    """A coarsely shaded image, the rates it was shaded at, and what the specification's rules say of them.

    Attributes:
        path: "hardware", by the device's own shading rate attachment, or "software".
        reasons: why it was not the hardware.
        tile: px a texel of the attachment.
        invocations: fragments shaded, counted by the shader.
        statistic: the pipeline's own count, in which helpers may be; None on the software path.
        profile: the rules of the model. Hardware: the device's, and of what the specification leaves open
            (transpose, tall, clamp_inputs) the choice that explains the rates, where there is one.

    >>> from foveate.sample_vrs import sample_vrs
    >>> shaded = sample_vrs(np.zeros((16, 16), np.uint8), [[0, 10], [5, 6]], tile=8, path="software")
    >>> shaded.path, shaded.invocations, shaded.agrees
    ('software', 92, True)
    """

    __slots__ = ("_core", "_model", "invocations", "path", "profile", "reasons", "statistic", "tile")

    def __init__(self, core, codes, tile, pipeline, primitive, ops):
        self._core, self.tile = core, tile
        self.path = "hardware" if core.hardware else "software"
        self.reasons, self.invocations = tuple(core.reasons), core.invocations
        self.statistic = core.statistic if core.hardware else None
        rules, shaded = rate_codes.from_core(core.profile), self.rates
        variants = [rules]
        if core.hardware:
            variants = [rules._replace(transpose=transpose, tall=tall, clamp_inputs=clamp)
                        for clamp, transpose, tall in itertools.product((False, True), repeat=3)]
        models = [rate_codes.final(pipeline, primitive, codes, combine=ops, profile=rule) for rule in variants]
        explains = [np.array_equal(self._px(model), shaded) for model in models]
        best = explains.index(True) if True in explains else 0
        self._model, self.profile = models[best], variants[best]

    def _px(self, codes):
        height, width = self._core.codes().shape
        return codes.repeat(self.tile, 0)[:height].repeat(self.tile, 1)[:, :width]

    @property
    def array(self) -> Array:
        """(H, W, C) uint8, by DLPack; four bytes lie from px to px."""
        return Array(self._core.colors())

    @property
    def image(self) -> np.ndarray:
        """The same memory as a NumPy array."""
        return self.array.numpy()

    @property
    def rates(self) -> np.ndarray:
        """(H, W) uint8, log2 w << 2 | log2 h: the rate at which each px was shaded."""
        return Array(self._core.codes()).numpy()

    @property
    def model_rates(self) -> np.ndarray:
        """(H, W) uint8: what `rate_codes.final` says of them."""
        return self._px(self._model)

    @property
    def model_invocations(self) -> int:
        """What `rate_codes.invocations` says of the fragments."""
        height, width = self.rates.shape
        return rate_codes.invocations(self._model, self.tile, width, height)

    @property
    def agrees(self) -> bool:
        """Rates and invocations are those of the model."""
        return np.array_equal(self.rates, self.model_rates) and self.invocations == self.model_invocations

    def __repr__(self) -> str:
        height, width = self.rates.shape
        return f"<foveate.Shaded {height} x {width} px on the {self.path} path, {self.invocations} fragments>"


def sample_vrs(image, rates, *, tile: int | None = None, pipeline_rate=(1, 1), primitive_rate=(1, 1),
               combiners: tuple[Op, Op] = ("keep", "replace"),
               path: Literal["auto", "hardware", "software"] = "auto", profile=None, engine=None) -> Shaded:
    """Shades an image at coarse rates, each fragment once at its centre, and says what was shaded.

    Args:
        image: one 8-bit image: an Image, or anything that `foveate.image` takes.
        rates: what the shading rate attachment holds: a TileRates of one image, or (rows, columns) codes.
        tile: px a code, 8, 16 or 32; None: that of the TileRates, or 16.
        pipeline_rate, primitive_rate: (w, h) of the draw and of what is drawn.
        combiners: of pipeline and primitive, and of that and the attachment; see `rate_codes.combine`.
        path: "hardware": the device's own rasteriser with VK_KHR_fragment_shading_rate; "software": the same rules,
            the same bytes on every backend; "auto": the hardware where it can.
        profile: on the software path, the device whose rules are followed; None: every rate of 1, 2 and 4.
        engine: the Engine to use, by its backend of the stage sample; None: the process's own.

    Returns:
        Shaded.

    Raises:
        InputError: an option outside the above, or a combiner the profile does not have.
        UnsupportedError: path="hardware" where there is none; every reason is listed.
        LimitError: an image that is larger than the device binds.

    >>> import numpy as np
    >>> from foveate.sample_vrs import sample_vrs
    >>> ramp = np.tile(np.arange(8, dtype=np.uint8), (8, 1))
    >>> sample_vrs(ramp, [[5]], tile=8).image[0, :, 0].tolist()     # 2x2
    [1, 1, 3, 3, 5, 5, 7, 7]
    """
    engine = engine_of(engine)
    core = engine._open()
    source = image if isinstance(image, Image) else take_image(image, engine=engine)
    if isinstance(rates, TileRates):
        require(tile in (None, rates.tile), "sample: vrs tile", tile, f"{rates.tile} px, as the rates have")
        tile, rates = rates.tile, rates.codes
    tile = whole("sample: vrs tile", 16 if tile is None else tile, 1, 1024)
    codes = _codes(rates, source.sizes, tile)
    ops = _ops(combiners)
    draw = code_of("sample: vrs pipeline_rate", pipeline_rate)
    drawn = code_of("sample: vrs primitive_rate", primitive_rate)
    spec = _core.VrsSpec(codes.ravel(), tile, draw, drawn, *(OPS[op] for op in ops),
                         choice("sample: vrs path", path, PATHS), None if profile is None else profile_of(profile))
    return Shaded(core.sample_vrs(source._core, spec), codes, tile, draw, drawn, ops)


def compare(*, size: tuple[int, int] = (1024, 1024), path: Literal["auto", "hardware", "software"] = "hardware",
            engine=None) -> list[dict]:
    """Draws noise at the MIX of rates, by every tile and pair of combiners of the device, against the model.

    Args:
        size: (height, width) px.
        path: as for `sample_vrs`; "hardware" fails where there is none, so that what is compared is the device.
        engine: the Engine to use; None: the process's own.

    Returns:
        A dict for each draw: path, tile, combiners, pipeline_rate, primitive_rate; agrees and, part by part, rates
        (share of px whose rate is the model's), image (its bytes are the software path's), invocations,
        model_invocations and statistic; fraction, invocations of a draw at 1x1.

    >>> from foveate.sample_vrs import compare
    >>> {row["agrees"] and row["image"] for row in compare(size=(64, 96), path="software")}
    {True}
    """
    engine = engine_of(engine)
    device = engine.caps["shading_rate"]
    least, most = device["tile"] or (8, 32)
    tiles = [tile for tile in (8, 16, 32) if least <= tile <= most]
    names = list(OPS)[:5] if device["combiners"] or not device["usable"] else list(OPS)[:2]
    height, width = size
    noise = np.random.default_rng(7).integers(0, 256, (height, width, 3), np.uint8)
    draws = [(tile, ("keep", "replace"), (1, 1), (1, 1)) for tile in tiles]
    draws += [(tiles[0], ops, (2, 1), (1, 2)) for ops in itertools.product(names, repeat=2)]
    rows = []
    for tile, ops, draw, drawn in draws:
        codes = mixed(-(-height // tile), -(-width // tile))
        options = {"tile": tile, "combiners": ops, "pipeline_rate": draw, "primitive_rate": drawn}
        shaded = sample_vrs(noise, codes, path=path, engine=engine, **options)
        model = sample_vrs(noise, codes, path="software", profile=shaded.profile, engine=engine, **options)
        rows.append({"path": shaded.path, **options, "agrees": shaded.agrees,
                     "rates": float(np.mean(shaded.rates == shaded.model_rates)),
                     "image": np.array_equal(shaded.image, model.image), "invocations": shaded.invocations,
                     "model_invocations": shaded.model_invocations, "statistic": shaded.statistic,
                     "fraction": shaded.invocations / (height * width)})
    return rows


def mixed(rows: int, columns: int) -> np.ndarray:
    """(rows, columns) uint8 codes in the shares of MIX, the same every time."""
    ends = np.round(np.cumsum([share for share, _ in MIX]) * rows * columns).astype(int)
    codes = np.repeat(rate_codes.encode([rate for _, rate in MIX]), np.diff(ends, prepend=0))
    return np.random.default_rng(0).permutation(codes).reshape(rows, columns)


def _codes(rates, sizes, tile):
    require(len(sizes) == 1, "sample: vrs image", f"{len(sizes)} images", "one", "Call once for each image.")
    height, width = sizes[0]
    shape = -(-height // tile), -(-width // tile)
    codes = np.asarray(rates)
    require(codes.dtype.kind in "iu" and codes.shape == shape, "sample: vrs rates", f"{codes.dtype} {codes.shape}",
            f"codes {shape} for tiles of {tile} px")
    known = np.isin(codes, rate_codes.CODES["vulkan"])
    require(known.all(), "sample: vrs rates", codes[~known].ravel()[:1], "codes of widths and heights 1, 2, 4")
    return np.ascontiguousarray(codes, np.uint8)


def _ops(combiners):
    require(isinstance(combiners, tuple | list) and len(combiners) == 2, "sample: vrs combiners", repr(combiners),
            "two: of pipeline and primitive, and of that and the attachment")
    for op in combiners:
        choice("sample: vrs combiners", op, OPS)
    return tuple(combiners)
