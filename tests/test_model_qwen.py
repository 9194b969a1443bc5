# SPDX-License-Identifier: Apache-2.0
"""model: Qwen2-VL, Qwen2.5-VL and Qwen3-VL, against the stock models with random weights."""

import copy

import foveate
import numpy as np
import pytest
import torch
from foveate.error import InputError
from foveate.model import qwen
from foveate.tensor import Tokens
from foveate.types import Given
from tiny_models import END, IMAGE, QWEN, START, VIDEO
from tiny_models import qwen as tiny
from transformers.generation import utils

ENGINE = foveate.Engine(backend="cpu")
GENERATE = {"max_new_tokens": 5, "do_sample": False, "return_dict_in_generate": True, "output_logits": True,
            "suppress_tokens": [IMAGE, VIDEO, START, END], "eos_token_id": None}
EACH = pytest.mark.parametrize("model", QWEN, indirect=True)


@pytest.fixture
def model(request):
    return tiny(request.param)


def preset(model):
    return QWEN[model.config.model_type]


def noise(rows, columns, cell, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (rows * cell, columns * cell, 3), np.uint8)


def plain(model, rows=5, columns=6, images=1):
    """Tokens of whole images in raster order, which is the stock model's; and their image_grid_thw."""
    cell = foveate.presets[preset(model)].cell
    tokens = ENGINE.tokens([noise(rows, columns, cell, seed) for seed in range(images)], model=preset(model),
                           grid=(rows, columns))
    return tokens, torch.tensor([[1, 2 * rows, 2 * columns]] * images)


def foveated(model, budget=13, images=1, **options):
    """Of 300 x 333 px, which no cell divides."""
    pixels = [noise(1, 1, 333, seed)[:300] for seed in range(images)]
    return ENGINE.tokens(pixels, model=preset(model), budget=budget, gaze=(0.3, 0.4), **options)


def rows_of(tokens, rows):
    """Some rows of each image, in any order; all of them given twice is a batch of two."""
    merge = tokens.preset.merge**2
    patches = tokens.numpy().reshape(len(tokens.table), -1, merge, tokens.shape[-1])[:, rows]
    return Tokens(foveate.Array(Given(patches.reshape(-1, tokens.shape[-1]))), tokens.table[:, rows].copy(),
                  tokens.preset, tokens.sizes)


def prompt(images=1, kind=IMAGE, lead=2):
    between = [word for image in range(images) for word in (START, kind, END, 10 + image)]
    return [*range(5, 5 + lead), *between, 7, 8]


def types(ids):
    return (ids == IMAGE).int() + 2 * (ids == VIDEO).int()


# Literals

@EACH
def test_a_prompt_in_positions(model):
    """Two tokens of 2 x 1 cells in an image of 2 x 2: the text goes on 2 further than where the image began."""
    tokens = foveated(model, budget=1)
    cell, table = tokens.preset.cell, np.repeat(tokens.table, 2, 1)
    table["center_px"], table["size_px"] = [[(cell, cell / 2), (cell, cell * 1.5)]], (cell, 2 * cell)
    tokens = Tokens(None, table, tokens.preset, [(2 * cell, 2 * cell)])
    ids = torch.tensor([[5, 6, START, IMAGE, IMAGE, END, 7]])
    assert qwen.positions(ids, tokens, model).tolist() == [
        [[0, 1, 2, 3, 3, 5, 6]], [[0, 1, 2, 3, 4, 5, 6]], [[0, 1, 2, 3.5, 3.5, 5, 6]]]
    whole = qwen.positions(ids, tokens, model.config, position_mode="grid")
    assert whole.dtype == torch.int64 and whole[2].tolist() == [[0, 1, 2, 4, 4, 5, 6]]


