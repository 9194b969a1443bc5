# SPDX-License-Identifier: Apache-2.0
"""rate: the oracle against what it claims to find, by enumeration; no backend is involved."""

import itertools

import numpy as np
import pytest
from images import random_image
from oracle import rate as truth
from oracle.image import image as planes_of


def prunings(node):
    """{tokens added: most gain} over every way to prune a tree."""
    if not node.added:
        return {0: 0}
    best = {node.added: node.gain}
    for child in node.children:
        best = merged(best, prunings(child))
    best[0] = 0
    return best


def merged(a, b):
    result = {}
    for (i, p), (j, q) in itertools.product(a.items(), b.items()):
        result[i + j] = max(result.get(i + j, 0), p + q)
    return result


@pytest.mark.parametrize("rates", ["vrs", "square"])
def test_the_hull_is_optimal(rates):
    """Against every pruning of every block, by enumeration."""
    for seed in range(6):
        image = planes_of(random_image(seed, 14 + seed, 23))
        roots = truth.grown(image, 2, 4, rates)
        best = {len(roots): 0}
        for root in roots:
            best = merged(best, prunings(root))
        for budget in truth.hull(roots):
            taken = truth.take([s for root in roots for s in root.splits()], budget - len(roots))
            gain, most = sum(s.gain for s in taken), max(g for k, g in best.items() if k <= budget)
            assert gain >= most * (1 - 1e-6), (seed, budget)


def test_gains_are_squared_errors():
    """All that splitting a block to its px gains is the variance it had: Pythagoras."""
    y = random_image(3, 16, 16, 0)
    gains = truth.detail(planes_of(y), 1, 16) / 16
    both = [gains[truth.slot("x", s, s)] + gains[truth.slot("y", s // 2, s)] for s in (2, 4, 8, 16)]
    wanted = ((y - y.mean()) ** 2).sum()
    # rounding drops less than 1/16 for each of 255 boxes, and for each cell in each of 8 slots
    assert 0 <= wanted - np.sum(both) < (255 + 8 * 256) / 16 < wanted / 1000
