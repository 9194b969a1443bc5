# SPDX-License-Identifier: Apache-2.0
"""Pyramids as mip-mapped images: each level as others see it, every wrong pyramid and every failing call."""

import os

import conftest
import foveate
import numpy as np
import pytest
import vulkan as vk
from child import descriptors
from foveate import gl
from foveate._core import testing
from foveate.error import DeviceError, InputError, MemoryBudgetError, UnsupportedError
from foveate.share import SharedTexture
from images import random_image
from kernels import CudaKernels, OpenGLKernels, fill, record
from renderer import Renderer
from test_kernels import F32, U16, build, described
from test_kernels import picture as planar
from tolerance import assert_close

SIZES = [(64, 128, 3, "aligned"), (61, 83, 3, "exact"), (5, 1, 1, "exact"), (1, 1, 1, "aligned"), (37, 128, 1, "exact")]
PARAMS = record("image", "level", "level_element", "channels", "width", "first", "count", "pad0")
SAMPLED = """
#version 430
layout(local_size_x = 1) in;
uniform sampler2D image;
uniform vec2 uv;
uniform float lod;
layout(std430, binding = 0) buffer Seen { vec4 seen; };
void main() { seen = textureLod(image, uv, lod); }
"""


@pytest.fixture(scope="module", params=[name for name in conftest.BACKENDS if name in conftest.DEVICES])
def driver(request):
    return request.param


@pytest.fixture(scope="module", params=[False, True], ids=["waits", "ahead"])
def engine(request, driver):
    engine = foveate.Engine(**conftest.options(driver), share=True, ahead=request.param)
    yield engine
    assert engine.stats["messages"] == 0, "the validation layer found something"
    engine.close()


@pytest.fixture(scope="module")
def renderer(engine):
    renderer = Renderer(engine.caps["uuid"])
    yield renderer
    renderer.close()


def picture(seed, height, width, channels=3):
    pixels = random_image(seed, height, width, channels=channels)
    return pixels.reshape(height, width) if channels == 1 else pixels


def expected(pyramid, image=0):
    """(height, width, 4) bytes of each level, by what `level` says of them."""
    found = []
    for level in range(pyramid._core.levels_of(image)):
        values = pyramid.level(level, image).numpy()
        if level:
            values = np.floor(values.astype(np.float32) / np.float32(256) + np.float32(0.5))
        rgb = np.broadcast_to(values, (3, *values.shape[1:])).transpose(1, 2, 0).astype(np.uint8)
        found.append(np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)]))
    return found


def same(found, wanted):
    return len(found) == len(wanted) and all(map(np.array_equal, found, wanted))


def test_by_eye(engine, renderer):
    image = np.array([[0, 10, 200, 201], [20, 30, 202, 203]], np.uint8)
    with engine.texture(engine.pyramid(image)) as shared:
        engine.settle()
        found = renderer.levels(shared.detach(), shared.record)
    assert [level[..., 0].tolist() for level in found] == [image.tolist(), [[15, 202]], [[108]]]
    assert all((level[..., 3] == 255).all() and (level[..., 1] == level[..., 2]).all() for level in found)


@pytest.mark.parametrize("height, width, channels, edge", SIZES)
def test_every_level(engine, renderer, height, width, channels, edge):
    pixels = picture(1, height, width, channels)
    pyramid = engine.pyramid(pixels, edge=edge)
    with engine.texture(pyramid) as shared:
        assert f"{height} x {width}" in repr(shared) and shared.record["levels"] == pyramid.levels
        assert (shared.record["dedicated"], shared.record["format"]) == (True, vk.VK_FORMAT_R8G8B8A8_UNORM)
        texture = engine.attach(shared)
        engine.settle()
        assert same(renderer.levels(shared.detach(), shared.record), expected(pyramid))
    frame = texture.take()
    engine.settle()
    assert np.array_equal(frame.numpy(), expected(pyramid)[0])


def test_views_and_batches(engine, renderer):
    images = [picture(2, 40, 24), picture(3, 48, 31, 4)[:, ::2], np.moveaxis(picture(4, 33, 20), -1, 0)]
    pyramid = engine.pyramid(engine.image(images[:2]), edge="exact", levels=4)
    planar = engine.pyramid(engine.image(images[2], channels="first"), edge="exact")
    for built, image in ((pyramid, 0), (pyramid, 1), (planar, 0)):
        with engine.texture(built, image) as shared:
            engine.settle()
            assert same(renderer.levels(shared.detach(), shared.record), expected(built, image))