def test_placeholders_become_k():
    tokens = foveated(tiny("qwen2_vl"), budget=3, images=3)
    made = qwen.expand([[5, IMAGE, 6], [IMAGE, 7, IMAGE]], tokens, tiny("qwen2_vl").config)
    assert made["input_ids"].tolist() == [[0, 0, 5, IMAGE, IMAGE, IMAGE, 6], [IMAGE] * 3 + [7] + [IMAGE] * 3]
    assert made["attention_mask"].tolist() == [[0, 0, 1, 1, 1, 1, 1], [1] * 7]
    again = qwen.expand(torch.tensor([[0, 5, IMAGE, 6], [IMAGE, 7, IMAGE, 8]]), tokens, tiny("qwen2_vl"),
                        torch.tensor([[0, 1, 1, 1], [1, 1, 1, 1]]))
    assert again["input_ids"][0].tolist() == [0, 0, 0, 5, IMAGE, IMAGE, IMAGE, 6]


def test_windows_of_tokens():
    """Windows of 4 x 4 cells; a token is where its middle is."""
    tokens = foveated(tiny("qwen2_5_vl"), budget=6)
    centers = [(112.5, 10), (10, 10), (111, 111), (10, 112), (150, 20), (56, 56)]
    table = tokens.table.copy()
    table["center_px"], table["size_px"] = [centers], 28
    given = qwen.vision(Tokens(tokens.patches, table, tokens.preset, [(224, 224)]), tiny("qwen2_5_vl").config)
    assert given["window_index"].tolist() == [1, 2, 5, 0, 4, 3]
    assert given["cu_window_seqlens"].tolist() == [0, 12, 20, 24] and given["cu_seqlens"].tolist() == [0, 24]
    assert given["cu_window_seqlens"].dtype == torch.int32


# Facts

@EACH
@pytest.mark.parametrize("mode", ["center", "grid"])
@pytest.mark.parametrize("images", [1, 2, 3])
def test_at_full_resolution_it_is_the_stock_model(model, mode, images):
    tokens, grid = plain(model, images=images)
    text = qwen.expand([prompt(images)], tokens, model)
    stock = {**text, "pixel_values": tokens.torch(), "image_grid_thw": grid,
             "mm_token_type_ids": types(text["input_ids"])}
    given = qwen.inputs(model, tokens, **text, position_mode=mode)
    expected, _ = model.model.get_rope_index(**{k: v for k, v in stock.items() if k != "pixel_values"})
    assert torch.equal(given["position_ids"].long(), expected)
    error = (model(**given).logits - model(**stock).logits).abs().max()
    assert error <= (0 if model.config.model_type in ("qwen2_vl", "qwen2_5_vl") else 1e-6)
    if images == 2 and mode == "center":
        ours, theirs = model.generate(**given, **GENERATE), model.generate(**stock, **GENERATE)
        assert torch.equal(ours.sequences, theirs.sequences)
        assert all(torch.allclose(a, b, atol=1e-6, rtol=0) for a, b in zip(ours.logits, theirs.logits, strict=True))


@EACH
def test_prompts_of_different_length(model):
    """The first prompt has one image, the second two; the first is padded on its left."""
    tokens, grid = plain(model, 3, 4, images=3)
    text = qwen.expand([prompt(1), prompt(2, lead=3)], tokens, model)
    assert text["attention_mask"][0].sum() < text["attention_mask"].shape[1]
    stock = {**text, "pixel_values": tokens.torch(), "image_grid_thw": grid,
             "mm_token_type_ids": types(text["input_ids"])}
    expected, _ = model.model.get_rope_index(**{k: v for k, v in stock.items() if k != "pixel_values"})
    given = qwen.inputs(model, tokens, **text)
    assert torch.equal(given["position_ids"], expected.float())
    ours, theirs = model.generate(**given, **GENERATE), model.generate(**stock, **GENERATE)
    assert torch.equal(ours.sequences, theirs.sequences)
    assert all(torch.allclose(a, b, atol=1e-6, rtol=0) for a, b in zip(ours.logits, theirs.logits, strict=True))


