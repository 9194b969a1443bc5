# SPDX-License-Identifier: Apache-2.0
"""Pictures of tokens, rates and relevance over an image. NumPy is all they need."""

import numpy as np

from .error import require
from .lettering import draw_text, text_width
from .picture import FAINT, GROUND, INK, Picture, as_bytes, cross, heat, ramp, resize, swatch
from .quality import psnr
from .reconstruct import coarse_first, corners, reconstruct

# Fine to coarse, warm to cool; neighbours differ in lightness too, for readers who do not see the hues.
PALETTE = ("#ffb627", "#ff6f61", "#c9579c", "#8f6bd6", "#4f8df5", "#1fb5d6", "#2fd3a5", "#b7e07a")
TEXT = 15


def color(group):
    """The colour of a group of tokens, (r, g, b): 0 is the finest."""
    return tuple(int(PALETTE[int(group) % len(PALETTE)][i:i + 2], 16) for i in (1, 3, 5))


def cell_of(tokens):
    """Texels of a token's edge, of Tokens or a Layout."""
    return tokens.preset.cell if hasattr(tokens, "preset") else tokens.cell


def steps(tokens, index=0):
    """Image px under a texel of each token (K,), and its power of two, which is the token's colour (K,)."""
    size = np.asarray(tokens.size_px[index], float)
    step = np.sqrt(np.prod(size, axis=1)) / cell_of(tokens)
    return step, np.maximum(np.round(np.log2(np.maximum(step, 1e-9))), 0).astype(int)


def details(tokens, index=0):
    """[(group, px per texel, count), ...] of the valid tokens of an image, finest first."""
    step, group = (values[np.asarray(tokens.valid[index], bool)] for values in steps(tokens, index))
    return [(int(g), float(step[group == g].mean()), int((group == g).sum())) for g in np.unique(group)]


def canvas_of(image, side):
    """(float32 (H', W', 3), canvas px per image px) of an image drawn `side` px long."""
    pixels = as_bytes(image)
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    return np.clip(resize(pixels, max(round(height * scale), 1), max(round(width * scale), 1)), 0, 255), scale


def boxes(tokens, index, shape, scale):
    """(x0, y0, x1, y1) on a canvas of (height, width), one row per token; neighbours share their edges."""
    edges = np.floor(corners(tokens, index) * scale + 0.5)
    return np.clip(edges, 0, (shape[1], shape[0], shape[1], shape[0])).astype(int)


def overlay(image, tokens, *, index=0, gaze_uv=(), side=1280, legend=True):
    """Draws every token of one image as a rectangle, coloured by how many px of the image a texel of it covers.

    Args:
        image: the pixels the tokens were made from, uint8, (H, W), (H, W, 1) or (H, W, 3).
        tokens: foveate.Tokens or foveate.Layout.
        index: which image of the batch.
        gaze_uv: (x, y) points in 0..1, drawn as crosses.
        side: the longer side of the picture, px.
        legend: a strip below with the count of tokens of each colour.

    Returns:
        Picture, RGB. What no token covers is dimmed.
    """
    canvas, scale = canvas_of(image, side)
    groups = steps(tokens, index)[1]
    order, rows = coarse_first(tokens, index), boxes(tokens, index, canvas.shape, scale)

    seen = np.zeros(canvas.shape[:2], bool)
    for i in order:
        x0, y0, x1, y1 = rows[i]
        seen[y0:y1, x0:x1] = True
    canvas = np.where(seen[..., None], canvas * 0.86, canvas.mean(axis=2, keepdims=True) * 0.28).astype(np.float32)

    for i in order:
        x0, y0, x1, y1 = rows[i]
        if x1 <= x0 or y1 <= y0:
            continue
        tint = np.array(color(groups[i]), np.float32)
        box = canvas[y0:y1, x0:x1]
        box += (tint - box) * 0.08
        for edge in (box[:1], box[-1:], box[1:-1, :1], box[1:-1, -1:]):
            edge += (tint - edge) * 0.85
    _crosses(canvas, gaze_uv)
    if not legend:
        return Picture(canvas)
    found, size = details(tokens, index), np.asarray(image).shape
    count = sum(part for _, _, part in found)
    items = [(None, f"{count} tokens"), (None, f"{size[1]} x {size[0]} px")]
    items += [(color(group), f"{step:.3g} px a texel: {part}") for group, step, part in found]
    if len(groups) > count:
        items.append((None, f"{len(groups) - count} not valid"))
    return Picture(np.concatenate([canvas, _legend(items, canvas.shape[1])]))


