# SPDX-License-Identifier: Apache-2.0
"""layout: which tokens an image gets."""

import numpy as np

from . import _core
from .default import engine_of
from .error import InputError, choice, real, require, whole
from .image import Image
from .image import image as take_image
from .layout_roi import SIGMA, heats_of
from .presets import preset_of
from .pyramid import Pyramid
from .types import POSITION, Kind, Order, Unit

KINDS = {"rate": 5, "grid": 0, "rings": 1, "views": 2, "logpolar": 3, "cortical": 4}
POLAR = {"alpha": "logpolar", "e0": "cortical"}     # whose option it is
UNITS = {"uv": False, "px": True}
ORDERS = {"raster": False, "level": True}
BUDGET = 273
# 16 + 12 + 32 + 48 + 64 tokens: Segment This Thing's pattern (Schmidt and Newcombe, CVPR 2025)
STRIDES, GRIDS = (1, 2, 4, 6, 8), (4, 4, 6, 8, 10)
TOKENS = _core.limits()["image_tokens"]


class Layout:
    """K rows for each image: where each token lies, and whether it is one. Arrays are (B, K).

    >>> import foveate
    >>> foveate.layout((32, 64), budget=2).center_px.tolist()
    [[[16.0, 16.0], [48.0, 16.0]]]
    """

    __slots__ = ("_core", "_engine", "_rows", "kind")

    def __init__(self, core, engine, kind):
        self._core, self._engine, self._rows, self.kind = core, engine, None, kind

    @property
    def rows(self) -> int:
        """K, tokens of each image, padding included."""
        return self._core.rows

    @property
    def cell(self) -> int:
        """Texels of a token edge."""
        return self._core.cell

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """(height, width) of each image."""
        return self._core.sizes

    @property
    def table(self) -> np.ndarray:
        """Every column at once: (B, K) records."""
        if self._rows is None:
            self._rows = table_of(self._engine.table(self._core, None), self._core)
        return self._rows

    @property
    def center_px(self) -> np.ndarray:
        """(B, K, 2) float32: x, y."""
        return self.table["center_px"]

    @property
    def size_px(self) -> np.ndarray:
        """(B, K, 2) float32: height, width; 0 in padding."""
        return self.table["size_px"]

    @property
    def rate(self) -> np.ndarray:
        """(B, K) int32: log2 width << 2 | log2 height in cells, see Rates; other kinds: the nearest of 0..3."""
        return self.table["rate"]

    @property
    def valid(self) -> np.ndarray:
        """(B, K) bool: the token overlaps its image."""
        return self.table["valid"]

    @property
    def fixation(self) -> np.ndarray:
        """(B, K) int32: the gaze point it belongs to."""
        return self.table["fixation"]

    @property
    def image(self) -> np.ndarray:
        """(B, K) int32: the image it belongs to."""
        return self.table["image"]

    def _repr_html_(self) -> str:
        from .notebook import layout_html

        return layout_html(self)

    def __repr__(self) -> str:
        return f"<foveate.Layout {self.kind}: {self.rows} tokens for each of {self._core.image_count} images>"


def table_of(table, values):
    """The core's table as (B, K) records; waits for the device where it is not done."""
    return np.frombuffer(table.positions(), POSITION).reshape(values.image_count, values.rows)