@EACH
@pytest.mark.parametrize("interval", [1.0, 0.7])
def test_video(model, interval):
    """Qwen2-VL and Qwen2.5-VL read frames in a row as one video; Qwen3-VL has each frame's time in words."""
    frames, (rows, columns) = 3, (3, 4)
    tokens, grid = plain(model, rows, columns, images=frames)
    if model.config.model_type.startswith("qwen3_vl"):
        text = qwen.expand([prompt(frames, VIDEO)], None, model, video=tokens)
    else:
        text = qwen.expand([[5, START, VIDEO, VIDEO, VIDEO, END, 7]], None, model, video=tokens)
    grid = torch.tensor([[frames, 2 * rows, 2 * columns]])
    stock = {**text, "pixel_values_videos": tokens.torch(), "video_grid_thw": grid,
             "mm_token_type_ids": types(text["input_ids"])}
    if model.config.model_type == "qwen2_5_vl":
        stock["second_per_grid_ts"] = torch.tensor([interval])
    given = qwen.inputs(model, None, **text, video=tokens, seconds=interval)
    expected, _ = model.model.get_rope_index(**{k: v for k, v in stock.items() if k != "pixel_values_videos"})
    assert torch.equal(given["position_ids"], expected.float())
    assert (model(**given).logits - model(**stock).logits).abs().max() <= 1e-6
    times = qwen.positions(text["input_ids"], None, model, video=tokens, seconds=[0, interval, 2 * interval])
    assert torch.equal(times, given["position_ids"])


@EACH
def test_an_image_and_a_video_in_one_prompt(model):
    tokens, clip = foveated(model), foveated(model, budget=7, images=2)
    words = [5, START, IMAGE, END, 6, START, VIDEO, END, 7, START, VIDEO, END, 8]
    text = qwen.expand([words], tokens, model, video=clip)
    given = qwen.inputs(model, tokens, **text, video=clip)
    assert text["input_ids"].shape == (1, 10 + 13 + 14) and model(**given).logits.isfinite().all()
    alone = qwen.features(model, tokens).pooler_output[0]
    assert torch.equal(given["mm_encoder_outputs"]["image"].pooler_output[0], alone)


@EACH
def test_tokens_in_another_order_are_features_in_that_order(model):
    tokens = foveated(model, budget=40)
    order = np.random.default_rng(1).permutation(40)
    straight, mixed = qwen.features(model, tokens), qwen.features(model, rows_of(tokens, order))
    pairs = [(straight.pooler_output, mixed.pooler_output)]
    pairs += list(zip(getattr(straight, "deepstack_features", None) or [],
                      getattr(mixed, "deepstack_features", None) or [], strict=True))
    for a, b in pairs:
        assert torch.allclose(a[0][order], b[0], atol=1e-5, rtol=0)


@EACH
def test_positions_matter(model):
    """As the tokens of a plain grid, but each one's patches at the place of another."""
    tokens, _ = plain(model)
    moved = Tokens(tokens.patches, tokens.table[:, ::-1].copy(), tokens.preset, tokens.sizes)
    a, b = (qwen.features(model, value).pooler_output[0] for value in (tokens, moved))
    assert (a - b).abs().max() > 0.1


@pytest.mark.parametrize("model", ["qwen2_vl", "qwen2_5_vl"], indirect=True)
def test_the_tower_sees_distances_alone(model):
    """Both towers have rotary embeddings and no table: all tokens moved by a window of 8 x 8 patches are the same."""
    tokens = foveated(model, budget=20)
    table = tokens.table.copy()
    table["center_px"] += 112
    moved = Tokens(tokens.patches, table, tokens.preset, [(300 + 112, 333 + 112)])
    a, b = (qwen.features(model, value).pooler_output[0] for value in (tokens, moved))
    assert torch.allclose(a, b, atol=1e-5, rtol=0)


