# SPDX-License-Identifier: Apache-2.0
"""The CUDA kernels on the host: build/*/libfoveate_kernels.so, made from the texts that NVRTC gets."""

import ctypes
from pathlib import Path

import numpy as np
import pytest
from foveate import _core

TREE = Path(__file__).resolve().parent.parent


def library():
    """The newest build of it; `make setup` makes one, and every build with FOVEATE_TESTS=ON."""
    found = sorted(TREE.glob("build/*/libfoveate_kernels.so"), key=lambda path: path.stat().st_mtime)
    if not found:
        pytest.fail("kernels: got no build/*/libfoveate_kernels.so, expected one. Run `make setup`.")
    kernels = ctypes.CDLL(str(found[-1]))
    kernels.foveate_kernel.argtypes = [ctypes.c_char_p, ctypes.c_uint * 3, ctypes.POINTER(ctypes.c_void_p)]
    return kernels


class Kernels:
    def __init__(self):
        self.library = library()
        self.shaders = _core.shaders()

    def block(self, name):
        size = (ctypes.c_uint * 3)()
        assert self.library.foveate_kernel_block(name.encode(), size) == 0, name
        return tuple(size)

    def run(self, name, grid, params, **buffers):
        """Buffers by the names of their blocks, params as a row of words; what a kernel writes is written in place.

        A block that is not given is a null pointer: the kernel must not look at it.
        """
        shader = self.shaders[name]
        words = np.array(params).tobytes()
        assert len(words) == shader["params_size"], name
        unknown = set(buffers) - {slot for slot, _ in shader["slots"]}
        assert not unknown, unknown
        pointers = []
        for slot, _ in shader["slots"]:
            array = buffers.get(slot)
            assert array is None or array.flags.c_contiguous
            pointers.append(ctypes.c_void_p(None if array is None else array.ctypes.data))
        held = [ctypes.addressof(pointer) for pointer in pointers]
        block = ctypes.create_string_buffer(words, len(words))
        args = (ctypes.c_void_p * (len(held) + 1))(*held, ctypes.addressof(block))
        code = self.library.foveate_kernel(name.encode(), (ctypes.c_uint * 3)(*grid), args)
        assert code == 0, f"{name}: status {code}"

    def cover(self, name, *items):
        """The grid that covers so many items along each axis."""
        return tuple(-(-count // size) for count, size in zip(items, self.block(name), strict=True))


def record(*fields):
    """A Params struct: names of u32, and of f32 where they end in `*`."""
    return np.dtype([(name.rstrip("*"), np.float32 if name.endswith("*") else np.uint32) for name in fields])


def fill(dtype, count=None, /, **values):
    """Zeros but for these fields; `count` of them, or one."""
    result = np.zeros(() if count is None else count, dtype)
    for name, value in values.items():
        result[name] = value
    return result
