# SPDX-License-Identifier: Apache-2.0
"""Tokens into SigLIP 2 NaFlex of transformers, with its learned table read where each token lies.

The stock model has positions for whole rasters alone. So its own parts are called one after the other: the patch
embedding, the encoder, the norm and the head; the model is not changed.
"""

from ..error import require
from ..tensor import Tokens
from .fit import fit
from .framework import need
from .positions import PositionMode
from .positions import positions as locate
from .table import taps
from .tensors import patches_of, read_table, to_device

need("torch", "transformers")


def _tower(model):
    tower = getattr(model, "vision_model", model)
    kind = getattr(getattr(tower, "config", None), "model_type", type(model).__name__)
    require(kind == "siglip2_vision_model", "model: class", kind, "Siglip2Model or Siglip2VisionModel")
    return tower


def vision(tokens: Tokens, model, *, position_mode: PositionMode = "center", copy: bool = False) -> dict:
    """What the encoder of the vision model takes.

    Args:
        tokens: of model="siglip2", or made by hand alike.
        model: Siglip2VisionModel, or a model that has one as vision_model.
        position_mode: "center" or "grid", see `foveate.model.positions.positions`.
        copy: patches may be copied to the model's device; otherwise that is an error where it is another one.

    Returns:
        inputs_embeds: (B, K, D); valid: (B, K) bool, False for padding.

    Raises:
        InputError: another kind of model, tokens cut for another one, patches on another device.
    """
    tower = _tower(model)
    embeddings, config = tower.embeddings, tower.config
    fit(tokens, 'model="siglip2", or by hand alike', patch=config.patch_size, merge=1, frames=1, channels="last",
        depth=config.num_channels)
    found, weight = locate(tokens, position_mode=position_mode), embeddings.patch_embedding.weight
    patches = patches_of(tokens, weight.device, copy).reshape(*found.valid.shape, -1)
    read = taps(found.patches, found.grid, embeddings.position_embedding_size, antialias=True)
    places = read_table(embeddings.position_embedding.weight, read)
    return {"inputs_embeds": embeddings.patch_embedding(patches.to(weight.dtype)) + places.view(*found.valid.shape, -1),
            "valid": to_device(found.valid.copy(), weight.device)}


def features(model, tokens: Tokens, *, position_mode: PositionMode = "center", copy: bool = False):
    """The output of the vision model, as the model itself has it for a raster.

    Args: as `vision` takes them.

    Returns:
        BaseModelOutputWithPooling: last_hidden_state (B, K, D), pooler_output (B, D) or None without a head. Padding
        has no influence on other rows.

    Raises: as `vision` does.
    """
    from transformers.masking_utils import create_bidirectional_mask
    from transformers.modeling_outputs import BaseModelOutputWithPooling

    tower, given = _tower(model), vision(tokens, model, position_mode=position_mode, copy=copy)
    mask = create_bidirectional_mask(config=tower.config, inputs_embeds=given["inputs_embeds"],
                                     attention_mask=given["valid"])
    made = tower.encoder(inputs_embeds=given["inputs_embeds"], attention_mask=mask).last_hidden_state
    made = tower.post_layernorm(made)
    pooled = tower.head(made, given["valid"]) if tower.use_head else None
    return BaseModelOutputWithPooling(last_hidden_state=made, pooler_output=pooled)
