# SPDX-License-Identifier: Apache-2.0
"""The other side of CUDA in tests: the stub's own functions, and arrays as other libraries have them."""

import ctypes

import numpy as np
from images import random_image

OPTIONS = {"gaze": (0.3, 0.6), "budget": 40, "model": "vit16"}
IMAGE = random_image(3, 120, 170)
OTHER = "0" * 32    # the UUID of a device that Vulkan does not have


class Stub:
    """The driver's own functions: tests/stub_cuda/stub.h."""

    def __init__(self, path):
        self.path, self._core = str(path), ctypes.CDLL(str(path))
        self._core.stub_alive.restype = ctypes.c_int64
        self._core.stub_fail.argtypes, self._core.stub_fail.restype = [ctypes.c_uint64, ctypes.c_int], ctypes.c_uint64
        self._core.stub_log.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int]

    def log(self):
        size = self._core.stub_log(None, 0, 0) + 1
        text = ctypes.create_string_buffer(size)
        self._core.stub_log(text, size, 1)
        return text.value.decode()

    def alive(self, *what):
        return [self._core.stub_alive(name.encode()) for name in what]

    def hold(self, stream, on):
        self._core.stub_hold(ctypes.c_void_p(stream), int(on))

    def __getattr__(self, name):
        return getattr(self._core, f"stub_{name}")


def bytes_read(log):
    """The sizes of all copies from the device to the host in a stub's log."""
    return [int(line.split()[1][5:]) for line in log.splitlines() if line.startswith("cuMemcpyDtoH")]


def seen(array):
    """What a consumer finds at an array's address: a copy."""
    size = int(np.prod(array.shape)) * np.dtype(array.dtype).itemsize
    return np.frombuffer(ctypes.string_at(array.pointer, size), array.dtype).reshape(array.shape)


def write(array, pixels):
    ctypes.memmove(array.pointer, np.ascontiguousarray(pixels).ctypes.data, pixels.nbytes)


class Tensor:
    """Another library's array on CUDA: it only speaks DLPack, and notes what it is asked for."""

    def __init__(self, array, device=None):
        self.array, self.device, self.asked = array, device, []

    def __dlpack_device__(self):
        return self.device or self.array.__dlpack_device__()

    def __dlpack__(self, *, stream=None, max_version=None):
        self.asked.append(stream)
        return self.array.__dlpack__(stream=1, max_version=max_version)


class Liar(Tensor):
    def __dlpack__(self, *, stream=None, max_version=None):
        return self.array.__dlpack__(max_version=max_version)


class Interface:
    """Another library's array on CUDA, by the CUDA array interface. Its memory is the host's, which the stub takes."""

    def __init__(self, array, **more):
        self.array = array
        self.__cuda_array_interface__ = {**array.__array_interface__, "version": 3, **more}
