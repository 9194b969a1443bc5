# SPDX-License-Identifier: Apache-2.0
"""client: embeddings for vLLM and SGLang: their order in a grid, their shapes, and what a server reads of them."""

import base64
import io
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from foveate.client import PRESERVES, arrange, embeds, sglang, vllm
from foveate.error import InputError
from foveate.model import qwen as adapter
from images import random_image
from tiny_models import QWEN, qwen

FAMILIES = ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"]


def read(text):
    """As vLLM reads it: no pickle but tensors."""
    return torch.load(io.BytesIO(base64.b64decode(text, validate=True)), weights_only=True)


def made_of(cpu, kind, sizes=((224, 336), (300, 200)), **options):
    images = [random_image(i, *size) for i, size in enumerate(sizes)]
    tokens = cpu.tokens(images, model=QWEN[kind], **options)
    return tokens, adapter.features(qwen(kind), tokens)


def numbered(tokens, width=4):
    """For each image (K, D) that say which token they are of."""
    rows = torch.arange(tokens.valid.shape[1], dtype=torch.float32)[:, None].expand(-1, width)
    return [rows + 1000 * image for image in range(len(tokens.sizes))]


# Literals

def test_a_raster(cpu):
    tokens = cpu.tokens(np.zeros((112, 168, 3), np.uint8), model="qwen2.5-vl", grid=(2, 3))
    made = embeds.embeds(numbered(tokens), tokens)
    assert made.grid_thw.tolist() == [[1, 4, 6]] and made.counts == [6] and made.preserves == "raster"
    assert made.features[0][:, 0].tolist() == [0, 1, 2, 3, 4, 5]


def test_one_line(cpu):
    tokens = cpu.tokens(np.zeros((112, 168, 3), np.uint8), model="qwen2.5-vl", grid=(2, 3))
    made = embeds.embeds(numbered(tokens), tokens, grid="line")
    assert made.grid_thw.tolist() == [[1, 2, 12]] and made.preserves == "order"


def test_the_parts_of_a_message(cpu):
    tokens = cpu.tokens(np.zeros((112, 168, 3), np.uint8), model="qwen2.5-vl", grid=(2, 3))
    part, = vllm.parts(embeds.embeds(numbered(tokens), tokens), uuids=["photo"])
    json.dumps(part)
    assert part.keys() == {"type", "image_embeds", "uuid"} and part["image_embeds"].keys() == {
        "image_embeds", "image_grid_thw"}
    assert (part["type"], part["uuid"]) == ("image_embeds", "photo")
    assert read(part["image_embeds"]["image_grid_thw"]).tolist() == [1, 4, 6]
    assert read(part["image_embeds"]["image_embeds"]).tolist() == [[i] * 4 for i in range(6)]
    assert vllm.cached_parts(["photo"]) == [{**part, "image_embeds": None}]
    assert "uuid" not in vllm.parts(embeds.embeds(numbered(tokens), tokens))[0]


def test_a_snapped_gaze():
    assert vllm.snapped((0, 1), steps=4) == (0.125, 0.875)
    assert vllm.snapped([(0.3, 0.3), (0.7, 0.5)], steps=2) == [(0.25, 0.25), (0.75, 0.75)]
    assert vllm.snapped(vllm.snapped((0.4, 0.6))) == vllm.snapped((0.4, 0.6))


# Facts