@EACH
@pytest.mark.parametrize("mode", ["center", "grid"])
def test_cached_generation_is_the_whole_forward(model, mode):
    tokens = foveated(model, images=2)
    assert len(np.unique(tokens.rate)) > 1
    text = qwen.expand([prompt(2)], tokens, model)
    given = qwen.inputs(model, tokens, **text, position_mode=mode)
    if mode == "center":
        assert (given["position_ids"] % 1 != 0).any()
    out = model.generate(**{**given, "mm_encoder_outputs": copy.deepcopy(given["mm_encoder_outputs"])}, **GENERATE)
    length, new = text["input_ids"].shape[1], GENERATE["max_new_tokens"]
    ahead = given["position_ids"][..., -1:] + 1 + torch.arange(new)
    whole = model(input_ids=out.sequences, position_ids=torch.cat([given["position_ids"], ahead], -1),
                  mm_encoder_outputs=given["mm_encoder_outputs"]).logits
    for step in range(new):
        assert torch.allclose(out.logits[step][0], whole[0, length - 1 + step], atol=1e-5, rtol=0)


WAYS = [{"cache_implementation": "static"}, {"use_cache": False}]
if hasattr(utils, "_slice_mm_encoder_output"):      # transformers 5.18.0 does not cut features with the prompt
    WAYS.append({"prefill_chunk_size": 8})


@EACH
@pytest.mark.parametrize("options", WAYS, ids=lambda options: next(iter(options)))
def test_every_way_to_generate_is_the_same(model, options):
    tokens = foveated(model, images=2)
    text = qwen.expand([prompt(), prompt(lead=4)], tokens, model)
    plainly, so = (model.generate(**qwen.inputs(model, tokens, **text), **GENERATE, **more) for more in ({}, options))
    assert torch.equal(plainly.sequences, so.sequences)


@EACH
def test_each_image_is_encoded_by_itself(model):
    tokens = foveated(model, images=3)
    whole = qwen.features(model, tokens).pooler_output
    for image, pixels in enumerate(np.split(tokens.numpy(), 3)):
        alone = Tokens(foveate.Array(Given(pixels)), tokens.table[image:image + 1], tokens.preset, tokens.sizes[:1])
        assert torch.allclose(qwen.features(model, alone).pooler_output[0], whole[image], atol=1e-6, rtol=0)


@EACH
def test_padding_has_no_influence(model):
    """Rings around a corner: many of their tokens are outside the image."""
    tokens = ENGINE.tokens(noise(1, 1, 300), model=preset(model), layout="rings", strides=(1, 2, 4), grids=(4, 4, 4),
                           gaze=(0.02, 0.05))
    valid = tokens.valid[0]
    assert 5 < valid.sum() < valid.size - 5
    text = qwen.expand([prompt()], tokens, model)
    given = qwen.inputs(model, tokens, **text)
    assert given["attention_mask"].sum() == given["input_ids"].shape[1] - (~valid).sum()
    found = given["mm_encoder_outputs"]["image"].pooler_output[0]
    assert (found[~valid] == 0).all()
    less = rows_of(tokens, np.flatnonzero(valid))
    short = qwen.expand([prompt()], less, model)
    other = qwen.inputs(model, less, **short)
    assert torch.equal(found[valid], other["mm_encoder_outputs"]["image"].pooler_output[0])
    mask = given["attention_mask"][0].bool()
    assert torch.equal(given["position_ids"][..., mask], other["position_ids"])
    ours, theirs = model.generate(**given, **GENERATE), model.generate(**other, **GENERATE)
    assert torch.equal(ours.sequences[:, -5:], theirs.sequences[:, -5:])
    assert all(torch.allclose(a, b, atol=1e-5, rtol=0) for a, b in zip(ours.logits, theirs.logits, strict=True))


@EACH
def test_beams_and_bfloat16(model):
    tokens = foveated(model, images=2)
    given = qwen.inputs(model, tokens, **qwen.expand([prompt(), prompt()], tokens, model))
    beams = model.generate(**given, **{**GENERATE, "num_beams": 2, "num_return_sequences": 2})
    assert beams.sequences.shape == (4, len(given["input_ids"][0]) + 5)
    half = copy.deepcopy(model).to(torch.bfloat16)
    tokens = foveated(model, images=2, dtype="bfloat16")
    given = qwen.inputs(half, tokens, **qwen.expand([prompt(2)], tokens, half))
    assert given["position_ids"].dtype == torch.float32 and half(**given).logits.isfinite().all()


