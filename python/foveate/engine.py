# SPDX-License-Identifier: Apache-2.0
"""Engine: chooses the backends and runs the stages."""

import atexit
import os
import threading
from functools import lru_cache

from . import _core, default
from .error import ForkedEngineError, InputError, require, whole
from .image import Image, gather
from .image import image as image_stage
from .layout import Layout, layout_spec, table_of
from .layout import layout as layout_stage
from .presets import sample_options
from .pyramid import Pyramid, pyramid_spec
from .pyramid import pyramid as pyramid_stage
from .sample import Patches
from .sample import sample as sample_stage
from .tensor import Tokens
from .tensor import tensor as tensor_stage
from .types import STAGES, Array, BackendName, Channels, Color, Dtype, Edge, Kind, Order, StageName, Unit
from .warp import Warped
from .warp import warp as warp_stage

SAMPLE = STAGES.index("sample")
_pyramid_spec = lru_cache(maxsize=64)(pyramid_spec)
atexit.register(_pyramid_spec.cache_clear)      # before the module that made the specs goes


class Engine:
    """Turns images into foveated tokens. Many threads may share one.

    Args:
        backend: "auto", "cpu" or "vulkan"; or a dict of stage (or "*" for the others) to backend.
        device: a Vulkan device by UUID, index or part of its name; None: the environment's FOVEATE_DEVICE, or
            the first that fits.
        memory_budget: bytes the engine may hold; None: 4 GiB.
        threads: of the cpu backend, 1..256; None: as many as this process may use.

    Raises:
        InputError: an option outside the above.
        DeviceError, UnsupportedError: no such device; every candidate is listed with every reason against it.

    An engine belongs to the process that made it: in a child of fork() every call raises ForkedEngineError.

    >>> import foveate, numpy as np
    >>> engine = foveate.Engine(backend="cpu")
    >>> engine.tokens(np.zeros((480, 640, 3), np.uint8), gaze=(0.4, 0.6), budget=100).valid.shape
    (1, 100)
    """

    def __init__(self, backend: BackendName | dict[StageName, BackendName] = "auto", *,
                 device: str | None = None, memory_budget: int | None = None, threads: int | None = None):
        self._core, self._forks = None, default.forks
        self._lock = threading.Lock()
        self._copies = 0
        names = backend if isinstance(backend, dict) else {"*": backend}
        for name in (*names, *names.values()):
            require(isinstance(name, str), "Engine: backend", repr(backend),
                    '"auto", "cpu", "vulkan", or a dict of them by stage')
        device = os.environ.get("FOVEATE_DEVICE", "") if device is None else str(device)
        budget = 0
        if memory_budget is not None:
            budget = _bytes("Engine: memory_budget", memory_budget)
        count = 0 if threads is None else whole("Engine: threads", threads, 1, _core.limits()["threads"])
        self._core = _core.Engine(dict(names), device, budget, count, "")

    def _open(self):
        core = self._core
        if self._forks != default.forks:    # before any lock, which a thread of the parent may have held
            raise ForkedEngineError("Engine: call: got an Engine made before fork(), expected one made in "
                                    "this process. Make a new one here, or start workers with spawn.")
        if core is None:
            raise InputError("Engine: call: got a closed Engine, expected an open one. Make a new one.")
        return core

    def _count_copies(self, images):
        with self._lock:
            self._copies += images

    def close(self) -> None:
        """Lets go of the backends. Arrays that were handed out live on; calling it again does nothing."""
        self._core = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def backend(self) -> dict[str, str]:
        """The backend of each stage."""
        core = self._open()
        return {name: core.caps(stage)["backend"] for stage, name in enumerate(STAGES)}

    @property
    def caps(self) -> dict:
        """The backend of the sample stage: backend, device, uuid, driver, isa, software, host_visible,
        memory_budget, image_bytes_max.
        """
        return self._open().caps(SAMPLE)

    @property
    def stats(self) -> dict[str, int]:
        """Counts since the engine was made: records, pipelines_created, image_copies, host_waits,
        memory_used and memory_peak (bytes, pooled ones included), messages (of the validation layer).
        """
        counters = self._open().counters()
        counters["image_copies"] += self._copies
        return counters

    def image(self, images, *, channels: Channels | None = None, background=None) -> Image:
        """The stage image; see `foveate.image`."""
        return image_stage(images, channels=channels, background=background, engine=self)

    def pyramid(self, image, *, edge: Edge = "aligned", color: Color = "encoded",
                levels: int | None = None) -> Pyramid:
        """The stage pyramid; see `foveate.pyramid`."""
        return pyramid_stage(image, edge=edge, color=color, levels=levels, engine=self)

    def layout(self, image, *, kind: Kind = "grid", budget: int | None = None, model=None,
               cell: int | None = None, gaze=None, unit: Unit = "uv", clamp: bool = False, grid=None,
               strides=None, grids=None, order: Order = "raster", views=None) -> Layout:
        """The stage layout; see `foveate.layout`."""
        return layout_stage(image, kind=kind, budget=budget, model=model, cell=cell, gaze=gaze, unit=unit,
                            clamp=clamp, grid=grid, strides=strides, grids=grids, order=order, views=views,
                            engine=self)

    def sample(self, pyramid: Pyramid, layout: Layout, *, model=None, patch: int | None = None,
               merge: int | None = None, mean=None, std=None, frames: int | None = None,
               channels: Channels | None = None, dtype: Dtype = "float32", taps: float = 3.0,
               lod_bias: float = 0.0) -> Patches:
        """The stage sample; see `foveate.sample`."""
        return sample_stage(pyramid, layout, model=model, patch=patch, merge=merge, mean=mean, std=std,
                            frames=frames, channels=channels, dtype=dtype, taps=taps, lod_bias=lod_bias,
                            engine=self)

    def tensor(self, patches: Patches, layout: Layout) -> Tokens:
        """The stage tensor; see `foveate.tensor`."""
        return tensor_stage(patches, layout, engine=self)

    def warp(self, image, *, size, kind="logpolar", gaze=None, inverse: bool = False, alpha: float | None = None,
             radius: float | None = None, fov_deg: float | None = None, norm="square", taps: int = 2,
             lod_bias: float = -0.5, dtype=None, color: Color = "encoded", unit: Unit = "uv",
             clamp: bool = False) -> Warped:
        """The stage warp; see `foveate.warp`."""
        return warp_stage(image, size=size, kind=kind, gaze=gaze, inverse=inverse, alpha=alpha, radius=radius,
                          fov_deg=fov_deg, norm=norm, taps=taps, lod_bias=lod_bias, dtype=dtype, color=color,
                          unit=unit, clamp=clamp, engine=self)

    def tokens(self, images, *, layout: Kind | None = None, budget: int | None = None, gaze=None, model=None,
               patch: int | None = None, merge: int | None = None, mean=None, std=None,
               frames: int | None = None, dtype: Dtype = "float32", taps: float = 3.0, lod_bias: float = 0.0,
               edge: Edge = "aligned", color: Color = "encoded", unit: Unit = "uv", clamp: bool = False,
               grid=None, strides=None, grids=None, order: Order = "raster", views=None,
               channels: Channels | None = None, background=None) -> Tokens:
        """Every stage in one go, building no pyramid level that no token needs.

        Args:
            images: what `foveate.image` takes; channels and background are explained there.
            layout: "grid", "rings" or "views"; None: "views" where there is a gaze, else "grid". budget,
                gaze, unit, clamp, grid, strides, grids, order and views are explained at `foveate.layout`.
            model: a preset; patch, merge, mean, std, frames, dtype, taps and lod_bias change it and are
                explained at `foveate.sample`.
            edge, color: of the pyramid, see `foveate.pyramid`.

        Returns:
            Tokens: patches in the model's order, exactly K tokens an image, and their positions.

        Raises:
            InputError, LimitError: an option or an image outside its range.
            MemoryBudgetError: more memory than the engine may hold.

        >>> import foveate, numpy as np
        >>> engine = foveate.Engine(backend="cpu")
        >>> engine.tokens(np.zeros((480, 640, 3), np.uint8), model="siglip2", budget=256).patches.shape
        (1, 256, 768)
        """
        core = self._open()
        if layout is None:
            layout = "grid" if gaze is None else "views"
        preset, options = sample_options(model, patch, merge, mean, std, frames, None, dtype, taps, lod_bias)
        if isinstance(images, Image):
            taken = images._sources
            sources = [source for source, _, _ in taken]
        else:
            sources, taken = gather(images, channels, background, self)
        count = sum(source.shape[0] if axes[0] >= 0 else 1 for source, axes, _ in taken)
        rows = layout_spec(count, layout, budget, preset.cell, gaze, unit, clamp, grid, strides, grids, order,
                           views)
        made, table = core.tokens(sources, _pyramid_spec(edge, color, None), rows, options)
        shape = preset.shape(made.image_count, made.rows)
        return Tokens(Array(core.patches_array(made, shape)), table_of(table, made), preset)


def _bytes(what, value):
    require(isinstance(value, int) and 0 < value < 1 << 63, what, repr(value), "a number of bytes above 0")
    return value
