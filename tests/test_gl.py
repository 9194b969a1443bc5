# SPDX-License-Identifier: Apache-2.0
"""OpenGL beside an engine: what is drawn is what the stages see, without a copy on the host."""

import os

import conftest
import foveate
import numpy as np
import pytest
from child import descriptors
from foveate import gl
from foveate.error import InputError, UnsupportedError

OPTIONS = {"gaze": (0.3, 0.6), "budget": 40, "model": "vit16"}

SCENE = """
#version 430
uniform float turn;
out vec4 colour;
void main() {
    vec2 p = gl_FragCoord.xy * 0.07;
    colour = vec4(0.5 + 0.5 * sin(p.x + turn), 0.5 + 0.5 * cos(p.y * 1.7 - turn), fract(p.x * p.y * 0.1), 1.0);
}
"""
CORNERS = """
#version 430
void main() { gl_Position = vec4(4.0 * (gl_VertexID % 2) - 1.0, 4.0 * (gl_VertexID / 2) - 1.0, 0.0, 1.0); }
"""
RAMP = """
#version 430
layout(local_size_x = 64) in;
layout(std430, binding = 0) buffer Pixels { uint pixels[]; };
void main() { uint i = gl_GlobalInvocationID.x; if (i < pixels.length()) pixels[i] = i * 2654435761u; }
"""


@pytest.fixture(params=[name for name in conftest.BACKENDS if name == "lavapipe"])
def pair(request):
    """(context, engine) on Mesa's software device."""
    conftest.options(request.param)     # fails where there is no driver
    context = gl.context()
    engine = gl.engine(context)
    assert "llvmpipe" in context.info["GL_RENDERER"]
    yield context, engine
    assert engine.stats["messages"] == 0, "the validation layer found something"
    engine.close()
    context.release()


def scene(context, width, height):
    """draw(turn) -> the framebuffer."""
    program = context.program(vertex_shader=CORNERS, fragment_shader=SCENE)
    triangle = context.vertex_array(program, [])
    target = context.simple_framebuffer((width, height), components=4)

    def draw(turn):
        target.use()
        program["turn"] = turn
        triangle.render(vertices=3)
        return target

    return draw


def read_back(target):
    width, height = target.size
    return np.frombuffer(target.read(components=4, alignment=1), np.uint8).reshape(height, width, 4)[::-1]


@pytest.mark.parametrize("size", [(64, 96), (271, 483), (5, 7)])
def test_what_is_drawn_is_seen(pair, cpu, size):
    context, engine = pair
    draw = scene(context, size[1], size[0])
    with gl.Frame(engine, context, size) as frame:
        for turn in (0.0, 0.4, 2.0):
            target = draw(turn)
            image = frame.take(target)
            truth = read_back(target)
            assert np.array_equal(image.numpy(), truth)
            expected = cpu.tokens(np.ascontiguousarray(truth), **OPTIONS).numpy()
            assert engine.tokens(image, **OPTIONS).numpy().tobytes() == expected.tobytes()
    assert engine.stats["image_copies"] == 0


def test_orientation(pair):
    context, engine = pair
    target = context.simple_framebuffer((40, 30), components=4)
    target.clear(0.0, 0.0, 1.0, 1.0)
    target.clear(1.0, 0.0, 0.0, 1.0, viewport=(0, 0, 10, 5))    # OpenGL's lower left
    with gl.Frame(engine, context, (30, 40)) as frame:
        pixels = frame.take(target).numpy()
    red = pixels[..., 0] == 255
    assert red[25:, :10].all() and red.sum() == 50


def test_shaders_write_to_it(pair):
    context, engine = pair
    with gl.Frame(engine, context, (48, 64)) as frame:
        frame.buffer.bind_to_storage_buffer(0)
        context.compute_shader(RAMP).run(48)
        context.finish()
        words = frame.image.numpy().reshape(-1).view(np.uint32)
        assert np.array_equal(words, np.arange(48 * 64, dtype=np.uint32) * np.uint32(2654435761))


