# SPDX-License-Identifier: Apache-2.0
"""Images that lie on CUDA, against a driver that is a stub; engines that cannot be made, and what the machine has."""

import ctypes
import importlib
import os
import sys

import conftest
import foveate
import numpy as np
import pytest
from child import TREE, child
from cuda_side import IMAGE, OPTIONS, OTHER, Interface, Liar, Tensor, write
from foveate import _core
from foveate.error import DeviceError, InputError, UnsupportedError, WaitTimeoutError

# What comes in

def test_memory_of_the_engine(make_cuda, stub, cpu):
    engine = make_cuda()
    expected = cpu.tokens(IMAGE, **OPTIONS).numpy()
    frame = engine.empty(IMAGE.shape)
    write(frame, IMAGE)
    stub.log()
    for given in (frame, Tensor(frame), Interface(np.empty(0), data=(frame.pointer, False), shape=frame.shape,
                                                  typestr="|u1", strides=None)):
        assert np.array_equal(engine.tokens(given, **OPTIONS).numpy(), expected)
    assert engine.stats["image_copies"] == 0 and "cuMemcpyDtoD" not in stub.log()


def test_memory_of_others(make_cuda, stub, cpu):
    engine, other = make_cuda(), make_cuda()
    expected = cpu.tokens(IMAGE, **OPTIONS).numpy()
    frame = other.empty(IMAGE.shape)
    write(frame, IMAGE)
    for number, given in enumerate((frame, Tensor(frame), Interface(IMAGE, stream=1), Interface(IMAGE)), 1):
        stub.log()
        assert np.array_equal(engine.tokens(given, **OPTIONS).numpy(), expected)
        assert stub.log().count("cuMemcpyDtoDAsync size=61200 ") == 1
        assert engine.stats["image_copies"] == number
    wide = np.stack([IMAGE] * 3)    # a batch; floats; strides of both signs
    assert np.array_equal(engine.tokens(Interface(wide), **OPTIONS).numpy(), cpu.tokens(wide, **OPTIONS).numpy())
    assert engine.stats["image_copies"] == 7
    for image in (IMAGE.astype(np.float32) / 255, IMAGE[::-1, ::-1], IMAGE[:, 3:99, :2], IMAGE.astype(np.float16) / 255,
                  IMAGE.astype(np.uint16)):
        assert np.array_equal(engine.tokens(Interface(image), **OPTIONS).numpy(), cpu.tokens(image, **OPTIONS).numpy())


def test_the_producers_stream(make_cuda, stub, cpu):
    engine = make_cuda()
    frame = engine.empty(IMAGE.shape)
    tensor = Tensor(frame)
    engine.tokens(tensor, **OPTIONS)
    stream, = tensor.asked
    assert stream > 2   # ours: the producer makes it wait
    stub.log()
    engine.tokens(Interface(IMAGE, stream=2), **OPTIONS)
    text = stub.log()
    assert "cuEventRecord stream=2\n" in text and f"cuStreamWaitEvent stream={stream}\n" in text
    # what was lent to a stream is waited for
    capsule = frame.__dlpack__(stream=1)
    stub.hold(1, True)
    _core.testing.cuda_wait_limit(20_000_000)
    try:
        with pytest.raises(WaitTimeoutError, match=r"cuda: wait for the streams .*: got no end within 20 ms"):
            engine.tokens(frame, **OPTIONS)
        with pytest.raises(WaitTimeoutError, match="cuda: wait for the producer's stream: got no end within 20 ms"):
            engine.tokens(Interface(IMAGE, stream=1), **OPTIONS)
    finally:
        _core.testing.cuda_wait_limit(30 * 10**9)
        stub.hold(1, False)
    write(frame, IMAGE)
    assert np.array_equal(engine.tokens(frame, **OPTIONS).numpy(), cpu.tokens(IMAGE, **OPTIONS).numpy())
    del capsule


@pytest.mark.parametrize("given,text", [
    (lambda: Interface(IMAGE, stream=0), "image: __cuda_array_interface__ stream: got 0, expected None"),
    (lambda: Interface(IMAGE, stream="1"), "image: __cuda_array_interface__ stream: got '1', expected None or a whole"),
    (lambda: Interface(IMAGE.astype(np.int32)), "image: dtype: got <i4, expected uint8"),
    (lambda: Interface(IMAGE.astype(np.uint16), strides=(3, 3, 1)), "strides: got 3, expected whole elements"),
    (lambda: Interface(IMAGE, strides=(3, 1)), "strides: got 2, expected 3"),
    (lambda: Interface(IMAGE, data=(0, False)), "image: DLPack data: got null, expected a pointer"),
    (lambda: Interface(IMAGE, shape=None), "image: CUDA array: got .*, expected an array that can be shared"),
    (lambda: Interface(IMAGE, typestr=None), "image: CUDA array: got .*, expected an array that can be shared"),
    (lambda: Tensor(IMAGE, (2, 1)), "image: CUDA array: got .*, expected an array that can be shared"),
    (lambda: Liar(IMAGE, (2, 1)), r"image: DLPack device: got type 1, expected CUDA \(type 2\)"),
])
def test_wrong_arrays(make_cuda, given, text):
    with pytest.raises((InputError, UnsupportedError), match=text):
        make_cuda().tokens(given(), **OPTIONS)


