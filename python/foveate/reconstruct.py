# SPDX-License-Identifier: Apache-2.0
"""What the model sees: a picture put together from patches and their positions, and from nothing else."""

from types import SimpleNamespace
from typing import Literal

import numpy as np

from .error import choice, require

STRIP = 96      # rows of a picture worked on at once, so that what a row needs stays in the cache


def values_of(array):
    """An Array as NumPy; bfloat16, which NumPy does not know, as float32."""
    if getattr(array, "dtype", None) != "bfloat16":
        return np.asarray(array.numpy() if hasattr(array, "numpy") else array)

    bits = SimpleNamespace(__array_interface__={
        "version": 3, "typestr": "<u2", "shape": array.shape, "data": (array.pointer, array.read_only),
        "strides": tuple(2 * stride for stride in array.strides)})
    return (np.asarray(bits).astype(np.uint32) << 16).view(np.float32)


def texels(tokens, index=0):
    """The patches of one image as pictures again: float32 (K, cell, cell, C), 0..1, normalisation undone."""
    preset = tokens.preset
    patch, merge, frames = preset.patch, preset.merge, preset.frames
    images, rows = np.asarray(tokens.valid).shape
    data = values_of(tokens.patches).reshape(images, rows, merge, merge, -1)[index].astype(np.float32)
    channels = data.shape[-1] // (frames * patch * patch)
    if preset.channels == "last":
        data = data.reshape(rows, merge, merge, frames, patch, patch, channels)[:, :, :, 0]
    else:
        data = data.reshape(rows, merge, merge, channels, frames, patch, patch)[:, :, :, :, 0]
        data = np.moveaxis(data, 3, -1)
    cell = patch * merge
    data = data.transpose(0, 1, 3, 2, 4, 5).reshape(rows, cell, cell, channels)
    return np.clip(data * np.asarray(preset.std, np.float32) + np.asarray(preset.mean, np.float32), 0, 1)


def corners(tokens, index=0):
    """(K, 4) float64 of each token's x0, y0, x1, y1 in px of the image."""
    center, size = np.asarray(tokens.center_px[index], float), np.asarray(tokens.size_px[index], float)[:, ::-1]
    return np.concatenate([center - size / 2, center + size / 2], axis=1)


def coarse_first(tokens, index=0):
    """Indices of the valid tokens, largest footprint first: what is drawn later lies on top."""
    area = np.prod(np.asarray(tokens.size_px[index], float), axis=1)
    valid = np.asarray(tokens.valid[index], bool) & (area > 0)
    return [int(i) for i in np.argsort(-area, kind="stable") if valid[i]]


def owners(size, tokens, index=0):
    """(height, width) int32: the finest token over the centre of each px, -1 where there is none."""
    height, width = size
    owner = np.full((height, width), -1, np.int32)
    edges = np.clip(np.ceil(corners(tokens, index) - 0.5), 0, (width, height, width, height)).astype(int).tolist()
    for i in coarse_first(tokens, index):
        x0, y0, x1, y1 = edges[i]
        owner[y0:y1, x0:x1] = i
    return owner


def reconstruct(image_size, tokens, method: Literal["nearest", "bilinear"] = "nearest", *, index=0, fill=None):
    """Puts every patch back where it came from; where tokens overlap, the finest is seen.

    Args:
        image_size: (height, width) px.
        tokens: foveate.Tokens of any layout, preset and dtype.
        method: "nearest": each px has the value of the texel over its centre. "bilinear": between the centres of
            texels, those of neighbouring tokens included.
        index: which image of the batch.
        fill: 0..1, a number or one for each channel, where no token lies; None: what is seen around is continued
            smoothly.

    Returns:
        (height, width, C) float32, 0..1.

    Raises:
        InputError: another method, a size that is not one.

    >>> import foveate, numpy as np
    >>> from foveate.reconstruct import reconstruct
    >>> image = np.random.default_rng(1).integers(0, 256, (32, 48, 3), np.uint8)
    >>> tokens = foveate.Engine(backend="cpu").tokens(image, grid=(2, 3), model="vit16")
    >>> np.array_equal(np.round(reconstruct((32, 48), tokens) * 255), image)
    True
    """
    lookup = choice("overlay: method", method, {"nearest": _nearest, "bilinear": _bilinear})
    height, width = (int(side) for side in image_size)
    require(height > 0 and width > 0, "overlay: image_size", image_size, "(height, width) above 0")
    cells = texels(tokens, index)
    owner = owners((height, width), tokens, index)
    box = corners(tokens, index)
    step = (box[:, 2:] - box[:, :2]) / cells.shape[1]
    step[step <= 0] = 1
    place = np.concatenate([box[:, :2], 1 / step], axis=1).astype(np.float32)
    out = np.empty((height, width, cells.shape[3]), np.float32)
    flat = cells.reshape(-1, cells.shape[3])
    for top in range(0, height, STRIP):
        lookup(out, top, min(top + STRIP, height), owner, place, flat, cells.shape[1])
    bare = owner < 0
    if bare.any():
        if fill is None and not bare.all():
            _continue(out, bare)
        else:
            out[bare] = 0.5 if fill is None else fill
    return out


