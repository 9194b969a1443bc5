# SPDX-License-Identifier: Apache-2.0
"""model.select: scores from an encoder, and a selection in a prompt."""

import math

import numpy as np
import pytest
import torch
from foveate.error import InputError
from foveate.model import select
from foveate.model.select import scores
from oracle import model_select as oracle


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def heads(seed, tokens=11, batch=2, count=3, width=4):
    random = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, count, tokens, width, generator=random) for _ in range(2)]


# Scores

@pytest.mark.parametrize("rows", [1, 4, 11, 1024])
def test_received_attention(monkeypatch, rows):
    monkeypatch.setattr(scores, "ROWS", rows)
    queries, keys = heads(0)
    found = select.received_attention(queries, keys)
    for row in range(2):
        np.testing.assert_allclose(found[row].numpy(), oracle.received(queries[row].double().numpy(),
                                                                       keys[row].double().numpy()), atol=1e-6)
    assert torch.allclose(found.sum(1), torch.ones(2))
    weights = (queries @ keys.transpose(2, 3) / math.sqrt(4)).softmax(-1)
    assert torch.allclose(select.received(weights), found, atol=1e-6)
    first = select.cls_attention(queries, keys)
    assert torch.allclose(first, weights[:, :, 0].mean(1), atol=1e-6)
    assert torch.allclose(select.received(weights[:, :, :1]), first, atol=1e-6)


def test_received_attention_never_holds_all_weights(monkeypatch):
    sizes, softmax = [], torch.Tensor.softmax
    monkeypatch.setattr(torch.Tensor, "softmax", lambda own, dim: sizes.append(own.numel()) or softmax(own, dim))
    monkeypatch.setattr(scores, "ROWS", 8)
    select.received_attention(*heads(0, tokens=64))
    assert max(sizes) == 8 * 64 and len(sizes) == 2 * 3 * 8


def test_scores_are_the_same_alone():
    queries, keys = heads(1, tokens=37, batch=3)
    features = queries[:, 0]
    for of_batch in (lambda rows: select.received_attention(queries[rows], keys[rows]),
                     lambda rows: select.cls_attention(queries[rows], keys[rows]),
                     lambda rows: select.received((queries @ keys.transpose(2, 3))[rows]),
                     lambda rows: select.feature_norm(features[rows]),
                     lambda rows: select.query_similarity(features[rows], keys[rows, 0])):
        together = of_batch(slice(None))
        for row in range(3):
            assert torch.equal(of_batch(slice(row, row + 1))[0], together[row])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_scores_of_half_precision(dtype):
    queries, keys = (part.to(dtype) for part in heads(0))
    wide = select.received_attention(queries.float(), keys.float())
    assert torch.equal(select.received_attention(queries, keys), wide)
    large = torch.full((1, 2, 512), 300.0, dtype=dtype)     # its square does not fit into float16
    assert torch.isfinite(select.feature_norm(large)).all() and select.feature_norm(large).dtype == torch.float32
    assert torch.allclose(select.query_similarity(large, large[0, 0]), torch.ones(1, 2))


def test_query_similarity():
    features = torch.tensor([[[1.0, 0], [0, 2], [3, 3], [0, 0]]])
    found = select.query_similarity(features, torch.tensor([0.0, 5]))
    assert torch.allclose(found, torch.tensor([[0, 1, math.sqrt(0.5), 0]]))
    several = select.query_similarity(features, torch.tensor([[[0.0, 5], [1, 0]]]))
    assert torch.allclose(several, torch.tensor([[1, 1, math.sqrt(0.5), 0]]))
    assert torch.equal(select.query_similarity(features, torch.tensor([[0.0, 5]])), found)


def test_pooled_and_heads():
    assert select.pooled(torch.arange(8)[None], 4).tolist() == [[1.5, 5.5]]
    rows = torch.arange(12.0).reshape(1, 2, 6)
    assert select.split_heads(rows, 3)[0, 1].tolist() == [[2, 3], [8, 9]]


def test_tap_sees_one_layer():
    layers = torch.nn.ModuleList(torch.nn.MultiheadAttention(8, 2, batch_first=True) for _ in range(2))
    project = torch.nn.Linear(8, 8)
    tokens = torch.randn(1, 5, 8)
    with select.tap(project, layers[1]) as seen:
        first = project(tokens)
        last = layers[1](first, first, first)
        assert seen[0] is first and seen[1] is last
    project(tokens)
    assert seen[0] is first     # the hook is gone
    with pytest.raises(ZeroDivisionError), select.tap(project):
        raise ZeroDivisionError
    assert not project._forward_hooks


