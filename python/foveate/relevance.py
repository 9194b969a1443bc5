# SPDX-License-Identifier: Apache-2.0
"""relevance: how much each part of an image matters."""

import numpy as np

from . import _core
from .default import engine_of
from .error import InputError, choice, real, require, whole
from .image import Image
from .image import image as take_image
from .layout import UNITS
from .presets import preset_of
from .pyramid import Pyramid
from .types import Array, Falloff, Saliency, Unit

FALLOFFS = {"cortical": 0, "polynomial": 1, "exponential": 2, "bands": 3, "geisler": 4}
SALIENCIES = {None: 0, "gradient": 1, "surround": 2, "both": 3, "spectral": 4}
COMBINES = {None: 0, "opponent": 1, "max": 2, "mean": 3, "product": 4}
WEIGHTS = 5
TERMS = ("gaze", "information", "saliency", "query", "motion", "roi")
ONE = 65535
OPTIONS = ("gaze", "falloff", "fov_deg", "viewing_px", "information", "saliency", "query", "motion", "roi", "trace",
           "sigma", "combine", "knobs", "beta", "floor", "smooth", "band", "unit", "clamp")


class Relevance:
    """A value for each cell of each image.

    >>> import foveate, numpy as np
    >>> relevance = foveate.relevance(np.zeros((32, 64), np.uint8), gaze=(0.25, 0.5), cell=16, floor=0)
    >>> relevance.values.shape, relevance.values.argmax()
    ((1, 2, 4), np.int64(0))
    """

    __slots__ = ("_core", "_engine")

    def __init__(self, core, engine):
        self._core, self._engine = core, engine

    @property
    def cell(self) -> int:
        """px of a cell's edge; the last cells of a row or column may overhang the image."""
        return self._core.cell

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """(height, width) of each image, px."""
        return self._core.sizes

    @property
    def cells(self) -> np.ndarray | list[np.ndarray]:
        """The numbers as they are, uint32 of 0..65535, read-only: (B, rows, columns), or a list of
        (rows, columns) where images differ in theirs.
        """
        return _gathered([Array(self._engine.cells(self._core, i)).numpy() for i in range(len(self))])

    @property
    def values(self) -> np.ndarray | list[np.ndarray]:
        """The same as float32 of 0..1."""
        cells = self.cells
        if isinstance(cells, list):
            return [one.astype(np.float32) / np.float32(ONE) for one in cells]
        return cells.astype(np.float32) / np.float32(ONE)

    def __len__(self) -> int:
        """How many images."""
        return len(self._core.sizes)

    def _repr_html_(self) -> str:
        from .notebook import relevance_html

        return relevance_html("foveate.Relevance", self.values, [("cell", f"{self.cell} px")])

    def __repr__(self) -> str:
        return f"<foveate.Relevance of {len(self)} images in cells of {self.cell} px>"


