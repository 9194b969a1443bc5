# SPDX-License-Identifier: Apache-2.0
"""How large the small model is, and how it is told where a token lies."""

from dataclasses import dataclass

FREQUENCIES = 8             # of each axis, in what is added to a token
WAVES = 2048.0, 12.0        # px: wavelengths of positions, the longest and the shortest


@dataclass(frozen=True)
class Shape:
    """Of the network."""

    width: int = 128
    heads: int = 4
    encoder: int = 3
    decoder: int = 2
    patch: int = 16
    text: int = 20          # longest question with its answer
