# SPDX-License-Identifier: Apache-2.0
"""Tokens into Gemma 4 of transformers, each at its own place in its image.

Its vision tower takes patches at (x, y), but looks them up in tables by whole numbers, and pools 3 x 3 of them by where
they are on a raster. So its own parts are called one after the other, each token being the 3 x 3 patches of one pool;
the model is not changed. The language model counts tokens, and has no rows and columns.
"""

import numpy as np

from ..error import require
from ..tensor import Tokens
from .fit import fit
from .framework import need
from .positions import PositionMode
from .positions import positions as locate
from .prompt import expanded, placeholders
from .tensors import patches_of, read_table, to_device

torch, _ = need("torch", "transformers")


def _config(model):
    config = getattr(model, "config", model)
    kind = getattr(config, "model_type", type(model).__name__)
    require(kind == "gemma4", "model: class", kind, "gemma4", "Give the model itself, or its whole configuration.")
    return config


def features(model, tokens: Tokens, *, position_mode: PositionMode = "center", copy: bool = False):
    """The output of the vision tower, as `model.get_image_features` has it.

    Args:
        model: Gemma4ForConditionalGeneration, or its base model.
        tokens: of model="gemma4". Rows that are not valid are masked.
        position_mode: "center" or "grid", see `foveate.model.positions.positions`.
        copy: patches may be copied to the model's device; otherwise that is an error where it is another one.

    Returns:
        BaseModelOutputWithPooling: last_hidden_state (B, K, H) and pooler_output, for each image (K, D). Rows of tokens
        that are not valid are 0.

    Raises:
        InputError: another model, tokens cut for another one, patches on another device.
    """
    from transformers.modeling_outputs import BaseModelOutputWithPooling

    config, base = _config(model).vision_config, getattr(model, "model", model)
    tower = base.vision_tower
    side = config.pooling_kernel_size
    fit(tokens, 'model="gemma4"', patch=config.patch_size, merge=side, frames=1, channels="last", depth=3)
    found, own = locate(tokens, position_mode=position_mode), tower.patch_embedder
    require(found.valid.any(1).all(), "model: tokens", "an image with none that is valid", "1 or more an image")
    (images, rows), weight = found.valid.shape, own.input_proj.weight
    patches = patches_of(tokens, weight.device, copy).reshape(images, rows * side**2, -1)
    made = own.input_proj((2 * (patches - 0.5)).to(weight.dtype)) + _places(own.position_embedding_table, found)
    valid = to_device(found.valid.copy(), weight.device)
    made = tower.encoder(inputs_embeds=made, attention_mask=valid.repeat_interleave(side**2, 1),
                         pixel_position_ids=to_device(found.patches[..., ::-1].copy(), weight.device)).last_hidden_state
    made = made.view(images, rows, side**2, -1).float().mean(2).to(made.dtype)
    pooled = made.float() * tower.pooler.root_hidden_size
    if config.standardize:
        pooled = (pooled - tower.std_bias.float()) * tower.std_scale.float()
    pooled = pooled.to(weight.dtype)
    soft = base.embed_vision(inputs_embeds=pooled) * valid[..., None]
    return BaseModelOutputWithPooling(last_hidden_state=pooled * valid[..., None], pooler_output=soft.unbind(0))


def _places(tables, found):
    """Embeddings of x and y, each between two entries of its table."""
    last = found.grid[:, None].astype(np.float32) - 1
    at = np.clip(found.patches, 0, last)[..., ::-1].reshape(-1, 2).T      # x, y
    low = np.floor(at)
    entry, part, used = low.astype(np.int64), at - low, int(found.grid.max())
    require(used <= tables.shape[1], "model: grid", f"{used} patches a side", f"at most {tables.shape[1]}",
            "Make the image smaller.")
    entry = np.stack([entry, np.minimum(entry + 1, used - 1)])
    entry[:, 1] += used
    made = read_table(tables[:, :used].flatten(0, 1), (entry.reshape(4, -1),
                                                       np.stack([1 - part, part]).reshape(4, -1)))
    return made.view(*found.patches.shape[:2], -1)


def expand(input_ids, tokens: Tokens | None, model, attention_mask=None, *, video: Tokens | None = None,
           pad: int = 0) -> dict:
    """Repeats the placeholder of each image, and of each frame; see `foveate.model.qwen.expand`."""
    return expanded(input_ids, tokens, video, _config(model), attention_mask, pad)


def inputs(model, tokens: Tokens | None, input_ids, attention_mask=None, *, video: Tokens | None = None,
           position_mode: PositionMode = "center", copy: bool = False) -> dict:
    """What `model.generate(**...)` and `model(**...)` take.

    Args:
        model: Gemma4ForConditionalGeneration, or its base model.
        tokens: of the images in the prompts, in the order of their placeholders; None: no images.
        input_ids: (B, S) with one placeholder for each token, see `expand`.
        attention_mask: (B, S), 0 for padding of the prompts; None: no padding.
        video: frames, in the order of their placeholders.
        position_mode, copy: see `features`.

    Returns:
        input_ids, attention_mask, position_ids, mm_token_type_ids and mm_encoder_outputs. The mask hides tokens that
        are not valid, and positions do not count them.

    Raises:
        InputError: as `features` does; placeholders that are not those of the tokens.
    """
    config, ids = _config(model), input_ids.cpu().numpy()
    mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
    kinds, made = torch.zeros_like(input_ids), {}
    for number, (kind, value) in enumerate((("image", tokens), ("video", video)), 1):
        placeholders(ids, kind, (0, 1) if value is None else value.valid.shape, config)
        if value is not None:
            here = input_ids == getattr(config, f"{kind}_token_id")
            kinds = kinds.masked_fill(here, number)
            made[kind] = features(model, value, position_mode=position_mode, copy=copy)
            mask = mask.masked_scatter(here, torch.from_numpy(value.valid.copy()).to(mask))
    return {"input_ids": input_ids, "attention_mask": mask, "position_ids": (mask.cumsum(1) - 1).clamp(min=0),
            "mm_token_type_ids": kinds, "mm_encoder_outputs": made}
