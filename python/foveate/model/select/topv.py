# SPDX-License-Identifier: Apache-2.0
"""Yang et al., "TopV: Compatible Token Pruning with Inference Time Optimization for Fast and Low-Memory Multimodal
Vision Language Model", CVPR 2025: the tokens that an optimal transport to a layer's output needs most.

Where a Sinkhorn iteration ends on the rows, their sums are the marginal it was given, the same for every token,
whatever the features: here it begins and ends on the columns.
"""

import math
from typing import Literal

from ...error import choice, require
from .selection import (
    Selection,
    Tensor,
    finite,
    integer,
    kept,
    metric_of,
    numbers,
    plane_of,
    share_of,
    tokens_of,
    torch,
    wide,
)


def topv(features: Tensor, *, k: int, positions: Tensor, target: Tensor | None = None,
         weights: tuple[float, float, float] = (1.0, 1.0, 0.01), sigma: float = 10.0, epsilon: float = 0.1,
         iterations: int = 3, importance: Literal["rows", "cost"] = "rows", recover: float = 0.2) -> Selection:
    """The tokens of the largest importance in the transport; then some of the others at equal distances.

    cost_ij = a |s_i - t_j|^2 + b (1 - exp(-d_ij^2 / 2 sigma^2)) + c |p_i - middle|, each of the three moved to 0..1.

    Args:
        features: (B, N, D) float, s: the input of a layer.
        k: tokens that are kept of each image, 1..N.
        positions: (N, 2) or (B, N, 2): x, y, in cells of the grid, which is what sigma is measured in.
        target: (B, N, D), t: the layer's output, normalised; None: features, each normalised over D.
        weights: a, b, c.
        sigma, epsilon, iterations: of the distance, the entropy and Sinkhorn's steps.
        importance: "rows": sums of the plan's rows, as in the paper; with many iterations they become equal. "cost":
            sums of plan times cost, which do not.
        recover: share of k for the tokens at equal distances among the pruned: the paper takes every fourth of half.

    Returns:
        Selection of exactly k.

    Raises:
        InputError: shapes that do not belong together, k outside 1..N, options outside their ranges, NaN.

    >>> import torch
    >>> from foveate.model import select
    >>> select.topv(torch.rand(1, 16, 8), k=5, positions=select.grid_positions(4, 4)).indices.shape
    torch.Size([1, 5])
    """
    _, _, k = tokens_of(features, k)
    source = metric_of(None, features)
    if target is None:
        target = torch.nn.functional.layer_norm(source, source.shape[2:])
    target = wide(plane_of("model: target", target, features, features.shape[2]))
    places = wide(plane_of("model: positions", positions, features, 2))
    weights = numbers("model: weights", weights, 3)
    for name, value in (("sigma", sigma), ("epsilon", epsilon)):
        require(isinstance(value, (int, float)) and 0 < value < math.inf, f"model: {name}", repr(value), "above 0")
    iterations = integer("model: iterations", iterations, 1, 1000)
    by_cost = choice("model: importance", importance, {"rows": False, "cost": True})
    again = share_of("model: recover", recover, k)
    found = []
    for parts in zip(source, target, places, strict=True):
        sums = transport(cost_of(*parts, weights, sigma), epsilon, iterations, by_cost)
        order = torch.sort(sums, descending=True, stable=True).indices
        pruned = torch.sort(order[k - again:]).values
        spaced = torch.arange(again, device=order.device) * len(pruned) // max(1, again)
        found.append(torch.cat([order[:k - again], pruned[spaced]]))
    return kept(features, torch.stack(found))


def cost_of(source, target, places, weights, sigma):
    """(N, N): from a source in the row to a target in the column."""
    far = (source * source).sum(1)[:, None] + (target * target).sum(1) - 2 * source @ target.T
    apart = sum((axis[:, None] - axis).square() for axis in places.unbind(1))
    middle = (places.amax(0) + places.amin(0)) / 2
    terms = (far, 1 - torch.exp(apart / (-2 * sigma**2)), (places - middle).square().sum(-1).sqrt()[:, None])
    return sum(weight * _unit(term) for weight, term in zip(weights, terms, strict=True))


def _unit(values):
    low, high = values.aminmax()
    return (values - low) / torch.where(high > low, high - low, 1)


def transport(cost, epsilon, iterations, by_cost):
    """(N,) the importance of each row: sums of the plan, or of plan times cost, times N."""
    # weights far above epsilon would be exp of less than float32 holds: a cost of 80 epsilons is as good as none
    plan = torch.exp(-cost / epsilon).clamp(min=1e-35)
    rows, columns = plan.new_ones(len(plan)), 1 / plan.sum(0)
    for _ in range(iterations - 1):
        rows = 1 / (plan @ columns)
        columns = 1 / (plan.T @ rows)
    sums = rows * ((plan * cost if by_cost else plan) @ columns)
    return finite("model: features", sums)