@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("options", [{"grid": (4, 6)}, {"budget": 24, "gaze": (0.4, 0.6)}, {"budget": 23}])
def test_what_a_server_reads_is_what_the_tower_made(cpu, kind, options):
    tokens, features = made_of(cpu, kind, **options)
    made = embeds.embeds(features, tokens)
    placed = arrange.arrange(tokens)
    width = qwen(kind).config.text_config.hidden_size
    levels = getattr(features, "deepstack_features", None) or ()
    parts = vllm.parts(made)
    data = vllm.multi_modal_data(made)["image"]
    for index, (part, order) in enumerate(zip(parts, placed.order, strict=True)):
        rows, thw = (read(part["image_embeds"][name]) for name in ("image_embeds", "image_grid_thw"))
        assert rows.shape == (len(order), width * (1 + len(levels))) and thw.dtype == torch.int64
        assert int(thw.prod()) // 2**2 == len(rows) == made.counts[index]
        assert torch.equal(rows[:, :width], features.pooler_output[index][torch.from_numpy(order)])
        for level, layer in enumerate(levels):
            layer = layer.view(2, -1, width)[index] if torch.is_tensor(layer) else layer[index]
            assert torch.equal(rows[:, (level + 1) * width:(level + 2) * width], layer[torch.from_numpy(order)])
        assert torch.equal(data["image_grid_thw"][index], thw)
    assert torch.equal(data["image_embeds"], torch.cat([read(p["image_embeds"]["image_embeds"]) for p in parts]))
    assert (kind == "qwen3_vl") == bool(levels)
    assert made.preserves in PRESERVES


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_raster_at_full_resolution_is_the_stock_models(cpu, kind):
    """A server that derives positions from the grid has those of the image."""
    cell = 32 if kind == "qwen3_vl" else 28
    tokens, features = made_of(cpu, kind, sizes=((4 * cell, 6 * cell),), grid=(4, 6))
    made, model = embeds.embeds(features, tokens), qwen(kind)
    assert made.grid_thw.tolist() == [[1, 8, 12]] and made.preserves == "raster"
    prompt = adapter.expand([[5, 151, 6]], tokens, model)["input_ids"]
    kinds = (prompt == 151).int()
    theirs, _ = model.model.get_rope_index(prompt, mm_token_type_ids=kinds, image_grid_thw=made.grid_thw)
    assert torch.equal(theirs[-3:].float(), adapter.positions(prompt, tokens, model))
    stock = model.get_image_features(tokens.torch(), made.grid_thw).pooler_output[0]
    assert torch.allclose(made.features[0][:, :64], stock, atol=1e-5)


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_servers_arithmetic_gives_our_logits(cpu, kind):
    """Vectors as they were sent, deepstack split off behind them, positions from the grid alone."""
    cell, model = 32 if kind == "qwen3_vl" else 28, qwen(kind)
    tokens, features = made_of(cpu, kind, sizes=((4 * cell, 6 * cell), (4 * cell, 6 * cell)), grid=(4, 6))
    data = vllm.multi_modal_data(embeds.embeds(features, tokens))["image"]
    prompt = adapter.expand([[5, 151, 6, 151, 7]], tokens, model)
    ours = model(**adapter.inputs(model, tokens, **prompt)).logits
    width = model.config.text_config.hidden_size
    rows, *deep = (level.split(24) for level in data["image_embeds"].split(width, -1))
    positions, _ = model.model.get_rope_index(prompt["input_ids"], image_grid_thw=data["image_grid_thw"],
                                              mm_token_type_ids=(prompt["input_ids"] == 151).int())

    def served(rows, deep):
        sent = SimpleNamespace(pooler_output=rows, deepstack_features=deep)
        return model(**prompt, position_ids=positions, mm_encoder_outputs={"image": sent}).logits

    assert torch.allclose(ours, served(rows, deep), atol=1e-5)
    assert not torch.allclose(ours, served(rows[::-1], deep), atol=1e-3)
    if deep:
        assert not torch.allclose(ours, served(rows, deep[::-1]), atol=1e-3)


def test_ranks(cpu):
    """A band of tokens lies below none of the bands after it, and goes from left to right."""
    tokens = cpu.tokens(random_image(1, 480, 640), model="qwen2.5-vl", budget=273, gaze=(0.3, 0.6))
    placed = arrange.arrange(tokens)
    (order,), ((rows, columns),) = placed.order, placed.shape
    assert (rows, columns, placed.preserves) == (13, 21, "ranks")
    assert sorted(order) == list(range(273))
    x, y = (tokens.center_px[0, order, axis].reshape(rows, columns) for axis in (0, 1))
    assert (np.diff(x, axis=1) >= 0).all() and (y[:-1].max(1) <= y[1:].min(1)).all()


@pytest.mark.parametrize("gaze", [(0.5, 0.5), (0.2, 0.7), (0.0, 0.0)])
def test_rings(cpu, gaze):
    tokens = cpu.tokens(random_image(1, 480, 640), model="qwen2.5-vl", layout="logpolar", budget=280, gaze=gaze)
    placed = arrange.arrange(tokens, "rings", gaze=gaze)
    (order,), ((rows, columns),) = placed.order, placed.shape
    assert placed.preserves == "rings" and rows * columns == 280 and 1 < rows < 280
    assert sorted(order) == list(range(280))
    away = (tokens.center_px[0, order] - np.array(gaze) * (640, 480)).reshape(rows, columns, 2)
    radius, angle = np.hypot(away[..., 0], away[..., 1]), np.arctan2(away[..., 1], away[..., 0]) % (2 * np.pi)
    assert (radius[:-1].max(1) <= radius[1:].min(1) + 1e-3).all() and (np.diff(angle, axis=1) >= 0).all()
    shaped = arrange.arrange(tokens, "rings", gaze=gaze, shape=(10, 28))
    assert shaped.shape == [(10, 28)]


