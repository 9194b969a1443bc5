# SPDX-License-Identifier: Apache-2.0
"""How many tokens an image deserves, by how much there is to see in it."""

import itertools

import numpy as np

from .default import engine_of
from .error import real, require, whole
from .image import image as take_image
from .pyramid import pyramid

BUDGETS = (180, 273, 365, 456)
CUTS = (0.3, 0.6, 0.85)
SIDE = 256              # px: the longer side is halved until it is at most this
MOST_VARIANCE = 127.5**2    # of values 0..255: half of them 0, half 255


def complexity(images, *, engine=None) -> np.ndarray:
    """How much there is to see, from edges, entropy and how unevenly the edges lie.

    Args:
        images: what `foveate.image` takes.
        engine: the Engine to use; None: the process's own.

    Returns:
        (B,) float64, 0..1: 0.4 edge / 255 + 0.4 entropy / 8 + 0.2 variance / 127.5^2 of the luma 0..255 of the
        first pyramid level with no side over 256 px. edge and variance are the mean and the variance of the
        Sobel gradient |gx| + |gy|, each a quarter of the kernel's sum, 255 at most; entropy is in bits, of 256
        bins over 0..256.

    Raises:
        InputError: what `foveate.image` raises.

    >>> import numpy as np
    >>> from foveate.budget import complexity
    >>> complexity(np.full((64, 64), 99, np.uint8)).tolist()
    [0.0]
    """
    engine = engine_of(engine)
    taken = take_image(images, engine=engine)
    depths = [_depth(size) for size in taken.sizes]
    levels = pyramid(taken, levels=max(depths) + 1, engine=engine)
    return np.array([_score(levels.numpy(depth, index)) for index, depth in enumerate(depths)])


def adaptive(images, *, budgets=BUDGETS, cuts=CUTS, engine=None) -> np.ndarray:
    """A budget for each image: budgets[i] where the complexity is at least cuts[i - 1] and below cuts[i].

    Args:
        images: what `foveate.image` takes.
        budgets: tokens, one more than cuts.
        cuts: complexities, rising.
        engine: the Engine to use; None: the process's own.

    Returns:
        (B,) int64.

    Raises:
        InputError: budgets and cuts that do not belong together; and what `foveate.image` raises.

    >>> import numpy as np
    >>> from foveate.budget import adaptive
    >>> adaptive(np.zeros((64, 64), np.uint8)).tolist()
    [180]
    """
    budgets = [whole("layout: budgets", budget, 1, 65536) for budget in budgets]
    cuts = [real("layout: cuts", cut) for cut in cuts]
    require(len(budgets) == len(cuts) + 1, "layout: budgets", f"{len(budgets)} budgets for {len(cuts)} cuts",
            "one budget more than cuts")
    rising = all(a < b for a, b in itertools.pairwise(cuts)) and not any(cut != cut for cut in cuts)
    require(rising, "layout: cuts", cuts, "rising numbers")
    return np.array(budgets)[np.searchsorted(cuts, complexity(images, engine=engine), side="right")]


def split(taken, budgets, cuts, engine):
    """(budget, indices, planes of these images) for each budget in use, rising."""
    wanted = adaptive(taken, budgets=budgets, cuts=cuts, engine=engine)
    for budget in np.unique(wanted):
        indices = np.flatnonzero(wanted == budget)
        yield int(budget), indices, [taken.plane_view(index) for index in indices]


def of_images(value, indices, count, depth):
    """The entries of an option that has one for each image; any other serves all."""
    if isinstance(value, np.ndarray):
        value = list(value) if value.ndim == depth else value
    if isinstance(value, (list, tuple)) and len(value) == count and np.ndim(value[0]) == depth - 1:
        return [value[index] for index in indices]
    return value


def _depth(size):
    return max(0, (max(size) - 1).bit_length() - (SIDE - 1).bit_length())


def _score(planes):
    """Of one image's (C, H, W), 0..1."""
    weights = (0.299, 0.587, 0.114) if len(planes) == 3 else (1.0,)
    luma = 255 * np.clip(sum(w * plane.astype(np.float64) for w, plane in zip(weights, planes, strict=True)), 0, 1)
    around = np.pad(luma, 1, "edge")
    across = around[:, 2:] - around[:, :-2]
    down = around[2:] - around[:-2]
    gx = across[:-2] + 2 * across[1:-1] + across[2:]
    gy = down[:, :-2] + 2 * down[:, 1:-1] + down[:, 2:]
    gradient = np.minimum((np.abs(gx) + np.abs(gy)) / 4, 255)
    share = np.histogram(luma, bins=256, range=(0, 256))[0] / luma.size
    share = share[share > 0]
    entropy = max(0.0, -(share * np.log2(share)).sum())
    return 0.4 * gradient.mean() / 255 + 0.4 * entropy / 8 + 0.2 * gradient.var() / MOST_VARIANCE
