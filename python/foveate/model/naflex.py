# SPDX-License-Identifier: Apache-2.0
"""Tokens into NaFlexVit of timm, in the one of its modes that reads the coordinates of patches.

That mode makes the largest coordinates of an image its last row and column. So a patch that is not valid, at the last
row and column of the full grid, goes with the tokens of each image.
"""

import numpy as np

from ..error import require
from ..tensor import Tokens
from .fit import fit
from .framework import need
from .positions import PositionMode
from .positions import positions as locate
from .tensors import patches_of, to_device

torch, _ = need("torch", "timm")


def _embeds(model, position_mode):
    own = getattr(model, "embeds", None)
    require(type(model).__name__ == "NaFlexVit" and own is not None, "model: class", type(model).__name__,
            "NaFlexVit of timm")
    require(own.is_linear, "model: NaFlexVit", 'embed_proj_type="conv"', '"linear"',
            "Its convolution reads whole images.")
    require(model.rope is None, "model: NaFlexVit", "a rotary embedding", "learned or factorized tables alone",
            "Its rotary embedding does not read coordinates.")
    require(own.pos_embed_type == "none" or own.pos_embed_use_grid_sample, "model: NaFlexVit",
            "pos_embed_use_grid_sample=False", "True",
            "Without it coordinates are ignored. Set model.embeds.pos_embed_use_grid_sample = True.")
    require(own.pos_embed_type != "factorized" or position_mode == "grid", "model: position_mode", "'center'",
            "'grid'", "The factorized tables of NaFlexVit are read at whole positions.")
    return own


def inputs(model, tokens: Tokens, *, position_mode: PositionMode = "center", copy: bool = False) -> dict:
    """What `model(...)` takes.

    Args:
        model: timm's NaFlexVit, made with pos_embed_use_grid_sample=True, with learned or factorized tables.
        tokens: of model="siglip2", or made by hand with the model's patch, mean, std and order of channels.
        position_mode: "center" or "grid", see `foveate.model.positions.positions`; for factorized tables "grid".
        copy: patches may be copied to the model's device; otherwise that is an error where it is another one.

    Returns:
        patches: (B, K + 1, P * P * C), patch_coord: (B, K + 1, 2), (row, column), and patch_valid: (B, K + 1) bool. The
        last of each image is not valid, and says how large its full grid is. A token over the edge is at the edge.

    Raises:
        InputError: another model, or a NaFlexVit that does not read coordinates; tokens cut for another one, patches on
            another device.
    """
    own = _embeds(model, position_mode)
    fit(tokens, f"patch={own.patch_size[0]}, the channels, mean and std of the model", patch=own.patch_size[0],
        merge=1, frames=1, channels="last" if own.channels_last else "first", depth=own.in_chans)
    found, weight = locate(tokens, position_mode=position_mode), own.proj.weight
    last = (found.grid[:, None] - 1).astype(np.float32)
    places = np.concatenate([np.clip(found.patches, 0, last), last], 1)
    if position_mode == "grid":
        places = places.astype(np.int64)
    valid = np.concatenate([found.valid, np.zeros((len(last), 1), bool)], 1)
    patches = patches_of(tokens, weight.device, copy).reshape(*found.valid.shape, -1).to(weight.dtype)
    patches = torch.nn.functional.pad(patches, (0, 0, 0, 1))
    return {"patches": patches, "patch_coord": to_device(places, weight.device),
            "patch_valid": to_device(valid, weight.device)}


def features(model, tokens: Tokens, *, position_mode: PositionMode = "center", copy: bool = False) -> dict:
    """The output of `model.forward_features`, without the row that says how large the grid is.

    Args: as `inputs` takes them.

    Returns:
        patches: (B, R + K, D), class and register tokens first; patch_valid: (B, K) bool. It is what
        `model.forward_head(**...)` takes.

    Raises: as `inputs` does.
    """
    made = model.forward_features(**inputs(model, tokens, position_mode=position_mode, copy=copy))
    return {"patches": made["patches"][:, :-1], "patch_valid": made["patch_valid"][:, :-1]}