def seen_overlay(image, tokens, *, index=0, side=1280, legend=True):
    """Draws what is left of an image in the patches of its tokens, and of nothing else.

    Args:
        image, index, side, legend: as for `overlay`.
        tokens: foveate.Tokens.

    Returns:
        Picture, RGB.
    """
    pixels = as_bytes(image)
    seen = np.broadcast_to(reconstruct(pixels.shape[:2], tokens, index=index), pixels.shape)
    canvas = canvas_of(np.floor(seen * 255 + 0.5).astype(np.uint8), side)[0]
    if not legend:
        return Picture(canvas)
    items = [(None, "what the model sees"), (None, f"PSNR {min(psnr(pixels, seen), 99):.1f} dB")]
    return Picture(np.concatenate([canvas, _legend(items, canvas.shape[1])]))


def rate_size(code):
    """(width, height) in cells or pixels of a rate code: log2 w << 2 | log2 h, bits 5 and 4 above them."""
    code = np.asarray(code, np.int64)
    return 1 << (code >> 2 & 3 | code >> 3 & 4), 1 << (code & 3 | code >> 2 & 4)


def rate_color(code):
    """Colours of rate codes, (..., 3) uint8: by area as tokens are, lighter where wide and darker where tall."""
    width, height = rate_size(code)
    table = np.array([color(group) for group in range(len(PALETTE))], float)
    step = np.log2(width * height) / 2
    low = np.floor(step).astype(int)
    part = (step - low)[..., None]
    tint = table[low % len(table)] * (1 - part) + table[(low + 1) % len(table)] * part
    tint = np.where((width > height)[..., None], tint + (255 - tint) * 0.3, tint)
    return np.floor(np.where((width < height)[..., None], tint * 0.72, tint) + 0.5).astype(np.uint8)


def rate_shares(codes):
    """[(width, height, (r, g, b), share of the image), ...] of the rates that occur, finest first."""
    found, counts = np.unique(codes, return_counts=True)
    rows = [(*(int(side) for side in rate_size(code)), tuple(rate_color(code).tolist()), float(count / counts.sum()))
            for code, count in zip(found, counts, strict=True)]
    return sorted(rows, key=lambda row: (row[0] * row[1], row[0]))


def rates_overlay(image, codes, tile, *, side=1280, legend=True, opacity=0.55, gaze_uv=()):
    """Draws a rate image over the image it is for: one colour a rate, lines where the rate changes.

    Args:
        image: uint8, (H, W), (H, W, 1) or (H, W, 3).
        codes: (rows, columns) of log2 width << 2 | log2 height: a cell's token in cells, or a tile's shading rate
            in pixels.
        tile: px of a cell's or tile's edge.
        side, legend, gaze_uv: as for `overlay`.
        opacity: of the colours, 0..1.

    Returns:
        Picture, RGB.
    """
    codes = _plane("codes", codes, image, tile)
    canvas, scale = canvas_of(image, side)
    row, column = _cells(canvas.shape, codes.shape, tile * scale)
    wide = codes[row[:, None], column]
    tint = rate_color(codes)[row[:, None], column].astype(np.float32)
    gray = canvas.mean(axis=2, keepdims=True) * 0.55 + canvas * 0.3
    canvas = gray * (1 - opacity) + tint * opacity
    line = np.zeros(wide.shape, bool)
    line[:, 1:] |= wide[:, 1:] != wide[:, :-1]
    line[1:] |= wide[1:] != wide[:-1]
    canvas[line] += (np.array(GROUND, np.float32) - canvas[line]) * 0.7
    _crosses(canvas, gaze_uv)
    if not legend:
        return Picture(canvas)
    items = [(None, f"{codes.size} rates"), (None, f"one for {tile} x {tile} px")]
    items += [(ink, f"{width}x{height}: {share:.1%}") for width, height, ink, share in rate_shares(codes)]
    return Picture(np.concatenate([canvas, _legend(items, canvas.shape[1])]))


