# SPDX-License-Identifier: Apache-2.0
"""The backend cuda on a driver over the host's memory: devices, compilers, kernels kept on disk, failures, memory.
Its bytes are compared with the oracle's and the cpu's in the tests of the stages.
"""

import ctypes
import os
import sys

import foveate
import pytest
from foveate.backends import cuda
from foveate.error import Error, UnsupportedError
from images import random_image

OPTIONS = {"gaze": (0.3, 0.6), "budget": 40}
IMAGE = random_image(1, 96, 128)


@pytest.fixture
def stub(kernel_stub):
    return kernel_stub._core


def calls(stub):
    """The names of the driver's calls since the last time."""
    text = ctypes.create_string_buffer(stub.stub_log(None, 0, 0) + 1)
    stub.stub_log(text, len(text), 1)
    return [line.split()[0] for line in text.value.decode().splitlines()]


@pytest.fixture(scope="module")
def expected(cpu):
    return cpu.tokens(IMAGE, **OPTIONS).numpy().tobytes()


def test_candidates(stub):
    found = [each for each in foveate.info()["candidates"] if each["backend"] == "cuda"]
    assert [(each["usable"], each["software"], len(each["uuid"])) for each in found] == [(True, False, 32)]


def test_no_such_device(stub):
    with pytest.raises(UnsupportedError, match=r"^Engine: no CUDA device: got Stub 0 [0-9a-f]{32}, expected .*RTX"):
        foveate.Engine("cuda", device="RTX")


def test_a_run_is_launches_and_one_wait(stub, expected):
    with foveate.Engine("cuda") as engine:
        engine.tokens(IMAGE, **OPTIONS)
        calls(stub)
        assert engine.tokens(IMAGE, **OPTIONS).numpy().tobytes() == expected
        made = calls(stub)
    assert made.count("cuLaunchKernel") > 5
    assert not {"cuMemAlloc", "cuModuleLoadData", "cuStreamSynchronize", "cuCtxSetCurrent"} & set(made)
    assert made.count("cuEventRecord") == 1


def test_nothing_is_left(stub, expected):
    kinds = (b"contexts", b"streams", b"events", b"allocations", b"modules")
    before = [stub.stub_alive(kind) for kind in kinds]
    for _ in range(3):
        with foveate.Engine("cuda") as engine:
            assert engine.tokens(IMAGE, **OPTIONS).numpy().tobytes() == expected
    assert [stub.stub_alive(kind) for kind in kinds] == before


def test_every_call_fails_in_turn(stub, expected):
    kinds = (b"contexts", b"streams", b"events", b"allocations", b"modules")
    before = [stub.stub_alive(kind) for kind in kinds]
    foveate.Engine("cuda").close()
    at, failed = 0, 0
    while True:
        at += 1
        engine, made = None, 0
        stub.stub_fail(0, 0)
        stub.stub_fail(at, 2)       # out of memory
        try:
            engine = foveate.Engine("cuda")
            assert engine.tokens(IMAGE, **OPTIONS).numpy().tobytes() == expected
        except Error:
            failed += 1
        finally:
            made = stub.stub_fail(0, 0)     # what fails while it is closed cannot be freed
            if engine:
                engine.close()
        assert [stub.stub_alive(kind) for kind in kinds] == before, f"call {at}"
        if made < at:
            break
    assert failed > 50


KINDS = (b"contexts", b"streams", b"events", b"allocations", b"modules", b"mipmaps", b"textures")


def test_filters_are_texture_objects(stub):
    before = [stub.stub_alive(kind) for kind in KINDS]
    with foveate.Engine("cuda", exact=False) as engine:
        for _ in range(3):
            engine.tokens([IMAGE, IMAGE[:50]], layout="rings", gaze=(0.3, 0.6))
            made = calls(stub)
        assert (stub.stub_alive(b"mipmaps"), stub.stub_alive(b"textures")) == (before[5] + 2, before[6] + 2)
    # those of the first call serve the next: all of it is on the device, one launch an image samples
    assert not {"cuMemAlloc", "cuMipmappedArrayCreate", "cuTexObjectCreate"} & set(made)
    assert made.count("cuMemcpyDtoHAsync") == 2 and made.count("cuMemcpy2DAsync") == 2 * 5
    assert [stub.stub_alive(kind) for kind in KINDS] == before


