# SPDX-License-Identifier: Apache-2.0
"""warp: log-polar and other foveated images, and the way back."""

from typing import Literal

import numpy as np

from . import _core
from .default import engine_of
from .error import InputError, choice, real, require, whole
from .image import Image
from .image import image as take_image
from .pyramid import COLORS, Pyramid
from .types import Array, Color, Unit

KINDS = {"logpolar": 0, "cartesian": 1}
NORMS = {"square": False, "round": True}
UNITS = {"uv": False, "px": True}
FLOATS = {None: False, "float32": True}
LIMITS = _core.limits()


class Warped:
    """Warped images, and the map between their texels and the px of the image that is not warped.

    >>> import foveate, numpy as np
    >>> polar = foveate.warp(np.zeros((48, 64, 3), np.uint8), size=(32, 16))
    >>> polar.shape, polar.texel_from_px([[33.0, 24.0]]).round(3).tolist()
    ((1, 32, 16, 3), [[2.223, 0.0]])
    """

    __slots__ = ("_array", "_core", "_engine", "_sizes", "_spec", "inverse", "kind")

    def __init__(self, core, engine, spec, sizes, kind, inverse):
        self._core, self._engine, self._spec, self._sizes = core, engine, spec, sizes
        self._array, self.kind, self.inverse = None, kind, inverse

    @property
    def data(self) -> Array:
        """(B, H, W, C), where the host can read it; each image by itself is compact."""
        if self._array is None:
            self._array = Array(self._engine.warped_array(self._core))
        return self._array

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    def numpy(self) -> np.ndarray:
        """The same memory as a NumPy array."""
        return self.data.numpy()

    def px_from_texel(self, points, image: int = 0) -> np.ndarray:
        """Where points of the warped image lie in the other one: (N, 2) of (x, y), float64.

        Args:
            points: (N, 2) in texels of the warped image, boundaries at integers: the middle of the first
                texel is (0.5, 0.5).
            image: which image of the batch.
        """
        return self._map(points, image, True)

    def texel_from_px(self, points, image: int = 0) -> np.ndarray:
        """The inverse of `px_from_texel`."""
        return self._map(points, image, False)

    def _map(self, points, image, to_px):
        require(0 <= image < len(self._sizes), "warp: image", image, f"0..{len(self._sizes) - 1}")
        try:
            pairs = np.asarray(points, np.float64).reshape(-1, 2)
        except (TypeError, ValueError):
            raise InputError(f"warp: points: got {points!r}, expected (N, 2) numbers.") from None
        height, width = self._sizes[image]
        found = self._spec.points(image, height, width, to_px, [tuple(pair) for pair in pairs.tolist()])
        return np.array(found, np.float64).reshape(-1, 2)

    def __repr__(self) -> str:
        way = "from " if self.inverse else ""
        return f"<foveate.Warped {way}{self.kind} {self.data.dtype} {self.shape}>"


def warp(image, *, size, kind: Literal["logpolar", "cartesian"] = "logpolar", gaze=None, inverse: bool = False,
         alpha: float | None = None, radius: float | None = None, fov_deg: float | None = None,
         norm: Literal["square", "round"] = "square", taps: int = 2, lod_bias: float = -0.5,
         dtype: Literal["float32"] | None = None, color: Color = "encoded", unit: Unit = "uv", clamp: bool = False,
         engine=None) -> Warped:
    """Warps images so that they are fine around the gaze and coarse elsewhere, or undoes that.

    Args:
        image: an Image, a Pyramid, or anything that `foveate.image` takes; with inverse=True a warped one.
        size: (height, width) of the result. Log-polar: (angles, radii); inverse: of the image that was warped.
        kind: "logpolar": rows are angles from the x axis towards y, columns radii. "cartesian": a grid that
            is dense around the gaze.
        gaze: (x, y), or one for each image; None: the middle. Always in the image that is not warped.
        inverse: from the warped image back; the other options as they were given to warp it.
        alpha: magnification falls as 1 / (r + alpha): px, or degrees with fov_deg; None: 1 / 0.35 degrees,
            which is acuity's, where the radius is taken for 60 degrees unless there is a fov_deg.
        radius: px from the gaze to the end; None: to the farthest corner, or for squares side.
        fov_deg: degrees of visual angle across the image that is not warped, 0..360.
        norm: "square": squares around the gaze stay squares, and every texel is used. "round": circles stay
            circles. kind="cartesian" only.
        taps: 1..4, samples along each side of an output pixel.
        lod_bias: -4..4, added to the level that is read.
        dtype: None: the image's own; "float32": 0..1.
        color: of the pyramid, see `foveate.pyramid`.
        unit: of gaze: "uv", 0..1 over the image, or "px".
        clamp: move a gaze from outside to the border, where otherwise it is an error.
        engine: the Engine to use; None: the process's own.

    Returns:
        Warped (B, H, W, C). Outside the image its edge is repeated.

    Raises:
        InputError: an option outside the above; and what `foveate.image` raises.
        LimitError: a result of more than 8 Mpx.

    >>> import foveate, numpy as np
    >>> polar = foveate.warp(np.full((48, 64), 7, np.uint8), size=(32, 16), gaze=(0.4, 0.6))
    >>> back = foveate.warp(polar.numpy()[0], size=(48, 64), gaze=(0.4, 0.6), inverse=True)
    >>> back.shape, np.unique(back.numpy()).tolist()
    ((1, 48, 64, 1), [7])
    """
    engine = engine_of(engine)
    core = engine._open()
    if isinstance(image, Pyramid):
        source, taken = image.image, image
        require(image._engine is core, "warp: pyramid", "one made by another Engine", "one made by this Engine",
                "Rebuild it with this Engine.")
    else:
        source = taken = image if isinstance(image, Image) else take_image(image, engine=engine)
    height, width = _pair(size)
    spec = _core.WarpSpec(
        choice("warp: kind", kind, KINDS), bool(inverse), choice("warp: norm", norm, NORMS), height, width,
        _gaze(gaze), choice("warp: unit", unit, UNITS), bool(clamp), _above("warp: alpha", alpha),
        _above("warp: radius", radius), _above("warp: fov_deg", fov_deg),
        whole("warp: taps", taps, 1, LIMITS["warp_taps"]), real("warp: lod_bias", lod_bias),
        choice("warp: dtype", dtype, FLOATS), choice("warp: color", color, COLORS))
    return Warped(core.warp(taken._core, spec), core, spec, source.sizes, kind, bool(inverse))


def _pair(size):
    try:
        height, width = size
    except (TypeError, ValueError):
        raise InputError(f"warp: size: got {size!r}, expected (height, width).") from None
    side = LIMITS["image_side"]
    return whole("warp: height", height, 1, side), whole("warp: width", width, 1, side)


def _above(what, value):
    """0 where nothing was given, which the engine takes for its default."""
    number = 0.0 if value is None else real(what, value)
    require(value is None or number > 0, what, value, "a number above 0")
    return number


def _gaze(gaze):
    if gaze is None:
        return []
    gaze = gaze.tolist() if hasattr(gaze, "tolist") else gaze
    try:
        points = [gaze] if not hasattr(gaze[0], "__len__") else list(gaze)
        return [(real("warp: gaze", x), real("warp: gaze", y)) for x, y in points]
    except (TypeError, ValueError, IndexError, KeyError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"warp: gaze: got {gaze!r}, expected (x, y), or one for each image.") from None
