# SPDX-License-Identifier: Apache-2.0
"""image: what goes in. Level 0 of a pyramid is the image itself, so it shows what was understood."""

import re

import foveate
import numpy as np
import pytest
from images import random_image
from oracle import image as truth
from tolerance import assert_close, assert_same


def planes(engine, image, index=0, **options):
    """Level 0 as (C, H, W): what the stage took the image for."""
    return engine.pyramid(engine.image(image, **options)).level(0, index).numpy()


def taken(engine, image, **options):
    """Equal to the oracle's planes on the way in and after a trip through every stage."""
    expected = truth.image(image, **options)
    assert_same(planes(engine, image, **options), expected, "level 0")
    unit = 1.0 if expected.dtype == np.float32 else float(np.iinfo(expected.dtype).max)
    height, width = expected.shape[1:]
    tokens = engine.tokens(image, patch=1, grid=(height, width), mean=(0,) * len(expected),
                           std=(1,) * len(expected), **options)
    values = tokens.patches.numpy().reshape(height, width, -1).transpose(2, 0, 1)
    assert_close(values, expected / unit, "normalise")


# Literals

def test_channels_last_becomes_planes(engine):
    image = np.array([[[1, 2, 3], [4, 5, 6]], [[7, 8, 9], [10, 11, 12]]], np.uint8)
    assert planes(engine, image, channels="last").tolist() == [
        [[1, 4], [7, 10]], [[2, 5], [8, 11]], [[3, 6], [9, 12]]]


def test_gray_is_one_plane(engine):
    assert planes(engine, np.array([[0, 255, 7]], np.uint8)).tolist() == [[[0, 255, 7]]]


def test_one_pixel(engine):
    assert planes(engine, np.array([[9]], np.uint8)).tolist() == [[[9]]]
    pixel = np.array([[[1, 2, 3]]], np.uint8)
    assert planes(engine, pixel, channels="last").tolist() == [[[1]], [[2]], [[3]]]
    assert planes(engine, pixel, channels="first").tolist() == [[[1, 2, 3]]]


def test_alpha_is_dropped_or_laid_over(engine):
    image = np.array([[[255, 0, 0, 255], [255, 0, 0, 0]]], np.uint8)
    assert planes(engine, image, channels="last").tolist() == [[[255, 255]], [[0, 0]], [[0, 0]]]
    laid = planes(engine, image, channels="last", background=(0, 1.0, 0))
    assert laid.tolist() == [[[255, 0]], [[0, 255]], [[0, 0]]]


# Facts

@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16, np.float32, np.float64])
@pytest.mark.parametrize("channels", [0, 1, 3, 4])
@pytest.mark.parametrize("order", ["first", "last"])
def test_types_and_orders(engine, dtype, channels, order):
    image = random_image(7, 11, 13, channels, dtype)
    if channels and order == "first":
        image = np.ascontiguousarray(np.moveaxis(image, 2, 0))
    taken(engine, image)
    if channels:
        taken(engine, image, channels=order)


def test_gray_with_alpha(engine):
    image = random_image(8, 9, 10, 2)
    taken(engine, image)
    over = planes(engine, image, background=(1.0, 1.0, 1.0))
    assert np.abs(over.astype(int) - truth.image(image, background=(1.0,) * 3)).max() <= 1


def test_background_is_composition(engine):
    image = random_image(9, 8, 9, 4)
    for background in ((0.25, 0.5, 1.0), (64, 128, 255)):
        unit = np.asarray(background) / (1.0 if max(background) <= 1 else 255.0)
        got = planes(engine, image, background=background)
        assert_close(got / 255.0, truth.image(image, background=unit) / 255.0, "composite_u8")


VIEWS = {
    "rows reversed": lambda a: a[::-1],
    "columns reversed": lambda a: a[:, ::-1],
    "channels reversed": lambda a: a[:, :, ::-1],
    "every second row": lambda a: a[::2],
    "every third column": lambda a: a[:, ::3],
    "crop": lambda a: a[3:20, 5:17],
    "column-major": np.asfortranarray,
    "transposed": lambda a: a.transpose(1, 0, 2),
    "planes seen as pixels": lambda a: np.ascontiguousarray(a.transpose(2, 0, 1)).transpose(1, 2, 0),
    "one pixel repeated": lambda a: np.broadcast_to(a[:1, :1], a.shape),
    "read-only": lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape),
}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_strides_are_never_wrong(engine, view, dtype):
    taken(engine, VIEWS[view](random_image(10, 24, 31, 3, dtype)))


def test_odd_addresses(engine):
    for offset in range(1, 4):
        memory = np.frombuffer(b"x" * offset + random_image(11, 9, 7).tobytes(), np.uint8)
        taken(engine, memory[offset:].reshape(9, 7, 3))


def test_contiguous_images_are_not_copied(cpu):
    before = cpu.stats["image_copies"]
    taken(cpu, random_image(12, 20, 20))
    assert cpu.stats["image_copies"] == before
    taken(cpu, random_image(12, 20, 20)[::-1])
    assert cpu.stats["image_copies"] > before


