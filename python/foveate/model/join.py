# SPDX-License-Identifier: Apache-2.0
"""Tokens of several looks at the same images as one input."""

import numpy as np

from ..error import InputError, require
from ..tensor import Tokens
from ..types import Array, Given


def join(parts: list[Tokens]) -> Tokens:
    """Joins tokens one after another, image by image: K is the sum.

    Args:
        parts: Tokens of the same images and preset, in float32 or float16; their patches are copied to the host.

    Returns:
        Tokens, whose `fixation` is the index of the part.

    Raises:
        InputError: tokens that do not belong together.

    >>> import foveate, numpy as np
    >>> from foveate.model.join import join
    >>> engine = foveate.Engine(backend="cpu")
    >>> image = np.zeros((64, 64, 3), np.uint8)
    >>> join([engine.tokens(image, budget=4), engine.tokens(image, budget=9)]).patches.shape
    (1, 13, 3, 16, 16)
    """
    for part in parts:
        if not isinstance(part, Tokens):
            raise InputError(f"model: join: got {type(part).__name__}, expected Tokens.")
    require(parts, "model: join", "no tokens", "one or more")
    first = parts[0]
    for part in parts[1:]:
        require(part.preset == first.preset, "model: join: preset", part.preset.name, first.preset.name)
        require(part.sizes == first.sizes, "model: join: images", part.sizes, first.sizes)
    tables, blocks = [], []
    for index, part in enumerate(parts):
        table = part.table.copy()
        table["fixation"] = index
        tables.append(table)
        blocks.append(part.numpy().reshape(*table.shape, -1))   # a token's patches lie together in every form
    table = np.concatenate(tables, 1)
    patches = np.concatenate(blocks, 1).reshape(first.preset.shape(*table.shape))
    return Tokens(Array(Given(patches)), table, first.preset, first.sizes)