def test_another_engine(driver):
    """The image outlives the engine that made it, and everything else it was made of."""
    options = {**conftest.options(driver), "share": True, "ahead": True}
    pixels = picture(5, 64, 32)
    there = foveate.Engine(**options)
    with foveate.Engine(**options) as here:
        shared = here.texture(here.pyramid(pixels, levels=1))
        assert (shared.point is not None) and shared.point.kind == here.caps["sync"]
        texture = there.attach(shared)
        used = here.stats["memory_used"]
        assert here.texture(here.pyramid(pixels, levels=1)).fd != shared.fd
        here.settle()
    assert used > 0
    shared.close()
    frame = texture.take()
    there.settle()
    assert np.array_equal(frame.numpy()[..., :3], pixels)
    there.close()


def test_from_the_cpu(driver):
    """A pyramid that another backend made is carried over."""
    mixed = {**conftest.options(driver), "backend": {"*": "vulkan", "pyramid": "cpu"}, "share": True}
    with foveate.Engine(**mixed) as engine:
        with pytest.raises(UnsupportedError, match="Engine: texture: got the cpu backend, expected vulkan"):
            engine.texture(engine.pyramid(picture(6, 8, 8)))


def test_memory_is_not_kept(driver):
    with foveate.Engine(**conftest.options(driver), share=True) as engine:
        pyramid = engine.pyramid(picture(7, 64, 64), levels=1)
        engine.texture(pyramid).close()
        before, used = descriptors(), engine.stats["memory_used"]
        for _ in range(10):
            engine.texture(pyramid).close()
        assert len(descriptors()) <= len(before) and engine.stats["memory_used"] <= used
    small = foveate.Engine(**conftest.options(driver), share=True, memory_budget=2 << 20)
    pyramid = small.pyramid(picture(8, 512, 512), levels=1)
    with pytest.raises(MemoryBudgetError, match="memory: budget"):
        small.texture(pyramid)
    small.close()


@pytest.mark.parametrize("make", [CudaKernels, OpenGLKernels])
@pytest.mark.parametrize("shape, exact", [((37, 53), True), ((64, 96), False)])
def test_texts(make, shape, exact):
    """The shader's texts for CUDA and OpenGL; from a texel in the middle of a row on."""
    kernels = make()
    planes, pixels = planar(shape, np.uint8)
    table, levels, truth = build(kernels, planes, pixels, exact)
    for level, values in enumerate(truth):
        _, height, width = values.shape
        first = width * height // 3
        texels = np.zeros(width * height - first, np.uint32)
        params = fill(PARAMS, level=level, level_element=F32 if exact else U16, channels=3, width=width, first=first,
                      count=texels.size)
        kernels.run("pyramid_texture", kernels.cover("pyramid_texture", texels.size, 1, 1), params, Pixels0=pixels,
                    Levels0=levels.view(np.uint32), Images=described(planes), LevelTable=table, Texels=texels)
        rgb = np.floor(values / np.float32(256) + np.float32(0.5)).astype(np.uint8)
        rgba = np.concatenate([rgb, np.full((1, height, width), 255, np.uint8)]).transpose(1, 2, 0).reshape(-1, 4)
        assert np.array_equal(texels.view(np.uint8).reshape(-1, 4), rgba[first:]), level
    kernels.close()


@pytest.fixture(scope="module")
def context():
    conftest.options("lavapipe")        # fails where there is no driver
    context = gl.context()
    yield context
    context.release()


def read(texture, level):
    """(height, width, 4) bytes."""
    _, api, *_ = gl._libraries()
    height, width = (max(1, side >> level) for side in texture.size[::-1])
    pixels = np.zeros((height, width, 4), np.uint8)
    api.glGetTextureImage(texture.glo, level, api.GL_RGBA, api.GL_UNSIGNED_BYTE, pixels.nbytes, pixels)
    return pixels


@pytest.mark.parametrize("height, width, channels, edge", SIZES)
def test_opengl(context, height, width, channels, edge):
    with gl.engine(context) as engine:
        pyramid = engine.pyramid(picture(9, height, width, channels), edge=edge)
        with gl.Mipmap(context, engine.texture(pyramid)) as mipmap:
            assert same([read(mipmap.texture, level) for level in range(pyramid.levels)], expected(pyramid))
        assert engine.stats["messages"] == 0


def test_opengl_filters(context):
    """Between texels and between levels: level 0 is 0 on the left and 100 on the right, level 1 is 50."""
    shader, seen = context.compute_shader(SAMPLED), context.buffer(reserve=16)
    seen.bind_to_storage_buffer(0)
    with gl.engine(context) as engine:
        pyramid = engine.pyramid(np.array([[0, 100], [0, 100]], np.uint8))
        with gl.Mipmap(context, engine.texture(pyramid)) as mipmap:
            mipmap.texture.use(0)
            for u, lod, value in ((0.25, 0, 0), (0.75, 0, 100), (0.5, 0, 50), (0.25, 1, 50), (0.25, 0.5, 25),
                                  (0.75, 0.5, 75)):
                shader["image"], shader["uv"], shader["lod"] = 0, (u, 0.5), lod
                shader.run()
                context.finish()
                assert_close(np.frombuffer(seen.read(), np.float32), np.array([value] * 3 + [255]) / 255, "filtered_u8")
    seen.release()