# Prompts


def prompt(layout, batch=2, width=4, seed=0):
    """layout: a string of t and i; ids tell their place, positions are t, h, w."""
    random = torch.Generator().manual_seed(seed)
    image = torch.tensor([[letter == "i" for letter in layout]]).expand(batch, -1).clone()
    length = len(layout)
    ids = torch.arange(length).expand(batch, length) + torch.arange(batch)[:, None] * 1000
    return {"image": image, "input_ids": ids, "attention_mask": torch.ones(batch, length, dtype=torch.long),
            "inputs_embeds": torch.randn(batch, length, width, generator=random),
            "position_ids": torch.randint(0, 50, (3, batch, length), generator=random)}


def chosen(total, k, batch=2, width=4, seed=0):
    random = torch.Generator().manual_seed(seed)
    return select.topk(torch.randn(batch, total, width, generator=random), k=k,
                       scores=torch.rand(batch, total, generator=random))


def test_thin():
    given, found = prompt("ttiiiiiitt"), chosen(6, 2)
    result = select.thin(found, **given, kind=given["image"].long())
    for row in range(2):
        kept = [0, 1, *(2 + found.indices[row]).tolist(), 8, 9]
        assert result.kept[row].tolist() == kept
        assert result.input_ids[row].tolist() == [1000 * row + place for place in kept]
        assert torch.equal(result.position_ids[:, row], given["position_ids"][:, row, kept])
        assert torch.equal(result.inputs_embeds[row, [0, 1, 4, 5]], given["inputs_embeds"][row, [0, 1, 8, 9]])
        assert torch.equal(result.inputs_embeds[row, 2:4], found.features[row])
        assert result.planes["kind"][row].tolist() == [0, 0, 1, 1, 0, 0]
    assert result.attention_mask.shape == (2, 6)
    # the next token has the position after all of the whole prompt
    assert torch.equal(result.rope_deltas[:, 0] + 6, given["position_ids"].amax((0, 2)) + 1)


@pytest.mark.parametrize("name", select.METHODS)
def test_text_is_not_touched(name):
    from selecting import TOTAL, encoded, runs

    given = encoded(width=8)
    found = runs()[name](given, 9)
    words = prompt("ttt" + "i" * TOTAL + "tt", width=8)
    result = select.thin(found, **words)
    text = ~words["image"]
    left = ~words["image"].gather(1, result.kept)
    assert left[0].tolist() == [True] * 3 + [False] * 9 + [True] * 2
    for plane in ("input_ids", "attention_mask", "inputs_embeds"):
        assert torch.equal(getattr(result, plane)[left], words[plane][text])
    for plane in range(3):
        assert torch.equal(result.position_ids[plane][left], words["position_ids"][plane][text])
    assert torch.equal(result.inputs_embeds[~left].reshape(2, 9, 8), found.features)
    assert torch.equal(result.kept[~left].reshape(2, 9), 3 + found.indices)


def test_several_images_and_padding():
    given, first, second = prompt("tiiiitiiiiiit"), chosen(4, 1, seed=1), chosen(6, 3, seed=2)
    # the second row's text is one token shorter and padded on the left
    given["image"][1] = torch.tensor([letter == "i" for letter in "ttiiiitiiiiii"])
    given["attention_mask"][1, 0] = 0
    result = select.thin([first, second], **given)
    assert result.kept[0].tolist() == [0, *(1 + first.indices[0]).tolist(), 5, *(6 + second.indices[0]).tolist(), 12]
    assert result.kept[1].tolist() == [0, 1, *(2 + first.indices[1]).tolist(), 6, *(7 + second.indices[1]).tolist()]
    assert result.attention_mask.tolist() == [[1] * 7, [0] + [1] * 6]
    features = torch.cat([first.features, second.features], 1)
    assert torch.equal(result.inputs_embeds[0, [1, 3, 4, 5]], features[0])
    assert torch.equal(result.inputs_embeds[1, [2, 4, 5, 6]], features[1])


def test_keeping_all_changes_nothing():
    given, found = prompt("tiiiiit"), chosen(5, 5)
    given["inputs_embeds"][given["image"]] = found.features.flatten(0, 1)
    result = select.thin(found, **given)
    for name in ("input_ids", "attention_mask", "inputs_embeds", "position_ids"):
        assert torch.equal(getattr(result, name), given[name])
    bare = select.thin(found, given["image"])
    assert bare.input_ids is bare.inputs_embeds is bare.position_ids is bare.rope_deltas is None and bare.planes == {}


