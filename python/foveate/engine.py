# SPDX-License-Identifier: Apache-2.0
"""Engine: chooses the backends and runs the stages."""

import atexit
import threading
from functools import lru_cache, partial

from . import budget as budgeting
from . import default
from .error import ForkedEngineError, InputError, require
from .image import Image, gather, sizes_of
from .image import image as image_stage
from .layout import Layout, kind_of, layout_spec, more_options, table_of
from .layout import layout as layout_stage
from .options import open_core
from .presets import sample_options
from .pyramid import Pyramid, pyramid_spec
from .pyramid import pyramid as pyramid_stage
from .rate import Rates, rate_spec
from .rate import rate as rate_stage
from .rate_tiles import TileRates
from .rate_tiles import rate_tiles as rate_tiles_stage
from .relevance import Relevance, tokens_relevance
from .relevance import relevance as relevance_stage
from .sample import Patches
from .sample import sample as sample_stage
from .sample_vrs import sample_vrs as sample_vrs_stage
from .share import Sharing, empty_array
from .tensor import Tokens
from .tensor import tensor as tensor_stage
from .types import (
    STAGES,
    Array,
    BackendName,
    Channels,
    Color,
    Dtype,
    Edge,
    Falloff,
    Kind,
    Order,
    Pixels,
    RateSet,
    Saliency,
    Span,
    StageName,
    Unit,
)
from .warp import Warped
from .warp import warp as warp_stage

SAMPLE = STAGES.index("sample")
_pyramid_spec = lru_cache(maxsize=64)(pyramid_spec)
_rate_spec = lru_cache(maxsize=64)(rate_spec)
atexit.register(_pyramid_spec.cache_clear)      # before the module that made the specs goes
atexit.register(_rate_spec.cache_clear)


