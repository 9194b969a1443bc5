# SPDX-License-Identifier: Apache-2.0
"""An image as parts of a chat message: an overview, and close pictures where it matters.

Preserves: exact geometry inside each picture; which part of the image it shows is said in words and on record. Any
server that speaks OpenAI's chat protocol reads it, and encodes the pictures itself.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from ..decode import decode
from ..default import engine_of
from ..error import choice, require
from ..presets import preset_of
from ..types import Unit
from .count import DETAILS, Family, tokens_of
from .encoded import data_url, resized
from .preserves import between
from .regions import BY, CELL, best_boxes, box_around, points_px

SIDE = 448      # px: 16 tokens of 28 px, 14 of 32
MOST = 64       # close pictures


class Shown(NamedTuple):
    """What one picture shows.

    Attributes:
        kind: "overview"; "gaze": around a gaze point; "found": where foveate found most.
        box_px: (x0, y0, x1, y1) of the image.
        size: (height, width) of the picture, px.
        part: its index in `Crops.parts`.
    """

    kind: str
    box_px: tuple[int, int, int, int]
    size: tuple[int, int]
    part: int

    def px_from_uv(self, x: float, y: float) -> tuple[float, float]:
        """A point of the picture, 0..1, in px of the image: where an answer points to."""
        x0, y0, x1, y1 = self.box_px
        return x0 + x * (x1 - x0), y0 + y * (y1 - y0)


@dataclass(frozen=True)
class Crops:
    """An image in pictures.

    Attributes:
        parts: of a message's content: a text and an `image_url` for each picture.
        shown: what the pictures show, in their order.
        detail: as it was asked for.
        preserves: "crops", see `foveate.client.PRESERVES`.
    """

    parts: list[dict]
    shown: list[Shown]
    detail: str | None = None
    preserves: str = "crops"

    def message(self, text: str, role: str = "user") -> dict:
        """One message of a chat: the pictures, and the question after them."""
        return {"role": role, "content": [*self.parts, {"type": "text", "text": text}]}

    def tokens(self, family: Family) -> list[int]:
        """Tokens that a server makes of each picture, see `foveate.client.count.tokens_of`."""
        return [tokens_of(shown.size, family, self.detail) for shown in self.shown]


def crops(image, *, gaze=None, count: int | None = None, by: Literal["rate", "relevance"] = "rate",
          side: int = SIDE, overview: int = SIDE, max_side: int = 1024, model=None,
          form: Literal["jpeg", "png"] = "jpeg", quality: int = 92, labels: bool = True,
          detail: Literal["auto", "low", "high"] | None = None, options: dict | None = None, unit: Unit = "uv",
          clamp: bool = False, engine=None) -> Crops:
    """Pictures of an image for a chat message: one of it all, and some of parts of it at full resolution.

    Args:
        image: one image, as `foveate.image` takes it, or the bytes of a JPEG, PNG or WebP file.
        gaze: (x, y), or a list of them: each has a picture around it.
        count: close pictures in all, 0..64; those that gaze does not fill show where foveate finds most. None: as
            many as gaze points, or 2 without any.
        by: what it finds: "rate": where a budget's tokens are smallest; "relevance": the stage relevance, which is
            information and saliency unless `options` names terms.
        side: px of the image that a close picture's edge covers, 16..16384; less where the image is smaller.
        overview: px of the longer side of the picture of it all, 0..16384; 0: none. It is never enlarged.
        max_side: px of the longest side that is sent, 16..16384; what is larger is made smaller.
        model: a preset: sides are whole multiples of its tokens, so that a server with this model resizes nothing.
        form, quality: "jpeg" of 1..100, or "png".
        labels: say before each picture what it shows.
        detail: a server's own option of a picture; None: not sent.
        options: of `Engine.rate` (budget, rates, max_rate, and relevance as a dict) or `Engine.relevance`.
        unit, clamp: of gaze, see `foveate.layout`.
        engine: the Engine to use; None: the process's own.

    Returns:
        Crops. There are fewer than `count` where nothing is left to be found.

    Raises:
        InputError: an option outside the above, more than one image, no picture at all.
        DecodeError: bytes that are no such file, see `foveate.decode`.
        UnsupportedError: Pillow is missing.

    >>> import numpy as np
    >>> from foveate.client.chat import crops
    >>> crops(np.zeros((1080, 1920, 3), np.uint8), gaze=(0.5, 0.5)).shown[1].box_px
    (736, 316, 1184, 764)
    """
    engine, find = engine_of(engine), choice("client: by", by, BY)
    side, max_side = (between(f"client: {name}", value, CELL, 16384)
                      for name, value in (("side", side), ("max_side", max_side)))
    overview = between("client: overview", overview, 0, 16384)
    choice("client: detail", detail, DETAILS)
    cell = 1 if model is None else preset_of(model).cell
    taken = engine.image(decode(image) if isinstance(image, (bytes, bytearray, memoryview)) else image)
    require(len(taken) == 1, "client: crops", f"{len(taken)} images", "one; call it for each")
    size = taken.sizes[0]
    points = points_px(gaze, size, unit, clamp)
    count = len(points) or 2 if count is None else between("client: count", count, 0, MOST)
    require(len(points) <= count, "client: count", f"{count} for {len(points)} gaze points", "one for each, or more")
    require(count or overview, "client: crops", "neither an overview nor a close picture", "one of them")

    shape = tuple(_whole(min(side, edge), cell, edge) for edge in size)
    boxes = [("gaze", box_around(point, shape, size)) for point in points]
    if len(boxes) < count:
        heat, heat_cell = find(engine, taken, dict(options or {}))
        found = best_boxes(heat, heat_cell, shape, size, count - len(boxes), [box for _, box in boxes])
        boxes += [("found", box) for box in found]
    if overview:
        boxes.insert(0, ("overview", (0, 0, size[1], size[0])))

    pixels, parts, shown = _bytes(taken), [], []
    for kind, box in boxes:
        x0, y0, x1, y1 = box
        to = _fitted((y1 - y0, x1 - x0), min(overview, max_side) if kind == "overview" else max_side, cell)
        if labels:
            parts.append({"type": "text", "text": _label(kind, box, size)})
        shown.append(Shown(kind, box, to, len(parts)))
        url = {"url": data_url(resized(pixels[y0:y1, x0:x1], to), form, quality)}
        parts.append({"type": "image_url", "image_url": url | ({"detail": detail} if detail else {})})
    return Crops(parts, shown, detail)


def _whole(length, cell, edge):
    """Px nearest to a length that are whole cells and fit an edge; the length itself where no cell does."""
    cells = min(max(round(length / cell), 1), edge // cell)
    return cells * cell or length


def _fitted(size, longest, cell):
    """(height, width) with a longest side, in whole cells; never larger than it was, but for the last cell."""
    scale, most = min(1, longest / max(size)), max(longest // cell, 1)
    return tuple(min(max(round(edge * scale / cell), 1), most) * cell for edge in size)


def _label(kind, box, size):
    if kind == "overview":
        return f"The whole image, {size[1]} x {size[0]} px:"
    x0, y0, x1, y1 = box
    return f"A part of it, x {x0}..{x1}, y {y0}..{y1} px:"


def _bytes(image):
    """(H, W, 3) uint8 of the one image that the engine has read."""
    planes = image.plane_view(0)
    if planes.dtype == np.uint16:
        planes = ((planes.astype(np.uint32) + 128) // 257).astype(np.uint8)
    elif planes.dtype != np.uint8:
        planes = np.floor(np.clip(planes.astype(np.float32), 0, 1) * 255 + 0.5).astype(np.uint8)
    return np.moveaxis(np.broadcast_to(planes, (3, *planes.shape[1:])), 0, -1)
