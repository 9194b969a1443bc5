# SPDX-License-Identifier: Apache-2.0
"""model.select in a stock Qwen3-VL with random weights: the prompt thinned, features of other layers with it."""

import copy

import pytest
import torch
from foveate.model import select

START, END, IMAGE, VIDEO = 150, 153, 151, 152
ROWS, COLUMNS = 5, 6                        # merged tokens
PATCHES = torch.tensor([[1, 2 * ROWS, 2 * COLUMNS]])
GENERATE = {"max_new_tokens": 4, "do_sample": False, "return_dict_in_generate": True, "output_logits": True,
            "suppress_tokens": [START, END, IMAGE, VIDEO], "eos_token_id": None}


@pytest.fixture(scope="module")
def model():
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    text = {"vocab_size": 160, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "head_dim": 16,
            "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 512, "bos_token_id": 1,
            "eos_token_id": 2, "pad_token_id": 0,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [4, 2, 2],
                                "mrope_interleaved": True}}
    vision = {"depth": 3, "hidden_size": 32, "out_hidden_size": 32, "num_heads": 2, "intermediate_size": 64,
              "patch_size": 16, "spatial_merge_size": 2, "temporal_patch_size": 2, "num_position_embeddings": 64,
              "deepstack_visual_indexes": [0, 1], "in_channels": 3}
    yield Qwen3VLForConditionalGeneration(Qwen3VLConfig(
        text_config=text, vision_config=vision, image_token_id=IMAGE, video_token_id=VIDEO,
        vision_start_token_id=START, vision_end_token_id=END)).eval()
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def whole(model):
    """The whole prompt: what the stock model is given, what it makes of the image, and its own positions."""
    ids = torch.tensor([[5, 6, START, *[IMAGE] * (ROWS * COLUMNS), END, 7, 8]])
    pixels = torch.randn(4 * ROWS * COLUMNS, 3 * 2 * 16 * 16, generator=torch.Generator().manual_seed(0))
    types = (ids == IMAGE).int()
    with torch.no_grad():
        seen = model.model.get_image_features(pixels, PATCHES)
        positions, _ = model.model.get_rope_index(ids, mm_token_type_ids=types, image_grid_thw=PATCHES)
        answer = model.generate(input_ids=ids, pixel_values=pixels, image_grid_thw=PATCHES, mm_token_type_ids=types,
                                attention_mask=torch.ones_like(ids), **GENERATE)
    return {"ids": ids, "seen": seen, "positions": positions, "answer": answer}


def thinned(model, whole, method, k, **more):
    """(Prompt, the encoder's outputs of what is kept)."""
    features = torch.cat(whole["seen"].pooler_output)[None]
    found = select.METHODS[method](features, k=k, **more)
    ids = whole["ids"]
    prompt = select.thin(found, ids == IMAGE, input_ids=ids, attention_mask=torch.ones_like(ids),
                         position_ids=whole["positions"])
    kept = copy.copy(whole["seen"])
    kept.pooler_output = (found.features[0],)
    # planes of other layers: taken, or averaged as the features were
    kept.deepstack_features = [(found.pool(torch.cat(plane))[0],) for plane in whole["seen"].deepstack_features]
    return prompt, kept


def answered(model, prompt, kept):
    with torch.no_grad():
        return model.generate(input_ids=prompt.input_ids, attention_mask=prompt.attention_mask,
                              position_ids=prompt.position_ids, mm_encoder_outputs={"image": kept}, **GENERATE)


def test_keeping_all_is_the_stock_model(model, whole):
    answer = answered(model, *thinned(model, whole, "uniform", ROWS * COLUMNS))
    assert torch.equal(answer.sequences, whole["answer"].sequences)
    for ours, theirs in zip(answer.logits, whole["answer"].logits, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)


@pytest.mark.parametrize("method, more", [("uniform", {"grid": (ROWS, COLUMNS)}), ("tome", {}), ("saint", {})])
def test_cached_answers_are_those_without_a_cache(model, whole, method, more):
    prompt, kept = thinned(model, whole, method, 11, **more)
    assert prompt.input_ids.shape == (1, 11 + 6)
    answer = answered(model, prompt, copy.copy(kept))
    ids, positions = prompt.input_ids, prompt.position_ids
    for step, logits in enumerate(answer.logits):
        with torch.no_grad():
            again = model(input_ids=ids, position_ids=positions, mm_encoder_outputs={"image": copy.copy(kept)})
        torch.testing.assert_close(again.logits[:, -1], logits, atol=2e-6, rtol=0)
        # as without thinning: after the last of the whole prompt
        following = ids.shape[1] + prompt.rope_deltas
        assert following.item() == whole["positions"].max() + 1 + step
        ids = torch.cat([ids, answer.sequences[:, ids.shape[1], None]], 1)
        positions = torch.cat([positions, following.expand(3, 1, 1)], 2)


def test_order_of_kept_tokens_is_that_of_their_places(model, whole):
    prompt, _ = thinned(model, whole, "uniform", 11, grid=(ROWS, COLUMNS))
    rows = prompt.position_ids[1:, 0, 3:14] - 3
    assert (rows[0] * COLUMNS + rows[1]).diff().min() > 0 and (prompt.position_ids[0, 0, 3:14] == 3).all()