def relevance(image, *, gaze=None, falloff: Falloff | tuple = "cortical", fov_deg: float | None = None,
              viewing_px: float | None = None, information: bool = False, saliency: Saliency | None = None,
              query=None, motion: bool = False, roi=None, trace=None, sigma: float = 0.05, combine=None,
              knobs=(0.5, 0.5, 0.5), beta: float = 0.0, floor: float = 0.02, previous: Relevance | None = None,
              smooth: float = 0.5, band: float = 1 / 64, cell: int | None = None, model=None,
              unit: Unit = "uv", clamp: bool = False, engine=None) -> Relevance:
    """Says how much each cell of an image matters, 0..1, from the terms that are asked for.

    Args:
        image: an Image, a Pyramid of edge="aligned", or anything that `foveate.image` takes. Without
            information, saliency and motion no pixel is read.
        gaze: (x, y); or [(x, y), ...], each of them for every image; or one list of points for each image. The
            nearest point counts.
        falloff: of gaze over eccentricity e, a name or (name, its numbers): "cortical" (e0 / (e + e0))^2, e0 =
            0.15, or 2.5 degrees; "polynomial" 1 / (1 + k e^p), (5, 2); "exponential" exp(-lambda e), 3;
            "bands" ("bands", (e_max, value), ...), the last value beyond the last; "geisler" what the eye
            resolves of what the display shows, (0.106, 2.3, 1/64), in degrees only.
        fov_deg, viewing_px: the horizontal field of view, or the distance of the eye in px: e is in degrees
            then. Neither: e is in half diagonals of the image.
        information: the entropy of a cell's luma.
        saliency: "gradient", "surround" (the cell against its neighbourhood), "both" (their mean) or "spectral"
            (the spectral residual of the whole image).
        query: importance 0..1 over the whole image: a map (h, w) for all images, a list of maps or (B, h, w);
            or (features, vector): their cosine, negative ones as 0, features (h, w, d) or (B, h, w, d).
        motion: how much luma changed since `previous`; 0 in the first frame.
        roi: what matters anyway: boxes ((x0, y0, x1, y1), ...), or a list of them for each image; or a mask
            (h, w), (B, h, w) or a list, 0..1.
        trace: gaze points (x, y) or (x, y, weight) of the past, as for gaze; their heat joins roi.
        sigma: of that heat, in image widths, above 0, at most 1.
        combine: "opponent": three tensions between information, saliency, and query or else gaze, and the
            largest of their mean, motion and roi. "max", "mean", "product", or a dict of term to weight. None:
            "opponent" where two of its sides are on, else "max".
        knobs: of the tensions (information, saliency), (query or gaze, information), (saliency, query or
            gaze), 0..1 from the first of the pair to the second.
        beta: 0..1000: a salient cell's eccentricity is divided by 1 + beta * saliency.
        floor: 0..1, the least that a cell gets.
        previous: the Relevance of the frame before, made with the same sizes, cell and engine.
        smooth: 0..1, how much of `previous` stays; 0: nothing.
        band: 0..1, a change up to this is no change.
        cell: px of a cell's edge, patch * merge, 1..512; None: the model's, or 16.
        model: a preset's name, for its cell.
        unit: of gaze, roi and trace: "uv", 0..1 over the image, or "px".
        clamp: move points from outside to the border, where otherwise they are an error.
        engine: the Engine to use; None: the process's own.

    Returns:
        Relevance. Without any term it is 1 everywhere.

    Raises:
        InputError: an option outside the above, NaN, a map or a previous Relevance that does not fit.
        LimitError: more than 16777216 cells a call.

    >>> import foveate, numpy as np
    >>> image = np.zeros((64, 64), np.uint8)
    >>> image[:32, :32] = np.arange(32) * 8
    >>> foveate.relevance(image, information=True, cell=32).cells[0].tolist()
    [[52428, 1311], [1311, 1311]]
    """
    engine = engine_of(engine)
    core = engine._open()
    if not isinstance(image, (Image, Pyramid)):
        image = take_image(image, engine=engine)
    before = _previous(core, previous)
    count = len(image.image if isinstance(image, Pyramid) else image)
    cell = preset_of(model).cell if cell is None else whole("relevance: cell", cell, 1, 512)
    spec = relevance_spec(
        count, cell, gaze=gaze, falloff=falloff, fov_deg=fov_deg, viewing_px=viewing_px, information=information,
        saliency=saliency, query=query, motion=motion, roi=roi, trace=trace, sigma=sigma, combine=combine,
        knobs=knobs, beta=beta, floor=floor, smooth=smooth, band=band, unit=unit, clamp=clamp)
    return Relevance(core.relevance(image._core, spec, before), core)


def relevance_spec(images, cell, *, gaze=None, falloff="cortical", fov_deg=None, viewing_px=None,
                   information=False, saliency=None, query=None, motion=False, roi=None, trace=None, sigma=0.05,
                   combine=None, knobs=(0.5, 0.5, 0.5), beta=0.0, floor=0.02, smooth=0.5, band=1 / 64, unit="uv",
                   clamp=False):
    """The core's options, for `images` images."""
    kind, values = _falloff(falloff)
    tension = [real("relevance: knobs", knob) for knob in _listed("relevance: knobs", knobs)]
    require(len(tension) == 3, "relevance: knobs", f"{len(tension)} values", "3")
    code, weights = _combine(combine)
    numbers = [*tension, *weights, real("relevance: floor", floor), real("relevance: smooth", smooth),
               real("relevance: band", band)]
    boxes, masks = _roi(roi, images)
    points = None if gaze is None else _points("relevance: gaze", gaze, images, "(x, y)", 2)
    traces = [] if trace is None else _points("relevance: trace", trace, images, "(x, y) or (x, y, weight)", 2, 3)
    traces = [[(*point, 1.0)[:3] for point in one] for one in traces]
    return _core.RelevanceSpec(
        cell, points, choice("relevance: unit", unit, UNITS), bool(clamp), kind, values,
        _given("relevance: fov_deg", fov_deg), _given("relevance: viewing_px", viewing_px),
        real("relevance: beta", beta), bool(information), choice("relevance: saliency", saliency, SALIENCIES),
        bool(motion), _query(query), boxes, masks, traces, real("relevance: sigma", sigma), code, numbers)


def tokens_relevance(images, cell, options, gaze, unit, clamp):
    """The core's options of a whole run, where `gaze` alone is one of them; None: every cell weighs the same."""
    if options is None:
        return None if gaze is None else relevance_spec(images, cell, gaze=gaze, unit=unit, clamp=clamp)
    require(isinstance(options, dict), "relevance: options", type(options).__name__,
            "a dict of the options of foveate.relevance")
    unknown = [name for name in options if name not in OPTIONS]
    require(not unknown, "relevance: options", ", ".join(map(repr, unknown)), "some of " + ", ".join(OPTIONS))
    return relevance_spec(images, cell, **{"gaze": gaze, "unit": unit, "clamp": clamp, **options})


def _gathered(arrays):
    """One array where all have the same shape."""
    return np.stack(arrays) if len({array.shape for array in arrays}) == 1 else arrays


