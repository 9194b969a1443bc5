# SPDX-License-Identifier: Apache-2.0
"""Tokens into models that cut an image themselves: ViT, CLIP, SigLIP and DINO of transformers.

The stock models take whole images, and have positions for rasters alone. So their own parts are called one after the
other: patch projection, prefix, layers, norms and head; the model is not changed. The learned table of ViT, CLIP,
SigLIP and DINOv2 is read where each token lies; DINOv3 has a rotary embedding, which takes fractions as it is.
"""

import math

import numpy as np

from ..error import require
from ..tensor import Tokens
from .fit import fit
from .framework import need
from .positions import PositionMode
from .positions import positions as locate
from .table import Kernel, taps
from .tensors import patches_of, read_table, to_device

torch, _ = need("torch", "transformers")
KINDS = ("vit", "clip_vision_model", "siglip_vision_model", "dinov2", "dinov2_with_registers", "dinov3_vit")


def _tower(model):
    tower = model if hasattr(model, "embeddings") else getattr(model, "base_model", model)
    tower = getattr(tower, "vision_model", tower)
    kind = getattr(getattr(tower, "config", None), "model_type", type(model).__name__)
    require(kind in KINDS, "model: class", kind, "ViT, CLIP, SigLIP, DINOv2 or DINOv3 of transformers")
    return tower, kind


def _parts(tower):
    """(patch projection, rows before the patches with their positions, table or None) of a tower's embeddings."""
    own = tower.embeddings
    project = getattr(own, "patch_embedding", None) or own.patch_embeddings
    project = getattr(project, "projection", project)
    if hasattr(own, "position_embeddings"):     # ViT, DINOv2: one parameter, its first row for the class token
        table = own.position_embeddings[0]
        before = [own.cls_token[0] + table[:1], *own.register_tokens] if hasattr(own, "register_tokens") else [
            own.cls_token[0] + table[:1]]
        return project, torch.cat(before), table[1:]
    if hasattr(own, "class_embedding"):         # CLIP
        table = own.position_embedding.weight
        return project, own.class_embedding[None] + table[:1], table[1:]
    if hasattr(own, "position_embedding"):      # SigLIP, which has no class token
        table = own.position_embedding.weight
        return project, table[:0], table
    return project, torch.cat([own.cls_token[0], *own.register_tokens]), None


def vision(tokens: Tokens, model, *, kernel: Kernel | None = None, position_mode: PositionMode = "center",
           copy: bool = False) -> dict:
    """What the first layer of the model takes, and where in it the tokens are.

    Args:
        tokens: of model="vit16" for patches of 16 px, or made by hand with the model's patch, mean and std.
        model: ViT, CLIP, SigLIP, DINOv2 (with registers too) or DINOv3 of transformers, with any head or none.
        kernel: how the table is read between its entries; None: as the model's own interpolation does, "bicubic".
        position_mode: "center" or "grid", see `foveate.model.positions.positions`.
        copy: patches may be copied to the model's device; otherwise that is an error where it is another one.

    Returns:
        inputs_embeds: (B, R + K, D), R rows for class and register tokens; valid: (B, K) bool, NumPy; and for DINOv3
        position_embeddings: two of (B, 1, K, D / heads), else None.

    Raises:
        InputError: another kind of model, tokens cut for another one, patches on another device.
    """
    tower, kind = _tower(model)
    project, before, table = _parts(tower)
    weight = project.weight
    fit(tokens, f'patch={weight.shape[-1]}, or model="vit16", and the mean and std of its processor',
        patch=weight.shape[-1], merge=1, frames=1, channels="first", depth=weight.shape[1])
    found = locate(tokens, position_mode=position_mode)
    images, rows = found.valid.shape
    patches = patches_of(tokens, weight.device, copy).reshape(-1, *weight.shape[1:]).to(weight.dtype)
    made, rope = project(patches).view(images, rows, -1), None     # rounds as it does in a whole image
    if table is None:
        rope = _rope(tower, found, made)
    else:
        read = taps(found.patches, found.grid, math.isqrt(len(table)), kernel=kernel or "bicubic",
                    antialias=kind == "dinov2_with_registers")
        made = made + read_table(table, read).view(images, rows, -1)
    made = torch.cat([before.expand(images, -1, -1), made], 1)
    return {"inputs_embeds": made, "valid": found.valid, "position_embeddings": rope}


