# SPDX-License-Identifier: Apache-2.0
"""Images to rows: the tokens of one image as named tensors in memory that is written where it lies."""

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ..decode import SCALES, scaled
from ..error import Error
from ..presets import sample_options
from ..types import bits

GEOMETRY = ("center_px", "size_px", "level", "rate", "fixation", "valid")
NAMES = {"float16": "F16", "bfloat16": "BF16", "float32": "F32", "uint8": "U8", "int32": "I32", "bool": "BOOL"}
SAMPLES = 1.5       # decoded px that a texel must still have on each side, so that averages stay averages


class Picture(NamedTuple):
    """A decoded image on its way: `size` is (height, width) of the file, turned upright; `scale` of its decoding;
    `memory` what its pixels lie in, where that is used again.
    """

    index: int
    pixels: np.ndarray
    size: tuple[int, int]
    gaze: tuple | None
    scale: int
    memory: np.ndarray | None = None


class Row(NamedTuple):
    """`tensors` are (dtype, array) by name: NumPy has no bfloat16, its bits are uint16. `owner` keeps them alive."""

    key: str
    about: dict
    tensors: dict[str, tuple[str, np.ndarray]]
    owner: Any


class Failed(NamedTuple):
    """An image that gave no tokens, and why; `code` is one word for a kind of reason."""

    index: int
    key: str
    code: str
    error: str


def failed(index, key, error):
    code = getattr(error, "code", None) or ("engine" if isinstance(error, Error) else "read")
    text = str(error) if isinstance(error, Error) else f"batch: {key}: {getattr(error, 'strerror', None) or error}"
    return Failed(index, key, code, "".join(c if c.isprintable() else "?" for c in text))


class Maker:
    """Pictures to rows, by one engine. `strict` raises where an image gives no tokens."""

    def __init__(self, engine, options, keys, strict=False):
        self._engine, self._options, self._keys, self._strict = engine, options, keys, strict
        self._asked = dict(options.tokens)
        self._dtype = options.dtype
        if options.dtype == "uint8":
            self._asked |= {"mean": (0.0,) * 3, "std": (1 / 255,) * 3}
        self._kind = self._asked.get("layout")
        self.cell = sample_options(*(self._asked.get(name) for name in ("model", "patch", "merge")), None, None,
                                   None, None, "float32", 3.0, 0.0)[0].cell

    def __call__(self, pictures):
        """A Row or a Failed for each, in order. What one image's tokens are does not depend on the others."""
        made = {}
        groups = {}
        for place, picture in enumerate(pictures):
            points = len(picture.gaze) if picture.gaze else 0
            groups.setdefault((points, picture.scale > 1), []).append(place)
        for (points, _), places in groups.items():
            made.update(zip(places, self._rows([pictures[place] for place in places], points), strict=True))
        return [made[place] for place in range(len(pictures))]

    def _rows(self, pictures, points):
        gaze = [picture.gaze for picture in pictures] if points else None
        try:
            dtype = "float32" if self._dtype == "uint8" else self._dtype
            tokens = self._engine.tokens([picture.pixels for picture in pictures], dtype=dtype, gaze=gaze,
                                         **self._asked)
            table = tokens.table
        except Error as error:
            if self._strict:
                raise
            if len(pictures) > 1:   # find the one
                return [row for picture in pictures for row in self._rows([picture], points)]
            return [failed(pictures[0].index, self._keys[pictures[0].index], error)]
        patches, count = bits(tokens.patches), len(pictures)
        if self._dtype == "uint8":
            patches = np.rint(patches).astype(np.uint8)
        patches = patches.reshape(count, -1, *patches.shape[1 if tokens.preset.form == "packed" else 2:])
        return [self._row(picture, patches[place], table[place], tokens)
                for place, picture in enumerate(pictures)]

    def _row(self, picture, patches, table, tokens):
        if picture.scale > 1:
            table = self._table(picture.size)
        geometry = {name: np.ascontiguousarray(table[name]) for name in GEOMETRY}
        about = {"key": self._keys[picture.index], "width": picture.size[1], "height": picture.size[0],
                 "tokens": len(table), "valid": int(geometry["valid"].sum()), "model": tokens.preset.name}
        about |= {"gaze": picture.gaze} if picture.gaze else {}
        about |= {"decoded_at": f"1/{picture.scale}"} if picture.scale > 1 else {}
        tensors = {"patches": (self._dtype, patches)}
        tensors |= {name: (array.dtype.name, array) for name, array in geometry.items()}
        return Row(self._keys[picture.index], about, tensors, tokens)

    def scale(self, size):
        """The part of its size that a JPEG may be decoded at: no token needs more, and all lie where they did."""
        if not self._options.scale or self._kind != "grid":
            return 1
        return self._scale(size)

    @lru_cache(maxsize=4096)    # noqa: B019 - it lives as long as the run
    def _scale(self, size):
        try:
            full = self._table(size)
        except Error:
            return 1            # the engine says so again, of this image
        texel = float(full["size_px"][full["valid"]].min(initial=math.inf)) / self.cell
        for scale in SCALES[:0:-1]:
            if texel < scale * SAMPLES or not math.isfinite(texel):
                continue
            part = self._table(tuple(scaled(side, scale) for side in size))
            near = np.allclose(part["center_px"] * scale, full["center_px"], atol=scale)
            if near and np.array_equal(part["valid"], full["valid"]):
                return scale
        return 1

    @lru_cache(maxsize=4096)    # noqa: B019
    def _table(self, size):
        names = ("budget", "model", "order", "grid")
        asked = {name: self._asked[name] for name in names if name in self._asked}
        if "model" not in asked:
            asked["cell"] = self.cell
        return self._engine.layout(np.empty(size, np.uint8), kind=self._kind, **asked).table[0]
