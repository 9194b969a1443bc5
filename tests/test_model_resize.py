# SPDX-License-Identifier: Apache-2.0
"""model: resizing as Pillow does it, and rows of patches out of it."""

import numpy as np
import pytest
from conftest import isas
from foveate import _core
from foveate.error import InputError, LimitError
from foveate.model import resize
from images import LONG, random_image
from PIL import Image

PLAIN = np.repeat(np.arange(256, dtype=np.float32)[None], 3, 0)     # a byte becomes itself


def source(array, axes=(-1, 0, 1, 2)):
    taken = _core.Source(array, True)
    assert taken.read(*axes)
    return taken


def pillow(pixels, size):
    """pixels: (H, W, 3) or (H, W); size: (height, width)."""
    return np.asarray(Image.fromarray(pixels).resize(size[::-1], Image.BICUBIC))


def planes(pixels):
    return np.moveaxis(pixels, -1, 0)


def stock_rows(pixels, patch, merge, frames):
    """(H, W, 3) whole cells to rows: blocks of patches, channels, frames, texels."""
    height, width = pixels.shape[0] // patch, pixels.shape[1] // patch
    x = pixels.reshape(height // merge, merge, patch, width // merge, merge, patch, 3).transpose(0, 3, 1, 4, 6, 2, 5)
    x = np.repeat(x[:, :, :, :, :, None], frames, 5)
    return x.reshape(height * width, -1).astype(np.float32)


# What is seen by eye

def test_two_texels_to_four():
    # Keys' cubic is 0.8672 at 0.25, 0.2266 at 0.75, -0.0703 at 1.25; beyond the image there is nothing:
    # 100 * 0.2266 / (0.8672 + 0.2266) = 20.7, and 100 * 0.8672 / (0.8672 - 0.0703) = 108.8
    pixels = np.repeat(np.array([[0, 100]], np.uint8), 3, 0)[:, :, None].repeat(3, 2)
    assert resize.resized(planes(pixels), (3, 4))[1, :, 0].tolist() == [0, 21, 79, 109]


def test_rows_of_one_block():
    pixels = np.arange(16, dtype=np.uint8).reshape(4, 4)[..., None].repeat(3, 2)
    made = resize.rows([planes(pixels)], [(4, 4)], PLAIN, 2, 2, 1)
    assert made[:, :4].tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]


# What always holds

@pytest.mark.parametrize("value", [0, 1, 128, 255])
def test_one_value_stays(value):
    assert (resize.resized(np.full((3, 37, 53), value, np.uint8), (28, 112)) == value).all()


def test_same_size_is_same_bytes():
    pixels = random_image(1, 56, 84)
    assert np.array_equal(resize.resized(planes(pixels), (56, 84)), pixels)
    assert np.array_equal(resize.rows([planes(pixels)], [(56, 84)], PLAIN, 14, 2, 2), stock_rows(pixels, 14, 2, 2))


# Parity with Pillow

def shapes(count, seed):
    rng = np.random.default_rng(seed)
    for index in range(count):
        height, width, to_height, to_width = (max(1, int(v)) for v in np.exp(rng.uniform(0, 5.7, 4)))
        if index % 5 == 0:     # tall and narrow: Pillow may begin with the columns
            height, width = int(rng.integers(100, 900)), int(rng.integers(1, 9))
        yield index, (height, width), (to_height, to_width)


@pytest.mark.parametrize("isa", isas())
def test_every_instruction_set_gives_pillows_bytes(isa):
    resizer, rule = _core.Resizer(2, isa), resize.down_first()
    assert resizer.isa == isa and resizer.threads == 2
    for index, size, to in shapes(400 if LONG else 80, 3):
        pixels = random_image(index, *size)
        if index % 3 == 0:      # the largest steps there are
            pixels = np.where(pixels > 127, 255, 0).astype(np.uint8)
        down = rule(size[1], size[0], to[1], to[0])
        taken = source(np.ascontiguousarray(planes(pixels)), (-1, 1, 2, 0)) if index % 2 else source(pixels)
        made = np.from_dlpack(resizer.bytes([taken], (to[1], to[0], down)))
        assert np.array_equal(made, pillow(pixels, to)), (size, to)


@pytest.mark.parametrize("rule", [False, True])
@pytest.mark.parametrize("isa", isas())
def test_either_pass_first(isa, rule):
    resizer, pixels = _core.Resizer(1, isa), random_image(4, 61, 47)
    first = (47, 30) if rule else (20, 61)      # width, height
    between = np.asarray(Image.fromarray(pixels).resize(first, Image.BICUBIC))
    made = np.from_dlpack(resizer.bytes([source(pixels)], (20, 30, rule)))
    assert np.array_equal(made, pillow(between, (30, 20)))


