# SPDX-License-Identifier: Apache-2.0
"""Positions of three axes in a prompt (M-RoPE of Qwen2-VL, Wang et al. 2024), for tokens that lie between grid points.

Text counts 1, 2, 3 on all axes. The tokens of an image begin where the text before them ends: time stays, row and
column are added. The text behind goes on as far as the longer side of the image's full merged grid is.
"""

import numpy as np

from ..error import require
from .prompt import placeholders


def mrope(ids, found, config, attended, seconds):
    """(3, B, S) float32. ids: (B, S); found: "image" and "video" to Positions; attended: (B, S) or None."""
    attended = np.ones(ids.shape, bool) if attended is None else attended.astype(bool)
    steps = attended.astype(np.int64)
    flat, offsets = steps.reshape(-1), {}
    for kind, where in found.items():
        at, first = placeholders(ids, kind, where.valid.shape, config)
        offsets[kind] = at, _offsets(where, first, kind, config, seconds)
        flat[at] = 0
        flat[at[:, -1]] = _spans(where, first, kind, config)
    for kind in {"image", "video"} - set(found):
        placeholders(ids, kind, (0, 1), config)
    start = np.cumsum(steps, 1) - steps
    placed = np.repeat(start[None].astype(np.float32), 3, 0)
    for at, offset in offsets.values():
        placed.reshape(3, -1)[:, at] += offset
    placed[:, ~attended] = 0
    return placed


def _joined(kind, config):
    """Whether frames behind each other are one video."""
    return kind == "video" and config.model_type in ("qwen2_vl", "qwen2_5_vl")


def _spans(where, first, kind, config):
    spans = where.grid.max(1) // config.vision_config.spatial_merge_size
    if _joined(kind, config):
        spans = spans * np.append(first[1:], True)
    return spans


def _offsets(where, first, kind, config, seconds):
    """(3, images, K): what is added to where an image begins."""
    top = where.grid[:, None] // config.vision_config.spatial_merge_size - 1
    inside = np.clip(where.tokens, 0, top) * where.valid[..., None]
    time = np.zeros(where.valid.shape)
    if _joined(kind, config):
        frame = np.arange(len(first))
        frame = frame - np.maximum.accumulate(np.where(first, frame, 0))
        time += _times(frame, config, seconds)[:, None]
    return np.stack([time, inside[..., 0], inside[..., 1]]).astype(np.float32)


def _times(frame, config, seconds):
    if config.model_type == "qwen2_vl":
        return frame
    second = config.vision_config.tokens_per_second
    if np.ndim(seconds) == 0:
        return np.floor(frame.astype(np.float32) * np.float32(second * seconds))
    require(len(seconds) == len(frame), "model: seconds", f"{len(seconds)} times", f"{len(frame)}, one for each frame")
    return np.floor(np.asarray(seconds, np.float32) * np.float32(second))
