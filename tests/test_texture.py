# SPDX-License-Identifier: Apache-2.0
"""A renderer's images, of optimal tiling, read by the stages where they were drawn; and every wrong record."""

import os

import conftest
import foveate
import numpy as np
import pytest
import vulkan as vk
from child import descriptors
from foveate._core import testing
from foveate.error import InputError, UnsupportedError
from foveate.share import TEXTURE_FIELDS, SharedTexture, Texture
from images import random_image
from renderer import Renderer

OPTIONS = {"gaze": (0.3, 0.6), "budget": 40, "model": "vit16"}
FORMATS = {"uint8": vk.VK_FORMAT_R8G8B8A8_UNORM, "uint16": vk.VK_FORMAT_R16G16B16A16_UNORM,
           "float32": vk.VK_FORMAT_R32G32B32A32_SFLOAT}


@pytest.fixture(params=[name for name in conftest.BACKENDS if name in conftest.DEVICES])
def driver(request):
    return request.param


@pytest.fixture(params=[False, True], ids=["waits", "ahead"])
def engine(request, driver):
    engine = foveate.Engine(**conftest.options(driver), share=True, ahead=request.param)
    yield engine
    assert engine.stats["messages"] == 0, "the validation layer found something"
    engine.close()


@pytest.fixture
def renderer(engine):
    renderer = Renderer(engine.caps["uuid"])
    yield renderer
    renderer.close()


def picture(seed, dtype="uint8"):
    pixels = random_image(seed, 61, 83, channels=4)
    if dtype == "uint16":
        return pixels.astype(np.uint16) * 257
    return pixels if dtype == "uint8" else (pixels / np.float32(255)).astype(np.float32)


@pytest.mark.parametrize("dtype", FORMATS)
def test_what_is_drawn_is_what_is_seen(engine, renderer, cpu, dtype):
    drawn = picture(1, dtype)
    with SharedTexture(*renderer.texture(drawn, FORMATS[dtype])) as shared:
        texture = engine.attach(shared)
    assert isinstance(texture, Texture) and "61 x 83" in repr(shared)
    frame = texture.take()
    assert (frame.shape, frame.dtype) == ((61, 83, 4), dtype)
    engine.settle()
    assert np.array_equal(frame.numpy(), drawn)
    assert engine.tokens(frame, **OPTIONS).numpy().tobytes() == cpu.tokens(drawn, **OPTIONS).numpy().tobytes()


def test_frames(engine, renderer, cpu):
    shared = SharedTexture(*renderer.texture(picture(1), FORMATS["uint8"], levels=3))
    texture = engine.attach(shared)
    copies, made = engine.stats["image_copies"], []
    for seed in range(2, 6):
        renderer.draw(picture(seed))
        made.append(engine.tokens(texture.take(), **OPTIONS))
        engine.signal()     # where semaphores are not shared this waits
        engine.settle()     # the renderer of the test waits for nothing itself
    assert engine.stats["image_copies"] == copies
    for seed, tokens in enumerate(made, 2):
        assert tokens.numpy().tobytes() == cpu.tokens(picture(seed), **OPTIONS).numpy().tobytes()


def test_no_wait(driver, cpu):
    engine = foveate.Engine(**conftest.options(driver), share=True, ahead=True)
    renderer = Renderer(engine.caps["uuid"])
    texture = engine.attach(SharedTexture(*renderer.texture(picture(1), FORMATS["uint8"])))
    waits = engine.stats["host_waits"]
    tokens = engine.tokens(texture.take(), **OPTIONS)
    assert engine.stats["host_waits"] == waits
    assert tokens.numpy().tobytes() == cpu.tokens(picture(1), **OPTIONS).numpy().tobytes()
    del texture
    engine.close()
    renderer.close()


def test_every_failing_call(driver):
    files = len(descriptors())
    engine = foveate.Engine(**conftest.options(driver), share=True, ahead=True)
    renderer = Renderer(engine.caps["uuid"])
    shared = SharedTexture(*renderer.texture(picture(1), FORMATS["uint8"]))

    def cycle():
        engine.attach(shared).take()
        engine.settle()

    cycle()
    testing.fault_arm(0, 0)
    cycle()
    calls, failed = testing.fault_calls(), 0
    assert calls > 8
    for code in (vk.VK_ERROR_OUT_OF_HOST_MEMORY, vk.VK_ERROR_INITIALIZATION_FAILED):
        for k in range(1, calls + 1):
            testing.fault_arm(k, code)
            try:
                cycle()
            except foveate.Error:
                failed += 1
            finally:
                testing.fault_disarm()
    assert failed > calls
    cycle()
    shared.close()
    engine.close()
    renderer.close()
    assert len(descriptors()) <= files + 1      # SwiftShader keeps one for each loader


@pytest.mark.parametrize("field", TEXTURE_FIELDS)
def test_wrong_records(engine, renderer, field):
    fd, record = renderer.texture(picture(1), FORMATS["uint8"])
    with SharedTexture(fd, record) as shared:
        before = descriptors()
        for value in (None, "0" * 32, -1, 1 << 63, object()):
            with pytest.raises((InputError, UnsupportedError), match=r"Engine: attach: .*: got .*, expected "):
                engine.attach(SharedTexture(os.dup(shared.fd), record | {field: value}))
        assert len(descriptors()) <= len(before)


@pytest.mark.parametrize("field,value,text", [
    ("format", 44, r"texture format: got 44, expected VK_FORMAT_R8G8B8A8_UNORM \(37\)"),
    ("usage", 2, r"texture usage: got 2, expected one with VK_IMAGE_USAGE_TRANSFER_SRC_BIT \(1\)"),
    ("width", 0, "texture: got 0 x 61, 1 levels, layout 1, expected sizes"),
    ("layout", 0, "texture: got 83 x 61, 1 levels, layout 0, expected sizes"),
    ("allocation_size", 100, "texture: got 100 bytes, at 0, expected [0-9]+ at a multiple of"),
    ("levels", 8, "texture: got 83 x 61, 8 levels, layout 1, expected sizes"),
    ("usage", 33, "texture: got format 37, usage 33, expected what the device can open"),
    ("memory_type", 40, "memory type: got 40, expected one of the device's"),
    ("device_uuid", "0" * 32, "memory: got that of device 0000"),
])
def test_records_that_cannot_be(engine, renderer, field, value, text):
    fd, record = renderer.texture(picture(1), FORMATS["uint8"])
    with (SharedTexture(fd, record | {field: value}) as shared,
          pytest.raises((InputError, UnsupportedError), match=f"Engine: attach: {text}")):
        engine.attach(shared)


def test_who_cannot(driver, make_engine, cpu, renderer):
    shared = SharedTexture(*renderer.texture(picture(1), FORMATS["uint8"]))
    with pytest.raises(InputError, match="Engine: attach: got an Engine that keeps its memory to itself"):
        make_engine(driver).attach(shared)
    with pytest.raises(UnsupportedError, match="Engine: attach: got the cpu backend, expected vulkan"):
        cpu.attach(shared)
    shared.close()
    with pytest.raises(InputError, match="Engine: shared: got a closed descriptor"):
        cpu.attach(shared)
