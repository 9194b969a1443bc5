# SPDX-License-Identifier: Apache-2.0
"""What profilers ask of an Engine: shaders with their source, statistics of kernels, names of buffers, NVTX ranges."""

import hashlib
import json

import conftest
import foveate
import pytest
from child import child, compiled
from commands import run
from foveate import profile as profiling
from foveate.error import InputError
from images import random_image

IMAGE = random_image(3, 96, 128)
OPTIONS = {"gaze": (0.3, 0.6), "budget": 12, "model": "vit16"}


@pytest.fixture(params=[name for name in conftest.BACKENDS if name in conftest.DEVICES])
def driver(request):
    return request.param


def outputs(engine):
    """Bytes of every stage that has a shader, by name."""
    image = engine.image(IMAGE)
    made = {
        "tokens": engine.tokens(IMAGE, relevance={"information": True, "saliency": "both"}, **OPTIONS).numpy(),
        "rings": engine.tokens(IMAGE, layout="rings", gaze=(0.5, 0.5), model="vit16").numpy(),
        "level": engine.pyramid(image, levels=3).level(2).numpy(),
        "warp": engine.warp(image, size=(16, 32)).numpy(),
        "tiles": engine.rate_tiles(IMAGE, tile=8, gaze=(0.3, 0.6), content="ffx").codes,
    }
    return {name: hashlib.sha256(array.tobytes()).hexdigest() for name, array in made.items()}


# Shaders with their source

