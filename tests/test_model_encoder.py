# SPDX-License-Identifier: Apache-2.0
"""model: a checkpoint's encoder behind one call, against the adapters that it chooses."""

import json

import foveate
import numpy as np
import pytest
from foveate.error import InputError
from foveate.model import qwen, siglip2, vit
from foveate.model.encoder import encoder_of, load_encoder
from tiny_models import ENCODERS, encoder
from tiny_models import qwen as tiny_qwen

ENGINE = foveate.Engine(backend="cpu")
IMAGE = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)


@pytest.mark.parametrize("kind", ENCODERS)
def test_every_encoder_is_its_adapter(kind):
    model = encoder(kind)
    found = encoder_of(model, mean=(0.5,) * 3, std=(0.5,) * 3)
    assert found.tokens == {"model": "siglip2" if kind == "siglip2" else "vit16"} and found.width == 48
    rows, pooled = found([IMAGE, IMAGE[:100]], engine=ENGINE, budget=20, gaze=(0.3, 0.6))
    tokens = ENGINE.tokens([IMAGE, IMAGE[:100]], budget=20, gaze=(0.3, 0.6), **found.tokens)
    theirs = (siglip2 if kind == "siglip2" else vit).features(model, tokens)
    assert rows.shape == (2, 20, 48) and rows.dtype == np.float32
    assert np.array_equal(rows[tokens.valid], theirs.last_hidden_state[:, -20:].numpy()[tokens.valid])
    assert not rows[~tokens.valid].any()
    if theirs.pooler_output is not None:
        assert np.array_equal(pooled, theirs.pooler_output.numpy())


@pytest.mark.parametrize("kind", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
def test_qwen(kind):
    found = encoder_of(tiny_qwen(kind))
    rows, pooled = found(IMAGE, engine=ENGINE, budget=20)
    tokens = ENGINE.tokens(IMAGE, budget=20, **found.tokens)
    assert pooled is None and found.width == rows.shape[-1] == 64
    assert np.array_equal(rows[0], qwen.features(tiny_qwen(kind), tokens).pooler_output[0].numpy())


@pytest.mark.parametrize("kind", ["vit", "siglip2", "dinov3"])
def test_from_a_folder(tmp_path, kind):
    encoder(kind).save_pretrained(tmp_path)
    norm = {"image_mean": [0.1, 0.2, 0.3], "image_std": [1, 1, 2]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(norm))
    found = load_encoder(tmp_path, local_files_only=True)
    assert (found.tokens["mean"], found.tokens["std"]) == ((0.1, 0.2, 0.3), (1.0, 1.0, 2.0))
    rows, _ = found(IMAGE, engine=ENGINE, budget=12)
    same = encoder_of(encoder(kind), mean=(0.1, 0.2, 0.3), std=(1, 1, 2))(IMAGE, engine=ENGINE, budget=12)[0]
    assert np.array_equal(rows, same)
    (tmp_path / "preprocessor_config.json").unlink()
    assert "mean" not in load_encoder(tmp_path, local_files_only=True).tokens


def test_what_is_no_encoder(tmp_path):
    with pytest.raises(InputError, match="model: encoder: got 'object', expected one of 'vit', 'clip'"):
        encoder_of(object())
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(InputError, match="model: encoder: got 'bert', expected one of"):
        load_encoder(tmp_path)
    with pytest.raises(InputError, match="model: encoder dtype: got 'int99', expected a type of torch"):
        load_encoder(tmp_path, dtype="int99")
    with pytest.raises(InputError, match="model: encoder options: got model, expected options that the encoder does"):
        encoder_of(encoder("vit"))(IMAGE, model="vit16")
    with pytest.raises(OSError):
        load_encoder(tmp_path / "none", local_files_only=True)
