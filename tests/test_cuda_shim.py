# SPDX-License-Identifier: Apache-2.0
"""The library that stands in for a GPU: blocks, barriers, and what it says where a kernel is wrong."""

import ctypes
import os
import subprocess

import pytest
from kernels import TREE, CudaKernels

KERNELS = """
#include "tests/cuda_shim/builtins.h"

__shared__ unsigned seen[6];

// Each thread hands its number on, as often as the block is wide, and so gets it back.
extern "C" __global__ void around(unsigned* out, unsigned add)
{
    const unsigned lane = threadIdx.y * 3u + threadIdx.x;
    unsigned value = lane;
    for (unsigned turn = 0u; turn < 6u; ++turn) {
        seen[(lane + 1u) % 6u] = value;
        __syncthreads();
        value = seen[lane];
        __syncthreads();
    }
    out[(blockIdx.z * gridDim.y + blockIdx.y) * 6u + lane] = value + add;
}

extern "C" __global__ void apart(unsigned* out)
{
    if (threadIdx.x < 2u) __syncthreads();
    out[threadIdx.x] = 1u;
}

extern "C" __global__ void count(unsigned* out)
{
    atomicAdd(&out[0], 1u);
    atomicMax(&out[1], blockIdx.x * 4u + threadIdx.x);
}

static const foveate::shim::Register AROUND({"around", {3, 2, 1}, true, foveate::shim::call<around>});
static const foveate::shim::Register APART({"apart", {4, 1, 1}, true, foveate::shim::call<apart>});
static const foveate::shim::Register COUNT({"count", {4, 1, 1}, false, foveate::shim::call<count>});
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """run(name, grid, *args) -> status, on kernels of this file."""
    folder = tmp_path_factory.mktemp("shim")
    (folder / "kernels.cpp").write_text(KERNELS)
    subprocess.run([os.environ.get("CXX", "c++"), "-std=c++20", "-O2", "-fPIC", "-shared", f"-I{TREE}",
                    "-o", folder / "kernels.so", folder / "kernels.cpp", TREE / "tests/cuda_shim/shim.cpp"], check=True)
    library = ctypes.CDLL(str(folder / "kernels.so"))

    def run(name, grid, *args):
        pointers = (ctypes.c_void_p * len(args))(*map(ctypes.addressof, args))
        return library.foveate_kernel(name, (ctypes.c_uint * 3)(*grid), pointers)

    return run


def numbers(count):
    array = (ctypes.c_uint * count)()
    return array, ctypes.c_void_p(ctypes.addressof(array))


def test_threads_wait_for_one_another(run):
    out, pointer = numbers(36)
    assert run(b"around", (1, 3, 2), pointer, ctypes.c_uint(10)) == 0
    assert list(out) == [10, 11, 12, 13, 14, 15] * 6


def test_threads_that_part_are_found(run):
    _, pointer = numbers(4)
    assert run(b"apart", (1, 1, 1), pointer) == 2
    out, pointer = numbers(6)
    assert run(b"around", (1, 1, 1), pointer, ctypes.c_uint(0)) == 0    # and the next kernel runs
    assert list(out) == [0, 1, 2, 3, 4, 5]


def test_atomics(run):
    out, pointer = numbers(2)
    assert run(b"count", (5, 1, 1), pointer) == 0
    assert list(out) == [20, 19]


def test_every_shader_is_a_kernel():
    kernels, block = CudaKernels(), (ctypes.c_uint * 3)()
    for name, shader in kernels.shaders.items():
        assert kernels.library.foveate_kernel_block(name.encode(), block) == 0
        assert tuple(block) == shader["local"]
    assert kernels.library.foveate_kernel_block(b"nothing", block) == 1
    assert kernels.library.foveate_kernel(b"nothing", (ctypes.c_uint * 3)(1, 1, 1), None) == 1
