# SPDX-License-Identifier: Apache-2.0
"""Jeddi et al., "Similarity-Aware Token Pruning: Your VLM but Faster", 2025: SAINT, a graph of likeness, pruned.

The paper finds how many to drop from the graph; here k says it, so that budgets are equal.
"""

from typing import Literal

from ...error import choice, require
from .selection import Selection, Tensor, integer, kept, metric_of, tokens_of, torch, unit_rows


def saint(features: Tensor, *, k: int, keys: Tensor | None = None, graph: Literal["full", "bipartite"] = "full",
          protect: int = 0, tau: float = 0.7, gamma: float = 10.0) -> Selection:
    """Drops the tokens that are most like all others, some at a time, until k are left.

    "full", the paper's for a language model: of n tokens max(1, n // 16) at a time, those whose cosines to the
    tokens still there have the largest sum. "bipartite", its own for an encoder's layer: tokens of even places by
    their cosines to those of odd ones, count exp(gamma (mean - tau)) over the cosines of tau and more, or the mean of
    all where none is; at most the even half a time. Of equal ones the last is dropped.

    Args:
        features: (B, N, D) float.
        k: tokens that are kept of each image, 1..N.
        keys: (B, N, C) what is compared: the attention keys' mean over heads; None: features.
        graph: "full" or "bipartite".
        protect: 0..k - 1, first tokens (a class token, registers) that are kept and compared with none.
        tau, gamma: of "bipartite".

    Returns:
        Selection of exactly k.

    Raises:
        InputError: shapes that do not belong together, k outside 1..N, NaN.

    >>> import torch
    >>> from foveate.model import select
    >>> select.saint(torch.tensor([[[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]]]), k=2).indices.tolist()
    [[0, 2]]
    """
    _, _, k = tokens_of(features, k)
    protect = integer("model: protect", protect, 0, k - 1)
    drop = choice("model: graph", graph, {"full": _full, "bipartite": _bipartite})
    for name, value in (("tau", tau), ("gamma", gamma)):
        require(isinstance(value, (int, float)) and abs(value) < 1e6, f"model: {name}", repr(value), "a number")
    metric = metric_of(keys, features)
    first = torch.arange(protect, device=features.device)
    left = [protect + drop(unit_rows(image[protect:]), k - protect, tau, gamma) for image in metric]
    return kept(features, torch.stack([torch.cat([first, own]) for own in left]))


def _full(unit, k, tau, gamma):
    alike, left = (unit @ unit.T).fill_diagonal_(0), torch.arange(len(unit), device=unit.device)
    there = alike.new_ones(len(alike))
    rows = left     # of `alike` that are still there
    while len(left) > max(k, 2):
        count = min(len(left) - k, max(1, len(left) // 16))
        order = torch.sort((alike @ there)[rows], stable=True).indices
        there[rows[order[len(left) - count:]]] = 0
        stays = there[rows] > 0
        left, rows = left[stays], rows[stays]
        if 2 * len(rows) <= len(alike):     # smaller products pay for one copy
            alike, there = alike[rows][:, rows], there[rows]
            rows = torch.arange(len(rows), device=rows.device)
    return left[:k]     # two are as like each other: the first stays


def _bipartite(unit, k, tau, gamma):
    left = torch.arange(len(unit), device=unit.device)
    while len(left) > k:
        alike = unit[left[::2]] @ unit[left[1::2]].T
        valid = alike >= tau
        count = valid.sum(1)
        mean = torch.where(valid, alike, 0).sum(1) / count.clamp(min=1)
        score = torch.where(count > 0, count * torch.exp(gamma * (mean - tau)), alike.mean(1))
        dropped = 2 * torch.sort(score, stable=True).indices[max(0, len(score) - (len(left) - k)):]
        stays = torch.ones_like(left, dtype=torch.bool).index_fill(0, dropped, False)
        left = left[stays]
    return left