def relevance_overlay(image, values, cell, *, side=1280, legend=True, opacity=0.72, gaze_uv=()):
    """Draws relevance as a heat map over the image.

    Args:
        image: uint8, (H, W), (H, W, 1) or (H, W, 3).
        values: (rows, columns), 0..1, one a cell.
        cell: px of a cell's edge.
        side, legend, gaze_uv: as for `overlay`.
        opacity: of the colours, 0..1.

    Returns:
        Picture, RGB.
    """
    values = _plane("values", values, image, cell)
    canvas, scale = canvas_of(image, side)
    row, column = _cells(canvas.shape, values.shape, cell * scale)
    tint = heat(values)[row[:, None], column].astype(np.float32)
    gray = canvas.mean(axis=2, keepdims=True)
    canvas = tint * opacity + tint * (gray / 255) * (1 - opacity) * 1.2 + gray * 0.12
    _crosses(canvas, gaze_uv)
    if not legend:
        return Picture(canvas)
    strip = _legend([(None, "relevance"), (None, f"{values.shape[1]} x {values.shape[0]} cells of {cell} px"),
                     (None, f"mean {values.mean():.3f}"), (None, "0"), (None, " " * 30), (None, "1")],
                    canvas.shape[1])
    end = _places([(None, "relevance"), (None, f"{values.shape[1]} x {values.shape[0]} cells of {cell} px"),
                   (None, f"mean {values.mean():.3f}"), (None, "0"), (None, " " * 30)], canvas.shape[1])
    x, y = end[-1][0] - 12, end[-1][1]
    length = int(min(text_width(" " * 30, TEXT) + 22, canvas.shape[1] - x))
    strip[y + 2:y + 14, int(x):int(x) + length] = ramp()[np.linspace(0, 255, length).astype(int)]
    return Picture(np.concatenate([canvas, strip]))


def _plane(what, values, image, tile):
    values = np.asarray(values[0] if np.ndim(values[0]) == 2 else values)     # of a batch, the first
    height, width = np.asarray(image).shape[:2]
    shape = (-(-height // tile), -(-width // tile))
    require(values.shape == shape, f"overlay: {what}", f"shape {values.shape}",
            f"{shape}, a value for every {tile} x {tile} px of the image")
    return values


def _cells(canvas, cells, edge):
    """Which row and column of cells each row and column of the canvas lies in."""
    return tuple(np.minimum(((np.arange(n) + 0.5) / edge).astype(int), count - 1)
                 for n, count in zip(canvas[:2], cells, strict=True))


def _crosses(canvas, gaze_uv):
    for x, y in gaze_uv:
        cross(canvas, x * canvas.shape[1], y * canvas.shape[0])


def _places(items, width):
    places, x, y, line, gap = [], 14, 11, 26, 24
    for ink, text in items:
        length = text_width(text, TEXT) + (22 if ink is not None else 0)
        if x + length > width - 10 and x > 14:
            x, y = 14, y + line
        places.append((x, y, ink, text))
        x += length + gap
    return places


def _legend(items, width):
    """A strip of swatches and counts, (H, width, 3) float32; the first item is the headline."""
    places = _places(items, width)
    strip = np.empty((places[-1][1] + 31, width, 3), np.float32)
    strip[:] = GROUND
    for number, (x, y, ink, text) in enumerate(places):
        if ink is not None:
            swatch(strip, x, y + 1, 13, 13, 3, ink)
            x += 22
        draw_text(strip, x, y + 2, text, TEXT, INK if ink is not None or number == 0 else FAINT)
    return strip
