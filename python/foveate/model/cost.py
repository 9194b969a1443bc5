# SPDX-License-Identifier: Apache-2.0
"""What tokens cost: operations of a vision tower and of a prompt, by their number. A multiplication and the addition
behind it are two operations; norms, activations and rotations, a few in a thousand, are left out.
"""

import math
from dataclasses import dataclass

from ..error import require, whole


@dataclass(frozen=True)
class Tower:
    """A vision transformer whose tokens are merge x merge patches.

    Attributes:
        depth, width, wide: layers; numbers a patch has; numbers inside a layer's MLP.
        gates: matrices of that MLP, 2, or 3 with a gate.
        inputs: numbers of a patch that goes in.
        merge, out: patches of a token's edge, and numbers of a token that comes out.
        full: layers in which every patch attends to every other.
        window: patches of a window, for the other layers; 0 where there are none.
        taps: mergers beside the last one (deepstack).
    """

    depth: int
    width: int
    wide: int
    gates: int
    inputs: int
    merge: int
    out: int
    full: int
    window: int = 0
    taps: int = 0


@dataclass(frozen=True)
class Language:
    """A decoder: layers, widths of its rows, its MLP, its queries and its keys, and its vocabulary."""

    depth: int
    width: int
    wide: int
    queries: int
    keys: int
    vocabulary: int


def tower_of(config) -> Tower:
    """Of a Qwen2-VL, Qwen2.5-VL or Qwen3-VL configuration of transformers."""
    kind, vision = getattr(config, "model_type", type(config).__name__), getattr(config, "vision_config", None)
    require(kind in ("qwen2_vl", "qwen2_5_vl", "qwen3_vl"), "model: cost", kind,
            "the configuration of qwen2_vl, qwen2_5_vl or qwen3_vl")
    inputs = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
    shared = {"depth": vision.depth, "inputs": inputs, "merge": vision.spatial_merge_size}
    if kind == "qwen2_vl":      # its "hidden_size" is the language model's
        return Tower(width=vision.embed_dim, wide=int(vision.embed_dim * vision.mlp_ratio), gates=2,
                     out=vision.hidden_size, full=vision.depth, **shared)
    wide, out = vision.intermediate_size, vision.out_hidden_size
    if kind == "qwen3_vl":
        return Tower(width=vision.hidden_size, wide=wide, gates=2, out=out, full=vision.depth,
                     taps=len(vision.deepstack_visual_indexes), **shared)
    return Tower(width=vision.hidden_size, wide=wide, gates=3, out=out, full=len(vision.fullatt_block_indexes),
                 window=(vision.window_size // vision.patch_size)**2, **shared)


def language_of(config) -> Language:
    """Of the language model in such a configuration."""
    text = config.text_config
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return Language(text.num_hidden_layers, text.hidden_size, text.intermediate_size, head * text.num_attention_heads,
                    head * text.num_key_value_heads, text.vocab_size)


def tower_flops(tower: Tower, tokens: int) -> int:
    """Operations for one image of so many tokens; windows are taken as full.

    >>> from foveate.model.cost import Tower, tower_flops
    >>> base = Tower(depth=12, width=768, wide=2048, gates=3, inputs=1176, merge=2, out=2048, full=4, window=64)
    >>> round(tower_flops(base, 4096) / tower_flops(base, 273), 1)
    29.5
    """
    patches = whole("model: tokens", tokens, 1, 1 << 20) * tower.merge**2
    linear = patches * tower.width * (4 * tower.width + tower.gates * tower.wide)
    seen = tower.full * patches + (tower.depth - tower.full) * min(tower.window, patches)
    packed = tower.width * tower.merge**2
    merger = (1 + tower.taps) * tokens * packed * (packed + tower.out)
    return 2 * (patches * tower.inputs * tower.width + tower.depth * linear + 2 * patches * seen * tower.width + merger)


def prefill_flops(language: Language, length: int) -> int:
    """Operations for a prompt of so many tokens, up to the first answer. Attention is half of the square, as kernels do
    it.
    """
    length = whole("model: length", length, 1, 1 << 24)
    layer = 2 * language.width * (language.queries + language.keys) + 3 * language.width * language.wide
    seen = length * (length + 1) * language.queries         # scores and sums, each over half
    return 2 * (language.depth * (length * layer + seen) + language.width * language.vocabulary)


def gain(shares: dict[str, tuple[float, float]]) -> float:
    """End to end (Amdahl's law): all of before over all of after.

    Args:
        shares: part -> (before, after), in any one unit.

    >>> from foveate.model.cost import gain
    >>> gain({"tower": (60, 2), "prefill": (30, 8), "answer": (10, 10)})
    5.0
    """
    before, after = (math.fsum(part[i] for part in shares.values()) for i in (0, 1))
    require(before > 0 and after > 0, "model: gain", f"{before} and {after}", "times above 0")
    return before / after
