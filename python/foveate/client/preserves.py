# SPDX-License-Identifier: Apache-2.0
"""What a way to a model preserves of where tokens lie: a word for each, which every payload carries."""

from ..error import require, whole

PRESERVES = {
    "exact": "every token at its own place, between whole positions where it is coarse",
    "crops": "exact geometry inside each picture; which part of the image it shows is said in words and on record",
    "raster": "row and column of each token, in steps of its grid",
    "rings": "ring and angle of each token around the gaze, as row and column",
    "ranks": "which tokens lie above and which left of others, but no distance",
    "order": "the order of the tokens, top to bottom, and nothing else",
}


def between(what, value, low, high):
    """A whole number of a range."""
    number = whole(what, value, low, high)
    require(number <= high, what, number, f"{low}..{high}")
    return number
