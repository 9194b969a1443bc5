# SPDX-License-Identifier: Apache-2.0
"""How many tokens a server makes of a picture, by the family of its model."""

import math
from typing import Literal

from ..error import choice, require
from .preserves import between

Family = Literal["qwen2-vl", "qwen2.5-vl", "qwen3-vl", "llava-1.5", "gemma-3", "gpt-4o"]


def _qwen(cell, least, most):
    """Whole cells, in number as the checkpoints' own preprocessor_config.json limits them."""
    def count(height, width, detail):
        require(max(height, width) <= 200 * min(height, width), "client: size", f"{height} x {width}",
                "sides of 1:200 at most")
        rows, columns = (round(side / cell) for side in (height, width))
        if rows * columns * cell**2 > most:
            shrink = math.sqrt(height * width / most)
            rows, columns = (max(math.floor(side / shrink / cell), 1) for side in (height, width))
        elif rows * columns * cell**2 < least:
            grow = math.sqrt(least / (height * width))
            rows, columns = (math.ceil(side * grow / cell) for side in (height, width))
        return rows * columns

    return count


def _gpt4o(height, width, detail):
    """85, and 170 for each tile of 512 px of what fits 2048 x 2048 px with its shorter side at 768 px or less."""
    if detail == "low":
        return 85
    scale = min(1, 2048 / max(height, width))
    scale = min(scale, 768 / min(height, width))
    tiles = [math.ceil(math.floor(side * scale + 0.5) / 512) for side in (height, width)]
    return 85 + 170 * max(tiles[0], 1) * max(tiles[1], 1)


FAMILIES = {
    "qwen2-vl": _qwen(28, 56 * 56, 28 * 28 * 16384),
    "qwen2.5-vl": _qwen(28, 56 * 56, 28 * 28 * 16384),
    "qwen3-vl": _qwen(32, 256 * 256, 4096 * 4096),
    "llava-1.5": lambda height, width, detail: (336 // 14)**2,
    "gemma-3": lambda height, width, detail: 256,
    "gpt-4o": _gpt4o,
}
DETAILS = {None: 0, "auto": 0, "low": 1, "high": 2}


def tokens_of(size: tuple[int, int], family: Family, detail: str | None = None) -> int:
    """Tokens of one picture, without the marks around it.

    Args:
        size: (height, width) of what is sent, px.
        family: "qwen2-vl", "qwen2.5-vl", "qwen3-vl", "llava-1.5", "gemma-3" or "gpt-4o". A server may have other
            limits than its checkpoint.
        detail: of "gpt-4o": "low", "high" or "auto", counted as "high".

    Raises:
        InputError: no such family or detail, a size that the family refuses.

    >>> from foveate.client.count import tokens_of
    >>> tokens_of((448, 448), "qwen2.5-vl"), tokens_of((448, 448), "qwen3-vl"), tokens_of((1024, 1024), "gpt-4o")
    (256, 196, 765)
    """
    count = choice("client: family", family, FAMILIES)
    choice("client: detail", detail, DETAILS)
    height, width = (between("client: size", side, 1, 65536) for side in size)
    return count(height, width, detail)