def layout(image, *, kind: Kind = "grid", budget: int | None = None, model=None, cell: int | None = None,
           gaze=None, unit: Unit = "uv", clamp: bool = False, grid=None, strides=None, grids=None,
           order: Order = "raster", views=None, rates=None, alpha: float | None = None, e0: float | None = None,
           passes: int | None = None, rho: float | None = None, heat=None, sigma: float | None = None,
           engine=None) -> Layout:
    """Lays exactly K tokens over each image.

    Args:
        image: an Image, a Pyramid, an array that `foveate.image` takes, (height, width) in px, or a list of
            (height, width).
        kind: "rate": the tokens of `rates`. "grid": equal cells over the whole image. "rings": square rings
            around each gaze point, finest in the middle. "views": an overview of the whole image, and for each
            gaze point a fovea at full resolution. "logpolar": rings and sectors around each gaze point, every
            cell filled. "cortical": as dense as the square of cortical magnification, on golden spirals.
        budget: K, 1..65536; None: 273, for rings the count of their pattern.
        model: a preset's name, for its cell.
        cell: texels of a token edge, patch * merge; None: the model's, or 16.
        gaze: (x, y); or [(x, y), ...], each of them for every image; or one list of points for each image.
            None: the middle.
        unit: of gaze and views: "uv", 0..1 over the image, or "px".
        clamp: move gaze points from outside to the border, where otherwise they are an error.
        grid: (rows, columns) instead of a budget, for kind="grid"; of the heat of gaze points, with rho.
        strides, grids: px a texel, and tokens on a side, of each ring from the centre; None: 1, 2, 4, 6, 8
            and 4, 4, 6, 8, 10, which makes 172 tokens.
        order: "raster": by centre, top to bottom; "level": from the gaze outwards.
        views: [((x0, y0, x1, y1), (rows, columns)), ...] instead of overview and foveas.
        rates: for kind="rate": the Rates of the same images; their budget and cell count.
        alpha, e0: of kind="logpolar" and "cortical": the distance from the gaze at which tokens are twice as
            wide, 0.001..100 half image diagonals; None: 0.15, or more where tokens at the gaze would be finer
            than 1 px a texel.
        passes: of kind="views": 2..4 views of growing detail around each gaze point, the overview included.
        rho: of kind="views": an overview, and the smallest box with this share of the heat instead of foveas;
            above 0, at most 1.
        heat: (rows, columns) of numbers up to 256 each way, or one for each image; None: made from gaze.
        sigma: of the heat of gaze points: 0.001..1 of the longer side; None: 1/32.
        engine: the Engine to use; None: the process's own.

    Returns:
        Layout. Rows that the pattern leaves over are padding: valid is False, and the size 0.

    Raises:
        InputError: an option outside the above, a gaze outside the image or not finite.
        LimitError: more than 65536 tokens an image, 64 gaze points, 64 views, 16 rings.

    >>> import foveate
    >>> foveate.layout((1280, 1280), kind="rings", gaze=(0.2, 0.7)).rows
    172
    """
    engine = engine_of(engine)
    core = engine._open()
    if cell is None:
        rated = kind == "rate" and rates is not None and model is None
        cell = rates.cell // rates.scale if rated else preset_of(model).cell
    if isinstance(image, (Image, Pyramid)):
        sizes = (image.image if isinstance(image, Pyramid) else image).sizes
    elif getattr(image, "ndim", 0) >= 2 and image.shape[-1] != 2:
        sizes = take_image(image, engine=engine).sizes
    else:
        sizes = _sizes(image)
    if kind == "rate" and rates is not None:
        budget = rates.budget
    spec = layout_spec(len(sizes), kind, budget, cell, gaze, unit, clamp, grid, strides, grids, order, views)
    more_options(spec, kind, alpha=alpha, e0=e0, passes=passes, rho=rho, heat=heat, sigma=sigma)
    made = core.layout([(width, height) for height, width in sizes], spec, rates and rates._core)
    return Layout(made, core, kind)


def kind_of(grid, strides, grids, views, alpha, e0, passes, rho):
    """The kind whose options are given; without any, that of the rates."""
    if grid is not None and rho is None:
        return "grid"
    if strides is not None or grids is not None:
        return "rings"
    if views is not None or passes is not None or rho is not None:
        return "views"
    return "logpolar" if alpha is not None else "cortical" if e0 is not None else "rate"


def more_options(spec, kind, *, alpha=None, e0=None, passes=None, rho=None, heat=None, sigma=None):
    """Sets the options that belong to one kind; with another they are an error, not ignored."""
    options = {"alpha": alpha, "e0": e0, "passes": passes, "rho": rho, "heat": heat, "sigma": sigma}
    for name, value in options.items():
        own = POLAR.get(name, "views")
        require(value is None or kind == own, f"layout: {name}", f'kind="{kind}"', f'kind="{own}"')
    values = {name: real(f"layout: {name}", value) for name, value in options.items()
              if name not in ("passes", "heat") and value is not None}
    for name in POLAR.keys() & values:      # 0 is the core's word for none
        require(values[name] != 0, f"layout: {name}", 0, "0.001..100 half image diagonals")
    require(rho is not None or (heat is None and sigma is None), "layout: rho", "none with heat or sigma",
            "above 0, and 1 at most")
    if rho is not None:
        require(values["rho"] != 0, "layout: rho", 0, "above 0, and 1 at most")
    spec.polar(values.get("alpha", 0), values.get("e0", 0))
    spec.regions(2 if passes is None else whole("layout: passes", passes, 2, 4), values.get("rho", 0),
                 values.get("sigma", SIGMA), heats_of(heat))