class Engine(Sharing):
    """Turns images into foveated tokens. Many threads may share one.

    Args:
        backend: "auto", "cpu", "vulkan", "opengl" or "cuda"; or a dict of stage (or "*" for the others) to backend.
        device: of Vulkan, OpenGL or CUDA, by UUID, index or part of its name; None: the environment's FOVEATE_DEVICE,
            or the first that fits.
        memory_budget: bytes the engine may hold; None: 4 GiB.
        threads: of the cpu backend, 1..256; None: as many as this process may use.
        share: memory that other devices, APIs and processes can open; see `share`. "auto" is Vulkan then.
        cuda: arrays lie where CUDA sees them, and images may: see docs/interop/cuda.md. "auto" is Vulkan or CUDA then.
        exact: False lets stages use the filters of the device's hardware where it has them: other bytes, within the
            tolerances of docs/backends.md. `stats["fast_samples"]` counts where they did.
        trace: Vulkan notes when each of its dispatches ran; see `spans`.
        ahead: Vulkan calls return when the device has its work, and reading a result waits for it. Until then what
            `empty` or `attach` gave must not be written to by the host.

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
                 device: str | None = None, memory_budget: int | None = None, threads: int | None = None,
                 share: bool = False, exact: bool = True, trace: bool = False, ahead: bool = False,
                 cuda: bool = False):
        self._core, self._forks, self._ahead = None, default.forks, ahead
        self._lock = threading.Lock()
        self._copies = 0
        self._core = open_core(backend, device, memory_budget, threads, share, exact, trace, ahead, cuda)

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
        sync, memory_budget, image_bytes_max, shaders (release or profile), profiling (what the device can tell),
        shading_rate (of the hardware path of `sample_vrs`, or the reasons against it), filter_side (px a side of
        images that its hardware filters, for exact=False; 0: none).
        """
        return self._open().caps(SAMPLE)

    @property
    def stats(self) -> dict[str, int]:
        """Counts since the engine was made: records, pipelines_created, image_copies, host_waits,
        memory_used and memory_peak (bytes, pooled ones included), spans_dropped, fast_samples (runs of the stage sample
        by hardware filters), messages (of the validation layer).
        """
        counters = self._open().counters()
        counters["image_copies"] += self._copies
        return counters

    def spans(self) -> list[Span]:
        """With `trace`: what the device did since the last call. At most 65536; stats["spans_dropped"] says of more."""
        return [Span(*span) for span in self._open().spans()]

    def empty(self, shape: tuple[int, ...], dtype: Pixels = "uint8") -> Array:
        """Memory of the engine's own for an image or a batch, to be filled and then read where it lies.

        Args:
            shape: of 2 to 4 axes, as `foveate.image` takes them.
            dtype: "uint8", "uint16" or "float32".

        Returns:
            Array whose contents are arbitrary. Write to it by `.numpy()`, `.torch()` or DLPack, and give it or a view
            of it to any stage: no backend copies it on the host.

        Raises:
            InputError: a shape or type outside the above.
            MemoryBudgetError: more than the memory budget leaves.

        >>> import foveate
        >>> engine = foveate.Engine(backend="cpu")
        >>> frame = engine.empty((480, 640, 3))
        >>> frame.numpy()[:] = 128
        >>> engine.tokens(frame, budget=100).patches.shape
        (1, 100, 3, 16, 16)
        """
        return empty_array(self._open(), shape, dtype)

    def image(self, images, *, channels: Channels | None = None, background=None) -> Image:
        """The stage image; see `foveate.image`."""
        return image_stage(images, channels=channels, background=background, engine=self)

    def pyramid(self, image, *, edge: Edge = "aligned", color: Color = "encoded",
                levels: int | None = None) -> Pyramid:
        """The stage pyramid; see `foveate.pyramid`."""
        return pyramid_stage(image, edge=edge, color=color, levels=levels, engine=self)

    def relevance(self, image, *, gaze=None, falloff: Falloff | tuple = "cortical",
                  fov_deg: float | None = None, viewing_px: float | None = None, information: bool = False,
                  saliency: Saliency | None = None, query=None, motion: bool = False, roi=None, trace=None,
                  sigma: float = 0.05, combine=None, knobs=(0.5, 0.5, 0.5), beta: float = 0.0,
                  floor: float = 0.02, previous: Relevance | None = None, smooth: float = 0.5,
                  band: float = 1 / 64, cell: int | None = None, model=None, unit: Unit = "uv",
                  clamp: bool = False) -> Relevance:
        """The stage relevance; see `foveate.relevance`."""
        return relevance_stage(image, gaze=gaze, falloff=falloff, fov_deg=fov_deg, viewing_px=viewing_px,
                               information=information, saliency=saliency, query=query, motion=motion, roi=roi,
                               trace=trace, sigma=sigma, combine=combine, knobs=knobs, beta=beta, floor=floor,
                               previous=previous, smooth=smooth, band=band, cell=cell, model=model, unit=unit,
                               clamp=clamp, engine=self)

    def rate(self, image, *, relevance=None, budget: int | None = None, model=None, cell: int | None = None,
             rates: RateSet = "vrs", max_rate: int | None = None, previous: Rates | None = None,
             hysteresis: float = 0.25, smooth: bool = False) -> Rates:
        """The stage rate; see `foveate.rate`."""
        return rate_stage(image, relevance=relevance, budget=budget, model=model, cell=cell, rates=rates,
                          max_rate=max_rate, previous=previous, hysteresis=hysteresis, smooth=smooth, engine=self)

    def rate_tiles(self, image, **options) -> TileRates:
        """The stage rate, for hardware; see `foveate.rate_tiles.rate_tiles`."""
        return rate_tiles_stage(image, engine=self, **options)

    def layout(self, image, *, kind: Kind = "grid", budget: int | None = None, model=None,
               cell: int | None = None, gaze=None, unit: Unit = "uv", clamp: bool = False, grid=None,
               strides=None, grids=None, order: Order = "raster", views=None, rates: Rates | None = None,
               alpha: float | None = None, e0: float | None = None, passes: int | None = None,
               rho: float | None = None, heat=None, sigma: float | None = None) -> Layout:
        """The stage layout; see `foveate.layout`."""
        return layout_stage(image, kind=kind, budget=budget, model=model, cell=cell, gaze=gaze, unit=unit,
                            clamp=clamp, grid=grid, strides=strides, grids=grids, order=order, views=views,
                            rates=rates, alpha=alpha, e0=e0, passes=passes, rho=rho, heat=heat, sigma=sigma,
                            engine=self)

    def sample(self, pyramid: Pyramid, layout: Layout, *, model=None, patch: int | None = None,
               merge: int | None = None, mean=None, std=None, frames: int | None = None,
               channels: Channels | None = None, dtype: Dtype = "float32", taps: float = 3.0,
               lod_bias: float = 0.0) -> Patches:
        """The stage sample; see `foveate.sample`."""
        return sample_stage(pyramid, layout, model=model, patch=patch, merge=merge, mean=mean, std=std,
                            frames=frames, channels=channels, dtype=dtype, taps=taps, lod_bias=lod_bias,
                            engine=self)

    def sample_vrs(self, image, rates, **options):
        """The stage sample, with shading rates; see `foveate.sample_vrs.sample_vrs`."""
        return sample_vrs_stage(image, rates, engine=self, **options)

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
               relevance: dict | None = None, rates: RateSet = "vrs", max_rate: int | None = None,
               previous: Tokens | None = None, hysteresis: float = 0.25, smooth: bool = True,
               patch: int | None = None, merge: int | None = None, mean=None, std=None,
               frames: int | None = None, dtype: Dtype = "float32", taps: float = 3.0, lod_bias: float = 0.0,
               edge: Edge = "aligned", color: Color = "encoded", unit: Unit = "uv", clamp: bool = False,
               grid=None, strides=None, grids=None, order: Order = "raster", views=None,
               alpha: float | None = None, e0: float | None = None, passes: int | None = None,
               rho: float | None = None, heat=None, sigma: float | None = None,
               channels: Channels | None = None, background=None) -> Tokens:
        """Every stage in one go, building no pyramid level that no token needs.

        Args:
            images: what `foveate.image` takes; channels and background are explained there.
            layout: None: "rate", or the kind whose options are given. budget, gaze, unit, clamp, grid, strides,
                grids, order, views, alpha, e0, passes, rho, heat and sigma are explained at `foveate.layout`.
            relevance: for "rate": a dict of the options of `foveate.relevance`; gaze alone is one of them.
            rates, max_rate, hysteresis, smooth: for "rate", see `foveate.rate`.
            previous: for "rate": the Tokens of the frame before, so that a video does not flicker.
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
            layout = kind_of(grid, strides, grids, views, alpha, e0, passes, rho)
        preset, options = sample_options(model, patch, merge, mean, std, frames, None, dtype, taps, lod_bias)
        if isinstance(images, Image):
            taken = images._sources
            sources = [source for source, _, _ in taken]
        else:
            sources, taken = gather(images, channels, background, self)
        sizes = sizes_of(taken)
        count = len(sizes)
        rows = layout_spec(count, layout, budget, preset.cell, gaze, unit, clamp, grid, strides, grids, order,
                           views)
        more_options(rows, layout, alpha=alpha, e0=e0, passes=passes, rho=rho, heat=heat, sigma=sigma)
        weights, split, before = None, _rate_spec(None, preset.cell, rates, max_rate, hysteresis, smooth), (None, None)
        if layout == "rate":
            weights = tokens_relevance(count, preset.cell, relevance, gaze, unit, clamp)
            if previous is not None:
                require(isinstance(previous, Tokens), "Engine: previous", type(previous).__name__, "Tokens")
                before = previous._made
        made, table, *kept = core.tokens(sources, _pyramid_spec(edge, color, None), weights, split, rows, options,
                                         *before)
        shape = preset.shape(made.image_count, made.rows)
        return Tokens(Array(core.patches_array(made, shape)), partial(table_of, table, made), preset, sizes,
                      tuple(kept))

    def buckets(self, images, *, budgets=budgeting.BUDGETS, cuts=budgeting.CUTS, gaze=None, heat=None,
                channels: Channels | None = None, background=None, **options):
        """Tokens by an adaptive budget: few for plain images, many for busy ones, in one batch for each budget.

        Args:
            images: what `foveate.image` takes; channels and background are explained there.
            budgets, cuts: see `foveate.budget.adaptive`.
            gaze, heat: as for `tokens`; lists for each image follow their images.
            options: what else `tokens` takes, but no budget.

        Yields:
            (indices, Tokens): which of the images, rising, and their tokens. Every image comes once.

        Raises:
            InputError, LimitError, MemoryBudgetError: as `tokens` does.

        >>> import foveate, numpy as np
        >>> plain, busy = np.zeros((64, 64), np.uint8), np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
        >>> engine = foveate.Engine(backend="cpu")
        >>> [(indices.tolist(), tokens.valid.shape) for indices, tokens in engine.buckets([plain, busy, plain])]
        [([0, 2], (2, 180)), ([1], (1, 365))]
        """
        taken = self.image(images, channels=channels, background=background)
        for budget, indices, planes in budgeting.split(taken, budgets, cuts, self):
            yield indices, self.tokens(planes, channels="first", budget=budget,
                                       gaze=budgeting.of_images(gaze, indices, len(taken), 3),
                                       heat=budgeting.of_images(heat, indices, len(taken), 3), **options)
