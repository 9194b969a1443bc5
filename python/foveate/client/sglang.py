# SPDX-License-Identifier: Apache-2.0
"""Embeddings, or patches, as SGLang's engine takes them beside `input_ids`.

Preserves: what the grid does: SGLang derives M-RoPE positions from `image_grid_thw`. `precomputed_embedding` has been
through a tower here, with every token at its own place; of `processor_output` the server's tower sees the grid, too.
"""

from ..error import require
from ..model.framework import need
from ..tensor import Tokens
from .arrange import Grid, arrange
from .embeds import Embeds


def precomputed_embedding(embeds: Embeds) -> dict:
    """The one item of `image_data=[...]`, of all images of a request: SGLang takes no second one.

    Args:
        embeds: from `foveate.client.embeds.embeds`.

    Returns:
        {"format": "precomputed_embedding", "feature": (N of all images, D), "image_grid_thw": (B, 3)}, tensors.
        `input_ids` have N placeholders of each image, as `foveate.model.qwen.expand` makes them.
    """
    require(isinstance(embeds, Embeds), "client: embeds", type(embeds).__name__, "Embeds",
            "foveate.client.embeds.embeds makes them.")
    return {"format": "precomputed_embedding", "feature": need("torch").cat(embeds.features),
            "image_grid_thw": embeds.grid_thw}


def processor_output(tokens: Tokens, *, grid: Grid = "auto", gaze=None, shape=None) -> tuple[dict, str]:
    """The same of patches that the server's own tower is to encode.

    Args:
        tokens: of model="qwen2-vl", "qwen2.5-vl" or "qwen3-vl", in host memory. Rows that are not valid are left out.
        grid, gaze, shape: see `foveate.client.arrange.arrange`.

    Returns:
        ({"format": "processor_output", "pixel_values": (patches of all images, C * T * P * P), "image_grid_thw":
        (B, 3)}, and what that preserves: a word of `foveate.client.PRESERVES`).

    Raises:
        InputError: tokens of another form, or such that cannot be arranged so.
    """
    placed = arrange(tokens, grid, gaze=gaze, shape=shape)
    torch, preset = need("torch"), tokens.preset
    require(preset.form == "packed", "client: tokens", preset.name, 'model="qwen2-vl", "qwen2.5-vl" or "qwen3-vl"')
    images, count = tokens.valid.shape
    patches = tokens.torch().reshape(images, count, preset.merge**2, -1)
    rows = [patches[index][torch.from_numpy(order)].flatten(0, 1) for index, order in enumerate(placed.order)]
    thw = [[1, preset.merge * high, preset.merge * wide] for high, wide in placed.shape]
    item = {"format": "processor_output", "pixel_values": torch.cat(rows), "image_grid_thw": torch.tensor(thw)}
    return item, placed.preserves