def test_a_number_without_factors(cpu):
    tokens = cpu.tokens(random_image(1, 480, 640), model="qwen2.5-vl", budget=257)
    placed = arrange.arrange(tokens)
    assert placed.preserves == "order" and placed.shape == [(1, 257)]
    assert placed.order[0].tolist() == list(range(257))
    with pytest.raises(InputError) as error:
        arrange.arrange(tokens, "ranks")
    assert str(error.value) == ("client: grid: got 257 tokens, expected a number with two factors in the image's "
                                'proportion. Use another budget, or grid="line".')


def test_of_several_images_the_least_counts(cpu):
    tokens = cpu.tokens([random_image(1, 224, 224), random_image(2, 224, 2000)], model="qwen2.5-vl", budget=64)
    placed = arrange.arrange(tokens)
    assert placed.preserves == "ranks" and [a * b for a, b in placed.shape] == [64, 64]
    assert placed.shape[0] != placed.shape[1]


def test_padding_is_left_out(cpu):
    tokens, features = made_of(cpu, "qwen3_vl", layout="rings", gaze=(0.9, 0.9))
    assert not tokens.valid.all()
    made = embeds.embeds(features, tokens)
    assert made.counts == tokens.valid.sum(1).tolist()
    for rows in made.features:
        assert rows.abs().sum(1).min() > 0
    item, _ = sglang.processor_output(tokens)
    assert len(item["pixel_values"]) == 4 * tokens.valid.sum() == item["image_grid_thw"].prod(-1).sum()


def test_no_more_is_sent_than_asked_for(cpu):
    """A view of a large tensor would bring it all along."""
    tokens = cpu.tokens(np.zeros((112, 168, 3), np.uint8), model="qwen2.5-vl", grid=(2, 3))
    large = torch.zeros(100, 6, 512)
    part, = vllm.parts(embeds.embeds([large[7]], tokens, dtype="bfloat16"))
    text = part["image_embeds"]["image_embeds"]
    assert len(text) < 2 * 6 * 512 * 2 + 4096 and read(text).dtype == torch.bfloat16


@pytest.mark.parametrize("kind", FAMILIES)
def test_sglang(cpu, kind):
    tokens, features = made_of(cpu, kind, budget=24)
    made = embeds.embeds(features, tokens)
    item = sglang.precomputed_embedding(made)
    assert item.keys() == {"format", "feature", "image_grid_thw"} and item["format"] == "precomputed_embedding"
    assert torch.equal(item["feature"], torch.cat(made.features))
    assert torch.equal(item["image_grid_thw"], made.grid_thw)
    item, preserves = sglang.processor_output(tokens)
    assert item.keys() == {"format", "pixel_values", "image_grid_thw"} and item["format"] == "processor_output"
    assert preserves == made.preserves == "ranks"
    order = np.concatenate([o + 24 * i for i, o in enumerate(arrange.arrange(tokens).order)])
    assert torch.equal(item["pixel_values"].view(48, 4, -1), tokens.torch().view(48, 4, -1)[torch.from_numpy(order)])
    encoded = qwen(kind).get_image_features(item["pixel_values"], item["image_grid_thw"])
    assert [len(rows) for rows in encoded.pooler_output] == [24, 24]


@pytest.mark.parametrize("shape", [(2, 12, 4), (24, 4)])
def test_features_in_one_tensor(cpu, shape):
    tokens = cpu.tokens([random_image(i, 112, 168) for i in (1, 2)], model="qwen2.5-vl", grid=(3, 4))
    rows = torch.arange(96.0).view(shape)
    made = embeds.embeds(rows, tokens)
    assert torch.equal(torch.cat(made.features), rows.view(24, 4))
    one = cpu.tokens(random_image(1, 112, 168), model="qwen2.5-vl", grid=(3, 4))
    assert torch.equal(embeds.embeds(rows.view(24, 4)[:12], one).features[0], rows.view(24, 4)[:12])


def test_cache_keys():
    image = random_image(1, 40, 60)
    keys = [vllm.cache_key(*arguments, **made_with) for arguments, made_with in (
        ((image, (0.4, 0.6)), {}), ((image, (0.5, 0.6)), {}), ((image, None), {}), ((image, (0.4, 0.6)), {"budget": 5}),
        ((image[::-1], (0.4, 0.6)), {}), ((image.reshape(60, 40, 3), (0.4, 0.6)), {}),
        ((image.tobytes(), (0.4, 0.6)), {}), (("name", (0.4, 0.6)), {}), ((b"name", (0.4, 0.6)), {}),
        ((image, [(0.4, 0.6)]), {}), ((image.view(np.int8), (0.4, 0.6)), {}))]
    assert len(set(keys)) == len(keys) and all(key.startswith("foveate-") and len(key) == 48 for key in keys)
    assert vllm.cache_key(image.copy(), (0.4, 0.6)) == keys[0]
    assert vllm.cache_key(image, (0.4 + 1e-4, 0.6)) == keys[0]
    assert (vllm.cache_key("photo", (0.4, 0.6), b=1, a=2) == vllm.cache_key("photo", (0.4, 0.6), a=2, b=1)
            == "foveate-7f38dfcbb4e5b7acfc6ed9dbf779a72f2ab701c5")