def _continue(out, bare):
    """Fills what is bare from means of its surroundings, as wide as they must be (Gortler et al., 1996: pull-push)."""
    known = (~bare[..., None]).astype(np.float32)
    levels = [(out, known)]
    while not known.all():
        value, known = levels[-1]
        total, weight = _halved(value * known), _halved(known)
        known = (weight > 0).astype(np.float32)
        levels.append((total / np.maximum(weight, 1e-9), known))
    coarse = levels[-1][0]
    for value, known in reversed(levels[:-1]):
        height, width = value.shape[:2]
        coarse = np.where(known > 0, value, _doubled(_doubled(coarse, 0), 1)[:height, :width])
    out[:] = coarse


def _halved(values):
    height, width = values.shape[:2]
    values = np.pad(values, ((0, height % 2), (0, width % 2), (0, 0)))
    return values[::2, ::2] + values[1::2, ::2] + values[::2, 1::2] + values[1::2, 1::2]


def _doubled(values, axis):
    """Twice as many along an axis, by bilinear."""
    values = np.moveaxis(values, axis, 0)
    wide = np.concatenate([values[:1], values, values[-1:]])
    out = np.empty((2 * len(values), *values.shape[1:]), np.float32)
    out[::2] = 0.25 * wide[:-2] + 0.75 * values
    out[1::2] = 0.75 * values + 0.25 * wide[2:]
    return np.moveaxis(out, 0, axis)


def _texel(token, x, y, place, cell):
    """Row in the flat list of texels of each token's texel over the points (x, y)."""
    at = np.take(place, token, axis=0)
    u = np.clip(((x - at[..., 0]) * at[..., 2]).astype(np.int32), 0, cell - 1)
    v = np.clip(((y - at[..., 1]) * at[..., 3]).astype(np.int32), 0, cell - 1)
    return (token * cell + v) * cell + u


def _nearest(out, top, end, owner, place, flat, cell):
    token = np.maximum(owner[top:end], 0)
    x = np.arange(owner.shape[1], dtype=np.float32) + 0.5
    y = (np.arange(top, end, dtype=np.float32) + 0.5)[:, None]
    np.take(flat, _texel(token, x, y, place, cell), axis=0, out=out[top:end])


def _bilinear(out, top, end, owner, place, flat, cell):
    """Between the four points of the token's own lattice of texel centres around each px.

    A point of the lattice that lies in a neighbour has the neighbour's value; one outside the image that of its
    border; one that no token covers that of the nearest texel of the token itself.
    """
    height, width = owner.shape
    token = np.maximum(owner[top:end], 0)
    at = np.take(place, token, axis=0)
    x = np.arange(width, dtype=np.float32) + 0.5
    y = (np.arange(top, end, dtype=np.float32) + 0.5)[:, None]
    u, v = (x - at[..., 0]) * at[..., 2] - 0.5, (y - at[..., 1]) * at[..., 3] - 0.5
    left, upper = np.floor(u), np.floor(v)
    u, v = u - left, v - upper
    total = 0
    for right, lower, weight in ((0, 0, (1 - u) * (1 - v)), (1, 0, u * (1 - v)), (0, 1, (1 - u) * v), (1, 1, u * v)):
        column, row = left + right, upper + lower
        px, py = at[..., 0] + (column + 0.5) / at[..., 2], at[..., 1] + (row + 0.5) / at[..., 3]
        away = (column < 0) | (column >= cell) | (row < 0) | (row >= cell)
        own = np.clip(row, 0, cell - 1).astype(np.int32) * cell + np.clip(column, 0, cell - 1).astype(np.int32)
        texel = token * (cell * cell) + own
        if away.any():
            where = np.nonzero(away)
            px, py = np.clip(px[where], 0, width - 0.01), np.clip(py[where], 0, height - 0.01)
            other = owner[py.astype(np.int32), px.astype(np.int32)]
            found = _texel(np.maximum(other, 0), px, py, place, cell)
            texel[where] = np.where(other >= 0, found, texel[where])
        total = total + np.take(flat, texel, axis=0) * weight[..., None]
    out[top:end] = total