def layout_spec(images, kind, budget, cell, gaze, unit, clamp, grid, strides, grids, order, views):
    """The core's options."""
    code = choice("layout: kind", kind, KINDS)
    if budget is None:
        grid_given = kind == "grid" and grid is not None
        budget = 0 if kind == "rings" or grid_given or views is not None else BUDGET
    else:
        budget = whole("layout: budget", budget, 1, TOKENS)
    if kind == "rings" and strides is None and grids is None:
        strides, grids = STRIDES, GRIDS
    rows, columns = _pair("layout: grid", grid) if grid is not None else (0, 0)
    return _core.LayoutSpec(
        code, budget, whole("layout: cell", cell, 1, 512), rows, columns, _ring("layout: strides", strides),
        _ring("layout: grids", grids), choice("layout: order", order, ORDERS), _views(views),
        _gaze(gaze, images), choice("layout: unit", unit, UNITS), bool(clamp))


def _sizes(value):
    """(height, width), or a list of them."""
    try:
        items = list(value)
        pairs = [items] if len(items) == 2 and not hasattr(items[0], "__len__") else [list(i) for i in items]
        if all(len(pair) == 2 for pair in pairs):
            return [tuple(whole("layout: size", side, 1, 16384) for side in pair) for pair in pairs]
    except TypeError:
        pass
    raise InputError(f"layout: image: got {type(value).__name__}, expected an Image, a Pyramid, (height, "
                     "width) or a list of them.")


def _pair(what, value):
    try:
        rows, columns = value
    except (TypeError, ValueError):
        raise InputError(f"{what}: got {value!r}, expected (rows, columns).") from None
    return whole(what, rows, 1, TOKENS), whole(what, columns, 1, TOKENS)


def _ring(what, values):
    if values is None:
        return []
    values = list(values)
    require(values, what, "none", "one for each ring")
    return [whole(what, value, 1, TOKENS) for value in values]


def _views(views):
    if views is None:
        return []
    result = []
    for view in views:
        try:
            (x0, y0, x1, y1), shape = view
        except (TypeError, ValueError):
            raise InputError(f"layout: views: got {view!r}, expected ((x0, y0, x1, y1), (rows, "
                             "columns)).") from None
        corners = (real("layout: views", value) for value in (x0, y0, x1, y1))
        result.append((*corners, *_pair("layout: views", shape)))
    require(result, "layout: views", "none", "one or more")
    return result


def _gaze(gaze, images):
    """A list of points for each image, or one list for all."""
    if gaze is None:
        return []
    if hasattr(gaze, "tolist"):
        gaze = gaze.tolist()
    depth = _depth(gaze)
    if depth == 1:
        return [[_point(gaze)]]
    if depth == 2:
        if images > 1 and len(gaze) == images:
            raise InputError(f"layout: gaze: got {images} points for {images} images, expected one reading. "
                             "Write [[p0], [p1], ...] for a point an image, or [points] for all in each.")
        return [[_point(point) for point in gaze]]
    require(depth == 3, "layout: gaze", repr(gaze), "(x, y), a list of them, or a list for each image")
    return [[_point(point) for point in points] for points in gaze]


def _depth(value):
    depth = 0
    while isinstance(value, (list, tuple)) or hasattr(value, "tolist"):
        value = value.tolist() if hasattr(value, "tolist") else value
        if not isinstance(value, (list, tuple)):
            return depth
        depth += 1
        if not value:
            return depth
        value = value[0]
    return depth


def _point(value):
    try:
        x, y = value
    except (TypeError, ValueError):
        raise InputError(f"layout: gaze: got {value!r}, expected (x, y).") from None
    return real("layout: gaze", x), real("layout: gaze", y)