def test_another_device(make_cuda, stub):
    engine = make_cuda()
    with pytest.raises(UnsupportedError, match="image: device: got CUDA device 0, expected 1, the engine's"):
        engine.image(Tensor(engine.empty((8, 8)), (2, 0)))
    stub.place(0)
    try:
        with pytest.raises(UnsupportedError, match="image: device: got CUDA device 0, expected 1"):
            engine.image(Interface(IMAGE))
    finally:
        stub.place(-1)
    with pytest.raises(UnsupportedError, match="image: device: got an array of CUDA's, expected the cpu"):
        foveate.Engine("cpu")._core.cuda_source(engine.empty((8, 8))._core)
    with pytest.raises(UnsupportedError, match="image: device: got DLPack device"):
        foveate.Engine("cpu").image(engine.empty((8, 8)))


# Engines that cannot be, and what the machine has

def test_engines_that_cannot_be(stub, cuda_driver, cuda_uuid, monkeypatch, stub_library):
    options = conftest.options(cuda_driver)
    monkeypatch.setenv("FOVEATE_STUB_CUDA_DEVICES", OTHER)
    with pytest.raises(UnsupportedError, match="cuda: device: got .* expected one of CUDA's: 0 Stub 0 0000.*; "
                                               f"Vulkan has: .*{cuda_uuid}"):
        foveate.Engine(**options, cuda=True)
    with monkeypatch.context() as patch:
        for name in ("cuda", "cuda.bindings", "cupy_backends", "cupy_backends.cuda.libs"):     # no compiler
            patch.setitem(sys.modules, name, None)
        with pytest.raises(UnsupportedError, match="cuda: device: got no Vulkan device with the UUID of any, "):
            foveate.Engine(cuda=True)
    monkeypatch.setenv("FOVEATE_STUB_CUDA_DEVICES", cuda_uuid)
    with foveate.Engine(cuda=True) as engine:       # the device that both have, whichever is first
        assert engine.caps["uuid"] == cuda_uuid and engine._core.cuda_device()["ordinal"] == 0
    with pytest.raises(UnsupportedError, match="cuda: stage image: got on the cpu, expected vulkan"):
        foveate.Engine("cpu", cuda=True)
    with pytest.raises(InputError, match="Engine: cuda: got 1, expected True or False"):
        foveate.Engine(cuda=1)
    stub.fail(1, 2)
    with pytest.raises(foveate.error.MemoryBudgetError, match=r"cuda: count the devices: got CUDA_ERROR_OUT_OF_MEMORY"):
        foveate.Engine(**options, cuda=True)
    stub.fail(1, 700)
    with pytest.raises(foveate.error.DeviceLostError, match=r"CUDA_SUCCESS\. Start the process again"):
        foveate.Engine(**options, cuda=True)
    stub.fail(1, 999)
    with pytest.raises(DeviceError, match=r"CUDA_SUCCESS\. Use another device, or leave CUDA out\."):
        foveate.Engine(**options, cuda=True)
    stub.fail(0, 0)
    for name, reason in (("/nowhere/libcuda.so", "cannot be opened"), ("libc.so.6", "has no cuInit")):
        monkeypatch.setenv("FOVEATE_CUDA_LIBRARY", name)
        with pytest.raises(UnsupportedError, match=f"cuda: driver: got {name} {reason}, expected libcuda.so.1 of an"):
            foveate.Engine(**options, cuda=True)


def test_after_fork(stub, cuda_driver, stub_library, cuda_uuid):
    said = child(cuda_driver, """
import conftest, foveate, os, sys
engine = foveate.Engine(**conftest.options(sys.argv[1]), cuda=True)
array = engine.empty((10, 10))
if os.fork() == 0:
    del array
    try:
        foveate.Engine(**conftest.options(sys.argv[1]), cuda=True)
    except foveate.error.ForkedEngineError as error:
        print(error, flush=True)
    found = foveate.info()["cuda"]
    assert "forked" in found["reason"], found
    os._exit(0)
os.wait()
""", cuda_driver, FOVEATE_CUDA_LIBRARY=str(stub_library), FOVEATE_STUB_CUDA_DEVICES=cuda_uuid)
    assert "forked" in said


def test_info(stub, cuda_driver, cuda_uuid, monkeypatch):
    found = foveate.info()["cuda"]
    assert (found["driver"], found["version"], found["reason"]) == (stub.path, "12.4", "")
    first, second = found["devices"]
    assert first["vulkan"] is None and first["uuid"] == OTHER
    assert conftest.DEVICES[cuda_driver] in second["vulkan"] and second["compute"] == 9.0
    check = importlib.import_module("foveate.doctor")._cuda
    assert check()["state"] == "ok" and "1 Stub 1: " in check()["found"]
    monkeypatch.setenv("FOVEATE_STUB_CUDA_DEVICES", OTHER)
    assert check()["state"] == "note" and check()["found"] == "12.4: 0 Stub 0: not a Vulkan device"
    monkeypatch.setenv("FOVEATE_CUDA_LIBRARY", os.devnull)
    found = foveate.info()["cuda"]
    assert found["reason"] == f"{os.devnull} cannot be opened" and found["devices"] == []
    assert next(row for row in foveate.doctor(need=["cuda"]) if row["check"] == "CUDA")["state"] == "fail"


def test_the_stub_has_every_function(stub_library):
    table = (TREE / "interop/cuda/driver.h").read_text().split("CUDA_LATER_FUNCTIONS")[0]
    names = [line.split(",")[1].strip() for line in table.splitlines() if line.strip().startswith("X(") and "," in line]
    assert len(names) > 45 and all(hasattr(ctypes.CDLL(str(stub_library)), name) for name in names if name)
