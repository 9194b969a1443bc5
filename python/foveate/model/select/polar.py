# SPDX-License-Identifier: Apache-2.0
"""Kept by log-polar bins around a gaze: many bins near it, few far away, a token of each.

Bins are cut with + - x / and tables made on the host, so every device cuts the same: squared distances against
squared radii, and in place of the angle dy / (|dx| + |dy|), which rises with it.
"""

import math
from typing import Literal

from ...error import choice, require
from .selection import Selection, Tensor, integer, kept, plane_of, ranked, share_of, tokens_of, torch, wide

Binning = Literal["filled", "plain"]


def logpolar(features: Tensor, *, k: int, scores: Tensor, positions: Tensor, gaze=None, binning: Binning = "filled",
             rings: int | None = None, spokes: int | None = None) -> Selection:
    """The best token of each log-polar bin; bins that are left over, or missing, go by score.

    Args:
        features: (B, N, D) float.
        k: tokens that are kept of each image, 1..N.
        scores: (B, N), higher is better: which token of a bin.
        positions: (N, 2) or (B, N, 2): x, y of the tokens' centres, in one unit along both axes, as px.
        gaze: (x, y) in that unit, or (B, 2); None: where the score is highest.
        binning: "filled": exactly k bins, a ring widened until it has a token for each of its bins, so none is empty.
            "plain": rings x spokes bins of equal log distance and angle from one pitch on; many may be empty.
        rings: None: the whole root of k. At most k, or N with plain bins.
        spokes: of "plain"; None: k // rings.

    Returns:
        Selection of exactly k; `occupied` counts the bins that have a token.

    Raises:
        InputError: shapes that do not belong together, k outside 1..N, NaN.

    >>> import torch
    >>> from foveate.model import select
    >>> flat, places = torch.zeros(1, 64 * 64), select.grid_positions(64, 64)
    >>> select.logpolar(torch.zeros(1, 4096, 8), k=273, scores=flat, positions=places, gaze=(0, 0)).occupied.tolist()
    [273]
    """
    _, total, k = tokens_of(features, k)
    scores, places, gazes = _placed(features, scores, positions, gaze)
    filled = choice("model: binning", binning, {"filled": True, "plain": False})
    rings = integer("model: rings", math.isqrt(k) if rings is None else rings, 1, k if filled else total)
    require(spokes is None or not filled, "model: spokes", f"{spokes!r} with filled bins", 'none. Or binning="plain"')
    spokes = integer("model: spokes", max(1, k // rings) if spokes is None else spokes, 1, total)
    bins = [filled_bins(place, at, k, rings) if filled else plain_bins(place, at, rings, spokes)
            for place, at in zip(places, gazes, strict=True)]
    return _covered(features, ranked(scores), torch.stack(bins), k, 0)


def hybrid(features: Tensor, *, k: int, scores: Tensor, positions: Tensor, gaze=None, share: float = 0.7) -> Selection:
    """A share of k by score; the rest from log-polar bins that have none yet; what is still left by score again.

    There are as many bins, filled ones, as tokens in the rest, so in the end every bin has a token.

    Args:
        features, k, scores, positions, gaze: as of `logpolar`.
        share: of k that goes by score, 0..1.

    Returns:
        Selection of exactly k; `occupied` counts the bins that have a token.

    Raises:
        InputError: shapes that do not belong together, k outside 1..N, a share outside 0..1, NaN.

    >>> import torch
    >>> from foveate.model import select
    >>> flat, places = torch.zeros(1, 64 * 64), select.grid_positions(64, 64)
    >>> select.hybrid(torch.zeros(1, 4096, 8), k=273, scores=flat, positions=places).occupied.tolist()   # 273 - 191
    [82]
    """
    _, _, k = tokens_of(features, k)
    scores, places, gazes = _placed(features, scores, positions, gaze)
    first = share_of("model: share", share, k)
    count = max(1, k - first)
    bins = [filled_bins(place, at, count, math.isqrt(count)) for place, at in zip(places, gazes, strict=True)]
    return _covered(features, ranked(scores), torch.stack(bins), k, first)


def _placed(features, scores, positions, gaze):
    scores = plane_of("model: scores", scores, features)
    places = wide(plane_of("model: positions", positions, features, 2))
    if gaze is None:
        best = ranked(scores)[:, :1]
        return scores, places, places.gather(1, best[..., None].expand(-1, -1, 2))[:, 0]
    try:
        gazes = torch.as_tensor(gaze, dtype=places.dtype).to(places.device)
    except (TypeError, ValueError, RuntimeError):
        gazes = places.new_zeros(0)
    require(gazes.shape in ((2,), (len(places), 2)) and bool(torch.isfinite(gazes).all()), "model: gaze", repr(gaze),
            f"(x, y) or ({len(places)}, 2), finite")
    return scores, places, gazes.expand(len(places), 2)


def _covered(features, order, bins, k, first):
    """The first of the order, then each bin's best, then the rest in order: k of them."""
    of_rank = bins.gather(1, order)
    run = torch.sort(of_rank, dim=1, stable=True)       # each bin's tokens together, best first
    best = torch.ones_like(run.values, dtype=torch.bool)
    best[:, 1:] = run.values[:, 1:] != run.values[:, :-1]
    tier = torch.full_like(order, 2).scatter(1, run.indices, torch.where(best, 1, 2))
    tier[:, :first] = 0
    chosen = order.gather(1, torch.sort(tier, dim=1, stable=True).indices[:, :k])
    held = torch.sort(bins.gather(1, chosen), dim=1).values
    return kept(features, chosen, occupied=1 + (held[:, 1:] != held[:, :-1]).sum(1))


def polar(places, gaze):
    """(squared distance, turn) of each place: turn rises from 0 to 4 with the angle, from +x over +y."""
    dx, dy = (places - gaze).unbind(-1)
    length = dx.abs() + dy.abs()
    slope = dy / torch.where(length > 0, length, 1)
    return dx * dx + dy * dy, torch.where(dx < 0, 2 - slope, torch.where(dy < 0, 4 + slope, slope))


def pitch_of(places):
    """The distance of neighbours, were the places a grid with square cells: exact where they are one."""
    total = len(places)
    width, height = (places.amax(0) - places.amin(0)).tolist()
    if total < 2 or width + height == 0:
        return 1.0
    # (width / p + 1) (height / p + 1) = total
    return (width + height + math.sqrt((width + height)**2 + 4 * (total - 1) * width * height)) / (2 * (total - 1))


def squared_radii(places, squared, rings):
    """Squares of the radii between rings, of equal log steps from one pitch to the farthest token."""
    pitch = pitch_of(places)
    ratio = max(1.0, math.sqrt(float(squared.max())) / pitch)
    return squared.new_tensor([(pitch * ratio**(ring / rings))**2 for ring in range(1, rings)])


def plain_bins(places, gaze, rings, spokes):
    """(N,) the bin of each place: rings of equal log distance, the first from the gaze on, of equal angles."""
    squared, turn = polar(places, gaze)
    angles = [2 * math.pi * spoke / spokes for spoke in range(1, spokes)]
    turns = []
    for angle in angles:
        x, y = math.cos(angle), math.sin(angle)
        slope = y / (abs(x) + abs(y))
        turns.append(2 - slope if x < 0 else 4 + slope if y < 0 else slope)
    ring = torch.bucketize(squared, squared_radii(places, squared, rings), right=True)
    return ring * spokes + torch.bucketize(turn, turn.new_tensor(turns), right=True)


def filled_bins(places, gaze, count, rings):
    """(N,) the bin 0..count-1 of each place, none of them empty: places are cut by their rank.

    A ring ends where a log-polar one would, or as soon after as it has a token for each of its bins; in a ring each
    bin has as many tokens as the others, to one, in the order of their angles.
    """
    total = len(places)
    squared, turn = polar(places, gaze)
    shares = [count // rings + (ring >= rings - count % rings) for ring in range(rings)]    # outer ones have one more
    by_turn = torch.sort(turn, stable=True).indices
    outward = by_turn[torch.sort(squared[by_turn], stable=True).indices]
    inside = torch.searchsorted(squared[outward], squared_radii(places, squared, rings), right=True).tolist()
    begin, needed, cuts = 0, 0, []
    for own, within in zip(shares, [*inside, total], strict=True):
        needed += own
        end = min(max(within, begin + own), total - count + needed)
        cuts.append((begin, end))
        begin = end
    bins, offset = torch.empty(total, dtype=torch.long, device=places.device), 0
    for own, (begin, end) in zip(shares, cuts, strict=True):
        ring = outward[begin:end]
        around = ring[torch.sort(turn[ring], stable=True).indices]
        bins[around] = offset + torch.arange(end - begin, device=places.device) * own // (end - begin)
        offset += own
    return bins
