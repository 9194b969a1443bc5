# SPDX-License-Identifier: Apache-2.0
"""model: what tokens cost, held to what torch counts while models run."""

from copy import deepcopy

import pytest
import tiny_models
import torch
from foveate.error import InputError
from foveate.model.cost import Language, Tower, gain, language_of, prefill_flops, tower_flops, tower_of


def counted(run):
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


@pytest.mark.parametrize("kind", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
def test_torch_counts_the_same(kind):
    """16 x 16 patches: four whole windows of 8 x 8."""
    model = deepcopy(tiny_models.qwen(kind))
    model.set_attn_implementation("eager")      # torch does not count what its fused kernel for the CPU does
    pixels = torch.randn(256, tower_of(model.config).inputs)
    grid = torch.tensor([[1, 16, 16]])
    own = counted(lambda: model.get_image_features(pixels, grid))
    assert tower_flops(tower_of(model.config), 64) == pytest.approx(own, rel=2e-3)
    ids = torch.full((1, 40), 7)
    language = language_of(model.config)
    prompt = counted(lambda: model(input_ids=ids, logits_to_keep=1))
    square = 2 * 2 * 40 * 40 * language.queries * language.depth    # which torch counts whole
    halved = 2 * 40 * 41 * language.queries * language.depth
    assert prefill_flops(language, 40) - halved + square == pytest.approx(prompt, rel=2e-3)


def test_by_hand():
    """One layer, one token of one patch: 2 * (in + 4 w^2 + 2 w m + 2 w + merger)."""
    tower = Tower(depth=1, width=2, wide=3, gates=2, inputs=5, merge=1, out=7, full=1)
    assert tower_flops(tower, 1) == 2 * (5 * 2 + 4 * 4 + 2 * 2 * 3 + 2 * 2 + 2 * (2 + 7))
    assert prefill_flops(Language(1, 2, 3, 4, 2, 11), 1) == 2 * (2 * 2 * (4 + 2) + 3 * 2 * 3 + 2 * 4 + 2 * 11)


def test_windows_are_linear_and_the_rest_is_square():
    tower = Tower(depth=2, width=8, wide=8, gates=2, inputs=1, merge=1, out=1, full=0, window=4)
    assert tower_flops(tower, 400) == 100 * tower_flops(tower, 4)
    whole = Tower(depth=2, width=8, wide=8, gates=2, inputs=1, merge=1, out=1, full=2)
    assert tower_flops(whole, 400) > 100 * tower_flops(whole, 4)


def test_gain_is_amdahls():
    assert gain({"a": (90, 9), "b": (10, 10)}) == pytest.approx(100 / 19)
    assert gain({"a": (1, 1)}) == 1


@pytest.mark.parametrize("call, text", [
    (lambda: tower_of(object()),
     "model: cost: got object, expected the configuration of qwen2_vl, qwen2_5_vl or qwen3_vl."),
    (lambda: tower_flops(Tower(1, 1, 1, 2, 1, 1, 1, 1), 0), "model: tokens: got 0, expected 1..1048576."),
    (lambda: prefill_flops(Language(1, 1, 1, 1, 1, 1), 0), "model: length: got 0, expected 1..16777216."),
    (lambda: gain({"a": (0, 1)}), "model: gain: got 0.0 and 1.0, expected times above 0."),
])
def test_errors(call, text):
    with pytest.raises(InputError) as error:
        call()
    assert str(error.value) == text