def _rope(tower, found, like):
    """As the model's own, of middles from -1 to 1 over the image. What training adds at random is left out."""
    own = tower.rope_embeddings
    middles = 2 * (found.patches + np.float32(0.5)) / found.grid[:, None].astype(np.float32) - 1
    angles = 2 * math.pi * to_device(middles, own.inv_freq.device)[..., None] * own.inv_freq
    angles = angles.flatten(2).tile(2)[:, None]
    return angles.cos().to(like.dtype), angles.sin().to(like.dtype)


def features(model, tokens: Tokens, *, kernel: Kernel | None = None, position_mode: PositionMode = "center",
             copy: bool = False):
    """The output of the model without its last head, as it has it for an image.

    Args: as `vision` takes them.

    Returns:
        BaseModelOutputWithPooling: last_hidden_state (B, R + K, D), class and register tokens first; pooler_output
        (B, D), or None where the model has no pooler. Rows that are not valid are left out, and 0.

    Raises: as `vision` does.
    """
    from transformers.modeling_outputs import BaseModelOutputWithPooling

    tower, kind = _tower(model)
    given = vision(tokens, model, kernel=kernel, position_mode=position_mode, copy=copy)
    rows, valid, rope = given["inputs_embeds"], given["valid"], given["position_embeddings"]
    if valid.all():
        made, pooled = _run(tower, kind, rows, rope)
        return BaseModelOutputWithPooling(last_hidden_state=made, pooler_output=pooled)
    before, counts = rows.shape[1] - valid.shape[1], valid.sum(1)
    whole, pools = None, None
    for count in np.unique(counts):     # images with equally many valid rows are one batch
        images = np.flatnonzero(counts == count)
        keep = np.nonzero(valid[images])[1].reshape(len(images), count)
        some, at = to_device(images, rows.device)[:, None], to_device(keep, rows.device)
        index = torch.cat([torch.arange(before, device=rows.device).expand(len(images), -1), at + before], 1)
        turn = rope and tuple(part[some, 0, at][:, None] for part in rope)
        made, pooled = _run(tower, kind, rows[some, index], turn)
        whole = made.new_zeros(rows.shape) if whole is None else whole
        whole[some, index] = made
        if pooled is not None:
            pools = pooled.new_zeros(len(valid), pooled.shape[-1]) if pools is None else pools
            pools[some[:, 0]] = pooled
    return BaseModelOutputWithPooling(last_hidden_state=whole, pooler_output=pools)


def _run(tower, kind, rows, rope):
    """(last hidden state, pooled or None) by the tower's own layers."""
    if kind == "vit":
        for layer in tower.layers:
            rows = layer(rows, None)
        rows = tower.layernorm(rows)
        return rows, None if tower.pooler is None else tower.pooler(rows)
    if kind == "clip_vision_model":
        rows = tower.encoder(inputs_embeds=tower.pre_layrnorm(rows)).last_hidden_state
        return rows, tower.post_layernorm(rows[:, 0])
    if kind == "siglip_vision_model":
        rows = tower.post_layernorm(tower.encoder(inputs_embeds=rows).last_hidden_state)
        return rows, tower.head(rows) if tower.use_head else None
    if kind == "dinov3_vit":
        rows = tower.norm(tower.model(rows, position_embeddings=rope).last_hidden_state)
    else:
        rows = tower.layernorm(tower.encoder(rows).last_hidden_state)
    return rows, rows[:, 0]
