# SPDX-License-Identifier: Apache-2.0
"""rate: how coarse each cell may be, so that an image costs exactly its budget of tokens."""

import numpy as np

from . import _core
from .default import engine_of
from .error import InputError, choice, real, require, whole
from .image import Image
from .image import image as take_image
from .presets import preset_of
from .pyramid import Pyramid
from .relevance import Relevance
from .types import Array, RateSet

SETS = {"vrs": False, "square": True}
BUDGET = 273
TOKENS = _core.limits()["image_tokens"]


class Rates:
    """A rate for each cell of each image: the code of the token that covers it.

    A code is log2 width << 2 | log2 height in cells, as in Vulkan and Direct3D; the third bits of 16 cells lie
    above, in bit 5 and bit 4.

    >>> import foveate, numpy as np
    >>> foveate.rate(np.zeros((64, 64, 3), np.uint8), budget=4, max_rate=4).codes.tolist()
    [[[5, 5, 5, 5], [5, 5, 5, 5], [5, 5, 5, 5], [5, 5, 5, 5]]]
    """

    __slots__ = ("_codes", "_core", "_engine")

    def __init__(self, core, engine):
        self._core, self._engine, self._codes = core, engine, None

    @property
    def codes(self) -> np.ndarray | list[np.ndarray]:
        """(B, rows, columns) uint32; a list of (rows, columns) where the images differ in cells."""
        if self._codes is None:
            found = [Array(self._engine.codes(self._core, i)).numpy() for i in range(len(self.grid_sizes))]
            self._codes = np.stack(found) if len(set(self.grid_sizes)) == 1 else found
        return self._codes

    @property
    def grid_sizes(self) -> list[tuple[int, int]]:
        """(rows, columns) of the cells of each image."""
        return self._core.grid_sizes

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """(height, width) of each image."""
        return self._core.sizes

    @property
    def cell(self) -> int:
        """Px of a cell's edge: scale times patch * merge."""
        return self._core.cell

    @property
    def budget(self) -> int:
        """K, tokens of each image."""
        return self._core.budget

    @property
    def max_rate(self) -> int:
        """Cells of a block's edge: the coarsest rate."""
        return self._core.max_rate

    @property
    def scale(self) -> int:
        """Px a texel of the finest token: 1, or a power of two where only larger cells fit the budget."""
        return self._core.scale

    @property
    def rates(self) -> RateSet:
        """Which rates there may be."""
        return "square" if self._core.square else "vrs"

    def __repr__(self) -> str:
        return (f"<foveate.Rates for {self.budget} tokens of each of {len(self.sizes)} images, "
                f"{self.rates} up to {self.max_rate} x {self.max_rate} cells>")


def rate_spec(budget, cell, rates, max_rate, hysteresis, smooth):
    """The core's options."""
    budget = BUDGET if budget is None else whole("rate: budget", budget, 1, TOKENS)
    edge = 0
    if max_rate is not None:
        require(isinstance(max_rate, int) and max_rate in (1, 2, 4, 8, 16), "rate: max_rate", repr(max_rate),
                "1, 2, 4, 8 or 16, or None")
        edge = max_rate
    return _core.RateSpec(budget, cell, edge, choice("rate: rates", rates, SETS), real("rate: hysteresis", hysteresis),
                          bool(smooth))


def rate(image, *, relevance: Relevance | None = None, budget: int | None = None, model=None, cell: int | None = None,
         rates: RateSet = "vrs", max_rate: int | None = None, previous: Rates | None = None,
         hysteresis: float = 0.25, smooth: bool = False, engine=None) -> Rates:
    """Gives every cell of each image a rate, so that the tokens are exactly `budget`.

    A block of max_rate x max_rate cells starts as one token and is halved where that lowers the squared error of
    luma most, weighted by relevance, until the budget is spent.

    Args:
        image: an Image, a Pyramid, or anything that `foveate.image` takes.
        relevance: a Relevance of the same images and cell; None: every cell weighs the same.
        budget: K, 1..65536 tokens of each image; None: 273. At least its blocks; more than its cells is padding.
        model: a preset's name, for its cell.
        cell: px of a cell's edge, patch * merge; None: the model's, or 16.
        rates: "vrs": the sides of a token differ by one doubling at most, as hardware's rates; "square": squares
            only, and up to two rows of padding.
        max_rate: cells of a block's edge, 1, 2, 4, 8 or 16; None: the smallest of 4, 8 and 16 whose blocks are a
            quarter of the budget or less. Where even blocks of 16 are more than the budget, and no relevance has
            fixed the cells, their edge is doubled until they are not.
        previous: the Rates of the frame before, whose splits are kept where that costs little.
        hysteresis: 0..1, by how much a split of `previous` is preferred.
        smooth: with previous: smooth what noise does to the detail of a still scene.
        engine: the Engine to use; None: the process's own.

    Returns:
        Rates.

    Raises:
        InputError: an option outside the above; a budget below the number of blocks.

    >>> import foveate, numpy as np
    >>> foveate.rate(np.zeros((480, 640, 3), np.uint8), budget=100)
    <foveate.Rates for 100 tokens of each of 1 images, vrs up to 8 x 8 cells>
    """
    engine = engine_of(engine)
    core = engine._open()
    if cell is None:
        cell = preset_of(model).cell
    spec = rate_spec(budget, whole("rate: cell", cell, 1, 512), rates, max_rate, hysteresis, smooth)
    if isinstance(image, Pyramid):
        image = image.image
    if not isinstance(image, Image):
        image = take_image(image, engine=engine)
    if previous is not None and not isinstance(previous, Rates):
        raise InputError(f"rate: previous: got {type(previous).__name__}, expected Rates.")
    if relevance is not None and not isinstance(relevance, Relevance):
        raise InputError(f"rate: relevance: got {type(relevance).__name__}, expected Relevance.")
    return Rates(core.rate(image._core, spec, relevance and relevance._core, previous and previous._core), core)
