# SPDX-License-Identifier: Apache-2.0
"""Tokens as three arrays, for models of one's own."""

from typing import Any, NamedTuple

import numpy as np

from ..tensor import Tokens
from .positions import PositionMode
from .positions import positions as locate


class Plain(NamedTuple):
    """What any model may take: patches, where they are, and which of them count.

    Attributes:
        patches: (B, N, E), N = K * merge^2 patches of E numbers each, in the order of the preset.
        coord: (B, N, 2) float32: (row, column) of their middles in patches of the full grid; patch i is at i.
        valid: (B, N) bool.
    """

    patches: Any
    coord: Any
    valid: Any


def plain(tokens: Tokens, *, torch: bool = False, position_mode: PositionMode = "center") -> Plain:
    """The tokens as three arrays.

    Args:
        tokens: of any preset.
        torch: as torch.Tensors where the patches are; otherwise as NumPy arrays, from CUDA by a copy.
        position_mode: "center" or "grid", see `foveate.model.positions.positions`.

    Returns:
        Plain; patches in the memory of the tokens' own.

    Raises:
        InputError: no such mode.
        UnsupportedError: bfloat16, which NumPy does not know.

    >>> import foveate, numpy as np
    >>> tokens = foveate.Engine(backend="cpu").tokens(np.zeros((64, 64, 3), np.uint8), grid=(2, 2), budget=4)
    >>> patches, coord, valid = plain(tokens)
    >>> patches.shape, coord[0, 1].tolist()
    ((1, 4, 768), [0.5, 2.5])
    """
    found = locate(tokens, position_mode=position_mode)
    coord, valid = found.patches, np.repeat(found.valid, tokens.preset.merge**2, 1)
    patches = tokens.torch() if torch else tokens.numpy()
    if torch:
        from .tensors import to_device

        coord, valid = to_device(coord, patches.device), to_device(valid, patches.device)
    return Plain(patches.reshape(*valid.shape, -1), coord, valid)
