# SPDX-License-Identifier: Apache-2.0
"""Yang et al., "VisionZip: Longer is Better but Not Necessary in Vision Language Models", CVPR 2025, section 3.

Dominant tokens by the attention they get; the others are merged into contextual ones at equal distances.
"""

from typing import Literal

from ...error import choice
from .selection import (
    Selection,
    Tensor,
    add_rows,
    integer,
    metric_of,
    plane_of,
    ranked,
    rows_of,
    tokens_of,
    torch,
    unit_rows,
    wide,
)


def visionzip(features: Tensor, *, k: int, attention: Tensor, keys: Tensor | None = None,
              contextual: int | None = None, cls: bool = False, merge: Literal["mean", "sum"] = "mean") -> Selection:
    """The most attended tokens as they are, and the rest merged by likeness into `contextual` more.

    Of the tokens that are not dominant, in their order, every step-th is a contextual one; each other joins the one
    whose key is most like its own.

    Args:
        features: (B, N, D) float.
        k: tokens that are left of each image, 1..N.
        attention: (B, N): that of a class token, or, for encoders without one, `received_attention`.
        keys: (B, N, C) what is compared: the attention keys' mean over heads; None: features.
        contextual: of k; None: 5 of 32, the paper's 10 of 64, 20 of 128 and 30 of 192; 0:
            the rest is dropped.
        cls: the first token is a class token: it is kept, as one of the dominant.
        merge: "mean" of a contextual token and those that joined it; "sum": the paper's program, the token plus the
            mean of those that joined it, which is about twice as long.

    Returns:
        Selection of exactly k with `sizes`, whose sum is N unless the rest was dropped.

    Raises:
        InputError: shapes that do not belong together, k outside 1..N, contextual outside 0..k - 1, NaN.

    >>> import torch
    >>> from foveate.model import select
    >>> attention = torch.tensor([[0.1, 0.9, 0.2, 0.1]])
    >>> select.visionzip(torch.rand(1, 4, 8), k=2, attention=attention, contextual=1).sizes.tolist()
    [[3.0, 1.0]]
    """
    _, total, k = tokens_of(features, k)
    count = 5 * k // 32 if contextual is None else contextual
    count = integer("model: contextual", count, 0, k - 1)
    summed = choice("model: merge", merge, {"mean": False, "sum": True})
    attention = wide(plane_of("model: attention", attention, features))
    metric = metric_of(keys, features)
    if cls:
        attention = attention.index_fill(1, torch.zeros(1, dtype=torch.long, device=attention.device), torch.inf)
    order = ranked(attention)
    dominant, rest = (torch.sort(part, dim=1).values for part in order.split([k - count, total - k + count], 1))
    if not count:
        members = torch.full_like(order, -1).scatter(1, dominant, torch.arange(k, device=order.device).expand(
            dominant.shape))
        return Selection(dominant, rows_of(features, dominant), total, torch.ones_like(dominant, dtype=torch.float32),
                         members)
    target = rest[:, ::max(1, rest.shape[1] // count)][:, :count]
    indices = torch.sort(torch.cat([dominant, target], 1), dim=1).values
    found = [_joined(*parts, summed) for parts in zip(features, metric, indices, rest, target, strict=True)]
    merged, sizes, members = (torch.stack(parts) for parts in zip(*found, strict=True))
    return Selection(indices, merged, total, sizes, members)


def _joined(features, metric, indices, rest, target, summed):
    others = rest[~torch.isin(rest, target)]
    into = target[(unit_rows(metric[others]) @ unit_rows(metric[target]).T).argmax(1)] if len(others) else others
    members = torch.searchsorted(indices, torch.arange(len(features), device=features.device).scatter(0, others, into))
    row = members[others]
    kept = features[indices]
    sums = add_rows(torch.zeros_like(wide(kept)), row, wide(features[others]))
    joined = torch.bincount(row, minlength=len(indices)).to(sums.dtype)[:, None]
    means = wide(kept) + sums / joined.clamp(min=1) if summed else (wide(kept) + sums) / (1 + joined)
    return torch.where(joined > 0, means.to(features.dtype), kept), 1 + joined[:, 0].float(), members
