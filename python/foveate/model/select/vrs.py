# SPDX-License-Identifier: Apache-2.0
"""Variable rate shading of a grid of tokens: rates weigh 4 : 2 : 1 : 1/2 : 1/4, as rectangles of 1 to 16 tokens.

A rate says how densely a place is covered, so a token of 2 x 2 cells has weight 1, of one cell 4, of 4 x 4 cells 1/4.
Nothing is kept twice, which would add no information, and no row or column is skipped: a coarse token is the mean of
its rectangle, as a coarse fragment stands for its pixels.
"""

from collections.abc import Sequence

from ...error import require
from .selection import Selection, Tensor, grid_of, integer, numbers, plane_of, tokens_of, torch, unit_range

WEIGHTS = (0.25, 0.5, 1.0, 2.0, 4.0)
CUTS = (0.2, 0.4, 0.6, 0.8)


def vrs(features: Tensor, *, k: int, scores: Tensor, grid: tuple[int, int], cuts: Sequence[float] = CUTS,
        max_rate: int = 4) -> Selection:
    """Exactly k rectangles that cover the grid; where scores are high they are small.

    Each image's scores, moved to 0..1, are cut into weights. Blocks of max_rate x max_rate cells, or of twice that
    until there are no more than k, are halved, along x first: k tokens are reached by the splits of the rectangles
    with the largest sum of weights (then the coarser, the upper, the left one). A half without cells is no token.

    Args:
        features: (B, N, D) float, in raster order.
        k: tokens of each image, 1..N.
        scores: (B, N), higher is better.
        grid: (rows, columns).
        cuts: four rising numbers in 0..1 between the weights 1/4, 1/2, 1, 2 and 4.
        max_rate: cells of the coarsest token's edge, a power of two.

    Returns:
        Selection of exactly k with `sizes`, cells of each; features are means, indices the cells nearest to the
        rectangles' middles, to the upper left. `pool` of positions gives the middles themselves.

    Raises:
        InputError: shapes that do not belong together, k outside 1..N, a grid of another number of tokens, NaN.

    >>> import torch
    >>> from foveate.model import select
    >>> found = select.vrs(torch.ones(1, 16, 8), k=2, scores=torch.zeros(1, 16), grid=(4, 4))
    >>> found.indices.tolist(), found.sizes.tolist()
    ([[4, 6]], [[8.0, 8.0]])
    """
    _, total, k = tokens_of(features, k)
    rows, columns = grid_of(grid, total)
    table = numbers("model: cuts", cuts, 4)
    require(table == tuple(sorted(set(table))) and table[3] <= 1, "model: cuts", repr(cuts), "rising numbers in 0..1")
    max_rate = integer("model: max_rate", max_rate, 1, 1 << 16)
    require(max_rate & (max_rate - 1) == 0, "model: max_rate", max_rate, "a power of two")
    while -(-rows // max_rate) * -(-columns // max_rate) > k:
        max_rate *= 2
    score = unit_range(plane_of("model: scores", scores, features))
    level = torch.bucketize(score, score.new_tensor(table))     # a score on a cut is below it
    weights = features.new_tensor(WEIGHTS, dtype=torch.float32)[level].reshape(-1, rows, columns)
    height, width = _leaves(weights, k, max_rate)
    return _merged(features, height, width, k)


def _leaves(weights, k, edge):
    """(B, rows, columns) twice: height and width of the rectangle that each cell is in."""
    batch, rows, columns = weights.shape
    down, across = -(-rows // edge) * edge, -(-columns // edge) * edge
    padded = weights.new_zeros(batch, down, across)     # no weight outside: there is nothing to cover
    padded[:, :rows, :columns] = weights
    shapes, gains, free = [], [], []
    height = width = edge
    while height * width > 1:
        # sums of quarters of whole numbers: exact in every order
        mass = padded.reshape(batch, down // height, height, across // width, width).sum((2, 4))
        half = (height, width // 2) if width >= height else (height // 2, width)
        part = padded.reshape(batch, down // half[0], half[0], across // half[1], half[1]).sum((2, 4))
        both = (part[:, :, ::2], part[:, :, 1::2]) if width >= height else (part[:, ::2], part[:, 1::2])
        adds = (both[0] > 0) & (both[1] > 0)
        shapes.append((height, width))
        gains.append(torch.where(adds, mass, -1).flatten(1))
        free.append(((mass > 0) & ~adds).flatten(1))
        height, width = half
    tall, wide = (torch.full_like(padded, edge, dtype=torch.long) for _ in range(2))
    if shapes:
        splits = k - (down // edge) * (across // edge)
        order = torch.sort(torch.cat(gains, 1), dim=1, descending=True, stable=True).indices[:, :splits]
        split = torch.cat(free, 1).scatter(1, order, True)
        alive, at = torch.ones_like(padded, dtype=torch.bool), 0
        for height, width in shapes:
            count = (down // height) * (across // width)
            own = split[:, at:at + count].reshape(batch, down // height, across // width)
            alive &= own.repeat_interleave(height, 1).repeat_interleave(width, 2)
            along_x = width >= height
            tall = torch.where(alive, height if along_x else height // 2, tall)
            wide = torch.where(alive, width // 2 if along_x else width, wide)
            at += count
    return tall[:, :rows, :columns], wide[:, :rows, :columns]


def _merged(features, height, width, k):
    batch, rows, columns = height.shape
    y, x = (torch.arange(count, device=features.device) for count in (rows, columns))
    top, left = y[:, None] // height * height, x // width * width
    # of what lies inside the grid
    down, across = (rows - top).minimum(height), (columns - left).minimum(width)
    middle = ((top + (down - 1) // 2) * columns + left + (across - 1) // 2).flatten(1)
    is_middle = middle == torch.arange(rows * columns, device=features.device)
    indices = is_middle.nonzero()[:, 1].reshape(batch, k)
    found = Selection(indices, features, rows * columns, members=torch.searchsorted(indices, middle))
    return found._replace(features=found.pool(features).to(features.dtype),
                          sizes=(down * across).flatten(1).gather(1, indices).float())
