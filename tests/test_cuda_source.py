# SPDX-License-Identifier: Apache-2.0
"""The CUDA text of every shader, through the compilers that will meet it. No GPU and no driver is asked for."""

import sys

import pytest
from foveate import _core
from kernels import TREE

sys.path.insert(0, str(TREE / "tools"))

import cuda_compile
import shader_text

NAMES = [shader_text.name_of(path) for path in cuda_compile.sources()]


@pytest.fixture(scope="session", params=[cuda_compile.Nvcc, cuda_compile.Nvrtc])
def found(request):
    """{(name, arch): Compiled or CompileError}, by nvcc and by NVRTC."""
    try:
        compiler = request.param()
    except cuda_compile.CompileError as error:
        pytest.fail(str(error))
    return cuda_compile.compile_all(compiler, cuda_compile.texts())


@pytest.mark.parametrize("name", NAMES)
def test_compiles(found, name):
    for arch in cuda_compile.ARCHES:
        one = found[name, arch]
        assert not isinstance(one, Exception), f"{arch}: {one}"
        # what lives in local memory is read from DRAM: the struct around the kernel must have vanished
        assert (one.stack, one.spills) == (0, 0), arch
        x, y, z = _core.shaders()[name]["local"]
        assert one.registers * x * y * z <= 65536       # else no block fits a multiprocessor


@pytest.mark.parametrize("compiler", [cuda_compile.Nvcc, cuda_compile.Nvrtc])
def test_a_wrong_text_is_an_error(compiler):
    with pytest.raises(cuda_compile.CompileError, match="nothing"):
        compiler()('extern "C" __global__ void kernel(int* a) { *a = nothing; }', "sm_80")


def test_a_missing_compiler_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setattr(cuda_compile.shutil, "which", lambda name: None)
    monkeypatch.setattr(cuda_compile.sysconfig, "get_paths", lambda: {"purelib": str(tmp_path)})
    with pytest.raises(cuda_compile.CompileError, match="nvidia-cuda-nvcc"):
        cuda_compile.Nvcc()
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    with pytest.raises(cuda_compile.CompileError, match=r"foveate\[cuda\]"):
        cuda_compile.Nvrtc()
