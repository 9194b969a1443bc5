# SPDX-License-Identifier: Apache-2.0
"""Prompts with a placeholder for each token."""

import numpy as np

from ..error import require
from .framework import need

torch = need("torch")


def placeholders(ids, kind, shape, config):
    """(images, K) indices into the flattened prompts, and for each image if it begins a run of placeholders."""
    images, rows = shape
    at = np.flatnonzero(ids.reshape(-1) == getattr(config, f"{kind}_token_id"))
    require(len(at) == images * rows, "model: input_ids", f"{len(at)} {kind} placeholders",
            f"{images * rows}, {rows} for each of {images}", "expand() makes one placeholder for each token.")
    begins = np.ones(len(at), bool)
    begins[1:] = (np.diff(at) != 1) | (at[1:] % ids.shape[1] == 0)
    wrong = np.flatnonzero(begins)
    wrong = wrong[wrong % rows != 0]
    if len(wrong):
        runs = np.flatnonzero(np.append(begins, True))
        length = np.diff(runs)[np.searchsorted(runs, wrong[0]) - 1]
        require(False, "model: input_ids", f"{length} {kind} placeholders in a row", f"a multiple of {rows}",
                "expand() makes one placeholder for each token.")
    return at.reshape(images, rows), begins[::rows]


def expanded(input_ids, tokens, video, config, attention_mask, pad):
    """{input_ids, attention_mask}, (B, S): one placeholder for each token, where there was one for each image."""
    rows = [np.asarray(row) for row in (input_ids.tolist() if hasattr(input_ids, "tolist") else input_ids)]
    if attention_mask is not None:
        rows = [row[mask] for row, mask in zip(rows, attention_mask.bool().cpu().numpy(), strict=True)]
    repeats = [np.ones(len(row), np.int64) for row in rows]
    for kind, value in (("image", tokens), ("video", video)):
        images, each = (0, 1) if value is None else value.valid.shape
        places = [row == getattr(config, f"{kind}_token_id") for row in rows]
        have = sum(int(place.sum()) for place in places)
        require(have == images, "model: input_ids", f"{have} {kind} placeholders",
                f"{images}, one for each {'frame' if kind == 'video' else 'image'}")
        for repeat, place in zip(repeats, places, strict=True):
            repeat[place] = each
    long = [np.repeat(row, repeat) for row, repeat in zip(rows, repeats, strict=True)]
    width = max(map(len, long))
    ids, mask = np.full((len(rows), width), pad, np.int64), np.zeros((len(rows), width), np.int64)
    for index, row in enumerate(long):
        ids[index, width - len(row):], mask[index, width - len(row):] = row, 1
    device = getattr(input_ids, "device", None)
    return {"input_ids": torch.from_numpy(ids).to(device), "attention_mask": torch.from_numpy(mask).to(device)}
