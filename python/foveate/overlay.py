# SPDX-License-Identifier: Apache-2.0
"""Pictures of tokens: where they lie over an image, and what a model sees of it. Needs Pillow."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

# Fine to coarse, warm to cool; neighbours differ in lightness too, for readers who do not see the hues.
PALETTE = ("#ffb627", "#ff6f61", "#c9579c", "#8f6bd6", "#4f8df5", "#1fb5d6", "#2fd3a5", "#b7e07a")
GROUND = (20, 23, 28)
INK = (226, 230, 236)
FAINT = (138, 147, 160)


def color(group):
    """The colour of a group of tokens, (r, g, b): 0 is the finest."""
    return tuple(int(PALETTE[int(group) % len(PALETTE)][i:i + 2], 16) for i in (1, 3, 5))


def steps(tokens, index=0):
    """Image px under a texel of each token (K,), and its power of two, which is the token's colour (K,)."""
    size = np.asarray(tokens.size_px[index], float)
    step = np.sqrt(np.prod(size, axis=1)) / (tokens.preset.patch * tokens.preset.merge)
    return step, np.maximum(np.round(np.log2(np.maximum(step, 1e-9))), 0).astype(int)


def details(tokens, index=0):
    """[(group, px per texel, count), ...] of the valid tokens of an image, finest first."""
    step, group = (values[np.asarray(tokens.valid[index], bool)] for values in steps(tokens, index))
    return [(int(g), float(step[group == g].mean()), int((group == g).sum())) for g in np.unique(group)]


def canvas_scale(size, side):
    """Canvas px per image px for an image of (height, width) drawn `side` px long."""
    return side / max(size)


def boxes(tokens, index, size, scale):
    """(x0, y0, x1, y1) on the canvas, one row per token, cut at the canvas; neighbours share their edges."""
    center, extent = np.asarray(tokens.center_px[index], float), np.asarray(tokens.size_px[index], float)[:, ::-1]
    corners = np.concatenate([center - extent / 2, center + extent / 2], axis=1) * scale
    height, width = round(size[0] * scale), round(size[1] * scale)
    limit = np.array([width, height, width, height])
    return np.clip(np.floor(corners + 0.5), 0, limit).astype(int)


def coarse_first(tokens, index):
    """Indices of the valid tokens, largest footprint first: finer ones are drawn over them."""
    area = np.prod(np.asarray(tokens.size_px[index], float), axis=1)
    valid = np.asarray(tokens.valid[index], bool)
    return [i for i in np.argsort(-area, kind="stable") if valid[i]]


def fit(image, scale):
    """An (H, W), (H, W, 1) or (H, W, 3) uint8 image as a canvas, (H', W', 3) float32."""
    image = np.asarray(image)
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[..., 0]
    height, width = image.shape[:2]
    picture = Image.fromarray(image).convert("RGB")
    picture = picture.resize((round(width * scale), round(height * scale)), Image.Resampling.BICUBIC)
    return np.asarray(picture, np.float32)


def overlay(image, tokens, *, index=0, gaze_uv=(), side=1280, legend=True):
    """Draws every token of one image as a rectangle, coloured by how many px of the image a texel of it covers.

    Args:
        image: the pixels the tokens were made from, uint8, (H, W), (H, W, 1) or (H, W, 3).
        tokens: foveate.Tokens.
        index: which image of the batch.
        gaze_uv: (x, y) points in 0..1, drawn as crosses.
        side: the longer side of the picture, px.
        legend: a strip below with the count of tokens of each colour.

    Returns:
        PIL.Image.Image, RGB. What no token covers is dimmed.
    """
    size = np.asarray(image).shape[:2]
    scale = canvas_scale(size, side)
    canvas = fit(image, scale)
    groups = steps(tokens, index)[1]
    order, rows = coarse_first(tokens, index), boxes(tokens, index, size, scale)

    seen = np.zeros(canvas.shape[:2], bool)
    for i in order:
        x0, y0, x1, y1 = rows[i]
        seen[y0:y1, x0:x1] = True
    gray = canvas.mean(axis=2, keepdims=True)
    canvas = np.where(seen[..., None], canvas * 0.86, gray * 0.28)

    for i in order:
        x0, y0, x1, y1 = rows[i]
        if x1 <= x0 or y1 <= y0:
            continue
        tint = np.array(color(groups[i]), np.float32)
        box = canvas[y0:y1, x0:x1]
        box += (tint - box) * 0.08
        for edge in (box[:1], box[-1:], box[1:-1, :1], box[1:-1, -1:]):
            edge += (tint - edge) * 0.85
    picture = Image.fromarray(np.clip(canvas + 0.5, 0, 255).astype(np.uint8))
    for x, y in gaze_uv:
        cross(picture, x * picture.width, y * picture.height)
    return add_legend(picture, size, details(tokens, index), len(groups)) if legend else picture


