# SPDX-License-Identifier: Apache-2.0
"""Tokens into Qwen2-VL, Qwen2.5-VL and Qwen3-VL of transformers, each at its own place in its image.

The vision tower takes what it would derive from a grid as arguments: positions for its rotary embedding, windows,
and where its learned table is read. The language model takes positions of three axes. Both read fractions.
"""

from typing import NamedTuple

import numpy as np

from ..error import require
from ..tensor import Tokens
from .fit import fit, square
from .framework import need
from .mrope import mrope
from .positions import PositionMode, Positions
from .positions import positions as locate
from .prompt import expanded
from .table import taps
from .tensors import patches_of, to_device

torch, _ = need("torch", "transformers")
PRESETS = {"qwen2_vl": "qwen2-vl", "qwen2_5_vl": "qwen2.5-vl", "qwen3_vl": "qwen3-vl", "qwen3_vl_moe": "qwen3-vl"}


class _Source(NamedTuple):
    tokens: Tokens
    found: Positions
    config: object      # of the whole model


def _config(model):
    config = getattr(model, "config", model)
    kind = getattr(config, "model_type", type(model).__name__)
    require(kind in PRESETS, "model: class", kind, "qwen2_vl, qwen2_5_vl, qwen3_vl or qwen3_vl_moe",
            "Give the model itself, or its whole configuration.")
    return config


def _source(tokens, model, position_mode):
    config = _config(model)
    vision = config.vision_config
    fit(tokens, f'model="{PRESETS[config.model_type]}", or by hand alike', patch=square(vision.patch_size),
        merge=vision.spatial_merge_size, frames=square(vision.temporal_patch_size), channels="first",
        depth=vision.in_channels)
    found = locate(tokens, position_mode=position_mode)
    require(found.valid.any(1).all(), "model: tokens", "an image with none that is valid", "1 or more an image")
    return _Source(tokens, found, config)


def vision(tokens: Tokens, model, *, position_mode: PositionMode = "center", copy: bool = False) -> dict:
    """What `model.get_image_features(**...)` takes.

    Args:
        tokens: of model="qwen2-vl", "qwen2.5-vl" or "qwen3-vl", or made by hand alike. Rows that are not valid are
            left out.
        model: Qwen2VL-, Qwen2_5_VL- or Qwen3VLForConditionalGeneration, their base model, or its configuration.
        position_mode: "center" or "grid", see `foveate.model.positions.positions`.
        copy: patches may be copied to the model's device; otherwise that is an error where it is another one.

    Returns:
        Of N patches in all, 4 to a token:
        pixel_values: (N, C * T * P * P); image_grid_thw: (B, 3), [1, merge, N_b / merge] for each image, which tells
        no more than how many there are; position_ids: (N, 2) float32; cu_seqlens: (B + 1,) int32; for Qwen2.5-VL
        window_index (N / 4,) and cu_window_seqlens; for Qwen3-VL interp_indices and interp_weights (N, 4).

    Raises:
        InputError: another kind of model, tokens cut for another one, patches on another device.
    """
    return _vision(model, _source(tokens, model, position_mode), copy)


