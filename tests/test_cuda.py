# SPDX-License-Identifier: Apache-2.0
"""Arrays on CUDA, against a driver that is a stub: what leaves, and who waits for whom before it is used again."""

import ctypes
import gc

import foveate
import numpy as np
import pytest
from child import child, descriptors
from cuda_side import IMAGE, OPTIONS, seen
from foveate import _core
from foveate.error import InputError, UnsupportedError
from images import LONG, random_image
from test_tensor import capsule_name, capsule_words

# What leaves

def test_tokens(make_cuda, cpu):
    engine = make_cuda()
    expected = cpu.tokens(IMAGE, **OPTIONS)
    tokens = engine.tokens(IMAGE, **OPTIONS)
    patches = tokens.patches
    assert tokens.device == patches.device == "cuda:1" and patches.__dlpack_device__() == (2, 1)
    assert repr(patches).endswith("on cuda:1>")
    assert np.array_equal(seen(patches), expected.numpy())
    assert np.array_equal(tokens.numpy(), expected.numpy()) and np.array_equal(tokens.center_px, expected.center_px)
    with pytest.raises(ValueError, match="read-only"):
        tokens.numpy()[:] = 0
    assert engine.share(patches).record["device_uuid"] == engine.caps["uuid"]


def test_every_stage(make_cuda, cpu):
    engine = make_cuda()
    pyramid, truth = engine.pyramid(IMAGE), cpu.pyramid(IMAGE)
    for level in range(1, 4):
        array = pyramid.level(level)
        assert array.device == "cuda:1" and array.read_only
        assert np.array_equal(array.numpy(), truth.level(level).numpy())
    patches = engine.sample(pyramid, engine.layout(IMAGE, budget=30), patch=16)
    assert np.array_equal(seen(patches.data), cpu.sample(truth, cpu.layout(IMAGE, budget=30), patch=16).data.numpy())
    warped = engine.warp(IMAGE, size=(32, 48))
    assert np.array_equal(warped.numpy(), cpu.warp(IMAGE, size=(32, 48)).numpy())
    relevance = engine.relevance(IMAGE, gaze=(0.5, 0.5), cell=16)
    assert np.array_equal(relevance.cells, cpu.relevance(IMAGE, gaze=(0.5, 0.5), cell=16).cells)


@pytest.mark.parametrize("stream,told,ended", [
    (None, 1, 1), (1, 1, 1), (2, 2, 1), ("own", "own", "own"), (-1, None, 1),
])
def test_streams(make_cuda, stub, stream, told, ended):
    """The consumer's stream waits for the engine, and the engine for what the stream did until its tensor ended."""
    engine, handle = make_cuda(ahead=True), ctypes.c_void_p()
    patches = engine.tokens(IMAGE, **OPTIONS).patches
    seen(patches)   # nothing of the context's is current on this thread
    assert stub._core.cuCtxSetCurrent(ctypes.c_void_p(0x1000 + 101)) == 0
    assert stub._core.cuStreamCreate(ctypes.byref(handle), 1) == 0
    number = {"own": handle.value}.get
    stub.log()
    capsule = patches.__dlpack__(stream=number(stream, stream), max_version=(1, 1))
    waits = [line for line in stub.log().splitlines() if line.startswith("cuWaitExternalSemaphoresAsync")]
    order = engine._core.cuda_device()["sync"]
    expected = [] if told is None or order == "host" else [f" stream={number(told, told)}"]
    assert [line[line.index(" stream="):] for line in waits] == expected
    del capsule
    assert f"cuEventRecord stream={number(ended, ended)}\n" in stub.log()
    del patches
    engine.close()
    assert stub._core.cuStreamDestroy_v2(handle) == 0 and stub._core.cuCtxSetCurrent(None) == 0


def test_sync(make_cuda, cuda_driver):
    assert make_cuda()._core.cuda_device()["sync"] == {"lavapipe": "host", "swiftshader": "binary"}[cuda_driver]


@pytest.mark.parametrize("stream", [0, -2, "1", 1.5, 1 << 70])
def test_streams_that_are_none(make_cuda, stream):
    with pytest.raises(InputError, match=r"tensor: __dlpack__ stream: got .*, expected None"):
        make_cuda().empty((8, 8)).__dlpack__(stream=stream)


def test_capsules(make_cuda, stub):
    patches = make_cuda().tokens(IMAGE, **OPTIONS).patches
    assert capsule_name(patches.__dlpack__()) == "dltensor"
    capsule = patches.__dlpack__(max_version=(1, 0), dl_device=(2, 1))
    words = capsule_words(capsule, 6)
    assert words[0] & 0xFFFFFFFF == 1 and words[3] & 2 == 0
    assert words[4] == patches.pointer and words[5] == 1 << 32 | 2   # device 1 of type 2
    copy = patches.__dlpack__(max_version=(1, 0), copy=True)
    words = capsule_words(copy, 6)
    assert words[3] & 2 and words[4] != patches.pointer and words[5] == 1 << 32 | 2
    assert ctypes.string_at(words[4], 4096) == ctypes.string_at(patches.pointer, 4096)
    host = patches.__dlpack__(max_version=(1, 0), dl_device=(1, 0))
    words = capsule_words(host, 6)
    assert words[3] & 2 and words[5] == 1
    assert ctypes.string_at(words[4], 4096) == ctypes.string_at(patches.pointer, 4096)
    assert stub.alive("allocations") == [1]
    del copy
    assert stub.alive("allocations") == [0]


