# SPDX-License-Identifier: Apache-2.0
"""model: SigLIP 2 NaFlex, against the stock model with random weights."""

import copy

import foveate
import numpy as np
import pytest
import torch
from foveate.error import InputError
from foveate.model import siglip2
from foveate.tensor import Tokens
from foveate.types import Given
from tiny_models import encoder, seeded

ENGINE = foveate.Engine(backend="cpu")
NOISE = np.random.default_rng(0).integers(0, 256, (400, 500, 3), np.uint8)


def stock(model, tokens, rows, columns):
    images = len(tokens.table)
    return model(pixel_values=tokens.torch(), spatial_shapes=torch.tensor([[rows, columns]] * images),
                 pixel_attention_mask=torch.ones(images, rows * columns, dtype=torch.long))


def rows_of(tokens, rows):
    return Tokens(foveate.Array(Given(tokens.numpy()[:, rows])), tokens.table[:, rows].copy(), tokens.preset,
                  tokens.sizes)


def whole_model():
    import transformers

    parts = {"hidden_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 64}
    return seeded(transformers.Siglip2Model, transformers.Siglip2Config(
        vision_config={**parts, "patch_size": 16, "num_patches": 36},
        text_config={**parts, "vocab_size": 99, "max_position_embeddings": 8}))


# Facts

@pytest.mark.parametrize("rows, columns", [(6, 6), (9, 8), (4, 5), (1, 13)])
@pytest.mark.parametrize("mode", ["center", "grid"])
def test_at_full_resolution_it_is_the_stock_model(rows, columns, mode):
    """Grids as large as the table, larger, and smaller, where the stock model widens its kernel."""
    model = encoder("siglip2")
    images = [NOISE[:rows * 16, :columns * 16], NOISE[-rows * 16:, -columns * 16:]]
    tokens = ENGINE.tokens(images, model="siglip2", grid=(rows, columns))
    expected, found = stock(model, tokens, rows, columns), siglip2.features(model, tokens, position_mode=mode)
    for a, b in ((expected.last_hidden_state, found.last_hidden_state), (expected.pooler_output, found.pooler_output)):
        assert (a - b).abs().max() <= 1e-6 * a.abs().max()
    assert (rows, columns) != (6, 6) or torch.equal(expected.pooler_output, found.pooler_output)


def test_the_vision_half_of_the_whole_model():
    model = whole_model()
    tokens = ENGINE.tokens(NOISE[:96, :112], model="siglip2", grid=(6, 7))
    expected = model.get_image_features(pixel_values=tokens.torch(), spatial_shapes=torch.tensor([[6, 7]]),
                                        pixel_attention_mask=torch.ones(1, 42, dtype=torch.long)).pooler_output
    assert torch.allclose(siglip2.features(model, tokens).pooler_output, expected, atol=3e-6, rtol=0)


def test_tokens_in_another_order_are_features_in_that_order():
    tokens = ENGINE.tokens(NOISE, model="siglip2", budget=60, gaze=(0.3, 0.3))
    order = np.random.default_rng(1).permutation(60)
    model = encoder("siglip2")
    straight, mixed = siglip2.features(model, tokens), siglip2.features(model, rows_of(tokens, order))
    assert torch.allclose(straight.last_hidden_state[:, order], mixed.last_hidden_state, atol=1e-5, rtol=0)
    assert torch.allclose(straight.pooler_output, mixed.pooler_output, atol=1e-5, rtol=0)


def test_positions_matter_and_the_model_is_as_it_was():
    model = encoder("siglip2")
    before = copy.deepcopy(model.state_dict())
    tokens = ENGINE.tokens(NOISE, model="siglip2", budget=60, gaze=(0.3, 0.3))
    moved = Tokens(tokens.patches, tokens.table[:, ::-1].copy(), tokens.preset, tokens.sizes)
    a, b = (siglip2.features(model, value).pooler_output for value in (tokens, moved))
    assert (a - b).abs().max() > 0.1
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert "resize_positional_embeddings" not in vars(model.embeddings)


def test_padding_has_no_influence():
    model = encoder("siglip2")
    tokens = ENGINE.tokens([NOISE, NOISE[::-1]], model="siglip2", layout="rings", gaze=[[(0.02, 0.5)], [(0.5, 0.5)]])
    assert not tokens.valid[0].all()
    found = siglip2.features(model, tokens)
    for image in (0, 1):
        keep = np.flatnonzero(tokens.valid[image])
        alone = Tokens(foveate.Array(Given(tokens.numpy()[image:image + 1, keep])), tokens.table[image:image + 1, keep],
                       tokens.preset, tokens.sizes[image:image + 1])
        less = siglip2.features(model, alone)
        assert torch.allclose(found.last_hidden_state[image, keep], less.last_hidden_state[0], atol=1e-5, rtol=0)
        assert torch.allclose(found.pooler_output[image], less.pooler_output[0], atol=1e-5, rtol=0)


def test_without_a_head_and_in_bfloat16():
    model = copy.deepcopy(encoder("siglip2")).to(torch.bfloat16)
    model.use_head = False
    found = siglip2.features(model, ENGINE.tokens(NOISE, model="siglip2", budget=20, dtype="bfloat16"))
    assert found.pooler_output is None and found.last_hidden_state.dtype == torch.bfloat16


# Errors

def test_another_model():
    tokens = ENGINE.tokens(NOISE, model="siglip2", budget=4)
    for model, kind in ((encoder("siglip"), "siglip_vision_model"), (torch.nn.Identity(), "Identity")):
        with pytest.raises(InputError, match=rf"model: class: got {kind}, expected Siglip2Model or Siglip2VisionModel"):
            siglip2.features(model, tokens)


def test_tokens_that_were_cut_for_another_model():
    with pytest.raises(InputError, match=r"model: preset: got channels first, expected channels last, as the model "
                                         r'has\. Make them with model="siglip2", or by hand alike\.'):
        siglip2.features(encoder("siglip2"), ENGINE.tokens(NOISE, model="vit16", budget=4))


def test_copies_to_another_device_are_asked_for():
    tokens, away = ENGINE.tokens(NOISE, model="siglip2", budget=4), copy.deepcopy(encoder("siglip2")).to("meta")
    with pytest.raises(InputError, match=r"model: tokens: got patches on cpu, expected the model's meta\."):
        siglip2.features(away, tokens)
    assert siglip2.vision(tokens, away, copy=True)["inputs_embeds"].device.type == "meta"
