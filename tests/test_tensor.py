# SPDX-License-Identifier: Apache-2.0
"""tensor: what leaves the engine, by the DLPack contract."""

import ctypes
import gc
import subprocess
import sys
import threading

import foveate
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from images import random_image
from oracle import image as planes_of
from oracle import layout as rows_of
from oracle import sample as sample_of
from oracle import tensor as truth
from tolerance import assert_same

IMAGE = random_image(1, 50, 70)
CPU, CUDA = (1, 0), (2, 0)


def tokens_of(engine, **options):
    return engine.tokens(IMAGE, **{"budget": 9, **options})


def capsule_name(capsule):
    get = ctypes.pythonapi.PyCapsule_GetName
    get.restype, get.argtypes = ctypes.c_char_p, [ctypes.py_object]
    return get(capsule).decode()


def capsule_words(capsule, count):
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    address = get(capsule, capsule_name(capsule).encode())
    return (ctypes.c_uint64 * count).from_address(address)


# Literals

def test_center_and_size(engine):
    tokens = engine.tokens(np.zeros((32, 64, 3), np.uint8), budget=2)
    assert tokens.center_px.tolist() == [[[16, 16], [48, 16]]]
    assert tokens.size_px.tolist() == [[[32, 32], [32, 32]]]
    assert (tokens.level.tolist(), tokens.valid.tolist()) == ([[1, 1]], [[True, True]])
    assert tokens.image.tolist() == [[0, 0]] and tokens.fixation.tolist() == [[0, 0]]
    assert tokens.rate.tolist() == [[5, 5]]


@pytest.mark.parametrize("model", truth.PRESETS)
def test_shapes_of_presets(engine, model):
    assert engine.tokens([IMAGE, IMAGE], model=model, budget=4).patches.shape == truth.shape(model, 2, 4)


@pytest.mark.parametrize("channels,shape", [("first", (1, 36, 3, 8, 8)), ("last", (1, 36, 8, 8, 3))])
def test_shapes_by_hand(engine, channels, shape):
    pyramid = engine.pyramid(IMAGE)
    layout = engine.layout(pyramid, budget=9, cell=16)
    assert engine.sample(pyramid, layout, patch=8, merge=2, channels=channels).data.shape == shape


# Facts

def test_table_is_the_layout(engine):
    tokens = tokens_of(engine, layout="views", gaze=[(0.2, 0.3), (0.9, 0.9)], budget=60)
    rows = rows_of.views(IMAGE.shape[:2], [(0.2, 0.3), (0.9, 0.9)], 60)[None]
    assert_same(tokens.center_px, truth.center_px(rows))
    assert_same(tokens.size_px, truth.size_px(rows))
    for name in ("image", "fixation", "rate", "valid"):
        assert np.array_equal(getattr(tokens, name), rows[name]), name
    assert tokens.valid.dtype == np.bool_ and tokens.shape == tokens.patches.shape


def test_stages_one_by_one_are_tokens(engine):
    pyramid = engine.pyramid(engine.image(IMAGE))
    layout = engine.layout(pyramid, kind="rings", budget=None, gaze=(0.1, 0.2), model="qwen2.5-vl")
    patches = engine.sample(pyramid, layout, model="qwen2.5-vl")
    steps = engine.tensor(patches, layout)
    whole = tokens_of(engine, layout="rings", budget=None, gaze=(0.1, 0.2), model="qwen2.5-vl")
    assert_same(steps.patches.numpy(), whole.patches.numpy())
    for name in ("center_px", "size_px", "level", "rate", "image", "fixation", "valid"):
        assert_same(getattr(steps, name), getattr(whole, name), name)


def test_numpy_is_zero_copy(engine):
    patches = tokens_of(engine).patches
    for array in (patches.numpy(), np.from_dlpack(patches), np.asarray(patches)):
        assert array.__array_interface__["data"][0] == patches.pointer
        assert array.shape == patches.shape and array.dtype == patches.dtype
    assert tokens_of(engine).device == "cpu"


def test_torch_is_zero_copy(engine):
    torch = pytest.importorskip("torch")
    for dtype in ("float32", "float16", "bfloat16"):
        tokens = tokens_of(engine, layout="grid", dtype=dtype)
        for tensor in (tokens.torch(), torch.from_dlpack(tokens.patches), tokens.patches.torch()):
            assert tensor.data_ptr() == tokens.patches.pointer
            assert tensor.dtype == getattr(torch, dtype) and tuple(tensor.shape) == tokens.patches.shape
        want, _ = sample_of.sample(planes_of.image(IMAGE), rows_of.grid(IMAGE.shape[:2], 9), dtype=dtype)
        assert_same(tokens.torch().view(torch.uint8).numpy().ravel(), want.view(np.uint8).ravel(), dtype)


def test_levels_are_shared_too(engine):
    pyramid = engine.pyramid(IMAGE)
    level = pyramid.level(1)
    assert np.from_dlpack(level).__array_interface__["data"][0] == level.pointer
    assert level.dtype == "uint16" and level.shape == (3, 25, 35)