@pytest.mark.parametrize("options,text", [
    ({"dl_device": (2, 0)}, r"dl_device: got \(2, 0\), expected \(2, 1\) or \(1, 0\), the cpu"),
    ({"dl_device": (7, 1)}, r"dl_device: got \(7, 1\), expected \(2, 1\)"),
    ({"dl_device": (1, 0), "copy": False}, "copy: got False, expected True or None from CUDA to the cpu"),
    ({"dl_device": (1, 0), "stream": 1}, "stream: got 1, expected None for the cpu"),
])
def test_refusals(make_cuda, options, text):
    with pytest.raises((BufferError, InputError), match="tensor: __dlpack__ " + text):
        make_cuda().empty((8, 8)).__dlpack__(**options)


def test_array_interface(make_cuda):
    engine = make_cuda()
    table = engine.tokens(IMAGE, **OPTIONS).patches.__cuda_array_interface__
    assert (table["version"], table["typestr"], table["stream"]) == (3, "<f4", 1)
    level = engine.pyramid(IMAGE).level(1)
    table = level.__cuda_array_interface__
    assert table["data"] == (level.pointer, True) and table["typestr"] == "<u2"
    assert table["strides"] == tuple(2 * stride for stride in level.strides)
    assert not hasattr(engine.tokens(IMAGE, **OPTIONS, dtype="bfloat16").patches, "__cuda_array_interface__")
    assert not hasattr(foveate.Engine("cpu").tokens(IMAGE, **OPTIONS).patches, "__cuda_array_interface__")


# Memory is not used again while somebody works with it

def pointers(engine, count=6):
    held = [engine.empty((100, 100, 3)) for _ in range(count)]
    return {array.pointer for array in held}


@pytest.mark.parametrize("how", ["tensor", "named", "released"])
def test_memory_waits_for_its_stream(make_cuda, stub, how):
    engine = make_cuda()
    for lie in (False, True):   # a driver whose events lie: then it is used again, and this test would see it
        array = engine.empty((100, 100, 3))
        pointer = array.pointer
        capsule = array.__dlpack__(stream=1) if how == "tensor" else None
        stub.hold(1, True)
        if how == "named":
            array.record_stream(1)
        if how == "released":
            array.release(1)
        del array, capsule
        gc.collect()
        stub.lie(int(lie))
        try:
            assert (pointer in pointers(engine)) == lie
        finally:
            stub.lie(0)
            stub.hold(1, False)
        assert pointer in pointers(engine, 20)


def test_released(make_cuda):
    array = make_cuda().empty((10, 10))
    array.release(1)
    for call in (lambda: array.pointer, array.__dlpack__, lambda: array.release(1), lambda: array.record_stream(1)):
        with pytest.raises(InputError, match="tensor: array: got a released one, expected one in use"):
            call()
    host = foveate.Engine("cpu").empty((10, 10))
    for name in ("release", "record_stream"):
        with pytest.raises(UnsupportedError, match=f"tensor: {name}: got an array on cpu, expected one on CUDA"):
            getattr(host, name)(1)


def test_end_on_any_thread_and_at_exit(make_cuda, stub, stub_library, cuda_driver, cuda_uuid):
    engine = make_cuda()
    array = engine.empty((100, 100))
    capsule = array.__dlpack__(stream=1)
    del array
    _core.testing.release_on_thread(capsule, True)
    assert "cuEventRecord stream=1" in stub.log()
    said = child(cuda_driver, """
import conftest, foveate, os, sys
from foveate import _core
engine = foveate.Engine(**conftest.options(sys.argv[1]), cuda=True)
_core.testing.release_at_exit(engine.empty((100, 100)).__dlpack__(), True)
_core.testing.release_at_exit(engine.empty((100, 100)).__dlpack__(copy=True), True)
if os.fork() == 0:
    os._exit(0)
os.wait()
print("ok")
""", cuda_driver, FOVEATE_CUDA_LIBRARY=str(stub_library), FOVEATE_STUB_CUDA_DEVICES=cuda_uuid)
    assert said == "ok"


def test_nothing_is_left(make_cuda, stub):
    engine, image = make_cuda(), random_image(5, 40, 40)

    def cycle():
        tokens = engine.tokens(image, layout="grid", budget=4)
        tokens.patches.__dlpack__(stream=1)

    for _ in range(20):
        cycle()
    stub.log()
    before, used = descriptors(), engine.stats["memory_used"]
    for _ in range(10000 if LONG else 300):
        cycle()
    text = stub.log()
    assert len(descriptors()) <= len(before) and engine.stats["memory_used"] == used
    assert "cuImportExternalMemory" not in text and text.count("cuEventRecord stream=1\n") >= 300
    engine.close()
    gc.collect()
    assert stub.alive("contexts", "streams", "events", "memories", "mappings", "semaphores") == [0] * 6
