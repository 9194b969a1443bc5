# SPDX-License-Identifier: Apache-2.0
"""What "auto" takes: a GPU by Vulkan, CUDA or OpenGL, in this order, or the cpu; no driver that computes on the cpu."""

import sys

import foveate
import numpy as np
import pytest
from child import child
from conftest import STUB
from cuda_side import OTHER
from foveate import _core, backends, egl
from foveate.backends import opengl
from foveate.error import UnsupportedError
from foveate.types import STAGES
from images import random_image

IMAGE = random_image(1, 96, 128)
OPTIONS = {"gaze": (0.3, 0.6), "budget": 40}
COMPILERS = ("cuda", "cuda.bindings", "cupy_backends", "cupy_backends.cuda.libs")


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    monkeypatch.delenv("FOVEATE_DEVICE", raising=False)


@pytest.fixture
def no_compiler(monkeypatch):
    for name in COMPILERS:
        monkeypatch.setitem(sys.modules, name, None)


@pytest.fixture
def gpu_by_opengl(monkeypatch):
    """Mesa's software device, which says that it is hardware."""
    monkeypatch.setattr(opengl, "SOFTWARE", ())
    monkeypatch.setattr(egl, "devices", lambda: [True])


def bytes_of(engine):
    with engine:
        return engine.tokens(IMAGE, **OPTIONS).numpy().tobytes()


def test_cuda(kernel_stub, cpu):
    engine = foveate.Engine()
    assert set(engine.backend.values()) == {"cuda"} and engine.caps["device"] == "Stub 0"
    assert bytes_of(engine) == cpu.tokens(IMAGE, **OPTIONS).numpy().tobytes()


def test_no_compiler(kernel_stub, no_compiler):
    assert set(foveate.Engine().backend.values()) == {"cpu"}
    found, = (each for each in foveate.info()["candidates"] if each["backend"] == "cuda")
    assert not found["usable"] and found["reasons"][0].startswith("Engine: cuda: got no compiler (")


def test_opengl(gpu_by_opengl, cpu):
    engine = foveate.Engine()
    assert set(engine.backend.values()) == {"opengl"} and backends.automatic() == ("opengl", engine.caps["uuid"])
    assert bytes_of(engine) == cpu.tokens(IMAGE, **OPTIONS).numpy().tobytes()


def test_order(kernel_stub, gpu_by_opengl, monkeypatch):
    assert backends.automatic() == ("cuda", STUB["FOVEATE_STUB_CUDA_DEVICES"])
    gpu = {"backend": "vulkan", "usable": True, "software": False, "uuid": "ab", "device": "GPU"}
    for change, expected in (({}, "vulkan"), ({"usable": False}, "cuda"), ({"software": True}, "cuda")):
        with monkeypatch.context() as patch:
            patch.setattr(_core, "candidates", lambda found=gpu | change: [gpu | {"backend": "cpu"}, found])
            assert backends.automatic()[0] == expected


def test_the_next_one(kernel_stub, no_compiler, gpu_by_opengl):
    assert backends.automatic()[0] == "opengl"


def test_the_gpu_behind_a_software_device(monkeypatch):
    """Its number would be found in the other one's name."""
    soft = opengl.NONE | {"device": "llvmpipe (LLVM 15)", "software": True, "usable": True}
    monkeypatch.setattr(egl, "devices", lambda: [False, True])
    for gpu in ({"device": "GPU", "uuid": ""}, {"device": "ab", "uuid": "GPU"}):
        monkeypatch.setattr(opengl, "candidates", lambda gpu=gpu: [soft, soft | {"software": False} | gpu])
        assert backends.automatic() == ("opengl", "GPU")


def test_software_is_passed_over(monkeypatch):
    """By its name, or by what EGL says of it; and where there is no hardware no context is made."""
    assert egl.devices() == [False] and backends.automatic() == ("cpu", "")
    assert [found["software"] for found in opengl.candidates()] == [True]
    with monkeypatch.context() as patch:
        patch.setattr(opengl, "SOFTWARE", ())
        assert [found["software"] for found in opengl.candidates()] == [True]
    with monkeypatch.context() as patch:
        patch.setattr(egl, "devices", lambda: [True])
        assert [found["software"] for found in opengl.candidates()] == [True]
        assert backends.automatic() == ("cpu", "")
        patch.setitem(sys.modules, "moderngl", None)
        assert backends.automatic() == ("cpu", "")


