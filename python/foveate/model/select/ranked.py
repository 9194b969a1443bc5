# SPDX-License-Identifier: Apache-2.0
"""Kept by score, and the baselines that look at nothing: equal spacing and chance."""

import math
from collections.abc import Sequence

from ...error import require
from .selection import Selection, Tensor, grid_of, kept, plane_of, ranked, tokens_of, torch


def topk(features: Tensor, *, k: int, scores: Tensor) -> Selection:
    """The k tokens of the highest scores; of equal ones the first.

    Args:
        features: (B, N, D) float.
        k: tokens that are kept of each image, 1..N.
        scores: (B, N), higher is better.

    Returns:
        Selection of exactly k.

    Raises:
        InputError: shapes that do not belong together, k outside 1..N, NaN.

    >>> import torch
    >>> from foveate.model import select
    >>> select.topk(torch.zeros(1, 4, 8), k=2, scores=torch.tensor([[1.0, 3.0, 3.0, 3.0]])).indices.tolist()
    [[1, 2]]
    """
    _, _, k = tokens_of(features, k)
    return kept(features, ranked(plane_of("model: scores", scores, features))[:, :k])


def uniform(features: Tensor, *, k: int, grid: tuple[int, int] | None = None) -> Selection:
    """k tokens at equal distances, whatever they show: the baseline at equal budget.

    Args:
        features: (B, N, D) float.
        k: tokens that are kept of each image, 1..N.
        grid: (rows, columns) of tokens in raster order: equal distances along both. None: along the sequence.

    Returns:
        Selection of exactly k.

    Raises:
        InputError: k outside 1..N, or a grid of another number of tokens.

    >>> import torch
    >>> from foveate.model import select
    >>> select.uniform(torch.zeros(1, 16, 8), k=4, grid=(4, 4)).indices.tolist()
    [[5, 7, 13, 15]]
    """
    batch, total, k = tokens_of(features, k)
    rows, columns = (1, total) if grid is None else grid_of(grid, total)
    # as many bands as make steps square, but no band with more tokens than columns
    bands = min(max(round(math.sqrt(k * rows / columns)), -(-k // columns), 1), rows, k)
    found = []
    for band in range(bands):
        row = (2 * band + 1) * rows // (2 * bands)
        count = (band + 1) * k // bands - band * k // bands
        found += [row * columns + (2 * place + 1) * columns // (2 * count) for place in range(count)]
    return kept(features, torch.tensor(found, device=features.device).expand(batch, k))


def random(features: Tensor, *, k: int, seed: int | Sequence[int] = 0) -> Selection:
    """k tokens by chance, the same for the same seed on every device; fewer of a seed are among more of it.

    Args:
        features: (B, N, D) float.
        k: tokens that are kept of each image, 1..N.
        seed: one for all images, which then keep the same tokens; or one for each.

    Returns:
        Selection of exactly k.

    Raises:
        InputError: k outside 1..N, or seeds for another number of images.

    >>> import torch
    >>> from foveate.model import select
    >>> select.random(torch.zeros(2, 16, 8), k=3, seed=(1, 2)).indices.shape
    torch.Size([2, 3])
    """
    batch, total, k = tokens_of(features, k)
    seeds = [seed] * batch if isinstance(seed, int) else list(seed)
    require(len(seeds) == batch and all(isinstance(one, int) and 0 <= one < 1 << 63 for one in seeds), "model: seed",
            repr(seed), f"a whole number 0..2^63 - 1, or {batch} of them")
    # the generator of the host: that of a device has other numbers
    drawn = [torch.randperm(total, generator=torch.Generator().manual_seed(one))[:k] for one in seeds]
    return kept(features, torch.stack(drawn).to(features.device))
