# SPDX-License-Identifier: Apache-2.0
"""pyramid: the mip chain of every image."""

import numpy as np

from . import _core
from .default import engine_of
from .error import choice, require, whole
from .image import Image
from .image import image as take_image
from .types import Array, Color, Edge, Given

EDGES = {"aligned": 0, "exact": 1}
COLORS = {"encoded": 0, "linear": 1}


class Pyramid:
    """Level 0 is the image; each level above has half the sides. It keeps its Image alive.

    >>> import foveate, numpy as np
    >>> foveate.pyramid(np.zeros((5, 9, 3), np.uint8)).level(1).shape
    (3, 3, 5)
    """

    __slots__ = ("_core", "_engine", "color", "edge", "image")

    def __init__(self, core, engine, image, edge, color):
        self._core, self._engine = core, engine
        self.image, self.edge, self.color = image, edge, color

    @property
    def levels(self) -> int:
        """How many levels the largest image has, level 0 included."""
        return self._core.levels

    @property
    def unit(self) -> float:
        """The value of levels 1.. that means 1.0."""
        return self._core.unit

    def level(self, level: int, image: int = 0) -> Array:
        """One level of one image, in memory that is shared and read-only.

        Args:
            level: 0 for the image as it was given, up to levels - 1.
            image: which image of the batch.

        Returns:
            Array (C, H, W) of uint16 or float32; level 0 of the image's own type.

        Raises:
            InputError: a level or an image that does not exist.
        """
        images = len(self.image)
        require(0 <= image < images, "pyramid: image", image, f"0..{images - 1}")
        count = self._core.levels_of(image)
        require(0 <= level < count, "pyramid: level", level, f"0..{count - 1}")
        if level == 0:
            return Array(Given(self.image.plane_view(image)))
        return Array(self._engine.level(self._core, image, level))

    def numpy(self, level: int, image: int = 0) -> np.ndarray:
        """A copy of one level as float32 (C, H, W), 0..1, of light where color="linear"."""
        values = self.level(level, image).numpy()
        whole_range = {"uint8": 255.0, "uint16": 65535.0, "float32": 1.0}
        unit = whole_range[self.image.dtype] if level == 0 else self.unit
        if level == 0 and self.color == "linear" and values.dtype == np.uint8:
            code = values / 255.0
            return np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4).astype(np.float32)
        return values.astype(np.float32) / np.float32(unit)

    def __repr__(self) -> str:
        kind = f"{self.edge}, {self.color}"
        return f"<foveate.Pyramid {self.levels} levels of {len(self.image)} images, {kind}>"


def pyramid_spec(edge, color, levels):
    """The core's options."""
    count = 0 if levels is None else whole("pyramid: levels", levels, 1, 16)
    edge, color = choice("pyramid: edge", edge, EDGES), choice("pyramid: color", color, COLORS)
    return _core.PyramidSpec(edge, color, count)


def pyramid(image, *, edge: Edge = "aligned", color: Color = "encoded", levels: int | None = None,
            engine=None) -> Pyramid:
    """Builds the mip chain of an image or of every image of a batch.

    Args:
        image: an Image, or anything that `foveate.image` takes.
        edge: "aligned": sides are halved upwards and the last row or column is repeated, so that texel i of
            level l covers px i * 2^l on; what `sample` reads. "exact": sides are halved downwards with
            weights that keep the mean at every size.
        color: "encoded": averages of the values as they are, as PIL and torchvision do. "linear": 8-bit sRGB
            is decoded first, so that averages are of light.
        levels: 1..16, level 0 included; None: down to 1 x 1.
        engine: the Engine to use; None: the process's own.

    Returns:
        Pyramid. Levels 1.. are uint16 for 8-bit images ("encoded": 256 times the byte) and for 16-bit ones,
        float32 for floats and edge="exact".

    Raises:
        InputError: an option outside the above; and what `foveate.image` raises.

    >>> import foveate, numpy as np
    >>> foveate.pyramid(np.full((2, 2), 10, np.uint8)).level(1).numpy().tolist()
    [[[2560]]]
    """
    engine = engine_of(engine)
    core = engine._open()
    spec = pyramid_spec(edge, color, levels)
    if not isinstance(image, Image):
        image = take_image(image, engine=engine)
    return Pyramid(core.pyramid(image._core, spec), core, image, edge, color)