def test_memory_outlives_the_engine(make_engine, backend):
    engine = make_engine(backend)
    tokens = tokens_of(engine)
    expected = tokens.patches.numpy().copy()
    array, table = np.from_dlpack(tokens.patches), tokens.center_px
    centre = table.copy()
    engine.close()
    del engine, tokens
    gc.collect()
    junk = [np.full(expected.shape, 7.0, np.float32) for _ in range(16)]
    assert_same(array, expected)
    assert_same(table, centre)
    del junk


def test_memory_is_not_used_again_while_it_is_held(engine):
    held = [(t, t.patches.numpy().copy()) for t in (tokens_of(engine, gaze=(0.1 * i, 0.5)) for i in range(8))]
    for tokens, expected in held:
        assert_same(tokens.patches.numpy(), expected)


def test_memory_comes_back(engine):
    for _ in range(3):
        tokens_of(engine, budget=30)
    gc.collect()
    before = engine.stats["memory_used"]
    for _ in range(10):
        tokens = tokens_of(engine, budget=30)
        np.from_dlpack(tokens.patches)
        tokens.patches.__dlpack__()                          # never consumed
        tokens.patches.__dlpack__(max_version=(1, 0))
        del tokens
    gc.collect()
    assert engine.stats["memory_used"] <= before


def test_deleter_runs_on_any_thread(engine):
    arrays = [np.from_dlpack(tokens_of(engine).patches) for _ in range(4)]
    thread = threading.Thread(target=arrays.clear)
    thread.start()
    thread.join()
    assert not arrays


# The contract, call by call

@pytest.mark.parametrize("options,name", [
    ({}, "dltensor"),
    ({"max_version": None}, "dltensor"),
    ({"max_version": (0, 8)}, "dltensor"),
    ({"max_version": (1, 0)}, "dltensor_versioned"),
    ({"max_version": (1, 1)}, "dltensor_versioned"),
    ({"max_version": (9, 9)}, "dltensor_versioned"),
    ({"stream": None}, "dltensor"),
    ({"dl_device": CPU}, "dltensor"),
    ({"copy": False}, "dltensor"),
    ({"copy": True}, "dltensor"),
    ({"copy": True, "max_version": (1, 0), "dl_device": CPU, "stream": None}, "dltensor_versioned"),
])
def test_capsules(engine, options, name):
    patches = tokens_of(engine).patches
    assert patches.__dlpack_device__() == CPU
    assert capsule_name(patches.__dlpack__(**options)) == name


@pytest.mark.parametrize("options", [{"dl_device": CUDA}, {"dl_device": (7, 0)}, {"dl_device": (1, 3)},
                                     {"stream": 1}, {"stream": 12345}])
def test_refusals(engine, options):
    patches = tokens_of(engine).patches
    with pytest.raises((BufferError, foveate.Error)) as error:
        patches.__dlpack__(**options)
    assert "got" in str(error.value) and "expected" in str(error.value)


def test_arguments_are_by_name(engine):
    with pytest.raises(TypeError):
        tokens_of(engine).patches.__dlpack__(None, (1, 0))


def test_words_of_a_versioned_capsule(engine):
    patches = tokens_of(engine).patches
    capsule = patches.__dlpack__(max_version=(1, 0))
    shared = capsule_words(capsule, 5)
    assert shared[0] & 0xFFFFFFFF == 1 and shared[3] & 2 == 0 and shared[4] == patches.pointer
    other = patches.__dlpack__(max_version=(1, 0), copy=True)
    copied = capsule_words(other, 5)
    assert copied[3] & 2 == 2 and copied[4] != patches.pointer


def test_copy_is_a_copy(engine):
    patches = tokens_of(engine).patches
    copy = np.from_dlpack(patches, copy=True)
    expected = patches.numpy().copy()
    assert copy.__array_interface__["data"][0] != patches.pointer
    copy[:] = -1
    assert_same(patches.numpy(), expected)


def test_strides_are_filled_and_compact(engine):
    patches = tokens_of(engine).patches
    size = int(np.prod(patches.shape))
    for length, stride in zip(patches.shape, patches.strides, strict=True):
        size //= length
        assert stride == size


def test_alignment(engine):
    assert tokens_of(engine).patches.pointer % 64 == 0


# Arrays on the way in, and on the way out of the process

class Tensor(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("device", ctypes.c_int32 * 2), ("ndim", ctypes.c_int32),
                ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16),
                ("shape", ctypes.c_void_p), ("strides", ctypes.c_void_p), ("byte_offset", ctypes.c_uint64)]


class Managed(ctypes.Structure):
    _fields_ = [("tensor", Tensor), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p)]


class Producer:
    """A library that counts how often its tensor is ended."""

    def __init__(self, pixels, **wrong):
        self.pixels, self.ended = pixels, 0
        self.shape = (ctypes.c_int64 * pixels.ndim)(*pixels.shape)
        self.deleter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(self.end)
        fields = {"data": pixels.ctypes.data, "device": (ctypes.c_int32 * 2)(1, 0), "ndim": pixels.ndim, "code": 1,
                  "bits": 8, "lanes": 1, "shape": ctypes.addressof(self.shape), **wrong}
        self.managed = Managed(Tensor(**fields), None, ctypes.cast(self.deleter, ctypes.c_void_p))

    def end(self, _):
        self.ended += 1

    def __dlpack_device__(self):
        return tuple(self.managed.tensor.device)

    def __dlpack__(self):
        make = ctypes.pythonapi.PyCapsule_New
        make.restype, make.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
        return make(ctypes.addressof(self.managed), b"dltensor", None)