def test_profile_shaders_give_the_same_bytes(driver, cpu, monkeypatch, tmp_path):
    monkeypatch.setenv("FOVEATE_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("FOVEATE_SHADERS", "profile")
    with foveate.Engine(**conftest.options(driver)) as engine:
        assert engine.caps["shaders"] == "profile" and "sources" in engine.caps["profiling"]
        assert outputs(engine) == outputs(cpu)
        assert engine.stats["messages"] == 0
    monkeypatch.setenv("FOVEATE_SHADERS", "release")
    with foveate.Engine(**conftest.options(driver)) as engine:
        assert engine.caps["shaders"] == "release"
        engine.pyramid(IMAGE)
        name = f"pipelines-{engine.caps['uuid']}"
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.bin", f"{name}-profile.bin"}


def test_no_such_shaders(driver, monkeypatch):
    monkeypatch.setenv("FOVEATE_SHADERS", "debug")
    with pytest.raises(InputError, match=r'Engine: FOVEATE_SHADERS: got "debug", expected "release" or "profile"\.'):
        foveate.Engine(**conftest.options(driver))
    with foveate.Engine("cpu") as engine:
        assert engine.caps["shaders"] == "" and engine.caps["profiling"] == []


def test_what_a_device_can_tell_is_listed(driver, capsys):
    found = [entry for entry in foveate.info()["candidates"] if conftest.DEVICES[driver] in entry["device"]
             and entry["backend"] == "vulkan"]
    assert found[0]["profiling"] == ["timestamps", "sources"]
    code, text, _ = run(capsys, "info")
    assert code == 0 and "profiling" in text and "timestamps" in text


# Statistics and names, by a driver that has them

@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    return compiled(tmp_path_factory.mktemp("shim"), "libprofiled.so", ["tests/canary/profiled.cpp"], "-shared",
                    "-fPIC")


PROFILED = """
import ctypes, json, os, sys
import conftest, foveate
from foveate import profile as profiling
from test_profile_tools import IMAGE, OPTIONS, outputs
library = ctypes.CDLL(os.environ["FOVEATE_VULKAN_LIBRARY"])
library.names_of_buffers.restype = ctypes.c_char_p
options = conftest.options(sys.argv[1])
with foveate.Engine(**options) as engine:
    plain = outputs(engine)
    silent = engine._open().kernels(), library.captured_count(), library.mistakes()
    listed = engine.caps["profiling"]
with foveate.Engine(**options, trace=True) as engine:
    traced = outputs(engine)
    kernels = engine._open().kernels()
    made = engine.stats["pipelines_created"]
result = profiling.profile(IMAGE, **options, model="vit16", budget=12, rounds=1)
names = library.names_of_buffers().decode().split()
os.environ["FOVEATE_SHADERS"] = "profile"
library.old(1)
try:
    foveate.Engine(**options)
except foveate.error.UnsupportedError as error:
    refused = str(error)
print(json.dumps({"same": plain == traced, "silent": silent, "listed": listed, "kernels": kernels, "made": made,
                  "told": profiling.told(result["kernels"][0]), "names": names, "refused": refused,
                  "captured": library.captured_count(), "mistakes": library.mistakes()}))
"""


def test_statistics_and_names(driver, shim):
    got = json.loads(child(driver, PROFILED, driver, FOVEATE_VULKAN_LIBRARY=str(shim)).splitlines()[-1])
    assert got["mistakes"] == 0 and got["same"]
    assert got["silent"] == [[], 0, 0], "statistics are captured where a trace is asked for, and nowhere else"
    assert got["listed"] == ["timestamps", "sources", "statistics"]
    assert len(got["kernels"]) == got["made"] > 10 and got["captured"] > got["made"]
    kernel = next(kernel for kernel in got["kernels"] if kernel["kernel"] == "pyramid")
    assert kernel == {"kernel": "pyramid", "windows": 1, "part": "main", "subgroup_size": 32, "statistics": {
        "Register Count": 40, "Occupancy": 0.75, "Balance": -3, "Spills": True}}
    assert got["told"] == "Register Count 40, Occupancy 0.75, Spills 1"
    assert {"pyramid.Levels0", "rate_detail.Detail", "sample.Output"} <= set(got["names"])
    assert got["refused"].startswith("Engine: FOVEATE_SHADERS: got profile on ") and got["refused"].endswith(
        ", expected a device with VK_KHR_shader_non_semantic_info, and a build by glslangValidator 12 or later. "
        "Use another device, or unset it.")


def test_without_statistics(driver, photo, capsys):
    result = profiling.profile(IMAGE, **conftest.options(driver), model="vit16", budget=12, rounds=1)
    assert result["kernels"] is None and result["shaders"] == "release"
    options = conftest.options(driver)
    short = ("--rounds", "1", "--model", "vit16", "--budget", "12")
    code, text, _ = run(capsys, "profile", photo, "--backend", "vulkan", "--device", options["device"], *short)
    assert code == 0 and "statistics of kernels: not offered by this driver" in text
    code, text, _ = run(capsys, "profile", photo, "--backend", "cpu", *short)
    assert code == 0 and "statistics" not in text


def test_held_against_a_copy_on_the_device(backend):
    with foveate.Engine(**conftest.options(backend), trace=True) as engine:
        found = profiling.device_copy(engine)
        assert found is None if backend not in conftest.DEVICES else 1e8 < found < 1e13
        assert engine.spans() == []
    with foveate.Engine(**conftest.options(backend)) as engine:
        assert profiling.device_copy(engine) is None
    result = profiling.profile(IMAGE, **conftest.options(backend), model="vit16", budget=12, rounds=1)
    held = result["device_copy_gb_s"] if backend in conftest.DEVICES else result["copy_gb_s"]
    for row in result["rows"][:-1]:
        if backend == "cuda":
            assert row["of_copy"] is None       # neither a copy of the device's nor the host's memory
        else:
            assert row["of_copy"] == pytest.approx(row["gb_s"] / held)


# NVTX

LISTENED = """
import ctypes, os, sys
import conftest, foveate
from test_profile_tools import IMAGE, OPTIONS
engine = foveate.Engine(**conftest.options(sys.argv[1]))
library = ctypes.CDLL(os.environ["NVTX_INJECTION64_PATH"])
library.heard.restype = ctypes.c_char_p
image = engine.image(IMAGE)
library.heard()
def say(call):
    try:
        call()
        end = ""
    except foveate.Error as error:
        end = type(error).__name__
    print((library.heard().decode() + end).strip())
say(lambda: engine.tokens(IMAGE, **OPTIONS))
say(lambda: engine.pyramid(image))
say(lambda: engine.rate_tiles(image, tile=8, gaze=(0.5, 0.5)))
say(lambda: engine.tokens(IMAGE, budget=1, max_rate=1, model="vit16"))
say(lambda: foveate.Engine("cpu", memory_budget=1 << 12).tokens(IMAGE, **OPTIONS))
print(library.mistakes())
"""


@pytest.fixture(scope="module")
def listener(tmp_path_factory):
    return compiled(tmp_path_factory.mktemp("nvtx"), "liblistener.so", ["tests/canary/listener.cpp"], "-shared",
                    "-fPIC")


def test_ranges(backend, listener):
    said = child(backend, LISTENED, backend, NVTX_INJECTION64_PATH=str(listener)).splitlines()
    assert said[0] == "foveate: +tokens +pyramid - +relevance - +rate - +layout - +sample - +tensor - - +tensor -"
    assert said[1] == "foveate: +pyramid -"
    assert said[2] == "foveate: +rate -"
    assert said[3] == "foveate: +tokens - InputError"                       # before any stage
    assert said[4] == "foveate: +tokens +pyramid - - MemoryBudgetError"     # in the middle of one
    assert said[5] == "0", "every push has its pop, and every call follows the protocol"


@pytest.mark.parametrize("path,more", [("", {}), ("nowhere.so", {}), ("libm.so.6", {}),
                                       (None, {"LISTENER_REFUSES": "1"})])
def test_without_a_profiler_nothing_is_said(listener, path, more):
    """None, one that is missing, one that is no profiler, and one that refuses."""
    script = """
import ctypes, sys, foveate
from test_profile_tools import IMAGE, OPTIONS
foveate.Engine("cpu").tokens(IMAGE, **OPTIONS)
library = ctypes.CDLL(sys.argv[1])
library.heard.restype = ctypes.c_char_p
print(library.heard().decode(), library.mistakes())
"""
    named = str(listener) if path is None else path
    assert child("cpu", script, listener, NVTX_INJECTION64_PATH=named, **more) == "none:  0"
