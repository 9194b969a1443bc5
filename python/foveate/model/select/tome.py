# SPDX-License-Identifier: Apache-2.0
"""Bolya et al., "Token Merging: Your ViT But Faster", ICLR 2023, section 3: bipartite soft matching, after an encoder.

In a round every other token looks for the one most like it among the others; the most alike pairs are merged into
means weighted by size. At most half of the tokens go in a round, so a small k takes several; the paper has a round a
layer. Tokens stay in their order, also between rounds.
"""

from ...error import require
from .selection import Selection, Tensor, add_rows, integer, metric_of, plane_of, tokens_of, torch, unit_rows, wide


def tome(features: Tensor, *, k: int, keys: Tensor | None = None, sizes: Tensor | None = None,
         protect: int = 0) -> Selection:
    """Merges tokens that are alike until k are left. With k of N / 2 and more it is the round of one layer.

    Args:
        features: (B, N, D) float.
        k: tokens that are left of each image, 1..N.
        keys: (B, N, C) what is compared: the attention keys' mean over heads; None: features.
        sizes: (B, N) how many each token stands for already; None: 1.
        protect: 0..k - 1, first tokens (a class token, registers) that are never merged.

    Returns:
        Selection of exactly k with `sizes`, whose sum stays; `bias` is the paper's proportional attention.

    Raises:
        InputError: shapes that do not belong together, k outside 1..N, NaN, sizes not above 0.

    >>> import torch
    >>> from foveate.model import select
    >>> found = select.tome(torch.tensor([[[1.0, 0.0], [1.0, 0.2], [0.0, 2.0]]]), k=2)
    >>> found.indices.tolist(), found.sizes.tolist()
    ([[1, 2]], [[2.0, 1.0]])
    """
    batch, total, k = tokens_of(features, k)
    protect = integer("model: protect", protect, 0, k - 1)
    metric = metric_of(keys, features)
    if sizes is None:
        sizes = metric.new_ones(batch, total, dtype=torch.float32)
    sizes = wide(plane_of("model: sizes", sizes, features))
    require(bool((sizes > 0).all()), "model: sizes", f"a least of {sizes.min().item():g}", "above 0")
    found = [_merge(image, key, size, k, protect) for image, key, size in zip(features, metric, sizes, strict=True)]
    indices, merged, sizes, members = (torch.stack(parts) for parts in zip(*found, strict=True))
    return Selection(indices, merged, total, sizes, members)


def _merge(features, metric, size, k, protect):
    at = torch.arange(len(features), device=features.device)
    members, sums, compared = at, wide(features) * size[:, None], metric * size[:, None]
    merged = torch.zeros_like(at, dtype=torch.bool)
    while len(at) > k:
        free = torch.arange(protect, len(at), device=at.device)
        count = min(len(at) - k, len(free) // 2)
        odd = free % 2 == 1
        source, target = free[~odd], free[odd]
        alike = unit_rows(compared[source]) @ unit_rows(compared[target]).T
        most, which = alike.max(1)
        first = torch.sort(most, descending=True, stable=True).indices[:count]
        goes, into = source[first], target[which[first]]
        sums, compared, size = (add_rows(plane, into, plane[goes]) for plane in (sums, compared, size))
        merged = merged.index_fill(0, at[into], True)
        stays = torch.ones_like(at, dtype=torch.bool).index_fill(0, goes, False)
        slot = stays.cumsum(0) - 1
        slot[goes] = slot[into]
        members = slot[members]
        at, sums, compared, size = at[stays], sums[stays], compared[stays], size[stays]
    means = (sums / size[:, None]).to(features.dtype)
    # what was not merged is as it was, to the last bit
    return at, torch.where(merged[at, None], means, features[at]), size.float(), members