@pytest.mark.parametrize("wrong", [
    {}, {"bits": 32}, {"code": 5}, {"lanes": 4}, {"ndim": -1}, {"ndim": 99}, {"shape": None}, {"data": None},
    {"byte_offset": 1 << 63}, {"bits": 7}, {"device": (ctypes.c_int32 * 2)(2, 0)},
])
def test_a_borrowed_tensor_is_ended_once(cpu, wrong):
    producer = Producer(IMAGE, **wrong)
    if wrong:
        with pytest.raises(foveate.Error, match=r"(?s)^image: .*got .*expected"):
            cpu.image(producer)
    else:
        assert_same(cpu.tokens(producer, budget=9).numpy(), tokens_of(cpu).numpy())
    gc.collect()
    assert producer.ended == ("device" not in wrong)    # another device's tensor is not even asked for


def test_a_capsule_is_used_once(cpu):
    producer = Producer(IMAGE)
    capsule = producer.__dlpack__()
    again = type("Again", (), {"__dlpack__": lambda self: capsule, "__dlpack_device__": lambda self: CPU})()
    cpu.image(again)
    with pytest.raises(foveate.Error, match="not used before"):
        cpu.image(again)


def test_ending_without_python(engine):
    from foveate import _core

    tokens = tokens_of(engine)
    _core.testing.release_on_thread(tokens.patches.__dlpack__())
    _core.testing.release_on_thread(tokens.patches.__dlpack__(max_version=(1, 1)))
    assert np.isfinite(tokens.numpy()).all()


def test_ending_after_the_interpreter():
    script = """if True:
        import foveate, numpy as np
        from foveate import _core
        tokens = foveate.Engine(backend="cpu").tokens(np.zeros((8, 8, 3), np.uint8), budget=1, channels="last")
        _core.testing.release_at_exit(tokens.patches.__dlpack__(max_version=(1, 0)))
    """
    assert subprocess.run([sys.executable, "-c", script], timeout=60, check=False).returncode == 0


# Properties

@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
@given(height=st.integers(1, 90), width=st.integers(1, 90), budget=st.integers(1, 40),
       gaze=st.tuples(st.floats(0, 1), st.floats(0, 1)), patch=st.integers(1, 9), merge=st.integers(1, 3),
       layout=st.sampled_from(["grid", "rings", "views"]), seed=st.integers(0, 99))
def test_any_call_keeps_the_promises(cpu, height, width, budget, gaze, patch, merge, layout, seed):
    image = random_image(seed, height, width)
    budget = max(budget, 2) if layout == "views" else budget
    options = {"budget": None if layout == "rings" else budget}
    tokens = cpu.tokens(image, layout=layout, patch=patch, merge=merge, channels="last",
                        **({} if layout == "grid" else {"gaze": gaze}), **options)
    rows = 172 if layout == "rings" else budget
    assert tokens.center_px.shape == (1, rows, 2) and tokens.patches.shape[1] == rows * merge * merge
    values = tokens.patches.numpy()
    assert np.isfinite(values).all()
    assert_same(cpu.tokens(image, layout=layout, patch=patch, merge=merge, channels="last",
                           **({} if layout == "grid" else {"gaze": gaze}), **options).patches.numpy(), values)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
@given(height=st.integers(1, 40), width=st.integers(1, 40), budget=st.integers(1, 20),
       patch=st.integers(1, 6), taps=st.floats(1, 8), bias=st.floats(-2, 2), seed=st.integers(0, 99))
def test_any_grid_is_the_oracles(cpu, height, width, budget, patch, taps, bias, seed):
    image = random_image(seed, height, width, 0)
    got = cpu.tokens(image, layout="grid", budget=budget, patch=patch, taps=taps, lod_bias=bias, mean=(0.5,),
                     std=(0.25,))
    want, _ = sample_of.sample(image[None], rows_of.grid(image.shape, budget, patch), patch, taps=taps,
                               lod_bias=bias, mean=(0.5,), std=(0.25,))
    assert_same(got.patches.numpy().ravel(), want.ravel())


# Errors

def test_values_of_another_layout(cpu):
    pyramid = cpu.pyramid(IMAGE)
    patches = cpu.sample(pyramid, cpu.layout(pyramid, budget=4))
    with pytest.raises(foveate.Error, match=r"(?s)^tensor: .*got .*expected"):
        cpu.tensor(patches, cpu.layout(pyramid, budget=5))


def test_bfloat16_has_no_numpy(cpu):
    with pytest.raises((foveate.Error, TypeError), match=r"(?s)bfloat16"):
        tokens_of(cpu, dtype="bfloat16").numpy()