def cross(picture, x, y, radius=15):
    """A gaze point: a white cross in a ring, readable on any ground."""
    fine = 4  # drawn four times as large, then averaged: Pillow's own lines are not anti-aliased
    edge = 2 * (radius + 4)
    sprite = Image.new("RGBA", (edge * fine, edge * fine), (0, 0, 0, 0))
    draw = ImageDraw.Draw(sprite)
    middle, reach, ring = edge * fine / 2, radius * fine, 8 * fine
    for stroke, ink in ((5 * fine, (0, 0, 0, 170)), (2 * fine, (255, 255, 255, 255))):
        for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            near, far = 3 * fine, reach + (fine if ink[0] == 0 else 0)
            draw.line((middle + dx * near, middle + dy * near, middle + dx * far, middle + dy * far),
                      fill=ink, width=stroke)
        grow = (stroke - 2 * fine) / 2
        draw.ellipse((middle - ring - grow, middle - ring - grow, middle + ring + grow, middle + ring + grow),
                     outline=ink, width=stroke)
    sprite = sprite.resize((edge, edge), Image.Resampling.LANCZOS)
    picture.paste(sprite, (round(x) - edge // 2, round(y) - edge // 2), sprite)


def add_legend(picture, size, found, rows):
    """The picture with a strip below it: tokens in all, then a swatch and a count for each colour."""
    font = ImageFont.load_default(size=15)
    count = sum(part for _, _, part in found)
    items = [(None, f"{count} tokens"), (None, f"{size[1]} x {size[0]} px")]
    items += [(group, f"{step:.3g} px a texel: {part}") for group, step, part in found]
    if rows > count:
        items.append((None, f"{rows - count} not valid"))
    places, x, y, line, gap = [], 14, 10, 26, 24
    for group, text in items:
        width = font.getlength(text) + (22 if group is not None else 0)
        if x + width > picture.width - 10 and x > 14:
            x, y = 14, y + line
        places.append((x, y, group, text))
        x += width + gap
    strip = Image.new("RGB", (picture.width, y + line + 6), GROUND)
    draw = ImageDraw.Draw(strip)
    for x, y, group, text in places:
        if group is not None:
            draw.rounded_rectangle((x, y + 3, x + 13, y + 16), radius=3, fill=color(group))
            x += 22
        draw.text((x, y), text, font=font, fill=INK if group is not None or text.endswith("tokens") else FAINT)
    whole = Image.new("RGB", (picture.width, picture.height + strip.height))
    whole.paste(picture, (0, 0))
    whole.paste(strip, (0, picture.height))
    return whole


def texels(tokens, index=0):
    """The patches of one image as pictures again: float32 (K, cell, cell, C), 0..1, normalisation undone."""
    preset = tokens.preset
    patch, merge, frames, channels = preset.patch, preset.merge, preset.frames, len(preset.mean)
    images, rows = np.asarray(tokens.valid).shape
    data = np.asarray(tokens.numpy(), np.float32).reshape(images, rows, merge, merge, -1)[index]
    if preset.channels == "last":
        data = data.reshape(rows, merge, merge, frames, patch, patch, channels)[:, :, :, 0]
    else:
        data = data.reshape(rows, merge, merge, channels, frames, patch, patch)[:, :, :, :, 0]
        data = np.moveaxis(data, 3, -1)
    cell = patch * merge
    data = data.transpose(0, 1, 3, 2, 4, 5).reshape(rows, cell, cell, channels)
    return np.clip(data * np.asarray(preset.std, np.float32) + np.asarray(preset.mean, np.float32), 0, 1)


def reconstruct(image, tokens, *, index=0, side=1280):
    """What the model sees: every patch put back where it came from, coarse first. A PIL.Image.Image, RGB."""
    size = np.asarray(image).shape[:2]
    scale = canvas_scale(size, side)
    picture = Image.new("RGB", (round(size[1] * scale), round(size[0] * scale)), GROUND)
    center, extent = np.asarray(tokens.center_px[index], float), np.asarray(tokens.size_px[index], float)[:, ::-1]
    corners = np.floor(np.concatenate([center - extent / 2, center + extent / 2], axis=1) * scale + 0.5)
    cells = np.floor(texels(tokens, index) * 255 + 0.5).astype(np.uint8)
    for i in coarse_first(tokens, index):
        x0, y0, x1, y1 = corners[i].astype(int)
        if x1 <= x0 or y1 <= y0:
            continue
        cell = cells[i] if cells.shape[-1] == 3 else np.repeat(cells[i][..., :1], 3, axis=-1)
        patch = Image.fromarray(cell).resize((x1 - x0, y1 - y0), Image.Resampling.BILINEAR)
        picture.paste(patch, (x0, y0))
    return picture
