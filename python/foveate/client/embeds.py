# SPDX-License-Identifier: Apache-2.0
"""Embeddings of tokens, as a vision tower in this process has made them, in the order of a server's grid.

Preserves: what the grid does, "raster", "rings", "ranks" or "order"; see `foveate.client.arrange`. The tower itself has
had every token at its own place.
"""

from dataclasses import dataclass
from typing import Any

from ..error import choice, require
from ..model.framework import need
from ..tensor import Tokens
from .arrange import Grid, arrange

DTYPES = ("float32", "float16", "bfloat16")


@dataclass(frozen=True)
class Embeds:
    """Embeddings for a server.

    Attributes:
        features: for each image a tensor (N, D) in host memory; of Qwen3-VL (N, D + levels * D), its deepstack
            features behind the others.
        grid_thw: (B, 3) int64 tensor, patches: [1, merge * rows, merge * columns]; N = rows * columns.
        merge: patches of a token's edge.
        preserves: a word of `foveate.client.PRESERVES`.
    """

    features: list[Any]
    grid_thw: Any
    merge: int
    preserves: str

    @property
    def counts(self) -> list[int]:
        """Tokens of each image: how many placeholders a prompt has for it."""
        return [len(rows) for rows in self.features]


def embeds(features, tokens: Tokens, *, grid: Grid = "auto", gaze=None, shape=None, dtype: str | None = None) -> Embeds:
    """Puts embeddings into the order of a grid.

    Args:
        features: what `foveate.model.qwen.features(model, tokens)` returns; or for each image (K, D).
        tokens: what they are of. Rows that are not valid are left out.
        grid, gaze, shape: see `foveate.client.arrange.arrange`.
        dtype: "float32", "float16" or "bfloat16"; None: the features' own. Servers convert to their model's.

    Returns:
        Embeds.

    Raises:
        InputError: features of other tokens, an option outside the above, tokens that cannot be arranged so.
    """
    torch = need("torch")
    if dtype is not None:
        choice("client: dtype", dtype, dict.fromkeys(DTYPES))
    placed = arrange(tokens, grid, gaze=gaze, shape=shape)
    images, count = tokens.valid.shape
    levels = [_rows(getattr(features, "pooler_output", features), images, count)]
    levels += [_rows(layer, images, count) for layer in getattr(features, "deepstack_features", None) or ()]
    made = []
    for index, order in enumerate(placed.order):
        rows = torch.cat([level[index] for level in levels], -1).detach()
        made.append(rows[torch.from_numpy(order).to(rows.device)].to("cpu", getattr(torch, dtype) if dtype else None))
    merge = tokens.preset.merge
    thw = torch.tensor([[1, merge * rows, merge * columns] for rows, columns in placed.shape])
    return Embeds(made, thw, merge, placed.preserves)


def _rows(values, images, count):
    """For each image (K, D), of one tensor for all of them or one for each."""
    parts = values
    if not isinstance(values, (list, tuple)):
        shape = tuple(getattr(values, "shape", ()))
        whole = len(shape) == 2 and shape[0] == images * count      # of all images, one after another
        parts = list(values.reshape(images, count, shape[1])) if whole else list(values) if len(shape) == 3 else []
    shapes = [tuple(getattr(part, "shape", ())) for part in parts]
    good = len(parts) == images and all(len(shape) == 2 and shape[0] == count for shape in shapes)
    require(good, "client: features", shapes or type(values).__name__, f"{images} of ({count}, D), as the tokens are")
    return parts
