# SPDX-License-Identifier: Apache-2.0
"""model: Gemma 4, against the stock model with random weights."""

import copy

import foveate
import numpy as np
import pytest
import torch
from foveate.error import InputError
from foveate.model import gemma
from foveate.tensor import Tokens
from foveate.types import Given
from tiny_models import END, IMAGE, START, VIDEO, encoder
from tiny_models import gemma as tiny

ENGINE = foveate.Engine(backend="cpu")
NOISE = np.random.default_rng(0).integers(0, 256, (700, 700, 3), np.uint8)
GENERATE = {"max_new_tokens": 5, "do_sample": False, "return_dict_in_generate": True, "output_logits": True,
            "suppress_tokens": [IMAGE, VIDEO, START, END, 154], "eos_token_id": None}


def foveated(budget=11, images=1, **options):
    return ENGINE.tokens([NOISE[i:][:300, :333] for i in range(images)], model="gemma4", budget=budget, gaze=(0.3, 0.4),
                         **options)


def rows_of(tokens, rows):
    patches = tokens.numpy().reshape(len(tokens.table), -1, 9, 768)[:, rows].reshape(len(tokens.table), -1, 768)
    return Tokens(foveate.Array(Given(patches)), tokens.table[:, rows].copy(), tokens.preset, tokens.sizes)


def raster(tokens, rows, columns):
    """What the stock model takes: patches of whole images row by row, and where they are, (x, y)."""
    patches = tokens.torch().view(-1, rows, columns, 3, 3, 768).transpose(2, 3).reshape(-1, rows * columns * 9, 768)
    y, x = torch.meshgrid(torch.arange(rows * 3), torch.arange(columns * 3), indexing="ij")
    return {"pixel_values": patches, "image_position_ids": torch.stack([x, y], -1).view(1, -1, 2).expand(
        len(patches), -1, -1)}


def close(a, b, tolerance):
    return (a - b).abs().max() <= tolerance * a.abs().max()


# Facts

@pytest.mark.parametrize("rows, columns", [(2, 4), (5, 3)])
@pytest.mark.parametrize("mode", ["center", "grid"])
@pytest.mark.parametrize("standardize", [True, False])
def test_at_full_resolution_it_is_the_stock_model(rows, columns, mode, standardize):
    """The stock model has patches row by row, so sums are in another order."""
    model = tiny(standardize)
    tokens = ENGINE.tokens([NOISE[:rows * 48, :columns * 48], NOISE[-rows * 48:, -columns * 48:]], model="gemma4",
                           grid=(rows, columns))
    whole = raster(tokens, rows, columns)
    expected, found = model.get_image_features(**whole), gemma.features(model, tokens, position_mode=mode)
    for a, b in zip(expected.pooler_output, found.pooler_output, strict=True):
        assert close(a, b, 2e-6)
    text = gemma.expand([[5, START, IMAGE, END, 6], [START, IMAGE, END, 6, 7, 8]], tokens, model)
    given = gemma.inputs(model, tokens, **text, position_mode=mode)
    types = (text["input_ids"] == IMAGE).long()
    a, b = (value.logits[text["attention_mask"].bool()] for value in (
        model(**text, **whole, mm_token_type_ids=types, position_ids=given["position_ids"]), model(**given)))
    assert close(a, b, 1e-5)
    ours = model.generate(**given, **GENERATE)
    theirs = model.generate(**text, **whole, mm_token_type_ids=types, **GENERATE)
    assert torch.equal(ours.sequences, theirs.sequences)


@pytest.mark.parametrize("bidirectional", ["vision", None])
def test_cached_generation_is_the_whole_forward(bidirectional):
    model, tokens = tiny(True, bidirectional), foveated(images=2)
    assert len(np.unique(tokens.rate)) > 1
    text = gemma.expand([[5, START, IMAGE, END, 6, START, IMAGE, END, 7]], tokens, model)
    given = gemma.inputs(model, tokens, **text)
    out = model.generate(**copy.deepcopy(given), **GENERATE)
    new, types = out.sequences[:, text["input_ids"].shape[1]:], given.pop("mm_token_type_ids")
    whole = model(**{**given, "input_ids": out.sequences, "attention_mask": torch.ones_like(out.sequences),
                     "position_ids": torch.arange(out.sequences.shape[1])[None],
                     "mm_token_type_ids": torch.cat([types, torch.zeros_like(new)], 1)}).logits
    for step in range(5):
        assert torch.allclose(out.logits[step][0], whole[0, step - 6], atol=2e-5, rtol=0)