@pytest.mark.parametrize("shape", [(2, 7), (4, 2, 7)])
def test_other_positions(shape):
    given, found = prompt("tiiiiit"), chosen(5, 2)
    positions = torch.randint(0, 9, shape)
    result = select.thin(found, given["image"], position_ids=positions)
    assert torch.equal(result.position_ids, positions.gather(-1, result.kept.expand(*shape[:-1], -1)))


def test_gradients_and_dtypes():
    given, found = prompt("tiiiiit"), chosen(5, 2)
    embeds = given["inputs_embeds"].half().requires_grad_(True)
    features = found.features.clone().requires_grad_(True)
    result = select.thin(found._replace(features=features), given["image"], inputs_embeds=embeds)
    assert result.inputs_embeds.dtype == torch.float16
    result.inputs_embeds.sum().backward()
    assert (features.grad == 1).all() and embeds.grad.sum() == 2 * 2 * 4


Q, K = heads(0)
G, FOUND = prompt("tiiiiit"), chosen(5, 2)
WRONG = {
    "model: heads: got 4 of float32 (2, 5, 6), expected a divisor of the width of (B, N, heads * d).":
        lambda: select.split_heads(torch.zeros(2, 5, 6), 4),
    "model: queries and keys: got float32 (2, 3, 11, 4) and float32 (3, 11, 4), expected two tensors "
    "(B, heads, N, d).": lambda: select.received_attention(Q, K[0]),
    "model: queries and keys: got list and float32 (2, 3, 11, 4), expected two tensors (B, heads, N, d).":
        lambda: select.cls_attention([], K),
    "model: queries and keys: got no query, expected a class token first.":
        lambda: select.cls_attention(Q[:, :, :0], K),
    "model: queries and keys: got NaN or infinity, expected finite numbers.":
        lambda: select.received_attention(Q * torch.nan, K),
    "model: attention: got float32 (3, 11, 4), expected a tensor (B, heads, Q, N).": lambda: select.received(Q[0]),
    "model: attention: got NaN or infinity, expected finite numbers.": lambda: select.received(Q * torch.nan),
    "model: features: got NaN or infinity, expected finite numbers.": lambda: select.feature_norm(Q[0] * torch.nan),
    "model: features: got float32 (11, 4), expected a float tensor (B, N, D).": lambda: select.feature_norm(Q[0, 0]),
    "model: query: got float32 (5,), expected a tensor (4,), (3, 4) or (3, Q, 4).":
        lambda: select.query_similarity(Q[0], torch.zeros(5)),
    "model: features or query: got NaN or infinity, expected finite numbers.":
        lambda: select.query_similarity(Q[0], torch.full((4,), torch.nan)),
    "model: merge: got 4 of float32 (1, 6), expected a divisor of the tokens of (B, N).":
        lambda: select.pooled(torch.zeros(1, 6), 4),
    "model: image: got int64 (2, 7), expected a bool tensor (B, S).":
        lambda: select.thin(FOUND, G["image"].long()),
    "model: selections: got rows of [2], expected 3 rows, as the prompt has.":
        lambda: select.thin(FOUND, torch.ones(3, 7, dtype=torch.bool)),
    "model: image tokens: got [4, 5] in the rows, expected 5 in each, which the selections were made from.":
        lambda: select.thin(FOUND, G["image"] & (torch.arange(2)[:, None] + torch.arange(7) != 1)),
    "model: position_ids: got int64 (2, 6), expected a tensor (2, 7), or 3 or 4 of them.":
        lambda: select.thin(FOUND, G["image"], position_ids=torch.zeros(2, 6, dtype=torch.long)),
    "model: input_ids: got int64 (2, 6), expected a tensor (2, 7).":
        lambda: select.thin(FOUND, G["image"], input_ids=G["input_ids"][:, 1:]),
    "model: inputs_embeds: got float32 (2, 7, 3), expected a tensor (2, 7, 4).":
        lambda: select.thin(FOUND, G["image"], inputs_embeds=G["inputs_embeds"][..., 1:]),
    "model: attention_mask: got int64 (2, 1, 7, 7), expected a tensor (2, 7).":
        lambda: select.thin(FOUND, G["image"], attention_mask=torch.ones(2, 1, 7, 7, dtype=torch.long)),
    "model: kind: got list, expected a tensor (2, 7).": lambda: select.thin(FOUND, G["image"], kind=[1]),
}


@pytest.mark.parametrize("text", WRONG, ids=lambda text: text[7:50])
def test_refused(text):
    with pytest.raises(InputError) as error:
        WRONG[text]()
    assert str(error.value) == text
