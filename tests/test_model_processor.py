# SPDX-License-Identifier: Apache-2.0
"""model: image processors for the Qwen-VL family, the stock one's twins and foveated."""

import copy
import warnings

import numpy as np
import pytest
import tiny_models
import torch
from foveate.error import InputError
from foveate.model import batch, processor, qwen
from foveate.model.processor import OURS
from images import LONG, random_image
from PIL import Image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil as Stock

Ours, Ours25, Ours3 = processor.CLASSES.values()
SMALL = {"shortest_edge": 56 * 56, "longest_edge": 300 * 300}


def outcome(call):
    """What a call returns, as arrays, or the type of its error."""
    try:
        made = call()
    except Exception as error:
        return type(error)
    return {key: np.asarray(value) for key, value in made.items()}


def assert_same(ours, theirs, about=None):
    if isinstance(theirs, type):
        assert ours is theirs, (ours, theirs, about)
        return
    assert not isinstance(ours, type), (ours, about)
    assert list(ours) == list(theirs), about
    for key, value in theirs.items():
        assert ours[key].dtype == value.dtype and np.array_equal(ours[key], value), (key, about)


def test_one_cell_by_hand():
    image = np.arange(28 * 28 * 3, dtype=np.uint32).reshape(28, 28, 3).astype(np.uint8)
    made = Ours(do_resize=False, do_normalize=False, rescale_factor=1.0)(image, return_tensors="np")
    assert made["image_grid_thw"].tolist() == [[1, 2, 2]]
    rows = made["pixel_values"].reshape(4, 3, 2, 14, 14)
    assert np.array_equal(rows[1, 2, 0], image[:14, 14:, 2]) and np.array_equal(rows[:, :, 0], rows[:, :, 1])


# The stock processor's twins

MODES = {
    "RGB": lambda rgba: Image.fromarray(rgba[..., :3]),
    "L": lambda rgba: Image.fromarray(rgba[..., 0]),
    "RGBA": lambda rgba: Image.fromarray(rgba),
    "LA": lambda rgba: Image.fromarray(rgba).convert("LA"),
    "P": lambda rgba: Image.fromarray(rgba[..., :3]).convert("P"),
    "1": lambda rgba: Image.fromarray(rgba[..., 0]).convert("1"),
    "CMYK": lambda rgba: Image.fromarray(rgba[..., :3]).convert("CMYK"),
    "HWC": lambda rgba: rgba[..., :3],
    "compact HWC": lambda rgba: np.ascontiguousarray(rgba[..., :3]),
    "CHW": lambda rgba: np.ascontiguousarray(np.moveaxis(rgba[..., :3], -1, 0)),
    "torch": lambda rgba: torch.from_numpy(np.ascontiguousarray(np.moveaxis(rgba[..., :3], -1, 0))),
    "HW1": lambda rgba: rgba[..., :1],
    "HWA": lambda rgba: rgba,
    "floats": lambda rgba: rgba[..., :3].astype(np.float32) / np.float32(255),
}
USUAL = ("RGB", "L", "RGBA", "P", "HWC", "CHW")


def transparent(rgba):
    image = Image.fromarray(rgba[..., :3])
    image.info["transparency"] = tuple(int(v) for v in rgba[0, 0, :3])
    return image


