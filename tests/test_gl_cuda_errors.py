# SPDX-License-Identifier: Apache-2.0
"""What `foveate.gl.register` refuses, against Mesa's OpenGL and a stub of the CUDA driver."""

import threading
from pathlib import Path

import conftest
import foveate
import pytest
from cuda_side import OPTIONS
from foveate import gl
from foveate.error import DeviceError, Error, InputError, UnsupportedError
from test_gl_cuda import PIXELS, SHAPE


@pytest.fixture
def stub(kernel_stub):
    yield kernel_stub
    kernel_stub.gl_device(-1)


@pytest.fixture
def context():
    made = gl.context()
    yield made
    made.release()


@pytest.fixture
def engine(stub):
    with foveate.Engine("cuda", cuda=True) as made:
        yield made


def test_who_cannot(stub, engine, context, monkeypatch):
    buffer, texture = context.buffer(bytes(4800)), context.texture((8, 8), 4)
    good = {"buffer": buffer, "shape": (30, 40, 4)}

    def refused(text, kind=InputError, engine=engine, **given):
        with pytest.raises(kind, match=text):
            gl.register(engine, **given)
        assert stub.alive("graphics", "maps") == [0, 0]

    refused(r"gl: register: got an engine without CUDA \(.*libfoveate_stub_cuda.so is there\), expected one made with",
            UnsupportedError, foveate.Engine("cpu"), **good)
    monkeypatch.setenv("FOVEATE_CUDA_LIBRARY", "/nowhere/libcuda.so")
    refused(r"gl: register: got an engine without CUDA \(/nowhere/libcuda.so cannot be opened\), expected one made",
            UnsupportedError, foveate.Engine("cpu"), **good)
    monkeypatch.undo()
    refused("gl: register: got neither, expected a buffer or a texture")
    refused("gl: register: got both, expected a buffer or a texture", texture=texture, **good)
    refused("gl: register: got 'seven', expected moderngl's object or a name", texture="seven")
    refused("gl: register: got 0, expected moderngl's object or a name", texture=0)
    refused("gl: register: shape: got None, expected 2 to 4 sizes of at least 1", buffer=buffer)
    refused(r"gl: register: shape: got \(4800,\), expected 2 to 4 sizes", buffer=buffer, shape=(4800,))
    refused("gl: register: dtype: got 'int8', expected \"uint8\", \"uint16\" or \"float32\"", dtype="int8", **good)
    refused(r"gl: register: buffer: got 4800 bytes, expected at least 4920 for \(30, 41, 4\)", buffer=buffer,
            shape=(30, 41, 4))
    refused("gl: register: got buffer 4711, which CUDA refuses, expected a buffer with bytes", buffer=4711,
            shape=(3, 4))
    refused("gl: register: got texture 4711, which CUDA refuses", texture=4711)
    refused("gl: register: texture: got CUDA's format 32 of 4 channels, expected RGBA8: format 1 of 4 channels",
            texture=context.texture((8, 8), 4, dtype="f4"))
    for result in (304, 100, 219):      # what drivers answer where OpenGL is none of theirs
        stub.gl_device(-result)
        refused(r"gl: register: device: got llvmpipe.* \(no device of CUDA's\), expected Stub 0 [0-9a-f]{32}, the eng",
                UnsupportedError, **good)
    stub.gl_device(-999)
    refused("cuda: ask for OpenGL's device: got CUDA_ERROR_999", DeviceError, **good)


def test_another_gpu(stub, context, monkeypatch):
    two = conftest.STUB["FOVEATE_STUB_CUDA_DEVICES"] + ",11" + "0" * 30
    monkeypatch.setenv("FOVEATE_STUB_CUDA_DEVICES", two)
    with foveate.Engine("cuda", device="0", cuda=True) as engine:
        stub.gl_device(1)
        with pytest.raises(UnsupportedError, match=r"gl: register: device: got llvmpipe.* \(Stub 1 110000.*\), "
                                                   r"expected Stub 0 6d6573.*, the engine's\. Make the renderer's"):
            gl.register(engine, buffer=context.buffer(bytes(64)), shape=(4, 16))


def test_wrong_use(engine, context, stub):
    buffer = context.buffer(PIXELS.tobytes())
    registered = gl.register(engine, buffer=buffer, shape=SHAPE)
    with pytest.raises(InputError, match=rf"gl: register: got buffer {buffer.glo}, which is registered, expected one"):
        gl.register(engine, buffer=buffer, shape=SHAPE)
    for stream in (0, -1, "mine"):
        with pytest.raises(InputError, match=f"gl: Registered: map: stream: got {stream!r}, expected None, 1"):
            registered.map(stream=stream)
    mapped = registered.map()
    for call in (registered.map, registered.take):
        with pytest.raises(InputError, match="gl: Registered: map: got one that is mapped, expected one that OpenGL"):
            call()
    mapped.unmap()
    for call in (lambda: mapped.__cuda_array_interface__, lambda: engine.tokens(mapped, **OPTIONS)):
        with pytest.raises(InputError, match=r"gl: Registered: mapped: got one after unmap\(\), expected one before"):
            call()
    with gl.register(engine, texture=context.texture((8, 8), 4)) as texture:
        with pytest.raises(InputError, match="gl: Registered: map: got a texture, which has no rows of its own, expec"):
            texture.map()
    registered.close()
    for call in (registered.map, registered.take):
        with pytest.raises(InputError, match="gl: Registered: got a closed one, expected one in use"):
            call()
    gl.register(engine, buffer=buffer, shape=SHAPE).close()     # again


def test_wrong_threads(engine, context, stub):
    buffer = context.buffer(PIXELS.tobytes())
    registered, said = gl.register(engine, buffer=buffer, shape=SHAPE), []

    def elsewhere():
        for call in (registered.map, registered.take, registered.close,
                     lambda: gl.register(engine, buffer=buffer, shape=SHAPE)):
            try:
                call()
            except Error as error:
                said.append(str(error))

    def with_another():
        other = gl.context()
        elsewhere()
        other.release()

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    text = "gl: Registered: context: got none on this thread, expected the one it was registered with. Call it on the "
    assert [one.startswith(text) for one in said[:3]] == [True] * 3, said
    assert said[3].startswith("gl: register: got no OpenGL context on this thread, expected the renderer's")
    said.clear()
    thread = threading.Thread(target=with_another)
    thread.start()
    thread.join()
    text = "gl: Registered: context: got another one on this thread, expected the one it was registered with."
    assert [one.startswith(text) for one in said[:3]] == [True] * 3, said
    registered.close()
    assert stub.alive("graphics", "maps") == [0, 0]


def test_a_driver_without_it(stub, context, tmp_path, monkeypatch):
    library = tmp_path / "libcuda_old.so"
    whole = Path(conftest.STUB["FOVEATE_CUDA_LIBRARY"]).read_bytes()
    library.write_bytes(whole.replace(b"cuGLGetDevices_v2\0", b"cuGLGetDevices_v0\0"))
    monkeypatch.setenv("FOVEATE_CUDA_LIBRARY", str(library))
    with foveate.Engine("cuda", cuda=True) as engine:
        with pytest.raises(UnsupportedError, match=r"gl: register: got .*libcuda_old.so without its calls for OpenGL"):
            gl.register(engine, buffer=context.buffer(bytes(64)), shape=(4, 16))
