# SPDX-License-Identifier: Apache-2.0
"""model: ViT, CLIP, SigLIP, DINOv2 and DINOv3 of transformers, against the stock models with random weights."""

import copy

import foveate
import numpy as np
import pytest
import torch
from foveate.error import InputError
from foveate.model import vit
from foveate.model.table import taps
from foveate.tensor import Tokens
from foveate.types import Given
from tiny_models import ENCODERS, encoder, seeded

ENGINE = foveate.Engine(backend="cpu")
NOISE = np.random.default_rng(0).integers(0, 256, (400, 500, 3), np.uint8)
EACH = pytest.mark.parametrize("kind", [kind for kind in ENCODERS if kind != "siglip2"])
BEFORE = {"vit": 1, "clip": 1, "siglip": 0, "dinov2": 1, "registers": 4, "dinov3": 4}


def folded(tokens, rows, columns):
    """The image that the patches of a raster make."""
    patches = tokens.torch().view(-1, rows, columns, 3, 16, 16)
    return patches.permute(0, 3, 1, 4, 2, 5).reshape(-1, 3, rows * 16, columns * 16)


def rows_of(tokens, rows, images=slice(None)):
    return Tokens(foveate.Array(Given(np.ascontiguousarray(tokens.numpy()[images][:, rows]))),
                  tokens.table[images][:, rows].copy(), tokens.preset, tokens.sizes[images])


def close(a, b, tolerance):
    return (a - b).abs().max() <= tolerance * a.abs().max()


# Literals

def test_taps():
    """At an entry that entry; half way between two, half of each; over the edge the edge."""
    where = np.array([[[0, 0], [1, 0.5], [-3, 9]]], np.float32)
    indices, weights = taps(where, np.array([[2, 2]]), 2)
    read = np.zeros((3, 4))
    np.add.at(read, (np.arange(3), indices), weights)
    assert read.tolist() == [[1, 0, 0, 0], [0, 0, 0.5, 0.5], [0, 1, 0, 0]]
    assert taps(where, np.array([[2, 2]]), 2, kernel="bicubic")[1][:, 0].tolist().count(0) == 15


# Facts

@pytest.mark.parametrize("kernel, antialias, corners", [
    ("bilinear", False, False), ("bilinear", False, True), ("bilinear", True, False), ("bicubic", False, False),
    ("bicubic", False, True), ("bicubic", True, False)])
@pytest.mark.parametrize("rows, columns", [(7, 7), (11, 16), (3, 5), (1, 20)])
def test_a_whole_raster_of_taps_is_interpolate(kernel, antialias, corners, rows, columns):
    table = torch.randn(1, 4, 7, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = torch.nn.functional.interpolate(table, size=(rows, columns), mode=kernel, antialias=antialias,
                                               align_corners=corners)
    raster = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), -1).reshape(1, -1, 2)
    indices, weights = taps(raster.astype(np.float32), np.array([[rows, columns]]), 7, kernel=kernel,
                            antialias=antialias, corners=corners)
    flat = table[0].flatten(1).T.numpy()
    found = (flat[indices] * weights[..., None]).sum(0)
    assert np.abs(found - expected[0].flatten(1).T.numpy()).max() < 2e-5


@EACH
@pytest.mark.parametrize("rows, columns", [(6, 6), (9, 8), (4, 5)])
def test_at_full_resolution_it_is_the_stock_model(kind, rows, columns):
    """Equal on a grid as large as the table, and for DINOv3, which has none; else but for the table's rounding."""
    model = encoder(kind)
    images = [NOISE[:rows * 16, :columns * 16], NOISE[-rows * 16:, -columns * 16:]]
    tokens = ENGINE.tokens(images, model="vit16", grid=(rows, columns))
    options = {"interpolate_pos_encoding": True} if kind in ("vit", "clip", "siglip") else {}
    expected, found = model(pixel_values=folded(tokens, rows, columns), **options), vit.features(model, tokens)
    assert found.last_hidden_state.shape == (2, BEFORE[kind] + rows * columns, 48)
    exact = rows == columns or kind == "dinov3"
    assert close(expected.last_hidden_state, found.last_hidden_state, 0 if exact else 1e-6)
    assert close(expected.pooler_output, found.pooler_output, 0 if exact else 1e-6)