def draw(rng):
    """(images, options of the processor, options of the call) of one case."""
    sizes = np.exp(rng.uniform(2.5, 6.2, (rng.integers(1, 4), 2))).astype(int) + 1
    modes = [list(MODES)[rng.integers(len(MODES))] if rng.random() < 0.3 else USUAL[rng.integers(len(USUAL))]
             for _ in sizes]
    made = {}
    if rng.random() < 0.5:
        low = int(np.exp(rng.uniform(7, 10)))
        made["size"] = {"shortest_edge": low, "longest_edge": low + int(np.exp(rng.uniform(6, 11.5)))}
    else:
        made["size"] = dict(SMALL)
    for name, values in (("patch_size", (14, 16, 8)), ("merge_size", (2, 1, 3)), ("temporal_patch_size", (2, 1, 3)),
                         ("resample", (3, 3, 2)), ("do_normalize", (True, True, False)),
                         ("do_rescale", (True, True, True, False)), ("do_convert_rgb", (True, True, True, False)),
                         ("rescale_factor", (1 / 255, 1 / 127.5)), ("image_mean", ([0.5] * 3, [0.1, 0.2, 0.3], 0.4)),
                         ("image_std", ([0.5] * 3, [1.0, 0.7, 0.3])), ("do_resize", (True, True, True, False))):
        if rng.random() < 0.25:
            made[name] = values[rng.integers(len(values))]
    if made.get("do_resize") is False and rng.random() < 0.8:
        sizes = sizes // 48 * 48 + 48
        made["patch_size"] = 8
    images = [MODES[mode](random_image(int(rng.integers(1 << 30)), *size, 4)) for mode, size in
              zip(modes, sizes, strict=True)]
    called = {"return_tensors": ("np", "pt", None)[rng.integers(3)]}
    if rng.random() < 0.2:
        called["min_pixels"], called["max_pixels"] = 3000, 50000
    return (images[0] if len(images) == 1 else images), made, called, modes


@pytest.mark.parametrize("seed", range(5))
def test_bit_equal_to_the_stock_processor(seed):
    rng, quick = np.random.default_rng(100 + seed), 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(60 if LONG else 12):
            images, made, called, modes = draw(rng)
            ours, theirs = Ours(**made), Stock(**made)
            expected = outcome(lambda: theirs(copy.deepcopy(images), **called))     # noqa: B023
            assert_same(outcome(lambda: ours(images, **called)), expected, (modes, made, called))   # noqa: B023
            quick += not isinstance(expected, type)
    assert quick > (30 if LONG else 6)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("cls, sizes", [(Ours, (14, 2)), (Ours3, (16, 2))])
def test_every_mode(cls, sizes, mode):
    settings = {} if cls is Ours else {"patch_size": 16, "size": dict(Ours3.size), "image_mean": Ours3.image_mean,
                                       "image_std": Ours3.image_std}
    image = MODES[mode](random_image(3, 123, 201, 4))
    assert_same(outcome(lambda: cls()(image)), outcome(lambda: Stock(**settings)(image)))


def test_images_as_they_come():
    images = [random_image(i, 60 + i, 90) for i in range(3)]
    opened = transparent(random_image(4, 70, 80, 4))
    stack = np.stack([images[0]] * 2)
    ours, theirs = Ours(), Stock()
    for given in (images, [[images[0]], images[1:]], stack, [stack], (opened, opened), tuple(images),
                  [Image.fromarray(image) for image in images], [torch.from_numpy(image) for image in images]):
        assert_same(outcome(lambda: ours(given)), outcome(lambda: theirs(given)))   # noqa: B023
    gray = random_image(5, 50, 60, 0)
    for wrong in ([], None, "nothing", gray, np.zeros((30, 8000, 3), np.uint8), [np.zeros((0, 4, 3), np.uint8)]):
        assert_same(outcome(lambda: ours(wrong)), outcome(lambda: theirs(wrong)))   # noqa: B023
    made = ours(images[0], input_data_format="channels_last")
    assert_same(dict(made), outcome(lambda: theirs(images[0], input_data_format="channels_last")))


def test_it_is_not_the_stock_code_that_ran(monkeypatch):
    image = random_image(1, 100, 150)
    expected = Stock()(image)
    monkeypatch.setattr(Stock, "_preprocess", None)
    assert_same(dict(Ours()(image)), dict(expected))
    assert_same(dict(Ours()(Image.fromarray(image))), dict(expected))


def test_a_pillow_that_does_otherwise_is_left_to_it(monkeypatch):
    image = random_image(1, 100, 150)
    expected = Ours()(image)
    monkeypatch.setattr(processor, "down_first", lambda: None)
    monkeypatch.setattr(processor, "rows", None)
    assert_same(dict(Ours()(image)), dict(expected))