def test_tokens_in_another_order_are_features_in_that_order():
    model, tokens = tiny(), foveated(budget=30)
    order = np.random.default_rng(1).permutation(30)
    a, b = (gemma.features(model, value).pooler_output[0] for value in (tokens, rows_of(tokens, order)))
    assert close(a[order], b, 1e-5)
    moved = Tokens(tokens.patches, tokens.table[:, ::-1].copy(), tokens.preset, tokens.sizes)
    assert not close(a, gemma.features(model, moved).pooler_output[0], 0.05)


def test_padding_has_no_influence():
    model = tiny()
    tokens = ENGINE.tokens(NOISE[:400, :400], model="gemma4", layout="rings", strides=(1, 2, 4), grids=(4, 4, 4),
                           gaze=(0.02, 0.05))
    valid = tokens.valid[0]
    assert 5 < valid.sum() < valid.size - 5
    less = rows_of(tokens, np.flatnonzero(valid))
    ours, theirs = (gemma.inputs(model, value, **gemma.expand([[5, START, IMAGE, END, 6]], value, model))
                    for value in (tokens, less))
    a, b = (value["mm_encoder_outputs"]["image"].pooler_output[0] for value in (ours, theirs))
    assert close(b, a[valid], 1e-5) and (a[~valid] == 0).all()
    a, b = (model.generate(**value, **GENERATE) for value in (ours, theirs))
    assert torch.equal(a.sequences[:, -5:], b.sequences[:, -5:])
    assert all(close(x, y, 1e-5) for x, y in zip(a.logits, b.logits, strict=True))


def test_an_image_and_frames_in_one_prompt_and_bfloat16():
    model, tokens = tiny(), foveated(dtype="bfloat16")
    half = copy.deepcopy(model).to(torch.bfloat16)
    clip = foveated(budget=5, images=2, dtype="bfloat16")
    words = [5, START, IMAGE, END, 6, START, VIDEO, END, 7, START, VIDEO, END, 8]
    text = gemma.expand([words], tokens, half, video=clip)
    given = gemma.inputs(half, tokens, **text, video=clip)
    assert torch.bincount(given["mm_token_type_ids"].flatten()).tolist() == [10, 11, 10]
    assert half(**given).logits.isfinite().all()


# Errors

def test_what_does_not_fit():
    model, tokens = tiny(), foveated(images=2)
    with pytest.raises(InputError, match=r"model: class: got vit, expected gemma4\. Give the model itself, or its "
                                         r"whole configuration\."):
        gemma.features(encoder("vit"), tokens)
    with pytest.raises(InputError, match=r"model: preset: got merge 1, expected merge 3, as the model has\. Make them "
                                         r'with model="gemma4"\.'):
        gemma.features(model, ENGINE.tokens(NOISE, model="siglip2", budget=4))
    with pytest.raises(InputError, match=r"model: grid: got 66 patches a side, expected at most 64\. Make the "
                                         r"image smaller\."):
        gemma.features(model, ENGINE.tokens(np.zeros((48, 66 * 16, 3), np.uint8), model="gemma4", budget=4))
    with pytest.raises(InputError, match="model: input_ids: got 3 image placeholders, expected 22, 11 for each of 2"):
        gemma.inputs(model, tokens, torch.tensor([[IMAGE] * 3]))
    with pytest.raises(InputError, match="model: tokens: got patches on cpu, expected the model's meta"):
        gemma.features(copy.deepcopy(model).to("meta"), tokens)
    table = tokens.table.copy()
    table["valid"][0] = False
    with pytest.raises(InputError, match="model: tokens: got an image with none that is valid"):
        gemma.features(model, Tokens(tokens.patches, table, tokens.preset, tokens.sizes))


def test_a_grid_as_large_as_the_table():
    tokens = ENGINE.tokens(np.zeros((48, 63 * 16, 3), np.uint8), model="gemma4", budget=4)
    assert gemma.features(tiny(), tokens).pooler_output[0].isfinite().all()
