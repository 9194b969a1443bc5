# SPDX-License-Identifier: Apache-2.0
"""The shaders one at a time, on arrays: the CUDA text on the host, the OpenGL text on Mesa's software device.

The CUDA text is what NVRTC gets, compiled into build/*/libfoveate_kernels.so.
"""

import ctypes
from pathlib import Path

import numpy as np
import pytest
from foveate import _core, gl

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
    """run(name, grid, params, **buffers): one dispatch of a shader."""

    def __init__(self):
        self.shaders = _core.shaders()

    def run(self, name, grid, params, **buffers):
        """Buffers by the names of their blocks, params as bytes; what a shader writes is written in place.

        A block that is not given is a null pointer, or not bound: the shader must not look at it.
        """
        shader, words = self.shaders[name], params.tobytes()
        assert len(words) == shader["params_size"], name
        assert set(buffers) <= {slot for slot, _ in shader["slots"]}, name
        assert all(array.flags.c_contiguous for array in buffers.values()), name
        self.dispatch(name, [(binding, buffers.get(slot)) for slot, binding in shader["slots"]], words, grid)

    def cover(self, name, *items):
        """The grid that covers so many items along each axis."""
        return tuple(-(-count // size) for count, size in zip(items, self.shaders[name]["local"], strict=True))

    def close(self):
        pass


class CudaKernels(Kernels):
    def __init__(self):
        super().__init__()
        self.library = library()

    def dispatch(self, name, slots, words, grid):
        pointers = [ctypes.c_void_p(None if array is None else array.ctypes.data) for _, array in slots]
        params = ctypes.create_string_buffer(words, len(words))
        args = (ctypes.c_void_p * (len(slots) + 1))(*map(ctypes.addressof, [*pointers, params]))
        status = self.library.foveate_kernel(name.encode(), (ctypes.c_uint * 3)(*grid), args)
        assert status == 0, f"{name}: status {status}"


class OpenGLKernels(Kernels):
    def __init__(self):
        super().__init__()
        self.context = gl.context()
        self.programs = {}

    def dispatch(self, name, slots, words, grid):
        if name not in self.programs:
            self.programs[name] = self.context.compute_shader(self.shaders[name]["glsl"])
        held = [(array, self.context.buffer(array.tobytes()), binding) for binding, array in slots if array is not None]
        for _, buffer, binding in held:
            buffer.bind_to_storage_buffer(binding)
        params = self.context.buffer(words)
        params.bind_to_uniform_block(15)
        self.programs[name].run(*grid)
        self.context.memory_barrier()
        for array, buffer, _ in held:
            if array.flags.writeable:
                array[...] = np.frombuffer(buffer.read(), array.dtype).reshape(array.shape)
            buffer.release()
        params.release()

    def close(self):
        self.context.release()


def record(*fields):
    """A Params struct: names of u32, and of f32 where they end in `*`."""
    return np.dtype([(name.rstrip("*"), np.float32 if name.endswith("*") else np.uint32) for name in fields])


def fill(dtype, count=None, /, **values):
    """Zeros but for these fields; `count` of them, or one."""
    result = np.zeros(() if count is None else count, dtype)
    for name, value in values.items():
        result[name] = value
    return result
