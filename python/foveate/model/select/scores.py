# SPDX-License-Identifier: Apache-2.0
"""Scores from an encoder: what attention says of tokens, of the one layer that is asked, and what features say."""

from contextlib import contextmanager

from ...error import require
from .selection import Tensor, finite, told, torch, unit_rows, wide

ROWS = 1024     # queries at a time: ROWS x N numbers at once, not N x N of every head


def split_heads(rows: Tensor, heads: int) -> Tensor:
    """(B, heads, N, d) of (B, N, heads * d): what a projection of queries or keys puts out.

    >>> import torch
    >>> from foveate.model import select
    >>> select.split_heads(torch.zeros(1, 4, 6), heads=2).shape
    torch.Size([1, 2, 4, 3])
    """
    require(isinstance(rows, Tensor) and rows.ndim == 3 and isinstance(heads, int) and heads > 0
            and rows.shape[2] % heads == 0, "model: heads", f"{heads!r} of {told(rows)}",
            "a divisor of the width of (B, N, heads * d)")
    return rows.unflatten(2, (heads, -1)).transpose(1, 2)


def _checked(queries, keys):
    require(all(isinstance(part, Tensor) and part.ndim == 4 for part in (queries, keys))
            and queries.shape[:2] == keys.shape[:2] and queries.shape[3] == keys.shape[3], "model: queries and keys",
            f"{told(queries)} and {told(keys)}", "two tensors (B, heads, N, d)")
    return wide(queries.detach()), wide(keys.detach())


def received_attention(queries: Tensor, keys: Tensor, *, scale: float | None = None) -> Tensor:
    """What each token receives of the attention of all: the mean over heads and queries, some queries at a time.

    Args:
        queries, keys: (B, heads, N, d) of one layer, as attention uses them (after a rotary embedding).
        scale: of the logits; None: d ** -0.5.

    Returns:
        (B, N) float32, of sum 1.

    Raises:
        InputError: other shapes, or NaN in them.

    >>> import torch
    >>> from foveate.model import select
    >>> select.received_attention(torch.zeros(1, 2, 4, 8), torch.zeros(1, 2, 4, 8)).tolist()
    [[0.25, 0.25, 0.25, 0.25]]
    """
    queries, keys = _checked(queries, keys)
    scale = queries.shape[3]**-0.5 if scale is None else scale
    heads, count = queries.shape[1:3]
    found = []
    for own, others in zip(queries, keys, strict=True):     # one image at a time, so a batch changes no bit
        total = own.new_zeros(others.shape[1])
        for head in range(heads):
            for begin in range(0, count, ROWS):
                logits = own[head, begin:begin + ROWS] * scale @ others[head].T
                total += logits.softmax(1).sum(0)
        found.append(total / (heads * count))
    return finite("model: queries and keys", torch.stack(found))


def cls_attention(queries: Tensor, keys: Tensor, *, scale: float | None = None) -> Tensor:
    """What each token receives of the first token, the class token: the mean over heads. It is one row a head.

    Args, Returns and Raises as of `received_attention`.

    >>> import torch
    >>> from foveate.model import select
    >>> select.cls_attention(torch.zeros(1, 2, 4, 8), torch.zeros(1, 2, 4, 8)).shape
    torch.Size([1, 4])
    """
    require(not isinstance(queries, Tensor) or queries.ndim != 4 or queries.shape[2], "model: queries and keys",
            "no query", "a class token first")
    return received_attention(queries[:, :, :1] if isinstance(queries, Tensor) and queries.ndim == 4 else queries,
                              keys, scale=scale)


def received(weights: Tensor) -> Tensor:
    """The same of attention weights at hand, (B, heads, Q, N): the mean over heads and queries. Returns (B, N).

    >>> import torch
    >>> from foveate.model import select
    >>> select.received(torch.full((1, 2, 4, 4), 0.25)).shape
    torch.Size([1, 4])
    """
    require(isinstance(weights, Tensor) and weights.ndim == 4, "model: attention", told(weights),
            "a tensor (B, heads, Q, N)")
    return finite("model: attention", torch.stack([wide(image.detach()).mean((0, 1)) for image in weights]))


def feature_norm(features: Tensor) -> Tensor:
    """(B, N) float32: the length of each token's features.

    >>> import torch
    >>> from foveate.model import select
    >>> select.feature_norm(torch.tensor([[[3.0, 4.0]]])).tolist()
    [[5.0]]
    """
    _features(features)
    return finite("model: features", torch.stack([wide(image.detach()).norm(dim=1) for image in features]))


def query_similarity(features: Tensor, query: Tensor) -> Tensor:
    """The cosine of each token to a query, or the largest of those to several.

    Args:
        features: (B, N, D).
        query: (D,), (B, D) or (B, Q, D), in the same space.

    Returns:
        (B, N) float32.

    Raises:
        InputError: other shapes, or NaN in them.

    >>> import torch
    >>> from foveate.model import select
    >>> select.query_similarity(torch.eye(2)[None], torch.tensor([2.0, 0.0])).tolist()
    [[1.0, 0.0]]
    """
    _features(features)
    batch, _, width = features.shape
    asked = query
    if isinstance(query, Tensor) and query.shape in ((width,), (batch, width)):
        asked = query.expand(batch, width)[:, None]
    require(isinstance(asked, Tensor) and asked.ndim == 3 and asked.shape[::2] == (batch, width) and asked.shape[1],
            "model: query", told(query), f"a tensor ({width},), ({batch}, {width}) or ({batch}, Q, {width})")
    alike = [(unit_rows(image) @ unit_rows(one).T).amax(1)
             for image, one in zip(features.detach(), asked.detach(), strict=True)]
    return finite("model: features or query", torch.stack(alike))


def _features(features):
    require(isinstance(features, Tensor) and features.ndim == 3, "model: features", told(features),
            "a float tensor (B, N, D)")


def pooled(scores: Tensor, merge: int) -> Tensor:
    """(B, N / merge): the mean of every `merge` tokens that a model merges into one, as Qwen's 2 x 2 that follow.

    >>> import torch
    >>> from foveate.model import select
    >>> select.pooled(torch.tensor([[1.0, 2.0, 3.0, 6.0]]), 4).tolist()
    [[3.0]]
    """
    require(isinstance(scores, Tensor) and scores.ndim == 2 and isinstance(merge, int) and merge > 0
            and scores.shape[1] % merge == 0, "model: merge", f"{merge!r} of {told(scores)}",
            "a divisor of the tokens of (B, N)")
    return wide(scores).unflatten(1, (-1, merge)).mean(2)


@contextmanager
def tap(*modules):
    """What modules put out while the block runs, the last time each: queries and keys of the one layer asked.

    >>> import torch
    >>> from foveate.model import select
    >>> layer = torch.nn.Linear(2, 3)
    >>> with select.tap(layer) as seen:
    ...     out = layer(torch.zeros(1, 2))
    >>> seen[0] is out
    True
    """
    seen = [None] * len(modules)

    def keeper(place):
        def keep(module, inputs, output):
            seen[place] = output
        return keep

    hooks = [module.register_forward_hook(keeper(place)) for place, module in enumerate(modules)]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()
