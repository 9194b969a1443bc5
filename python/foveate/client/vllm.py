# SPDX-License-Identifier: Apache-2.0
"""Embeddings as vLLM takes them: over its OpenAI protocol, or in its own process.

Preserves: what the grid of the `Embeds` does: vLLM derives M-RoPE positions from `image_grid_thw`. The server must be
started with --enable-mm-embeds, and trusts whoever may send embeddings.
"""

import base64
import hashlib
import io
import json

import numpy as np

from ..error import require
from ..model.framework import need
from .embeds import Embeds
from .preserves import between
from .regions import points_px


def parts(embeds: Embeds, *, uuids: list[str | None] | None = None) -> list[dict]:
    """Parts of a chat message's content, one for each image.

    Args:
        embeds: from `foveate.client.embeds.embeds`.
        uuids: for each image the name that vLLM caches it by, see `cache_key`; None: it hashes what is sent.

    Returns:
        [{"type": "image_embeds", "image_embeds": {"image_embeds": ..., "image_grid_thw": ...}, "uuid": ...}]: tensors
        (N, D) and (3,), each saved by torch and in base64.

    Raises:
        InputError: another number of uuids than images.
    """
    _check(embeds)
    names = [None] * len(embeds.features) if uuids is None else list(uuids)
    require(len(names) == len(embeds.features), "client: uuids", len(names),
            f"{len(embeds.features)}, one for each image")
    made = []
    for rows, thw, name in zip(embeds.features, embeds.grid_thw, names, strict=True):
        part = {"type": "image_embeds", "image_embeds": {"image_embeds": _saved(rows), "image_grid_thw": _saved(thw)}}
        made.append(part | ({"uuid": name} if name is not None else {}))
    return made


def cached_parts(uuids: list[str]) -> list[dict]:
    """The same for images that the server has had by these names: without their content. One that it has forgotten is
    an error of the request; send `parts` then.
    """
    return [{"type": "image_embeds", "image_embeds": None, "uuid": name} for name in uuids]


def multi_modal_data(embeds: Embeds) -> dict:
    """`multi_modal_data` of a prompt for `vllm.LLM(..., enable_mm_embeds=True)`, with a placeholder for each image.

    Returns:
        {"image": {"image_embeds": (N of all images, D), "image_grid_thw": (B, 3)}}, tensors.
    """
    _check(embeds)
    torch = need("torch")
    return {"image": {"image_embeds": torch.cat(embeds.features), "image_grid_thw": embeds.grid_thw}}


def snapped(gaze, steps: int = 32):
    """A gaze point, or a list of them, in the middle of one of steps x steps parts of the image: tokens made from it
    are the same, and are found in a cache, while the gaze stays in its part.

    Args:
        gaze: (x, y) in uv, or a list of them.
        steps: parts a side, 1..65536.

    >>> from foveate.client.vllm import snapped
    >>> snapped((0.4, 0.6), steps=8), snapped((0.41, 0.62), steps=8)
    ((0.4375, 0.5625), (0.4375, 0.5625))
    """
    steps = between("client: steps", steps, 1, 65536)
    points = [tuple((min(int(value * steps), steps - 1) + 0.5) / steps for value in point)
              for point in points_px(gaze, (1, 1))]
    return points if np.ndim(gaze) == 2 else points[0]


def cache_key(image, gaze, *, steps: int = 32, **made_with) -> str:
    """A name for the embeddings of an image looked at from here, the same in every process.

    Args:
        image: its file's bytes, an array, or a name that no other image has.
        gaze: (x, y) in uv, a list of them, or None. It is snapped; make the tokens from `snapped(gaze, steps)`.
        steps: see `snapped`.
        made_with: all else that the embeddings depend on: the model and its revision, the budget, the layout, dtype.
            vLLM takes equal names for equal embeddings, and looks no further.

    Raises:
        InputError: an image of another type, a gaze outside of it.

    >>> from foveate.client.vllm import cache_key
    >>> cache_key("photo 7", (0.40, 0.6), budget=273) == cache_key("photo 7", (0.39, 0.6), budget=273)
    True
    """
    taken = hashlib.sha256()
    if isinstance(image, str):
        taken.update(b"name:" + image.encode())
    elif isinstance(image, (bytes, bytearray, memoryview)):
        taken.update(b"file:" + bytes(image))
    else:
        require(hasattr(image, "__array__"), "client: image", type(image).__name__, "bytes, an array or a name")
        pixels = np.ascontiguousarray(image)
        taken.update(f"pixels:{pixels.dtype.str}{pixels.shape}".encode())
        taken.update(pixels)
    where = None if gaze is None else snapped(gaze, steps)
    taken.update(json.dumps([where, made_with], sort_keys=True, default=str).encode())
    return f"foveate-{taken.hexdigest()[:40]}"


def _check(embeds):
    require(isinstance(embeds, Embeds), "client: embeds", type(embeds).__name__, "Embeds",
            "foveate.client.embeds.embeds makes them.")
    merged = embeds.grid_thw.prod(-1) // embeds.merge**2
    require(merged.tolist() == embeds.counts, "client: embeds", f"{embeds.counts} rows",
            f"{merged.tolist()}, as their grids have", "The server would refuse them, or end.")


def _saved(tensor):
    """Base64 of what torch.save writes of its own memory alone: a view would bring all that it is a part of."""
    file = io.BytesIO()
    need("torch").save(tensor.contiguous().clone(), file)
    return base64.b64encode(file.getvalue()).decode("ascii")
