# SPDX-License-Identifier: Apache-2.0
"""model: timm's NaFlexVit, against the stock model with random weights. `test_model_naflex.py` runs this file."""

import foveate
import numpy as np
import pytest
import test_docs
import torch
from foveate.error import InputError
from foveate.model import naflex
from foveate.tensor import Tokens
from foveate.types import Given
from timm.models.naflexvit import NaFlexVit, NaFlexVitCfg
from tiny_models import seeded

ENGINE = foveate.Engine(backend="cpu")
folder = test_docs.folder       # a fixture
NOISE = np.random.default_rng(0).integers(0, 256, (400, 500, 3), np.uint8)
EACH = pytest.mark.parametrize("table", ["learned", "factorized"])


def tiny(table="learned", **options):
    options = {"pos_embed_use_grid_sample": True, "global_pool": "map", **options}
    config = NaFlexVitCfg(patch_size=16, embed_dim=48, depth=2, num_heads=4, mlp_ratio=2, pos_embed=table,
                          pos_embed_grid_size=(6, 6), reg_tokens=2, **options)
    return seeded(lambda given: NaFlexVit(given, num_classes=5), config)


def mode_of(table):
    return "center" if table == "learned" else "grid"


def rows_of(tokens, rows):
    return Tokens(foveate.Array(Given(tokens.numpy()[:, rows])), tokens.table[:, rows].copy(), tokens.preset,
                  tokens.sizes)


