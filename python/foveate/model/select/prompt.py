# SPDX-License-Identifier: Apache-2.0
"""A selection in a prompt: image tokens are thinned, text is not touched, and what stays keeps its position."""

from collections.abc import Sequence
from typing import NamedTuple

from ...error import require
from .selection import Selection, Tensor, rows_of, told, torch


class Prompt(NamedTuple):
    """A prompt of S' = S - N + K tokens in each row. What was not given is None.

    kept: (B, S') int64, the tokens of the whole prompt that are left.
    position_ids: as they were; nothing is renumbered.
    rope_deltas: (B, 1) int64: what a decoder adds to the length so far, so that it goes on after the whole prompt.
    planes: what else was given, by name.
    """

    kept: Tensor
    input_ids: Tensor | None = None
    inputs_embeds: Tensor | None = None
    attention_mask: Tensor | None = None
    position_ids: Tensor | None = None
    rope_deltas: Tensor | None = None
    planes: dict | None = None


def thin(selections: Selection | Sequence[Selection], image: Tensor, *, input_ids: Tensor | None = None,
         inputs_embeds: Tensor | None = None, attention_mask: Tensor | None = None,
         position_ids: Tensor | None = None, **planes: Tensor) -> Prompt:
    """Leaves out of a prompt the image tokens that are not selected.

    Args:
        selections: of each row's image tokens; several images a row: one Selection for the first image of every row,
            one for the second, and so on.
        image: (B, S) bool: where the image tokens are, the same number in every row.
        input_ids: (B, S).
        inputs_embeds: (B, S, D); image tokens become the selections' features, which are (B, K, D) too.
        attention_mask: (B, S).
        position_ids: (B, S), or (3, B, S) or (4, B, S) with t, h, w.
        planes: others (B, S, ...), as mm_token_type_ids.

    Returns:
        Prompt.

    Raises:
        InputError: another number of image tokens than the selections were made from; shapes that do not belong
            together.

    >>> import torch
    >>> from foveate.model import select
    >>> found = select.topk(torch.zeros(1, 3, 8), k=1, scores=torch.tensor([[0.0, 2.0, 1.0]]))
    >>> image = torch.tensor([[False, True, True, True, False]])
    >>> select.thin(found, image, input_ids=torch.tensor([[7, 1, 2, 3, 9]])).input_ids.tolist()
    [[7, 2, 9]]
    """
    selections = [selections] if isinstance(selections, Selection) else list(selections)
    require(isinstance(image, Tensor) and image.ndim == 2 and image.dtype == torch.bool, "model: image", told(image),
            "a bool tensor (B, S)")
    batch, length = image.shape
    require(selections and all(len(one.indices) == batch for one in selections), "model: selections",
            f"rows of {[len(one.indices) for one in selections]}", f"{batch} rows, as the prompt has")
    total = sum(one.total for one in selections)
    counts = image.sum(1).tolist()
    require(counts == [total] * batch, "model: image tokens", f"{counts} in the rows", f"{total} in each, which the "
            "selections were made from")
    begins = [sum(one.total for one in selections[:place]) for place in range(len(selections))]
    chosen = torch.cat([one.indices + begin for one, begin in zip(selections, begins, strict=True)], 1)
    stays = ~image
    stays[torch.arange(batch, device=image.device)[:, None],
          rows_of(image.nonzero()[:, 1].reshape(batch, total), chosen)] = True
    kept = stays.nonzero()[:, 1].reshape(batch, -1)
    if inputs_embeds is not None:
        features = torch.cat([one.features for one in selections], 1)
        _shaped("inputs_embeds", inputs_embeds, (batch, length, features.shape[2]))
        # by rows, not by masked_scatter: dtype and gradient of both sides stay
        inputs_embeds = rows_of(inputs_embeds, kept)
        inputs_embeds[rows_of(image, kept)] = features.to(inputs_embeds.dtype).flatten(0, 1)
    deltas = None
    if position_ids is not None:
        require(isinstance(position_ids, Tensor) and position_ids.ndim in (2, 3)
                and position_ids.shape[-2:] == (batch, length), "model: position_ids", told(position_ids),
                f"a tensor ({batch}, {length}), or 3 or 4 of them")
        last = position_ids.movedim(-2, 0).flatten(1).amax(1)
        deltas = last[:, None] + 1 - kept.shape[1]
        position_ids = position_ids.gather(-1, kept.expand(*position_ids.shape[:-1], -1))
    thinned = {}
    for name, plane in {"input_ids": input_ids, "attention_mask": attention_mask, **planes}.items():
        if plane is not None:
            more = plane.shape[2:] if name in planes and isinstance(plane, Tensor) else ()
            _shaped(name, plane, (batch, length, *more))
            thinned[name] = rows_of(plane, kept)
    ids, mask = thinned.pop("input_ids", None), thinned.pop("attention_mask", None)
    return Prompt(kept, ids, inputs_embeds, mask, position_ids, deltas, thinned)


def _shaped(name, plane, shape):
    require(isinstance(plane, Tensor) and tuple(plane.shape) == tuple(shape), f"model: {name}", told(plane),
            f"a tensor {tuple(shape)}")