def _previous(core, previous):
    if previous is None:
        return None
    require(isinstance(previous, Relevance), "relevance: previous", type(previous).__name__, "a Relevance")
    require(previous._engine is core, "relevance: previous", "one of another Engine", "one made by this Engine",
            "Make every frame's with the same Engine.")
    return previous._core


def _given(what, value):
    """A number above 0; None is 0, which the core takes as none."""
    if value is None:
        return 0.0
    number = real(what, value)
    require(number > 0, what, value, "above 0")
    return number


def _listed(what, value):
    try:
        return list(value)
    except TypeError:
        raise InputError(f"{what}: got {value!r}, expected a list of numbers.") from None


def _falloff(falloff):
    """(the core's number, parameters or none)."""
    if isinstance(falloff, str) or falloff is None:
        return choice("relevance: falloff", falloff, FALLOFFS), []
    name, *values = _listed("relevance: falloff", falloff)
    kind = choice("relevance: falloff", name, FALLOFFS)
    if name == "bands":
        values = [number for band in values for number in _listed("relevance: falloff", band)]
    return kind, [real("relevance: falloff", value) for value in values]


def _combine(combine):
    """(the core's number, a weight for each term)."""
    if not isinstance(combine, dict):
        return choice("relevance: combine", combine, COMBINES), [0.0] * len(TERMS)
    for name in combine:
        choice("relevance: weights", name, dict.fromkeys(TERMS))
    return WEIGHTS, [real("relevance: weights", combine.get(name, 0)) for name in TERMS]


def _map(what, value):
    """What the core takes as a map."""
    try:
        array = np.asarray(value, np.float32)
    except (TypeError, ValueError):
        raise InputError(f"{what}: got {type(value).__name__}, expected an array of numbers.") from None
    require(array.ndim == 2, what, f"shape {array.shape}", "(h, w)")
    return (*array.shape, array.tobytes())


def _maps(what, value):
    """A map for all images, or one for each."""
    if isinstance(value, (list, tuple)) and value and np.ndim(value[0]) == 2:
        return [_map(what, one) for one in value]
    if np.ndim(value) == 3:
        return [_map(what, one) for one in value]
    return [_map(what, value)]


def _query(query):
    if query is None:
        return []
    if isinstance(query, tuple) and len(query) == 2 and np.ndim(query[1]) == 1:
        query = _cosine(*query)
    return _maps("relevance: query", query)


def _cosine(features, vector):
    """Maps of the cosine between every feature and the vector, 0..1."""
    try:
        features, vector = np.asarray(features, np.float32), np.asarray(vector, np.float32)
    except (TypeError, ValueError):
        raise InputError("relevance: query: got features of several sizes, expected (h, w, d) or (B, h, w, d) and "
                         "a vector of d.") from None
    fits = features.ndim in (3, 4) and features.shape[-1] == len(vector)
    require(fits, "relevance: query", f"features {features.shape} and a vector {vector.shape}",
            "(h, w, d) or (B, h, w, d) and a vector of d")
    require(bool(np.isfinite(features).all() and np.isfinite(vector).all()), "relevance: query",
            "features with NaN or infinity", "finite numbers")
    length = np.linalg.norm(features, axis=-1) * np.linalg.norm(vector)
    return np.clip(features @ vector / np.maximum(length, 1e-12), 0, 1)


def _roi(roi, images):
    """(boxes, masks): one of them empty."""
    if roi is None:
        return [], []
    first = roi[0] if isinstance(roi, (list, tuple)) and roi else roi
    if hasattr(first, "ndim") and first.ndim >= 2:
        return [], _maps("relevance: roi", roi)
    return _points("relevance: roi", roi, images, "(x0, y0, x1, y1)", 4), []


def _points(what, value, images, form, *sizes):
    """Tuples of numbers: a list of them for each image, or one list for all."""
    many = getattr(value, "ndim", 0) == 2 and value.shape[0] != images
    if many and value.shape[1] in sizes and isinstance(value, np.ndarray) and value.dtype.kind in "iuf":
        return [list(map(tuple, value.tolist()))]       # a long trace needs no look at each number
    value = _plain(value)
    depth = _depth(value)
    if depth == 1:
        return [[_tuple(what, value, form, sizes)]]
    if depth == 2 and images > 1 and len(value) == images:
        raise InputError(f"{what}: got {images} entries for {images} images, expected one reading. "
                         "Write [[a], [b], ...] for one an image, or [list] for all in each.")
    require(depth in (2, 3), what, repr(value), f"{form}, a list of them, or a list for each image")
    lists = [value] if depth == 2 else value
    return [[_tuple(what, one, form, sizes) for one in _listed(what, some)] for some in lists]


def _plain(value):
    return value.tolist() if hasattr(value, "tolist") else value


def _depth(value):
    depth = 0
    while isinstance(value, (list, tuple)):
        depth += 1
        if not value:
            return depth
        value = _plain(value[0])
    return depth


def _tuple(what, value, form, sizes):
    try:
        numbers = [*value]
    except TypeError:
        numbers = []
    require(len(numbers) in sizes, what, repr(value), form)
    return tuple(real(what, number) for number in numbers)
