# SPDX-License-Identifier: Apache-2.0
"""sample: the patches of every token."""

from .default import engine_of
from .error import InputError, require
from .layout import Layout
from .presets import Preset, sample_options
from .pyramid import Pyramid
from .types import STAGES, Array, Channels, Dtype


class Patches:
    """What the model reads, in the shape its preset asks for.

    >>> import foveate, numpy as np
    >>> pyramid = foveate.pyramid(np.zeros((32, 32, 3), np.uint8))
    >>> foveate.sample(pyramid, foveate.layout(pyramid, budget=4)).data.shape
    (1, 4, 3, 16, 16)
    """

    __slots__ = ("_array", "_core", "_engine", "preset")

    def __init__(self, core, engine, preset: Preset):
        self._core, self._engine, self._array, self.preset = core, engine, None, preset

    @property
    def data(self) -> Array:
        """The numbers, where the host can read them."""
        if self._array is None:
            shape = self.preset.shape(self._core.image_count, self._core.rows)
            self._array = Array(self._engine.patches_array(self._core, shape))
        return self._array

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    def __repr__(self) -> str:
        return f"<foveate.Patches {self.data.dtype} {self.shape}, {self.preset.name}>"


def sample(pyramid: Pyramid, layout: Layout, *, model=None, patch: int | None = None,
           merge: int | None = None, mean=None, std=None, frames: int | None = None,
           channels: Channels | None = None, dtype: Dtype = "float32", taps: float = 3.0,
           lod_bias: float = 0.0, engine=None) -> Patches:
    """Averages every token's footprint into patches.

    Args:
        pyramid: of edge="aligned".
        layout: made for the same sizes, with a cell of patch * merge.
        model: a preset, "vit16", "siglip2", "qwen2-vl", "qwen2.5-vl", "qwen3-vl" or "gemma4"; the options below
            change it.
        patch: texels of a patch edge, 1..64; even where dtype has 16 bits.
        merge: patches of a token edge, 1..8.
        mean, std: one number or one for each channel, for values 0..1: (value - mean) / std.
        frames: 1 or 2 copies of each patch, for models that read pairs of frames.
        channels: "first" or "last" inside a patch.
        dtype: "float32", "float16" or "bfloat16".
        taps: 1..8, the fewest texels of the pyramid under a footprint's edge that is not on its grid.
        lod_bias: -4..4, added to the level that is read.
        engine: the Engine to use; None: the process's own.

    Returns:
        Patches, by hand (B, K * merge^2, C, P, P) or (B, K * merge^2, P, P, C), with frames = 2 one axis more
        (C, T, P, P). Outside the image its edge is repeated; padding is 0.

    Raises:
        InputError: an option outside the above, or values that do not belong together.

    >>> import foveate, numpy as np
    >>> pyramid = foveate.pyramid(np.full((8, 8, 3), 51, np.uint8))
    >>> layout = foveate.layout(pyramid, budget=1, cell=4)
    >>> round(foveate.sample(pyramid, layout, patch=4).data.numpy().max().item(), 3)
    0.2
    """
    engine = engine_of(engine)
    core = engine._open()
    for what, value, kind in (("pyramid", pyramid, Pyramid), ("layout", layout, Layout)):
        if not isinstance(value, kind):
            raise InputError(f"sample: {what}: got {type(value).__name__}, expected a {kind.__name__}.")
        if value._engine is not core:
            own, other = engine.backend[what], _backend_of(value._engine, what)
            require(False, f"sample: {what} from another engine", f"one made by a {other} Engine",
                    f"one made by this {own} Engine", "Rebuild it with this Engine.")
    preset, spec = sample_options(model, patch, merge, mean, std, frames, channels, dtype, taps, lod_bias)
    return Patches(core.sample(pyramid._core, layout._core, spec), core, preset)


def _backend_of(core, stage):
    return core.caps(STAGES.index(stage))["backend"]
