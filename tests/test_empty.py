# SPDX-License-Identifier: Apache-2.0
"""Engine.empty, and arrays that are read where they lie: the same bytes, and no copy."""

import gc

import foveate
import numpy as np
import pytest
from foveate.error import InputError, MemoryBudgetError
from images import random_image

BY_COPY = {"opengl": 1, "cuda": 1}         # their memory is not the host's: an image is copied once
OPTIONS = {"gaze": (0.3, 0.6), "budget": 40, "model": "vit16"}


def copied(engine, images):
    """What tokens() gives for them, and how many images it copied."""
    before = engine.stats["image_copies"]
    patches = engine.tokens(images, **OPTIONS).numpy().copy()
    return patches, engine.stats["image_copies"] - before


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_filled_and_read(engine, backend, cpu, dtype):
    picture = random_image(1, 120, 170, 3, np.dtype(dtype))
    frame = engine.empty(picture.shape, dtype)
    assert (frame.shape, frame.dtype, frame.read_only) == (picture.shape, dtype, False)
    frame.numpy()[:] = picture
    expected, _ = copied(cpu, picture)
    for given in (frame, frame.numpy(), np.from_dlpack(frame)):
        got, copies = copied(engine, given)
        assert copies == BY_COPY.get(backend, 0)
        assert got.tobytes() == expected.tobytes()


def test_written_again(engine, cpu):
    frame = engine.empty((64, 80, 3))
    for seed in range(3):
        frame.numpy()[:] = random_image(seed, 64, 80)
        assert copied(engine, frame)[0].tobytes() == copied(cpu, random_image(seed, 64, 80))[0].tobytes()


def test_batches_and_parts(engine, backend, cpu):
    batch = engine.empty((3, 90, 70, 3))
    batch.numpy()[:] = [random_image(seed, 90, 70) for seed in range(3)]
    pixels = batch.numpy()
    for given in (batch, list(pixels), pixels[1:], pixels[2, 10:60, 5:69], [pixels[2], pixels[0, 1:]]):
        got, copies = copied(engine, given)
        taken = np.array(given.numpy()) if given is batch else given
        own = [np.array(one) for one in taken] if isinstance(given, list) else np.array(taken)
        assert copies == BY_COPY.get(backend, 0) * len(engine.image(given))
        assert got.tobytes() == copied(cpu, own)[0].tobytes()


def test_torch_writes(engine, backend):
    torch = pytest.importorskip("torch")
    frame = engine.empty((3, 64, 96), "float32")
    ramp = torch.linspace(0, 1, 3 * 64 * 96).reshape(3, 64, 96)
    frame.torch().copy_(ramp)
    got, copies = copied(engine, frame.torch())
    assert copies == BY_COPY.get(backend, 0)
    assert got.tobytes() == copied(engine, ramp)[0].tobytes()


def test_large_arrays_are_borrowed(engine, cpu):
    """Any memory of 64 KiB and more, wherever it begins."""
    shared = engine.caps["host_visible"]
    memory = np.empty(200 * 300 * 3 + 4096, np.uint8)
    picture = random_image(5, 200, 300)
    expected, _ = copied(cpu, picture)
    for offset in (0, 1, 2049, 4095):
        pixels = memory[offset:][:picture.size].reshape(picture.shape)
        pixels[:] = picture
        pixels.flags.writeable = False
        got, copies = copied(engine, pixels)
        assert copies == (0 if shared else 1)
        assert got.tobytes() == expected.tobytes()


def test_outlives_the_engine():
    engine = foveate.Engine(backend="cpu")
    frame = engine.empty((8, 8))
    pixels = frame.numpy()
    engine.close()
    del engine, frame
    gc.collect()
    pixels[:] = 7
    assert pixels.sum() == 7 * 64


def test_many_come_back(engine):
    """Memory of arrays that are gone is given out again."""
    engine.empty((256, 256, 3)).numpy()[0, 0, 0] = 1
    used = engine.stats["memory_used"]
    for _ in range(50):
        engine.empty((256, 256, 3)).numpy()[0, 0, 0] = 1
    assert engine.stats["memory_used"] <= used


@pytest.mark.parametrize("shape", [(4,), 5, (1, 2, 3, 4, 5), (0, 3), (-1, 3), (2.5, 3), ("a", 3), None,
                                   (1 << 30, 1 << 30)])
def test_bad_shapes(engine, shape):
    with pytest.raises(InputError, match=r"Engine: empty shape: got .*, expected 2 to 4 sizes of at l"):
        engine.empty(shape)


@pytest.mark.parametrize("dtype", ["float64", "int8", None, 3])
def test_bad_types(engine, dtype):
    with pytest.raises(InputError, match=r'Engine: empty dtype: got .*, expected "uint8", "uint16" or "flo'):
        engine.empty((4, 4), dtype)


def test_too_large(engine):
    with pytest.raises(MemoryBudgetError, match="memory: "):
        engine.empty((1 << 20, 1 << 20, 3))