def test_the_image_lives_on(pair):
    context, engine = pair
    target = context.simple_framebuffer((40, 30), components=4)
    target.clear(0.2, 0.4, 0.6, 1.0)
    frame = gl.Frame(engine, context, (30, 40))
    image = frame.take(target)
    frame.release()
    frame.release()
    assert image.numpy()[3, 3].tolist() == [51, 102, 153, 255]
    with pytest.raises(InputError, match="gl: Frame: got a released one, expected one in use"):
        frame.take(target)


def test_nothing_is_left(pair):
    context, engine = pair
    target = context.simple_framebuffer((64, 64), components=4)

    def cycle():
        with gl.Frame(engine, context, (64, 64)) as frame:
            engine.tokens(frame.take(target), **OPTIONS)

    cycle()
    before, used = descriptors(), engine.stats["memory_used"]
    for _ in range(25):
        cycle()
    assert len(descriptors()) <= len(before)
    assert engine.stats["memory_used"] <= used


def test_memory_that_does_not_open(pair, monkeypatch):
    context, engine = pair
    from OpenGL.GL import GLError
    from OpenGL.GL.EXT import memory_object

    def refuse(*_):
        raise GLError(err=1285, description="out of memory")

    before = descriptors()
    for call in ("glNamedBufferStorageMemEXT", "glCreateMemoryObjectsEXT"):
        with monkeypatch.context() as patched:
            patched.setattr(memory_object, call, refuse)
            with pytest.raises(UnsupportedError, match=r"^gl: Frame: memory: got OpenGL's 'out of memory'"):
                gl.Frame(engine, context, (32, 48))
        assert descriptors() == before
    with gl.Frame(engine, context, (32, 48)) as frame:
        assert frame.image.shape == (32, 48, 4)


def test_the_context_of_a_device(pair):
    context, _ = pair
    device, driver = gl.uuids(context)
    assert (len(device), len(driver)) == (32, 32)
    again = gl.context(device)
    assert gl.uuids(again) == (device, driver)
    again.release()
    with pytest.raises(UnsupportedError, match=f"gl: context: got .*llvmpipe.*, expected the device {'0' * 32} with"):
        gl.context("0" * 32)


def test_who_cannot(pair, monkeypatch):
    context, engine = pair

    class Old:
        extensions, info = set(), {"GL_RENDERER": "Old"}

    with pytest.raises(UnsupportedError, match="gl: context: got Old without GL_EXT_memory_object_fd, expected one"):
        gl.Frame(engine, Old(), (4, 4))
    with foveate.Engine("vulkan", device=gl.uuids(context)[0]) as alone:
        with pytest.raises(InputError, match="Engine: share: got an Engine that keeps its memory to itself"):
            gl.Frame(alone, context, (4, 4))
    if "swiftshader" in conftest.BACKENDS:
        with foveate.Engine(**conftest.options("swiftshader"), share=True) as other:
            with pytest.raises(UnsupportedError, match=r"gl: Frame: got an engine on device .*, expected device "):
                gl.Frame(other, context, (4, 4))
    with gl.Frame(engine, context, (30, 40)) as frame:
        with pytest.raises(InputError, match="gl: Frame: framebuffer: got 30 x 41 px, expected 30 x 40"):
            frame.take(context.simple_framebuffer((41, 30), components=4))
    monkeypatch.setattr(gl._core, "candidates", list)
    with pytest.raises(UnsupportedError, match=r"gl: engine: got .*, expected a Vulkan device "):
        gl.engine(context)


def test_libraries_are_named(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "moderngl", None)
    with pytest.raises(UnsupportedError, match=r"gl: libraries: got no moderngl, expected moderngl and PyOpenGL\."):
        gl.context()


def test_no_window_system_is_asked():
    gl._libraries()
    assert os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or os.environ["PYOPENGL_PLATFORM"] == "egl"