def test_numbers_of_patches():
    ours, theirs = Ours(), Stock()
    for size in ((1080, 1920), (30, 30), (500, 77)):
        for options in (None, {"max_pixels": 50000}, {"patch_size": 16}):
            expected = theirs.get_number_of_image_patches(*size, options)
            assert ours.get_number_of_image_patches(*size, options) == expected
    assert Ours(budget=100).get_number_of_image_patches(1080, 1920) == 400
    assert ours.get_number_of_image_patches(1080, 1920, {"budget": 10, "merge_size": 1}) == 10


def test_attributes_are_the_stock_ones():
    ours, theirs = Ours().to_dict(), Stock().to_dict()
    assert ours.pop("image_processor_type") == "FoveatedQwen2VLImageProcessor"
    assert theirs.pop("image_processor_type") == "Qwen2VLImageProcessor"
    assert ours == theirs
    assert Ours().model_input_names == Stock().model_input_names
    assert Ours(budget=4).model_input_names == [*Stock().model_input_names, *OURS]


# Foveated

@pytest.mark.parametrize("cls, preset", [(Ours, "qwen2-vl"), (Ours25, "qwen2.5-vl"), (Ours3, "qwen3-vl")])
def test_tokens_of_an_engine(cpu, cls, preset):
    images = [random_image(1, 300, 400), random_image(2, 250, 260)]
    options = {"budget": 40, "gaze": (0.3, 0.6), "relevance": {"information": True}}
    made = cls(budget=40, relevance=options["relevance"])(images, gaze=(0.3, 0.6), engine=cpu, return_tensors="np")
    expected = cpu.tokens(images, model=preset, **options)
    assert np.array_equal(made["pixel_values"], expected.numpy())
    assert made["image_grid_thw"].tolist() == [[1, 2, 80]] * 2
    assert list(made) == ["pixel_values", "image_grid_thw", *OURS]
    again = batch.tokens_of(made)
    for name in ("center_px", "size_px", "valid", "image"):
        assert np.array_equal(getattr(again, name), getattr(expected, name)), name
    assert [tuple(size) for size in made["image_sizes"].tolist()] == expected.sizes == again.sizes
    assert np.array_equal(again.numpy(), expected.numpy())
    assert (again.preset.patch, again.preset.merge, again.preset.frames) == (expected.preset.patch, 2, 2)


def test_a_grid_of_whole_tokens_is_the_stock_result(cpu):
    image = random_image(1, 56, 112)
    theirs = Stock(do_resize=False)(image)
    made = Ours(budget=8, foveation={"layout": "grid", "grid": (2, 4)})(image, engine=cpu)
    assert np.abs(made["pixel_values"] - theirs["pixel_values"]).max() < 1e-6
    rows, columns = made["patch_positions"].astype(int).T
    assert (rows.max(), columns.max()) == (3, 7)
    assert list(zip(rows[:5], columns[:5], strict=True)) == [(0, 0), (0, 1), (1, 0), (1, 1), (0, 2)]
    assert np.array_equal(made["patch_positions"], made["patch_positions"].round())


def test_numbers_mean_what_they_mean_to_the_stock_processor(cpu):
    pixels = random_image(1, 56, 112)
    grid = {"layout": "grid", "grid": (2, 4)}
    for image, options in ((pixels, {"do_normalize": False}), (pixels, {"do_rescale": False, "image_mean": 100.0}),
                           (pixels, {"rescale_factor": 1 / 127.5, "image_std": [1, 2, 3]}),
                           (pixels.astype(np.float32) / 255, {"do_rescale": False}),
                           (pixels[..., :1], {}), (Image.fromarray(pixels[..., 0]), {})):
        theirs = Stock(do_resize=False, **options)(image)["pixel_values"]
        ours = Ours(budget=8, foveation=grid, **options)(image, engine=cpu)["pixel_values"]
        assert np.abs(ours - theirs).max() < 1e-6 * max(1, np.abs(theirs).max()), options


def test_gray_and_colour_together(cpu):
    pixels = random_image(1, 100, 120)
    made = Ours(budget=6)([Image.fromarray(pixels), Image.fromarray(pixels[..., 0])], engine=cpu)
    alone = Ours(budget=6)(Image.fromarray(pixels[..., 0]), engine=cpu)
    assert np.array_equal(made["pixel_values"][24:], alone["pixel_values"])