# Errors

def test_another_model():
    tokens = foveated(tiny("qwen2_vl"))
    for value, kind in ((tiny("qwen2_vl").config.vision_config, "qwen2_vl_vision"), (torch.nn.Identity(), "Identity")):
        with pytest.raises(InputError, match=rf"model: class: got {kind}, expected qwen2_vl, qwen2_5_vl, qwen3_vl or "
                                             r"qwen3_vl_moe\. Give the model itself, or its whole configuration\."):
            qwen.vision(tokens, value)


def test_tokens_that_were_cut_for_another_model():
    config, pixels = tiny("qwen3_vl").config, np.zeros((64, 64, 3), np.uint8)
    with pytest.raises(InputError, match=r"model: preset: got patch 14, expected patch 16, as the model has\. "
                                         r'Make them with model="qwen3-vl", or by hand alike\.'):
        qwen.vision(ENGINE.tokens(pixels, model="qwen2.5-vl", budget=4), config)
    with pytest.raises(InputError, match="got merge 1, frames 1, channels last, expected merge 2, frames 2, channels "
                                         "first, as the model"):
        qwen.vision(ENGINE.tokens(pixels, model="siglip2", budget=4), config)
    with pytest.raises(InputError, match="model: tokens: got ndarray, expected Tokens"):
        qwen.vision(pixels, config)
    by_hand = ENGINE.tokens(pixels, patch=16, merge=2, frames=2, mean=(0.5,) * 3, std=(0.5,) * 3, budget=4)
    assert torch.equal(qwen.vision(by_hand, config)["pixel_values"],
                       ENGINE.tokens(pixels, model="qwen3-vl", budget=4).torch())


def test_placeholders_that_do_not_fit():
    config, tokens = tiny("qwen2_5_vl").config, foveated(tiny("qwen2_5_vl"), budget=3, images=2)
    hint = r"expand\(\) makes one placeholder for each token\."
    for ids, got, expected in (([5, IMAGE, IMAGE], "2 image placeholders", "6, 3 for each of 2"),
                               ([IMAGE] * 2 + [5] + [IMAGE] * 4, "2 image placeholders in a row", "a multiple of 3"),
                               ([IMAGE] * 3 + [VIDEO] + [IMAGE] * 3, "1 video placeholders", "0, 1 for each of 0")):
        with pytest.raises(InputError, match=rf"model: input_ids: got {got}, expected {expected}\. {hint}"):
            qwen.positions(torch.tensor([ids]), tokens, config)
    with pytest.raises(InputError, match="model: input_ids: got 1 image placeholders, expected 2, one for each image"):
        qwen.expand([[5, IMAGE]], tokens, config)
    with pytest.raises(InputError, match="got 2 video placeholders, expected 0, one for each frame"):
        qwen.expand([[IMAGE, VIDEO, VIDEO, IMAGE]], tokens, config)
    with pytest.raises(InputError, match="model: seconds: got 3 times, expected 2, one for each frame"):
        qwen.positions(torch.tensor([[VIDEO] * 6]), None, config, video=tokens, seconds=[0, 1, 2])


def test_an_image_without_tokens():
    tokens = foveated(tiny("qwen2_vl"), images=2)
    table = tokens.table.copy()
    table["valid"][1] = False
    with pytest.raises(InputError, match="model: tokens: got an image with none that is valid, expected 1 or more"):
        qwen.vision(Tokens(tokens.patches, table, tokens.preset, tokens.sizes), tiny("qwen2_vl"))


@EACH
def test_copies_to_another_device_are_asked_for(model):
    away, tokens = copy.deepcopy(model).to("meta"), foveated(model)
    with pytest.raises(InputError, match=r"model: tokens: got patches on cpu, expected the model's meta\. Pass "
                                         r"copy=True to copy them, or move the model\."):
        qwen.features(away, tokens)
    assert {value.device.type for value in qwen.vision(tokens, away, copy=True).values()} == {"meta"}
