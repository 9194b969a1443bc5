# SPDX-License-Identifier: Apache-2.0
"""Names of the choices, and the array type of everything that leaves the engine."""

import ctypes
import math
from typing import Any, Literal, NamedTuple

import numpy as np

from . import _core
from .error import UnsupportedError, require

BackendName = Literal["auto", "cpu", "vulkan", "opengl", "cuda"]
StageName = Literal["image", "pyramid", "relevance", "rate", "layout", "sample", "warp", "tensor", "*"]
Channels = Literal["first", "last"]
Edge = Literal["aligned", "exact"]
Color = Literal["encoded", "linear"]
Kind = Literal["rate", "grid", "rings", "views", "logpolar", "cortical"]
RateSet = Literal["vrs", "square"]
Unit = Literal["uv", "px"]
Order = Literal["raster", "level"]
Falloff = Literal["cortical", "polynomial", "exponential", "bands", "geisler"]
Saliency = Literal["gradient", "surround", "both", "spectral"]
Dtype = Literal["float32", "float16", "bfloat16"]
Pixels = Literal["uint8", "uint16", "float32"]

PIXELS = ("uint8", "uint16", "float32")     # in the order of the engine's Element
STAGES = ("image", "pyramid", "relevance", "rate", "layout", "sample", "warp", "tensor")

# One record per token, as interop/positions.h writes it.
POSITION = np.dtype({
    "names": ["center_px", "size_px", "level", "rate", "image", "fixation", "row", "valid"],
    "formats": [(np.float32, 2), (np.float32, 2), "i4", "i4", "i4", "i4", "u4", "?"],
    "offsets": [0, 8, 16, 20, 24, 28, 32, 36],
    "itemsize": 40,
})


class Span(NamedTuple):
    """One dispatch on a device: the shader, its submission (from 1), and when on `time.monotonic_ns()`'s clock."""

    name: str
    submit: int
    begin_ns: int
    end_ns: int


class Array:
    """Numbers in memory that any library can take over without a copy, by DLPack: the host's, or a CUDA device's
    where the engine was made with cuda=True.

    It may outlive the engine. `strides` are in elements, `dtype` is a string such as "float32" or "uint16".

    >>> import foveate, numpy as np
    >>> patches = foveate.Engine(backend="cpu").tokens(np.zeros((32, 32, 3), np.uint8), budget=4).patches
    >>> patches, np.from_dlpack(patches).ctypes.data == patches.pointer
    (<foveate.Array float32 (1, 4, 3, 16, 16) on cpu>, True)
    """

    __slots__ = ("_core",)

    def __init__(self, core: Any):
        self._core = core

    @property
    def shape(self) -> tuple[int, ...]:
        return self._core.shape

    @property
    def strides(self) -> tuple[int, ...]:
        return self._core.strides

    @property
    def dtype(self) -> str:
        return self._core.dtype

    @property
    def device(self) -> str:
        """"cpu", or "cuda:0" and so on."""
        return getattr(self._core, "device", "cpu")

    @property
    def pointer(self) -> int:
        """Address of the first element, on the device."""
        return self._core.pointer

    @property
    def read_only(self) -> bool:
        return self._core.read_only

    def __len__(self) -> int:
        return self.shape[0]

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._core.__dlpack_device__()

    def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None):
        """A DLPack capsule, as the Python array API standard defines it.

        Args:
            stream: of the consumer's. On the cpu None; on CUDA None or 1 for the legacy default stream, 2 for the
                thread's default stream, a handle, or -1: the consumer sees to the order of work itself.
            max_version: (major, minor) the consumer understands; (1, 0) or later gives a versioned capsule.
            dl_device: None, the array's own, or (1, 0), the cpu: from CUDA that is a copy.
            copy: True gives the consumer memory of its own; None and False share it.

        Raises:
            InputError: a stream that the device does not have.
            BufferError: another device, or a read-only array for a consumer older than DLPack 1.0.
        """
        return self._core.__dlpack__(stream=stream, max_version=max_version, dl_device=dl_device, copy=copy)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """Version 3 of what libraries for CUDA share arrays by; arrays on the cpu and bfloat16 have none."""
        return self._core.interface

    def record_stream(self, stream: int) -> None:
        """On CUDA: this stream works with the array too, and what it was given until the array's end is waited for
        before the memory is used again. Streams that DLPack was told of need not be named.
        """
        self._on_cuda("record_stream").record_stream(stream)

    def release(self, stream: int) -> None:
        """On CUDA: ends the array now. Its memory is used again once this stream has done what it was given, and
        nobody else has the array.
        """
        self._on_cuda("release").release(stream)

    def _on_cuda(self, doing):
        require(isinstance(self._core, _core.CudaArray), f"tensor: {doing}", f"an array on {self.device}",
                "one on CUDA", "Make it with Engine(cuda=True).", UnsupportedError)
        return self._core

    def numpy(self) -> np.ndarray:
        """The same memory as a NumPy array; of an array on CUDA a copy, which cannot be written to.

        Raises:
            UnsupportedError: bfloat16, which NumPy does not know.
        """
        if isinstance(self._core, Given):
            return self._core._array
        if isinstance(self._core, _core.CudaArray):
            array = Array(self._core.host()).numpy()
            array.flags.writeable = False
            return array
        return np.asarray(_Interface(self))

    def torch(self):
        """The same memory as a torch.Tensor."""
        import torch

        return torch.from_dlpack(self)

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        array = self.numpy()
        if dtype is None or np.dtype(dtype) == array.dtype:
            return array.copy() if copy else array
        if copy is False:
            raise ValueError(f"tensor: copy: got False, expected True from {self.dtype} to {dtype}.")
        return array.astype(dtype)

    def __repr__(self) -> str:
        return f"<foveate.Array {self.dtype} {self.shape} on {self.device}>"


class _Interface:
    """What NumPy asks for: it reads read-only memory of ours in every version, and keeps us alive."""

    __slots__ = ("__array_interface__", "_owner")

    def __init__(self, array: Array):
        if array.dtype == "bfloat16":
            raise UnsupportedError("tensor: numpy(): got bfloat16, expected float32 or float16. "
                                   'Use .torch(), or dtype="float32".')
        dtype, self._owner = np.dtype(array.dtype), array
        strides = tuple(stride * dtype.itemsize for stride in array.strides)
        self.__array_interface__ = {"version": 3, "typestr": dtype.str, "shape": array.shape,
                                    "strides": strides, "data": (array.pointer, array.read_only)}


def bits(array: Array) -> np.ndarray:
    """The same numbers on the host, where NumPy has their type; of bfloat16 its bits as uint16. It keeps them alive."""
    if array.device != "cpu":
        array = Array(array._core.host())
    if array.dtype != "bfloat16":
        return array.numpy()
    found = (ctypes.c_uint16 * math.prod(array.shape)).from_address(array.pointer)
    found.owner = array
    return np.ctypeslib.as_array(found).reshape(array.shape)


class Given:
    """A caller's own array in the place of one of ours: NumPy does what `_core.Array` does."""

    __slots__ = ("_array",)

    def __init__(self, array: np.ndarray):
        self._array = array

    shape = property(lambda self: self._array.shape)
    strides = property(lambda self: tuple(s // self._array.itemsize for s in self._array.strides))
    dtype = property(lambda self: self._array.dtype.name)
    pointer = property(lambda self: self._array.ctypes.data)
    read_only = property(lambda self: not self._array.flags.writeable)

    def __dlpack_device__(self):
        return self._array.__dlpack_device__()

    def __dlpack__(self, **options):
        return self._array.__dlpack__(**options)
