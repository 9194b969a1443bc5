# SPDX-License-Identifier: Apache-2.0
"""sample, with shading rates: each fragment is shaded once, at its centre, and all of its px get that.

Fragments lie on the grid of their own size. Reading at the centre is bilinear: where px meet, the mean of those around
it, halves rounded up. What is shaded for the codes of a draw is `oracle.rate_tiles.final`.
"""

import numpy as np


def shade(planes, finals, tile):
    """((H, W, C) uint8, (H, W) codes, fragments) of (C, H, W) uint8. finals: (w, h) of each tile, rows of them."""
    _, height, width = planes.shape
    image = np.zeros((height, width, len(planes)), np.uint8)
    codes = np.full((height, width), 255, np.uint8)
    count = 0
    for row, line in enumerate(finals):
        for column, (w, h) in enumerate(line):
            bottom, right = min((row + 1) * tile, height), min((column + 1) * tile, width)
            for y in range(row * tile, bottom, h):
                for x in range(column * tile, right, w):
                    rows = np.minimum([y + (h - 1) // 2, y + h // 2], height - 1)
                    columns = np.minimum([x + (w - 1) // 2, x + w // 2], width - 1)
                    value = (planes[:, rows[:, None], columns].astype(int).sum((1, 2)) + 2) // 4
                    image[y:min(y + h, bottom), x:min(x + w, right)] = value
                    codes[y:min(y + h, bottom), x:min(x + w, right)] = w // 2 << 2 | h // 2
                    count += 1
    return image, codes, count