def test_batches_and_lists(engine):
    batch = np.stack([random_image(s, 12, 17) for s in range(3)])
    first = np.ascontiguousarray(np.moveaxis(batch, 3, 1))
    mixed = [random_image(5, 12, 17), random_image(6, 3, 40), random_image(7, 1, 1)]
    for index in range(3):
        expected = truth.image(batch[index])
        assert_same(planes(engine, batch, index), expected, "batch of pixels")
        assert_same(planes(engine, first, index), expected, "batch of planes")
        assert_same(planes(engine, list(batch), index), expected, "list")
        assert_same(planes(engine, mixed, index, channels="last"), truth.image(mixed[index], "last"), "sizes")


def dlpack_only(array):
    class Only:
        def __dlpack__(self, **options):
            return array.__dlpack__(**options)

        def __dlpack_device__(self):
            return array.__dlpack_device__()
    return Only()


def array_only(array):
    class Only:
        def __array__(self, dtype=None, copy=None):
            return array if dtype is None else array.astype(dtype)
    return Only()


@pytest.mark.parametrize("wrap", [dlpack_only, array_only])
def test_protocols(engine, wrap):
    image = random_image(13, 14, 15)
    assert_same(planes(engine, wrap(image)), truth.image(image))


def test_torch(engine):
    torch = pytest.importorskip("torch")
    image = random_image(14, 10, 12)
    for tensor in (torch.from_numpy(image), torch.from_numpy(image).permute(2, 0, 1)):
        assert_same(planes(engine, tensor), truth.image(image))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "I;16", "YCbCr"])
def test_pillow(engine, mode):
    pillow = pytest.importorskip("PIL.Image")
    image = pillow.fromarray(random_image(15, 10, 12))
    if mode == "I;16":
        gray = random_image(15, 10, 12, 0, np.uint16)
        assert_same(planes(engine, pillow.fromarray(gray)), gray[None])
        return
    image = image.convert(mode)
    expected = np.asarray(image.convert("L" if mode in ("L", "LA", "1") else "RGB"))
    assert_same(planes(engine, image), truth.image(expected))


def test_pixels_may_die_after_the_call(engine):
    image = engine.image(random_image(16, 30, 30))
    expected = truth.image(random_image(16, 30, 30))
    junk = [np.full((30, 30, 3), 255, np.uint8) for _ in range(8)]
    assert_same(engine.pyramid(image).level(0).numpy(), expected)
    del junk


# Errors

GOOD = np.zeros((8, 8, 3), np.uint8)
WRONG = {
    "int32": (np.zeros((8, 8, 3), np.int32), r"int32"),
    "int8": (np.zeros((8, 8, 3), np.int8), r"int8"),
    "bool": (np.zeros((8, 8), bool), r"bool"),
    "complex": (np.zeros((8, 8, 3), np.complex64), r"complex"),
    "object": (np.full((8, 8), None), r""),
    "text": ("photo.jpg", r""),
    "none": (None, r""),
    "no axes": (np.uint8(3), r""),
    "one axis": (np.zeros(8, np.uint8), r""),
    "five axes": (np.zeros((1, 1, 8, 8, 3), np.uint8), r""),
    "five channels": (np.zeros((8, 8, 5), np.uint8), r"5"),
    "no rows": (np.zeros((0, 8, 3), np.uint8), r"0"),
    "no columns": (np.zeros((8, 0, 3), np.uint8), r"0"),
    "no images": ([], r""),
    "first or last": (np.zeros((3, 8, 3), np.uint8), r"channels=.first.*channels=.last|first.*last"),
    "cube": (np.zeros((3, 3, 3), np.uint8), r"first.*last"),
    "types differ": ([GOOD, GOOD.astype(np.float32)], r"float32|f32"),
    "channels differ": ([GOOD, GOOD[:, :, 0]], r""),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_images(engine, case):
    image, words = WRONG[case]
    with pytest.raises(foveate.Error, match=r"(?s)^image: .*got .*expected .*") as error:
        engine.image(image)
    assert isinstance(error.value, ValueError)
    assert re.search(words, str(error.value), re.S), str(error.value)
    assert_same(planes(engine, GOOD), truth.image(GOOD), "the engine after an error")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite_says_where(engine, value):
    images = [random_image(s, 9, 11, 3, np.float32) for s in range(3)]
    images[2][4, 7, 1] = value
    with pytest.raises(foveate.Error, match=r"(?s)^image: .*2.*4.*7"):
        engine.tokens(images, budget=4)


def test_channels_word(engine):
    with pytest.raises(foveate.Error, match=r"(?s)channels.*got .*middle.*expected .*first.*last"):
        engine.image(GOOD, channels="middle")
    with pytest.raises(foveate.Error, match=r"(?s)^image: .*got .*expected"):
        engine.image(np.zeros((8, 9, 3), np.uint8), channels="first")
