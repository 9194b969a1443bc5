# SPDX-License-Identifier: Apache-2.0
"""OpenGL's buffers and textures registered with CUDA: OpenGL is Mesa's, CUDA is a driver over the host's memory."""

import gc

import foveate
import numpy as np
import pytest
from child import child
from conftest import options
from cuda_side import IMAGE, OPTIONS, bytes_read, seen
from foveate import gl
from foveate.error import Error, InputError, MemoryBudgetError
from images import random_image

KINDS = ("graphics", "maps", "contexts", "streams", "events", "allocations")
SHAPE = (*IMAGE.shape[:2], 4)
PIXELS = np.dstack([IMAGE, IMAGE[..., :1]])


@pytest.fixture
def stub(kernel_stub):
    return kernel_stub


@pytest.fixture
def context():
    made = gl.context()
    yield made
    made.release()


@pytest.fixture
def engine(stub):
    with foveate.Engine("cuda", cuda=True) as made:
        yield made


def calls(log):
    """The calls for OpenGL's objects in a stub's log, in their order: name and stream."""
    lines = [line.split() for line in log.splitlines() if line.startswith(("cuGraphics", "cuGL"))]
    return [(words[0].removeprefix("cuGraphics"), *(int(w[7:]) for w in words if w.startswith("stream=")))
            for words in lines]


def names(log):
    return [call[0] for call in calls(log)]


# What is drawn is what the stages see

def test_a_buffer(engine, context, stub, cpu):
    expected = cpu.tokens(PIXELS, **OPTIONS).numpy().tobytes()
    buffer = context.buffer(PIXELS.tobytes())
    with gl.register(engine, buffer=buffer, shape=SHAPE) as registered:
        assert (registered.shape, registered.dtype) == (SHAPE, "uint8")
        stub.log()
        with registered.map() as mapped:
            assert engine.tokens(mapped, **OPTIONS).numpy().tobytes() == expected
        log = stub.log()
        assert log.count(f"cuMemcpyDtoDAsync size={PIXELS.nbytes} ") == 1 and PIXELS.nbytes not in bytes_read(log)
        assert engine.stats["image_copies"] == 1
        taken = registered.take()
        assert taken.device == "cuda:0" and np.array_equal(seen(taken), PIXELS)
        stub.log()
        assert engine.tokens(taken, **OPTIONS).numpy().tobytes() == expected
        assert engine.stats["image_copies"] == 2 and "cuMemcpyDtoD" not in stub.log()
        other = np.ascontiguousarray(PIXELS[::-1])
        buffer.write(other)         # the next frame
        assert np.array_equal(seen(taken), PIXELS) and np.array_equal(seen(registered.take()), other)
    assert stub.alive("graphics", "maps") == [0, 0]


@pytest.mark.parametrize("size", [(271, 483), (5, 7), (64, 64)])
def test_a_texture(engine, context, stub, cpu, size):
    height, width = size
    pixels = np.dstack([random_image(7, height, width), np.full(size, 9, np.uint8)])
    texture = context.texture((width, height), 4, pixels.tobytes(), alignment=1)
    with gl.register(engine, texture=texture) as registered:
        assert (registered.shape, registered.dtype) == ((height, width, 4), "uint8")
        stub.log()
        taken = registered.take()
        log = stub.log()
        assert names(log) == ["MapResources", "SubResourceGetMappedArray", "UnmapResources"]
        assert log.count(f"cuMemcpy2DAsync width={4 * width} rows={height} ") == 1 and bytes_read(log) == []
        assert np.array_equal(seen(taken), pixels) and engine.stats["image_copies"] == 1
        assert engine.tokens(taken, **OPTIONS).numpy().tobytes() == cpu.tokens(pixels, **OPTIONS).numpy().tobytes()
        assert engine.stats["image_copies"] == 1


def test_what_is_drawn(engine, context):
    """OpenGL's first row is the lowest."""
    texture = context.texture((40, 30), 4)
    target = context.framebuffer([texture])
    with gl.register(engine, texture=texture) as registered:
        for blue in (0.0, 1.0):
            target.clear(0.0, 0.0, blue, 1.0)
            target.clear(1.0, 0.0, blue, 1.0, viewport=(0, 0, 10, 5))
            pixels = seen(registered.take())
            red = pixels[..., 0] == 255
            assert red[:5, :10].all() and red.sum() == 50 and (pixels[..., 2] == 255 * blue).all()


