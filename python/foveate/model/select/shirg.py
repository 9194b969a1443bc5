# SPDX-License-Identifier: Apache-2.0
"""SHIRG, a static hierarchical relevance gate: an overview that is kept whole, and the best of a fovea.

980 tokens, what LaViDa's pooled views have: 256 of an overview, 448 px as 32 x 32 patches pooled by 2 x 2, and
ceil(0.707 * 1024) = 724 of the 32 x 32 of a fovea. The choice is made once, before anything is cached, and its shape
depends on no content: a diffusion model's steps all see the same tokens.
"""

import math
from collections.abc import Sequence

from ...error import require
from .selection import (
    Selection,
    Tensor,
    finite,
    integer,
    kept,
    numbers,
    plane_of,
    ranked,
    tokens_of,
    torch,
    unit_range,
    unit_rows,
    wide,
)

OVERVIEW, FOVEA = 256, 1024
KEEP = math.ceil(0.707 * FOVEA)     # 724; rounded down it would be 723
TOKENS = OVERVIEW + KEEP            # 980


def shirg(features: Tensor, *, k: int = TOKENS, attention: Tensor | None = None, similarity: Tensor | None = None,
          overview: int = OVERVIEW, weights: Sequence[float] = (0.7, 0.3), diversity: float = 0.0) -> Selection:
    """All tokens of the overview, and the best of the fovea by attention received, by similarity to text, or by both.

    Scores are moved to 0..1 within the fovea and added with their weights; with one of them it alone decides.

    Args:
        features: (B, N, D) float, the overview's tokens first.
        k: tokens that are kept of each image, above `overview`.
        attention: (B, N), that a token receives: `received_attention`, or of a class token.
        similarity: (B, N), to the text: `query_similarity`.
        overview: tokens of the overview.
        weights: of attention and similarity.
        diversity: weight of what is taken off: the cosine to the mean of the overview, which is kept anyway.

    Returns:
        Selection of exactly k, the overview's rows first.

    Raises:
        InputError: neither score, shapes that do not belong together, k outside overview + 1..N, NaN.

    >>> import torch
    >>> from foveate.model import select
    >>> features = torch.zeros(2, 256 + 1024, 8)
    >>> select.shirg(features, attention=torch.rand(2, 1280)).features.shape
    torch.Size([2, 980, 8])
    """
    batch, total, _ = tokens_of(features, k)
    overview = integer("model: overview", overview, 1, total - 1)
    k = integer("model: k", k, overview + 1, total)
    require(attention is not None or similarity is not None, "model: scores", "neither attention nor similarity",
            "one of them or both")
    parts = numbers("model: weights", (*weights, diversity), 3)
    if attention is None or similarity is None:
        parts = 1.0, 1.0, parts[2]
    score = 0
    for what, scores, part in (("model: attention", attention, parts[0]), ("model: similarity", similarity, parts[1])):
        if scores is not None:
            score = score + part * unit_range(plane_of(what, scores, features)[:, overview:])
    if diversity:
        seen = wide(features.detach())
        mean = torch.stack([image.mean(0) for image in seen[:, :overview]])
        alike = [unit_rows(image) @ unit_rows(one) for image, one in zip(seen[:, overview:], mean, strict=True)]
        score = score - parts[2] * finite("model: features", torch.stack(alike))
    best = overview + ranked(score)[:, :k - overview]
    first = torch.arange(overview, device=features.device).expand(batch, overview)
    return kept(features, torch.cat([first, best], 1))