def stock(tokens, rows, columns):
    """The model's own dict of a whole raster."""
    raster = torch.stack(torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij"), -1).view(1, -1, 2)
    images = len(tokens.table)
    return {"patches": tokens.torch(), "patch_coord": raster.expand(images, -1, -1),
            "patch_valid": torch.ones(images, rows * columns, dtype=torch.bool)}


def test_the_page_runs(folder):
    for page in test_docs.PAGES:
        for number, language, text, marker in test_docs.blocks(page):
            if language == "python" and marker == "needs: timm":
                test_docs.run_code(page, number, text)


# Facts

def test_transformers_sees_torchvision_here():
    from transformers.utils import is_torchvision_available

    assert is_torchvision_available()


@EACH
@pytest.mark.parametrize("pool", ["map", "avg"])
@pytest.mark.parametrize("rows, columns", [(6, 6), (9, 8), (4, 5)])
def test_at_full_resolution_it_is_the_stock_model(table, pool, rows, columns):
    model = tiny(table, global_pool=pool)
    images = [NOISE[:rows * 16, :columns * 16], NOISE[-rows * 16:, -columns * 16:]]
    tokens = ENGINE.tokens(images, model="siglip2", grid=(rows, columns))
    given, expected = naflex.inputs(model, tokens, position_mode=mode_of(table)), stock(tokens, rows, columns)
    assert torch.equal(given["patch_coord"][:, :-1].long(), expected["patch_coord"])
    a, b = model(expected), model(given)
    assert (a - b).abs().max() <= 1e-6 * a.abs().max()
    found = naflex.features(model, tokens, position_mode=mode_of(table))
    assert found["patches"].shape == (2, 2 + rows * columns, 48)
    assert torch.allclose(model.forward_head(**found), b, atol=2e-6, rtol=0)
    if (rows, columns) == (6, 6):
        pixels = tokens.torch().view(2, 6, 6, 16, 16, 3).permute(0, 5, 1, 3, 2, 4).reshape(2, 3, 96, 96)
        assert torch.allclose(model(pixels), b, atol=2e-6, rtol=0)


@EACH
def test_a_part_of_a_raster_has_the_positions_of_the_whole(table):
    """Rows that do not reach the last row and column: the patch that is not valid says where these are."""
    model = tiny(table)
    tokens = ENGINE.tokens(NOISE[:96, :112], model="siglip2", grid=(6, 7))
    part, mode = rows_of(tokens, [1, 2, 9, 15, 23]), mode_of(table)
    whole, some = (model.embeds(*naflex.inputs(model, t, position_mode=mode).values())[0] for t in (tokens, part))
    assert torch.allclose(whole[:, 2:][:, [1, 2, 9, 15, 23]], some[:, 2:-1], atol=1e-6, rtol=0)


@EACH
def test_tokens_in_another_order_are_features_in_that_order(table):
    model, mode = tiny(table), mode_of(table)
    tokens = ENGINE.tokens(NOISE, model="siglip2", budget=60, gaze=(0.3, 0.3))
    order = np.random.default_rng(1).permutation(60)
    a, b = (naflex.features(model, t, position_mode=mode)["patches"][:, 2:] for t in (tokens, rows_of(tokens, order)))
    assert torch.allclose(a[:, order], b, atol=1e-5, rtol=0)
    moved = Tokens(tokens.patches, tokens.table[:, ::-1].copy(), tokens.preset, tokens.sizes)
    a, b = (model(naflex.inputs(model, value, position_mode=mode)) for value in (tokens, moved))
    assert (a - b).abs().max() > 0.01


def test_padding_has_no_influence():
    model = tiny()
    tokens = ENGINE.tokens(NOISE, model="siglip2", layout="rings", gaze=(0.02, 0.5))
    keep = np.flatnonzero(tokens.valid[0])
    assert len(keep) < tokens.valid.size
    a, b = (model(naflex.inputs(model, value)) for value in (tokens, rows_of(tokens, keep)))
    assert torch.allclose(a, b, atol=1e-5, rtol=0)


def test_channels_first_and_fractions():
    model = tiny(patchify_channels_last=False)
    tokens = ENGINE.tokens(NOISE, model="vit16", budget=60, gaze=(0.3, 0.3))
    given = naflex.inputs(model, tokens)
    assert (given["patch_coord"] % 1 != 0).any() and model(given).isfinite().all()
    assert naflex.inputs(model, tokens, position_mode="grid")["patch_coord"].dtype == torch.int64


# Errors

def test_modes_that_do_not_read_coordinates():
    tokens = ENGINE.tokens(NOISE, model="siglip2", budget=4)
    with pytest.raises(InputError, match=r"model: NaFlexVit: got pos_embed_use_grid_sample=False, expected True\. "
                                         r"Without it coordinates are ignored\. Set "
                                         r"model\.embeds\.pos_embed_use_grid_sample = True\."):
        naflex.inputs(tiny(pos_embed_use_grid_sample=False), tokens)
    with pytest.raises(InputError, match="model: NaFlexVit: got a rotary embedding, expected learned or factorized "
                                         r"tables alone\. Its rotary embedding does not read coordinates\."):
        naflex.inputs(tiny(rope_type="axial"), tokens)
    with pytest.raises(InputError, match=r"model: position_mode: got 'center', expected 'grid'\. The factorized tables "
                                         r"of NaFlexVit are read at whole positions\."):
        naflex.inputs(tiny("factorized"), tokens)
    with pytest.raises(InputError, match=r'model: NaFlexVit: got embed_proj_type="conv", expected "linear"\. Its '
                                         r"convolution reads whole images\."):
        naflex.inputs(tiny(embed_proj_type="conv"), tokens)


def test_the_hint_is_the_fix():
    model, tokens = tiny(pos_embed_use_grid_sample=False), ENGINE.tokens(NOISE, model="siglip2", budget=4)
    model.embeds.pos_embed_use_grid_sample = True
    assert torch.equal(model(naflex.inputs(model, tokens)), tiny()(naflex.inputs(tiny(), tokens)))


def test_other_models_and_other_tokens():
    tokens = ENGINE.tokens(NOISE, model="siglip2", budget=4)
    with pytest.raises(InputError, match="model: class: got Identity, expected NaFlexVit of timm"):
        naflex.inputs(torch.nn.Identity(), tokens)
    with pytest.raises(InputError, match=r"model: preset: got channels first, expected channels last, as the model "
                                         r"has\. Make them with patch=16, the channels, mean and std of the model\."):
        naflex.inputs(tiny(), ENGINE.tokens(NOISE, model="vit16", budget=4))
    away = tiny().to("meta")
    with pytest.raises(InputError, match="model: tokens: got patches on cpu, expected the model's meta"):
        naflex.inputs(away, tokens)
    assert naflex.inputs(away, tokens, copy=True)["patches"].device.type == "meta"