def test_every_call_for_textures_fails_in_turn(stub):
    options = {"layout": "grid", "budget": 20}
    with foveate.Engine("cuda", exact=False) as engine:
        expected = engine.tokens(IMAGE, **options).numpy().tobytes()
    before = [stub.stub_alive(kind) for kind in KINDS]
    for result, message in ((2, "CUDA_ERROR_OUT_OF_MEMORY"), (999, "CUDA_ERROR_999")):
        failed = k = 0
        while True:
            k += 1
            with foveate.Engine("cuda", exact=False) as engine:
                stub.stub_fail(k, result)
                try:
                    assert engine.tokens(IMAGE, **options).numpy().tobytes() == expected
                except Error as error:
                    assert message in str(error)
                    failed += 1
                made = stub.stub_fail(0, 0)
                assert engine.tokens(IMAGE, **options).numpy().tobytes() == expected
            assert [stub.stub_alive(kind) for kind in KINDS] == before
            if made < k:
                break
        assert failed > 30


def test_kernels_are_kept_on_disk(stub, tmp_path, monkeypatch, expected):
    monkeypatch.setenv("FOVEATE_CACHE_DIR", str(tmp_path))
    compiled = []
    version, _ = cuda._cuda_python()
    monkeypatch.setattr(cuda, "_compiler", lambda: (
        version, lambda text, options: compiled.append(options) or b"kernel" + bytes(64)))

    def turn():
        compiled.clear()
        with foveate.Engine("cuda") as engine:
            assert engine.tokens(IMAGE, **OPTIONS).numpy().tobytes() == expected
        return len(compiled)

    first = turn()
    assert first > 5 and turn() == 0
    assert all(options[-1].startswith("-arch=sm_") for options in compiled)
    files = sorted(tmp_path.glob("cuda-*.cubin"))
    assert len(files) == first
    files[0].write_bytes(b"broken")
    files[1].write_bytes(files[1].read_bytes()[:-1])
    files[2].unlink()
    assert turn() == 3 and turn() == 0
    monkeypatch.setenv("FOVEATE_CACHE_DIR", "")
    assert turn() == first


def test_without_a_compiler(stub, monkeypatch):
    for name in ("cuda", "cuda.bindings", "cupy_backends", "cupy_backends.cuda.libs"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UnsupportedError, match=r"^Engine: cuda: got no compiler \(.*pip install 'foveate\[cuda\]'"):
        foveate.Engine("cuda")
    found = [each for each in foveate.info()["candidates"] if each["backend"] == "cuda"]
    assert [each["usable"] for each in found] == [False]


def test_a_kernel_that_does_not_compile(stub, monkeypatch):
    def refuse(text, options):
        raise RuntimeError("kernel.cu(1): error: no")

    monkeypatch.setenv("FOVEATE_CACHE_DIR", "")
    monkeypatch.setattr(cuda, "_compiler", lambda: ("none", refuse))
    with pytest.raises(UnsupportedError, match=r"^cuda: compile \w+: got kernel.cu\(1\): error: no, expected a kernel"):
        foveate.Engine("cuda").tokens(IMAGE, **OPTIONS)


def test_no_driver():
    from child import child

    script = """
import foveate
found = [each for each in foveate.info()["candidates"] if each["backend"] == "cuda"]
assert not found[0]["usable"] and "cannot be opened" in found[0]["reasons"][0], found
try:
    foveate.Engine("cuda")
except foveate.error.UnsupportedError as error:
    print(error)
"""
    said = child(None, script, FOVEATE_CUDA_LIBRARY=os.devnull)
    assert said.startswith("cuda: driver: got /dev/null cannot be opened, expected libcuda.so.1 of an NVIDIA driver.")