def test_devices_of_egl(monkeypatch):
    """A software device, one that only shows, one that renders, one that says nothing."""
    said = [(b"EGL_MESA_device_software EGL_EXT_device_drm_render_node", None),
            (b"EGL_EXT_device_drm EGL_EXT_device_drm_render_node", None),
            (b"EGL_EXT_device_drm EGL_EXT_device_drm_render_node", b"/dev/dri/renderD128"), (None, None)]

    def query(room, listed, count):
        assert room == len(listed) > len(said)
        listed[:len(said)] = range(1, len(said) + 1)
        count.value = len(said)
        return 1

    fakes = {"eglQueryDevicesEXT": query,
             "eglQueryDeviceStringEXT": lambda device, name: said[device - 1][name == egl.RENDER_NODE]}
    monkeypatch.setattr(egl, "function", lambda name, *_: fakes[name])
    assert egl._devices.__wrapped__() == [False, False, True, True]

    def lacking(name, *_):
        raise UnsupportedError("gl: EGL: no")

    monkeypatch.setattr(egl, "function", lacking)
    assert egl._devices.__wrapped__() == []


def test_by_stage(kernel_stub):
    with foveate.Engine({"sample": "auto", "*": "cpu"}) as engine:
        assert [stage for stage, name in engine.backend.items() if name == "cuda"] == ["sample"]
    with foveate.Engine({"sample": "cpu"}) as engine:
        assert [stage for stage, name in engine.backend.items() if name == "cpu"] == ["sample"]
    named = dict.fromkeys(STAGES, "cpu")
    with foveate.Engine(named) as engine:
        assert engine.backend == named


def test_options_that_mean_vulkan(kernel_stub):
    with pytest.raises(UnsupportedError, match='Engine: device: got "none such"'):
        foveate.Engine(device="none such")
    with foveate.Engine(share=True) as engine:
        assert engine.caps["backend"] == "vulkan"


def test_cuda_arrays(stub_cuda, monkeypatch):
    """Vulkan where it has the same device, else CUDA itself."""
    uuid = stub_cuda("lavapipe")
    with foveate.Engine(cuda=True) as engine:
        assert (engine.caps["backend"], engine.caps["uuid"]) == ("vulkan", uuid)
    monkeypatch.setenv("FOVEATE_STUB_CUDA_DEVICES", OTHER)
    with foveate.Engine(cuda=True) as engine:
        assert (engine.caps["backend"], engine.caps["uuid"]) == ("cuda", OTHER)
        assert engine.empty((8, 8)).device == "cuda:0"


def test_nothing_is_imported():
    """Neither packages nor backends, where there is no GPU."""
    said = child("lavapipe", """
import sys
import foveate
backend = set(foveate.Engine().backend.values())
heavy = {"moderngl", "glcontext", "OpenGL", "cuda", "cupy", "foveate.backends.cuda", "foveate.backends.opengl"}
print(backend, sorted(heavy & set(sys.modules)))
""")
    assert said == "{'cpu'} []"


def test_the_cpu_in_a_child_of_fork(kernel_stub):
    """The parent's drivers are of no use there."""
    said = child("cuda", """
import os
import foveate
from foveate import egl
first = foveate.Engine()
assert first.backend["sample"] == "cuda" and egl.devices() == [False]
if os.fork() == 0:
    print(egl.devices(), set(foveate.Engine().backend.values()), flush=True)
    os._exit(0)
assert os.wait()[1] == 0
""", VK_DRIVER_FILES="/nowhere", VK_ICD_FILENAMES="/nowhere")
    assert said == "[] {'cpu'}"


def test_arrays_are_the_hosts(kernel_stub):
    with foveate.Engine() as engine:
        tokens = engine.tokens(np.zeros((64, 64, 3), np.uint8), budget=8)
        assert tokens.device == "cpu"