# Errors

def errors(cpu):
    tokens = cpu.tokens(random_image(1, 112, 168), model="qwen2.5-vl", budget=6)
    plain = cpu.tokens(random_image(1, 112, 168), budget=6)
    seven = cpu.tokens(random_image(1, 112, 168), model="qwen2.5-vl", budget=7)
    rows = torch.zeros(6, 4)
    good = embeds.embeds(rows, tokens)
    bad = embeds.Embeds([rows[:5]], torch.tensor([[1, 4, 6]]), 2, "raster")
    return {
        "client: tokens: got list, expected Tokens.": lambda: arrange.arrange([]),
        "client: grid: got 'spiral', expected one of 'auto', 'raster', 'rings', 'ranks', 'line'.":
            lambda: arrange.arrange(tokens, "spiral"),
        "client: grid: got tokens that are no raster, expected rows and columns of equal length. Make them with "
        'layout="grid", or use "ranks".': lambda: arrange.arrange(seven, "raster"),
        "client: rings: got no gaze, expected the gaze that they are around.": lambda: arrange.arrange(tokens, "rings"),
        "client: rings: got 2 gaze points, expected one.":
            lambda: arrange.arrange(tokens, "rings", gaze=[(0, 0), (1, 1)]),
        'client: shape: got grid="auto", expected "ranks" or "rings".': lambda: arrange.arrange(tokens, shape=(2, 3)),
        "client: shape: got 6, expected (rows, columns).": lambda: arrange.arrange(tokens, "ranks", shape=6),
        "client: shape: got 0, expected 1..65536.": lambda: arrange.arrange(tokens, "ranks", shape=(0, 3)),
        "client: shape: got 2 x 4, expected 6 tokens in all.": lambda: arrange.arrange(tokens, "ranks", shape=(2, 4)),
        "client: dtype: got 'int8', expected one of 'float32', 'float16', 'bfloat16'.":
            lambda: embeds.embeds(rows, tokens, dtype="int8"),
        "client: features: got [(5, 4)], expected 1 of (6, D), as the tokens are.":
            lambda: embeds.embeds([rows[:5]], tokens),
        "client: features: got str, expected 1 of (6, D), as the tokens are.": lambda: embeds.embeds("rows", tokens),
        "client: uuids: got 2, expected 1, one for each image.": lambda: vllm.parts(good, uuids=["a", "b"]),
        "client: embeds: got dict, expected Embeds. foveate.client.embeds.embeds makes them.": lambda: vllm.parts({}),
        "client: embeds: got [5] rows, expected [6], as their grids have. The server would refuse them, or end.":
            lambda: vllm.multi_modal_data(bad),
        "client: steps: got 0, expected 1..65536.": lambda: vllm.snapped((0, 0), 0),
        "client: image: got int, expected bytes, an array or a name.": lambda: vllm.cache_key(3, None),
        'client: tokens: got vit16, expected model="qwen2-vl", "qwen2.5-vl" or "qwen3-vl".':
            lambda: sglang.processor_output(cpu.tokens(random_image(1, 64, 64), model="vit16", budget=4)),
        'client: tokens: got by hand, expected model="qwen2-vl", "qwen2.5-vl" or "qwen3-vl".':
            lambda: sglang.processor_output(plain),
    }


def test_errors(cpu):
    for text, call in errors(cpu).items():
        with pytest.raises(InputError) as error:
            call()
        assert str(error.value) == text
    with pytest.raises(InputError, match="client: embeds: got SimpleNamespace, expected Embeds"):
        sglang.precomputed_embedding(SimpleNamespace())


def test_an_image_without_tokens(cpu):
    tokens = cpu.tokens(random_image(1, 112, 168), model="qwen2.5-vl", budget=6)
    table = tokens.table.copy()
    table["valid"] = False
    empty = type(tokens)(tokens.patches, table, tokens.preset, tokens.sizes)
    with pytest.raises(InputError, match=r"client: tokens: got an image with none that is valid, expected 1 or more"):
        arrange.arrange(empty)