def _vision(model, source, copy):
    tokens, found, config = source
    merge, images = tokens.preset.merge, len(found.valid)
    tower = getattr(getattr(model, "model", model), "visual", None)     # a configuration has none
    pixels = patches_of(tokens, tower and next(tower.parameters()).device, copy)
    pixels = pixels.reshape(images * found.patches.shape[1], -1)
    by_patch = {"position_ids": found.patches.reshape(-1, 2)}
    if config.model_type in ("qwen3_vl", "qwen3_vl_moe"):
        side = int(config.vision_config.num_position_embeddings**0.5)
        read = taps(found.patches, found.grid, side, corners=True)
        by_patch["interp_indices"], by_patch["interp_weights"] = (value.T for value in read)
    if not found.valid.all():
        keep = np.flatnonzero(np.repeat(found.valid.reshape(-1), merge**2))
        by_patch = {name: value[keep] for name, value in by_patch.items()}
        pixels = pixels[to_device(keep, pixels.device)]
    counts = found.valid.sum(1) * merge**2
    thw = np.stack([np.ones_like(counts), np.full_like(counts, merge), counts // merge], 1)
    made = {"image_grid_thw": thw, "cu_seqlens": _ends(counts), **by_patch}
    if config.model_type == "qwen2_5_vl":
        made["window_index"], made["cu_window_seqlens"] = _windows(found, config.vision_config)
    return {"pixel_values": pixels, **{name: to_device(value, pixels.device) for name, value in made.items()}}


def _ends(counts):
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)


def _windows(found, vision):
    """Which tokens attend to each other: those whose middles are in the same window of the full grid."""
    merge = vision.spatial_merge_size
    edge = vision.window_size // merge // square(vision.patch_size)
    most = -(-(found.grid // merge) // edge)
    window = np.floor((found.tokens + np.float32(0.5)) / edge).astype(np.int64)
    window = np.clip(window, 0, most[:, None] - 1)
    rows, columns = most.max(0)
    image = np.arange(len(most))[:, None]
    key = ((image * rows + window[..., 0]) * columns + window[..., 1])[found.valid]
    order = np.argsort(key, kind="stable")
    key = key[order]
    counts = np.diff(np.concatenate([[0], np.flatnonzero(np.diff(key)) + 1, [len(key)]]))
    return order, _ends(counts * merge**2)


def features(model, tokens: Tokens, *, position_mode: PositionMode = "center", copy: bool = False):
    """The output of the vision tower, as `model.get_image_features` has it.

    Args: as `vision` takes them.

    Returns:
        The model's own output: pooler_output, for each image (K, D), and for Qwen3-VL deepstack_features. Rows of
        tokens that are not valid are 0.

    Raises: as `vision` does.
    """
    return _features(model, _source(tokens, model, position_mode), copy)


def _features(model, source, copy):
    made = model.get_image_features(**_vision(model, source, copy))
    valid = source.found.valid
    if not valid.all():
        rows = to_device(np.flatnonzero(valid.reshape(-1)), made.pooler_output[0].device)
        made.pooler_output = _spread(made.pooler_output, rows, valid.shape)
        if getattr(made, "deepstack_features", None) is not None:
            made.deepstack_features = [_spread(layer, rows, valid.shape) for layer in made.deepstack_features]
    return made


def _spread(parts, rows, shape):
    some = torch.cat(list(parts))
    full = some.new_zeros(shape[0] * shape[1], some.shape[1])
    return full.index_copy(0, rows, some).view(*shape, -1).unbind(0)


def positions(input_ids, tokens: Tokens | None, model, attention_mask=None, *, video: Tokens | None = None,
              seconds=1.0, position_mode: PositionMode = "center"):
    """Positions for the language model: of text whole, of tokens where they lie; text goes on as after a full grid.

    Args:
        input_ids: (B, S) with one placeholder for each token, see `expand`.
        tokens: of the images in the prompts, in the order of their placeholders; None: no images.
        model: the model, or its whole configuration.
        attention_mask: (B, S), 0 for padding of the prompts; None: no padding.
        video: frames, in the order of their placeholders. In Qwen2-VL and Qwen2.5-VL frames whose placeholders
            follow each other are one video; in Qwen3-VL the text between them has their times.
        seconds: from frame to frame, or a list of the time of each frame; only Qwen2.5-VL counts in it.
        position_mode: "center" or "grid", see `foveate.model.positions.positions`.

    Returns:
        (3, B, S): time, row, column; float32 for "center", int64 for "grid". A token over its image's edge has the
        position of the edge.

    Raises:
        InputError: placeholders that are not those of the tokens.
    """
    config = _config(model)
    given = {"image": tokens, "video": video}
    sources = {kind: _source(value, config, position_mode) for kind, value in given.items() if value is not None}
    return _positions(input_ids, sources, config, attention_mask, seconds, position_mode)


def _positions(input_ids, sources, config, attention_mask, seconds, position_mode):
    placed = mrope(input_ids.cpu().numpy(), {kind: source.found for kind, source in sources.items()}, config,
                   None if attention_mask is None else attention_mask.cpu().numpy(), seconds)
    if position_mode == "grid":
        placed = placed.astype(np.int64)
    return torch.from_numpy(placed).to(input_ids.device)


def expand(input_ids, tokens: Tokens | None, model, attention_mask=None, *, video: Tokens | None = None,
           pad: int = 0) -> dict:
    """Repeats the placeholder of each image, and of each frame, so that there is one for each of its K tokens.

    Args:
        input_ids: (B, S), or a list of lists of any length, with one placeholder an image or frame.
        tokens, video: whose K; None: none of them.
        model: the model, or its whole configuration.
        attention_mask: (B, S); None: no padding. Of lists there is none.
        pad: the id that fills shorter prompts up, on their left.

    Returns:
        input_ids and attention_mask: (B, S').

    Raises:
        InputError: placeholders that are not one for each image and frame.
    """
    return expanded(input_ids, tokens, video, _config(model), attention_mask, pad)


def inputs(model, tokens: Tokens | None, input_ids, attention_mask=None, *, video: Tokens | None = None,
           seconds=1.0, position_mode: PositionMode = "center", copy: bool = False) -> dict:
    """What `model.generate(**...)` and `model(**...)` take.

    Args:
        model: Qwen2VL-, Qwen2_5_VL- or Qwen3VLForConditionalGeneration, or their base model.
        copy: see `vision`.
        The others are explained at `positions`.

    Returns:
        input_ids, attention_mask, position_ids and mm_encoder_outputs. The mask hides tokens that are not valid.

    Raises:
        InputError: as `vision` and `positions` do.
    """
    config = _config(model)
    given = {"image": tokens, "video": video}
    sources = {kind: _source(value, config, position_mode) for kind, value in given.items() if value is not None}
    placed = _positions(input_ids, sources, config, attention_mask, seconds, position_mode)
    mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
    for kind, source in sources.items():
        if not source.found.valid.all():
            valid = torch.from_numpy(source.found.valid).to(input_ids.device)
            here = input_ids == getattr(config, f"{kind}_token_id")
            mask = mask.masked_scatter(here, valid.to(mask.dtype))
    return {"input_ids": input_ids, "attention_mask": mask, "position_ids": placed,
            "mm_encoder_outputs": {kind: _features(model, source, copy) for kind, source in sources.items()}}
