# SPDX-License-Identifier: Apache-2.0
"""tensor: patches and where they lie, as arrays that any library can take over."""

from collections.abc import Callable
from functools import partial

import numpy as np

from .default import engine_of
from .error import InputError, require
from .layout import Layout, table_of
from .presets import Preset
from .sample import Patches
from .types import Array


class Tokens:
    """Exactly K tokens for each image: patches for the model, and their positions. Arrays are (B, K).

    `sizes` are the images', (height, width) in px: what positions lie in.

    >>> import foveate, numpy as np
    >>> engine = foveate.Engine(backend="cpu")
    >>> tokens = engine.tokens(np.zeros((64, 64, 3), np.uint8), model="qwen2.5-vl", budget=4)
    >>> tokens.patches.shape, tokens.valid.tolist()
    ((16, 1176), [[True, True, True, True]])
    """

    __slots__ = ("_made", "_table", "patches", "preset", "sizes")

    def __init__(self, patches: Array, table: np.ndarray | Callable[[], np.ndarray], preset: Preset,
                 sizes: list[tuple[int, int]], made=(None, None)):
        self.patches, self._table, self.preset = patches, table, preset
        self.sizes = sizes      # (height, width) of each image, px
        self._made = made   # relevance and rates, for the next frame

    @property
    def table(self) -> np.ndarray:
        """Every column at once: (B, K) records, read when they are first asked for."""
        if callable(self._table):
            self._table = self._table()
        return self._table

    @property
    def center_px(self) -> np.ndarray:
        """(B, K, 2) float32: x, y."""
        return self.table["center_px"]

    @property
    def size_px(self) -> np.ndarray:
        """(B, K, 2) float32: height, width; 0 in padding."""
        return self.table["size_px"]

    @property
    def level(self) -> np.ndarray:
        """(B, K) int32: the pyramid level it was read from."""
        return self.table["level"]

    @property
    def rate(self) -> np.ndarray:
        """(B, K) int32: log2 width << 2 | log2 height in cells, each the nearest of 0..3."""
        return self.table["rate"]

    @property
    def image(self) -> np.ndarray:
        """(B, K) int32: the image it belongs to."""
        return self.table["image"]

    @property
    def fixation(self) -> np.ndarray:
        """(B, K) int32: the gaze point it belongs to."""
        return self.table["fixation"]

    @property
    def valid(self) -> np.ndarray:
        """(B, K) bool: the token overlaps its image."""
        return self.table["valid"]

    @property
    def device(self) -> str:
        """Of the patches: "cpu", or "cuda:0" and so on. Positions are NumPy's."""
        return self.patches.device

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the patches."""
        return self.patches.shape

    def numpy(self) -> np.ndarray:
        """The patches as a NumPy array: in the same memory, or from CUDA a copy."""
        return self.patches.numpy()

    def torch(self):
        """The patches as a torch.Tensor, in the same memory."""
        return self.patches.torch()

    def _repr_html_(self) -> str:
        from .notebook import tokens_html

        return tokens_html(self)

    def __repr__(self) -> str:
        images, rows = self.table.shape
        kind = f"{self.patches.dtype} {self.shape}, {self.preset.name}"
        return f"<foveate.Tokens {rows} for each of {images} images: {kind}>"


def tensor(patches: Patches, layout: Layout, *, engine=None) -> Tokens:
    """Joins patches with the positions of the layout they were sampled by.

    Args:
        patches: from `foveate.sample`.
        layout: the one they were sampled by.
        engine: the Engine to use; None: the process's own.

    Returns:
        Tokens, in host memory; patches made there are not copied.

    Raises:
        InputError: values that do not belong together.

    >>> import foveate, numpy as np
    >>> pyramid = foveate.pyramid(np.zeros((64, 64, 3), np.uint8))
    >>> layout = foveate.layout(pyramid, budget=4)
    >>> foveate.tensor(foveate.sample(pyramid, layout), layout).level.tolist()
    [[1, 1, 1, 1]]
    """
    core = engine_of(engine)._open()
    for what, value, kind in (("patches", patches, Patches), ("layout", layout, Layout)):
        if not isinstance(value, kind):
            raise InputError(f"tensor: {what}: got {type(value).__name__}, expected {kind.__name__}.")
        require(value._engine is core, f"tensor: {what} from another engine", "one made by another Engine",
                "one made by this Engine", "Rebuild it with this Engine.")
    made, rows = patches._core, layout._core
    require((made.image_count, made.rows) == (rows.image_count, rows.rows), "tensor: layout",
            f"{rows.image_count} x {rows.rows} rows",
            f"{made.image_count} x {made.rows}, as many as the patches have")
    return Tokens(patches.data, partial(table_of, core.table(rows, made), rows), patches.preset, rows.sizes)
