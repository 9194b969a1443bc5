# SPDX-License-Identifier: Apache-2.0
"""Nothing grows: after a warm-up, as many open files as before, no more memory, no new pipeline."""

import ctypes
import ctypes.util
import gc
import json
import os
import subprocess
import sys

import pytest
from child import child, descriptors
from conftest import BACKENDS, STUB, options
from images import random_image

MIB = 1 << 20
IMAGE = random_image(7, 96, 128)
KINDS = ({"budget": 12}, {"budget": 12, "gaze": (0.3, 0.6)},
         {"layout": "views", "budget": 12}, {"layout": "rings", "strides": [1, 2], "grids": [4, 4]})


def resident():
    """Bytes of this process in memory, after what is free has been handed back."""
    gc.collect()
    libc = ctypes.CDLL(ctypes.util.find_library("c"))
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def steady(work, cycles, warm, growth):
    """Runs work(); fails when descriptors differ, or memory grew by more than `growth` bytes, after the warm-up.
    Returns the growth in bytes."""
    stub = ctypes.CDLL(STUB["FOVEATE_CUDA_LIBRARY"]) if BACKENDS == ["cuda"] else None

    def cycle():
        work()
        if stub:    # writes down every call: 1.8 kB of them in each cycle
            stub.stub_log(None, 0, 1)

    for _ in range(warm):
        cycle()
    files, bytes_before = descriptors(), resident()
    for _ in range(cycles):
        cycle()
    grown = resident() - bytes_before
    now = descriptors()
    assert now == files, f"open files: got {now}, expected {files} as before {cycles} cycles"
    assert grown <= growth, f"memory: got {grown} bytes more after {cycles} cycles, expected {growth} at most"
    return grown


# What runs in the child

def encode(backend, cycles, warm):
    """Create, encode, free on one engine: every kind of value, some exported and never consumed."""
    import foveate

    engine = foveate.Engine(**options(backend))
    count = 0

    def work():
        nonlocal count
        count += 1
        image = IMAGE[: 90 + count % 2]
        tokens = engine.tokens(image, patch=8, **KINDS[count % len(KINDS)])
        capsule = tokens.patches.__dlpack__()
        pyramid = engine.pyramid(image, color="linear" if count % 2 else "encoded")
        layout = engine.layout(pyramid, budget=4, cell=8)
        engine.sample(pyramid, layout, patch=8)
        del capsule

    for _ in range(warm):
        work()
    made = engine.stats["pipelines_created"]
    used = engine.stats["memory_used"]
    grown = steady(work, cycles, 0, 1 * MIB)
    stats = engine.stats
    assert stats["pipelines_created"] == made
    assert stats["memory_used"] == used
    engine.close()
    print(json.dumps({"grown": grown, "pipelines": made, "messages": stats["messages"]}))


def engines(backend, cycles, warm):
    """Whole engines, with a value that outlives each."""
    import foveate

    kept, made = [], 0

    def work():
        nonlocal made
        engine = foveate.Engine(**options(backend))
        kept[:] = [engine.tokens(IMAGE, budget=6, patch=8)]
        made += engine.stats["pipelines_created"]
        engine.close()

    # With a warm pipeline cache: Mesa 22.3 keeps some 58 KiB of each pipeline that it has to compile.
    grown = steady(work, cycles, warm, 4 * MIB)
    print(json.dumps({"grown": grown, "pipelines": made, "threads": len(os.listdir("/proc/self/task"))}))


def inherited(backend):
    """The descriptors that a program started from here is given, before and with an engine at work."""
    import foveate

    def seen():
        script = "import child; print([fd for fd, _ in child.descriptors()])"
        return subprocess.run([sys.executable, "-c", script], close_fds=False, capture_output=True, text=True,
                              check=True).stdout

    before = seen()
    engine = foveate.Engine(**options(backend))
    tokens = engine.tokens(IMAGE, budget=6)
    array = tokens.patches.numpy()
    assert seen() == before, f"got {seen()}, expected {before}"
    print(array.size)


def run(backend, call, **env):
    return json.loads(child(backend, f"import test_leak; test_leak.{call}", timeout=3000, **env).splitlines()[-1])


# What pytest runs

def test_encode(backend):
    # SwiftShader runs barriers on fibers and pools their stacks: 2.3 MiB in its first 240 calls, 0.5 in as many more.
    cycles, warm = (60, 240) if backend == "swiftshader" else (500, 100)
    assert (run(backend, f"encode({backend!r}, {cycles}, {warm})")["pipelines"] > 0) == (backend != "cpu")


@pytest.mark.long
def test_encode_long(backend):
    # SwiftShader's pools are full after 2,700 calls, and grow by nothing in the next 500.
    cycles, warm = (1000, 3000) if backend == "swiftshader" else (10000, 500)
    run(backend, f"encode({backend!r}, {cycles}, {warm})")


def test_engines(backend, tmp_path):
    cycles, warm = (3, 1) if backend == "swiftshader" else (20, 5)
    run(backend, f"engines({backend!r}, {cycles}, {warm})", FOVEATE_CACHE_DIR=str(tmp_path))


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in BACKENDS if name != "swiftshader"])
def test_engines_long(name, tmp_path):
    run(name, f"engines({name!r}, 200, 20)", FOVEATE_CACHE_DIR=str(tmp_path))


def test_no_descriptor_is_inherited(backend):
    run(backend, f"inherited({backend!r})")