def test_opengl_lets_go(context):
    with gl.engine(context) as engine:
        pyramid = engine.pyramid(picture(11, 64, 64))

        def cycle():
            mipmap = gl.Mipmap(context, engine.texture(pyramid))
            mipmap.release()
            mipmap.release()

        cycle()
        before = descriptors()
        for _ in range(20):
            cycle()
        assert len(descriptors()) <= len(before)


def test_opengl_refuses(context):
    with gl.engine(context) as engine:
        shared = engine.texture(engine.pyramid(picture(12, 8, 8)))
        files = len(descriptors())
        wrong = [({"device_uuid": "0" * 32}, "got a texture of device 0+, driver .*, expected device "),
                 ({"format": 43}, r"format: got 43, expected R8G8B8A8_UNORM \(37\)"),
                 ({"levels": 9}, "memory: got OpenGL's .*, expected an image that it opens")]
        for change, text in wrong:
            other = SharedTexture(os.dup(shared.fd), shared.record | change)
            with pytest.raises((InputError, UnsupportedError), match=f"gl: Mipmap: {text}"):
                gl.Mipmap(context, other)
            other.close()
        assert len(descriptors()) <= files
        shared.close()
        with pytest.raises(InputError, match="Engine: shared: got a closed descriptor"):
            gl.Mipmap(context, shared)


@pytest.mark.parametrize("image, options, text", [
    ((5, 9), {}, r"level 1: got 3 x 5, expected 2 x 4, as devices halve\. Build the pyramid with edge=\"exact\"\."),
    ((6, 8), {}, "level 2: got 2 x 2, expected 1 x 2"),
    ((8, 8), {"color": "linear"}, r'color: got "linear", expected "encoded"\.'),
])
def test_pyramids_that_cannot_be(engine, image, options, text):
    pyramid = engine.pyramid(np.zeros(image, np.uint8), **options)
    with pytest.raises(InputError, match=f"pyramid: texture: {text}"):
        engine.texture(pyramid)


def test_who_cannot(driver, engine, make_engine, cpu):
    image = np.zeros((8, 8, 3), np.uint8)
    pyramid = engine.pyramid(image)
    for dtype in ("uint16", "float32"):
        with pytest.raises(InputError, match="pyramid: texture: got 16-bit or float pixels, expected 8-bit ones"):
            engine.texture(engine.pyramid(image.astype(dtype)))
    with pytest.raises(InputError, match="pyramid: texture: got ndarray, expected a Pyramid"):
        engine.texture(image)
    for wrong in (1, -1, "0"):
        with pytest.raises(InputError, match=r"pyramid: image: got .*, expected 0\.\.0"):
            engine.texture(pyramid, wrong)
    with pytest.raises(InputError, match="Engine: value: got one made by another Engine"):
        make_engine(driver).texture(pyramid)
    alone = make_engine(driver)
    with pytest.raises(InputError, match="Engine: texture: got an Engine that keeps its memory to itself"):
        alone.texture(alone.pyramid(image, levels=1))
    with pytest.raises(UnsupportedError, match="Engine: texture: got the cpu backend, expected vulkan"):
        cpu.texture(cpu.pyramid(image))


def fail_each_call(engine):
    """(type, text) of every error, and the memory in use after each round, where every call has failed once."""
    pyramid = engine.pyramid(picture(13, 61, 83), edge="exact")

    def cycle():
        engine.texture(pyramid).close()
        engine.settle()

    cycle()
    testing.fault_arm(0, 0)
    cycle()
    calls, texts, used = testing.fault_calls(), [], []
    assert calls > 8
    for code in 2 * (vk.VK_ERROR_OUT_OF_HOST_MEMORY, vk.VK_ERROR_FORMAT_NOT_SUPPORTED):
        for k in range(1, calls + 1):
            testing.fault_arm(k, code)
            try:
                cycle()
            except foveate.Error as error:
                texts.append((type(error), str(error)))
            finally:
                testing.fault_disarm()
            cycle()     # the same calls again, whatever the failure has left
        used.append(engine.stats["memory_used"])
    assert len(texts) > calls
    return texts, used


def test_every_failing_call(driver):
    files = len(descriptors())
    engine = foveate.Engine(**conftest.options(driver), share=True, ahead=True)
    texts, used = fail_each_call(engine)
    assert (UnsupportedError, "Engine: texture: got 61 x 83 px, expected an image that the device can share. "
                              "Share the levels, or a smaller image.") in texts
    assert any(issubclass(kind, DeviceError) for kind, _ in texts)
    assert used[3] <= used[1]       # buffers are pooled
    engine.close()
    assert len(descriptors()) <= files + 1      # SwiftShader keeps one for each loader