ARRAYS = {
    "interleaved": lambda pixels: planes(pixels),
    "planes": lambda pixels: np.ascontiguousarray(planes(pixels)),
    "four bytes a pixel": lambda pixels: planes(np.concatenate([pixels, pixels[..., :1]], -1)[..., :3]),
    "part of a larger one": lambda pixels: planes(np.pad(pixels, ((1, 2), (3, 4), (0, 0)))[1:-2, 3:-4]),
    "reversed rows": lambda pixels: planes(pixels[::-1].copy()[::-1]),
    "reversed channels": lambda pixels: planes(pixels[..., ::-1].copy()[..., ::-1]),
    "transposed": lambda pixels: planes(pixels.transpose(1, 0, 2).copy().transpose(1, 0, 2)),
}


@pytest.mark.parametrize("size", [(70, 41), (300, 20), (1, 1), (2, 5)])
@pytest.mark.parametrize("layout", ARRAYS)
def test_every_layout_of_memory(layout, size):
    pixels = random_image(5, *size)
    to = (28, 84)
    assert np.array_equal(resize.resized(ARRAYS[layout](pixels), to), pillow(pixels, to))


@pytest.mark.parametrize("size", [(70, 41), (300, 20), (1, 1)])
@pytest.mark.parametrize("step", [1, 2, 3, 5])
def test_gray(size, step):
    pixels = np.repeat(random_image(6, *size, 0), step, 1)[:, ::step]
    gray = np.broadcast_to(pixels, (3, *size))
    expected = pillow(np.ascontiguousarray(pixels), (28, 56))
    assert np.array_equal(resize.resized(gray, (28, 56))[..., 0], expected)
    assert np.array_equal(resize.rows([gray], [(28, 56)], PLAIN, 14, 2, 2),
                          stock_rows(expected[..., None].repeat(3, 2), 14, 2, 2))


@pytest.mark.parametrize("patch, merge, frames", [(14, 2, 2), (16, 2, 2), (14, 2, 1), (7, 3, 1), (5, 1, 2), (64, 1, 2)])
def test_rows_of_many_images(patch, merge, frames):
    cell, rng = patch * merge, np.random.default_rng(8)
    table = rng.random((3, 256), np.float32)
    images = [random_image(i, int(h), int(w)) for i, (h, w) in enumerate(rng.integers(1, 300, (5, 2)))]
    sizes = [(int(r) * cell, int(c) * cell) for r, c in rng.integers(1, 4, (5, 2))]
    made = resize.rows([planes(pixels) for pixels in images], sizes, table, patch, merge, frames, threads=3)
    small = [pillow(pixels, size) for pixels, size in zip(images, sizes, strict=True)]
    values = [np.stack([table[c][one[..., c]] for c in range(3)], -1) for one in small]
    assert np.array_equal(made, np.concatenate([stock_rows(one, patch, merge, frames) for one in values]))


def test_past_the_caches():
    pixels = random_image(9, 500, 700)     # 8.4 MB of rows: written another way
    made = resize.rows([planes(pixels)], [(700, 700)], PLAIN, 14, 2, 2)
    assert made.nbytes > 4 << 20
    assert np.array_equal(made, stock_rows(pillow(pixels, (700, 700)), 14, 2, 2))


def test_pillow_that_does_otherwise(monkeypatch):
    monkeypatch.setattr(resize, "_equal", lambda *_: False)
    assert resize.down_first.__wrapped__() is None


def test_the_rules_of_versions():
    told = {tuple(rule(w, h, to_w, to_h) for w, h, to_w, to_h in resize.PROBES) for rule in resize.RULES}
    assert len(told) == len(resize.RULES)
    assert resize.down_first() in resize.RULES


# Errors

def test_what_it_does_not_cover():
    assert resize.covers(np.zeros((3, 1, 1), np.uint8))
    for array in (np.zeros((3, 4, 4), np.float32), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4), np.uint8),
                  np.zeros((3, 0, 4), np.uint8), np.zeros((3, 1, 16385), np.uint8)):
        assert not resize.covers(array)


def test_errors():
    resizer, pixels = _core.Resizer(1, ""), source(np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(LimitError, match=r"^model: resize side: got 0, expected 1..16384 px. Cut the image into parts"):
        resizer.bytes([pixels], (0, 4, False))
    with pytest.raises(LimitError, match=r"model: resize side: got 16385, expected"):
        resizer.bytes([pixels], (4, 16385, False))
    with pytest.raises(InputError, match=r"^model: resize dtype: got another, expected uint8"):
        resizer.bytes([source(np.zeros((4, 4, 3), np.float32))], (4, 4, False))
    with pytest.raises(InputError, match=r"^image: count: got 2, expected 1 image"):
        resizer.bytes([pixels, pixels], (4, 4, False))
    with pytest.raises(InputError, match=r"^model: resize size: got 28 x 30, expected multiples of 28"):
        resizer.patches([pixels], [(28, 30, False)], PLAIN, 14, 2, 2)
    for patch, merge, frames, sizes in ((0, 2, 2, 1), (65, 2, 2, 1), (14, 0, 2, 1), (14, 9, 2, 1), (14, 2, 0, 1),
                                        (14, 2, 3, 1), (14, 2, 2, 2)):
        with pytest.raises(InputError, match=r"^model: patch order: got .*, expected patches, blocks and tables"):
            resizer.patches([pixels], [(28, 28, False)] * sizes, PLAIN, patch, merge, frames)