@pytest.mark.parametrize("shape,dtype,typestr", [
    ((2, 60, 85, 3), "uint8", "|u1"), ((60, 85), "float32", "<f4"), ((3, 50, 60), "uint16", "<u2"),
])
def test_kinds_of_pixels(engine, context, cpu, shape, dtype, typestr):
    pixels = random_image(2, 64, int(np.prod(shape)) // 64 + 1).reshape(-1)[:int(np.prod(shape))].reshape(shape)
    pixels = pixels.astype(dtype) / np.float32(255) if dtype == "float32" else pixels.astype(dtype)
    buffer = context.buffer(pixels.tobytes() + bytes(100))      # longer than its pixels
    expected = cpu.tokens(pixels, **OPTIONS).numpy().tobytes()
    count = 2 if len(shape) == 4 else 1
    with gl.register(engine, buffer=buffer.glo, shape=shape, dtype=dtype) as registered:
        with registered.map() as mapped:
            assert mapped.__cuda_array_interface__["typestr"] == typestr
            assert engine.tokens(mapped, **OPTIONS).numpy().tobytes() == expected
        taken = registered.take()
        assert (taken.shape, taken.dtype) == (shape, dtype) and engine.stats["image_copies"] == 2 * count
        assert engine.tokens(taken, **OPTIONS).numpy().tobytes() == expected


def test_cuda_writes_to_it(engine, context):
    """What a consumer writes is OpenGL's after unmap()."""
    import ctypes

    buffer = context.buffer(reserve=PIXELS.nbytes)
    with gl.register(engine, buffer=buffer, shape=SHAPE) as registered:
        with registered.map() as mapped:
            ctypes.memmove(mapped.__cuda_array_interface__["data"][0], PIXELS.ctypes.data, PIXELS.nbytes)
        assert buffer.read() == PIXELS.tobytes()


def test_an_engine_on_vulkan(stub_cuda, cuda_driver, context, cpu):
    """A Vulkan engine whose memory CUDA sees takes them too."""
    stub_cuda(cuda_driver)
    buffer = context.buffer(PIXELS.tobytes())
    with foveate.Engine(**options(cuda_driver), cuda=True) as vulkan:
        with gl.register(vulkan, buffer=buffer, shape=SHAPE) as registered:
            taken = registered.take()
            assert vulkan.tokens(taken, **OPTIONS).numpy().tobytes() == cpu.tokens(PIXELS, **OPTIONS).numpy().tobytes()
            assert vulkan.stats["image_copies"] == 1 and vulkan.stats["messages"] == 0


# The order of calls

def test_pairs(engine, context, stub):
    buffer, texture = context.buffer(PIXELS.tobytes()), context.texture((64, 48), 4)
    look = ["MapResources", "ResourceGetMappedPointer", "UnmapResources"]
    stub.log()
    registered = gl.register(engine, buffer=buffer, shape=SHAPE)
    assert names(stub.log()) == ["cuGLGetDevices", "GLRegisterBuffer", *look]
    mapped = registered.map(stream=2)
    assert calls(stub.log()) == [("MapResources", 2), ("ResourceGetMappedPointer",)]
    assert mapped.__cuda_array_interface__["stream"] == 2 and stub.alive("graphics", "maps") == [1, 1]
    mapped.unmap()
    mapped.unmap()
    assert calls(stub.log()) == [("UnmapResources", 2)]
    registered.take()
    (_, own), _, (_, again) = calls(log := stub.log())
    assert own == again > 2 and f"cuMemcpyDtoDAsync size={PIXELS.nbytes} stream={own}\n" in log
    registered.map()
    registered.close()      # one that is mapped
    registered.close()
    assert names(stub.log()) == [*look[:2], "UnmapResources", "UnregisterResource"]
    with gl.register(engine, texture=texture):
        assert names(log := stub.log())[1] == "GLRegisterImage" and "target=3553 flags=1\n" in log
    assert stub.alive("graphics", "maps") == [0, 0]


def test_a_stream_is_followed(engine, context, stub):
    """What the engine reads comes behind the stream that the buffer is mapped for."""
    buffer = context.buffer(PIXELS.tobytes())
    with gl.register(engine, buffer=buffer, shape=SHAPE) as registered, registered.map(stream=2) as mapped:
        stub.log()
        engine.image(mapped)
        log = stub.log()
        assert log.index("cuEventRecord stream=2\n") < log.index("cuStreamWaitEvent") < log.index("cuMemcpyDtoDAsync")


def test_any_order_with_the_engine(stub, context, cpu):
    before = stub.alive(*KINDS)
    buffer = context.buffer(PIXELS.tobytes())
    engine = foveate.Engine("cuda", cuda=True)
    registered = gl.register(engine, buffer=buffer, shape=SHAPE)
    taken = registered.take()
    engine.close()
    with pytest.raises(InputError, match="Engine: call: got a closed Engine"):
        registered.take()
    assert np.array_equal(seen(taken), PIXELS)
    registered.close()
    del taken, registered, engine
    gc.collect()
    assert stub.alive(*KINDS) == before


def test_collected(engine, context, stub):
    """Where OpenGL is current it is unregistered."""
    registered = gl.register(engine, buffer=context.buffer(PIXELS.tobytes()), shape=SHAPE)
    registered.map()
    del registered
    gc.collect()
    assert stub.alive("graphics", "maps") == [0, 0]


def test_collected_elsewhere():
    """That must not be tried where OpenGL is not current: it is left as it is, and the CUDA context with it."""
    assert child("cuda", """
import threading
import conftest, foveate
from cuda_side import Stub
from foveate import gl
context, stub = gl.context(), Stub(conftest.STUB["FOVEATE_CUDA_LIBRARY"])
engine = foveate.Engine(**conftest.options("cuda"), cuda=True)
held = [gl.register(engine, buffer=context.buffer(bytes(64)), shape=(4, 16))]
engine.close()
del engine
stub.log()
thread = threading.Thread(target=held.clear)
thread.start()
thread.join()
assert "cuGraphics" not in stub.log()
print(stub.alive("graphics", "contexts"))
""") == "[1, 1]"


def test_nothing_is_left(engine, context, stub):
    before = stub.alive(*KINDS)
    buffer, texture = context.buffer(PIXELS.tobytes()), context.texture((64, 48), 4)
    for _ in range(25):
        with gl.register(engine, buffer=buffer, shape=SHAPE) as one, gl.register(engine, texture=texture) as other:
            engine.tokens([one.take(), other.take()], **OPTIONS)
    used = engine.stats["memory_used"]
    with gl.register(engine, buffer=buffer, shape=SHAPE) as one, gl.register(engine, texture=texture) as other:
        engine.tokens([one.take(), other.take()], **OPTIONS)
    assert engine.stats["memory_used"] == used
    assert stub.alive("graphics", "maps") == before[:2]


@pytest.mark.parametrize("kind", ["buffer", "texture"])
def test_every_call_fails_in_turn(engine, context, stub, kind):
    given = {"buffer": context.buffer(PIXELS.tobytes()), "shape": SHAPE}
    if kind == "texture":
        given = {"texture": context.texture(SHAPE[1::-1], 4, PIXELS.tobytes(), alignment=1)}

    def turn():
        registered = gl.register(engine, **given)
        try:
            if kind == "buffer":
                registered.map().unmap()
            return seen(registered.take())
        finally:
            made.append(stub.fail(0, 0))    # what fails while it is closed cannot be unregistered
            registered.close()

    made = []
    assert np.array_equal(turn(), PIXELS)
    before, total, failed = stub.alive("graphics", "maps"), made.pop(), 0
    for at in range(1, total + 20):
        stub.fail(0, 0)
        stub.fail(at, 2)        # out of memory
        try:
            assert np.array_equal(turn(), PIXELS)
        except Error as error:
            assert isinstance(error, MemoryBudgetError), error
            failed += 1
        finally:
            made.append(stub.fail(0, 0))
        assert stub.alive("graphics", "maps") == before, f"call {at}"
    assert failed >= 8 and np.array_equal(turn(), PIXELS)