def test_models_with_a_head_have_the_same_tower():
    import transformers

    sizes = {"hidden_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4, "image_size": 96, "patch_size": 16,
             "intermediate_size": 64}
    text = {"hidden_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 64,
            "vocab_size": 99}
    tokens = ENGINE.tokens(NOISE[:96, :96], model="vit16", grid=(6, 6))
    pixels = folded(tokens, 6, 6)
    model = seeded(transformers.ViTForImageClassification, transformers.ViTConfig(**sizes))
    found = vit.features(model, tokens)
    assert found.pooler_output is None
    assert torch.equal(model(pixel_values=pixels).logits, model.classifier(found.last_hidden_state[:, 0]))
    model = seeded(transformers.Dinov2ForImageClassification, transformers.Dinov2Config(**sizes))
    assert torch.equal(model.dinov2(pixel_values=pixels).pooler_output, vit.features(model, tokens).pooler_output)
    for make, config in ((transformers.CLIPModel, transformers.CLIPConfig),
                         (transformers.SiglipModel, transformers.SiglipConfig)):
        model = seeded(make, config(vision_config=sizes, text_config=text))
        expected = model.vision_model(pixel_values=pixels).pooler_output
        assert torch.equal(expected, vit.features(model, tokens).pooler_output)


@EACH
def test_tokens_in_another_order_are_features_in_that_order(kind):
    tokens = ENGINE.tokens(NOISE, model="vit16", budget=60, gaze=(0.3, 0.3))
    order, before = np.random.default_rng(1).permutation(60), BEFORE[kind]
    a, b = (vit.features(encoder(kind), value) for value in (tokens, rows_of(tokens, order)))
    assert close(a.last_hidden_state[:, before:][:, order], b.last_hidden_state[:, before:], 5e-6)
    assert close(a.pooler_output, b.pooler_output, 5e-6)
    moved = Tokens(tokens.patches, tokens.table[:, ::-1].copy(), tokens.preset, tokens.sizes)
    assert not close(a.pooler_output, vit.features(encoder(kind), moved).pooler_output, 0.02)


@EACH
def test_padding_has_no_influence(kind):
    model, before = encoder(kind), BEFORE[kind]
    tokens = ENGINE.tokens([NOISE, NOISE[::-1], NOISE[:, ::-1]], model="vit16", layout="rings",
                           gaze=[[(0.02, 0.5)], [(0.5, 0.5)], [(0.02, 0.5)]])
    counts = tokens.valid.sum(1)
    assert counts[0] == counts[2] != counts[1]
    found = vit.features(model, tokens)
    for image in range(3):
        keep = np.flatnonzero(tokens.valid[image])
        less = vit.features(model, rows_of(tokens, keep, slice(image, image + 1)))
        assert close(less.last_hidden_state[0, before:], found.last_hidden_state[image, before:][keep], 5e-6)
        assert close(less.pooler_output[0], found.pooler_output[image], 5e-6)
    assert (found.last_hidden_state[0, before:][~tokens.valid[0]] == 0).all()


@pytest.mark.parametrize("mode", ["center", "grid"])
@pytest.mark.parametrize("kernel", ["bilinear", "bicubic"])
def test_kernels_and_modes_and_bfloat16(mode, kernel):
    model = copy.deepcopy(encoder("vit")).to(torch.bfloat16)
    tokens = ENGINE.tokens(NOISE, model="vit16", budget=20, dtype="bfloat16")
    found = vit.features(model, tokens, position_mode=mode, kernel=kernel)
    assert found.last_hidden_state.dtype == torch.bfloat16 and found.last_hidden_state.isfinite().all()


# Errors

def test_another_model():
    tokens = ENGINE.tokens(NOISE, model="vit16", budget=4)
    for model, kind in ((encoder("siglip2"), "siglip2_vision_model"), (torch.nn.Identity(), "Identity")):
        with pytest.raises(InputError, match=rf"model: class: got {kind}, expected ViT, CLIP, SigLIP, DINOv2 or "
                                             r"DINOv3 of transformers\."):
            vit.features(model, tokens)


def test_tokens_that_were_cut_for_another_model():
    with pytest.raises(InputError, match="model: preset: got channels last, expected channels first, as the model has"):
        vit.features(encoder("vit"), ENGINE.tokens(NOISE, model="siglip2", budget=4))
    with pytest.raises(InputError, match="model: preset: got patch 14, merge 2, frames 2, expected patch 16, merge 1"):
        vit.features(encoder("vit"), ENGINE.tokens(NOISE, model="qwen2-vl", budget=4))


def test_copies_to_another_device_are_asked_for():
    tokens, away = ENGINE.tokens(NOISE, model="vit16", budget=4), copy.deepcopy(encoder("dinov3")).to("meta")
    with pytest.raises(InputError, match=r"model: tokens: got patches on cpu, expected the model's meta\."):
        vit.features(away, tokens)
    assert vit.vision(tokens, away, copy=True)["inputs_embeds"].device.type == "meta"