def test_tensors(cpu):
    image = random_image(1, 100, 120)
    made = Ours(budget=6)(image, engine=cpu, return_tensors="pt")
    assert all(isinstance(value, torch.Tensor) for value in made.values())
    assert made["pixel_values"].shape == (24, 1176) and made["image_grid_thw"].tolist() == [[1, 2, 12]]
    again = batch.tokens_of(made)
    assert again.torch() is not None and again.torch().data_ptr() == made["pixel_values"].data_ptr()
    assert again.device == "cpu" and again.patches.dtype == "float32"
    made["pixel_values"] = made["pixel_values"].to(torch.bfloat16)
    assert batch.tokens_of(made).torch().dtype == torch.bfloat16
    assert Ours(budget=6, temporal_patch_size=1, patch_size=7)(image, engine=cpu)["pixel_values"].shape == (24, 147)
    small = batch.tokens_of(Ours(budget=6, temporal_patch_size=1, patch_size=7)(image, engine=cpu))
    assert (small.preset.patch, small.preset.frames) == (7, 1)


@pytest.mark.parametrize("kind", processor.CLASSES)
def test_the_adapter_takes_a_batch(cpu, kind):
    model = tiny_models.qwen(kind)
    cls, images = processor.CLASSES[kind], [random_image(1, 300, 333), random_image(2, 200, 250)]
    patch = model.config.vision_config.patch_size
    made = cls(budget=13, patch_size=patch)(images, gaze=(0.3, 0.4), engine=cpu, return_tensors="pt")
    tokens = cpu.tokens(images, budget=13, gaze=(0.3, 0.4), model=tiny_models.QWEN[kind])
    ids = torch.tensor([[5, *[tiny_models.IMAGE] * 13, 6, *[tiny_models.IMAGE] * 13, 7]])
    with torch.no_grad():
        ours, direct = (model(**qwen.inputs(model, value, ids)).logits for value in (batch.tokens_of(made), tokens))
        tower = qwen.vision(batch.tokens_of(made), model)
    assert torch.equal(ours, direct)
    assert torch.equal(made["patch_positions"], tower["position_ids"])
    assert int(made["image_grid_thw"].prod(1).sum()) // 4 == 26


def test_a_call_may_say_otherwise(cpu):
    image, ours = random_image(1, 100, 120), Ours(budget=6)
    assert ours(image, budget=9, engine=cpu)["image_grid_thw"].tolist() == [[1, 2, 18]]
    assert_same(dict(ours(image, budget=None)), dict(Stock()(image)))
    assert "patch_positions" in Ours()(image, budget=9, engine=cpu)


def test_without_an_engine_it_is_the_process_own(monkeypatch, cpu):
    monkeypatch.setattr(processor, "engine_of", lambda engine: engine or cpu)
    assert Ours(budget=6)(random_image(1, 60, 60))["pixel_values"].shape == (24, 1176)


# Errors

def test_budgets():
    for budget in (0, 65537, -3):
        with pytest.raises(InputError, match=rf"^model: budget: got {budget}, expected 1..65536"):
            Ours(budget=budget)
        with pytest.raises(InputError, match=rf"^model: budget: got {budget}, expected 1..65536"):
            Ours()(random_image(1, 30, 30), budget=budget)
    with pytest.raises(InputError, match=r"^model: budget: got '9', expected 1..65536"):
        Ours(budget="9")
    with pytest.raises(InputError, match=r"^model: threads: got 257, expected 1..256"):
        Ours(threads=257)
    with pytest.raises(InputError, match=r"^model: threads: got 1.5, expected 1..256"):
        Ours(threads=1.5)


def test_batches_of_others(cpu):
    made = Ours(budget=6)(random_image(1, 60, 60), engine=cpu, return_tensors="pt")
    with pytest.raises(InputError, match=r"^model: batch: got no token_center, token_size, image_sizes, expected what"):
        batch.tokens_of(Ours()(random_image(1, 60, 60)))
    cast = copy.deepcopy(made).to(torch.bfloat16)
    with pytest.raises(InputError, match=r"^model: batch positions: got bfloat16, expected float32. Cast pixel_values"):
        batch.tokens_of(cast)
