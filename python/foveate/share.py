# SPDX-License-Identifier: Apache-2.0
"""Arrays in the engine's memory, and those opened elsewhere: another Engine, API or process on the same device."""

import math
import os
from typing import Any

from .error import InputError, require
from .types import PIXELS, Array, Given


class Shared:
    """A descriptor of memory and the record that says how to open it.

    `fd` is closed with this object: `detach()` gives it away. `record` holds numbers, strings and lists alone, so
    that it can be sent as JSON beside the descriptor: allocation_size (what an importer must name), buffer_size,
    offset and size of the block, memory_type, dedicated, device_uuid, driver_uuid; shape, strides, dtype.

    On the other side `Shared(fd, record)` is the same again.
    """

    __slots__ = ("_fd", "record")

    def __init__(self, fd: int, record: dict[str, Any]):
        self._fd, self.record = fd, record

    @property
    def fd(self) -> int:
        if self._fd < 0:
            raise InputError("Engine: shared: got a closed descriptor, expected an open one. Share the array again.")
        return self._fd

    def detach(self) -> int:
        """The descriptor, which is the caller's to close from now on."""
        fd, self._fd = self.fd, -1
        return fd

    def close(self) -> None:
        """Closes the descriptor; calling it again does nothing."""
        if self._fd >= 0:
            os.close(self.detach())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __del__(self):
        if getattr(self, "_fd", -1) >= 0:
            os.close(self._fd)

    def __repr__(self) -> str:
        return f"<foveate.Shared {self.record['dtype']} {tuple(self.record['shape'])}, fd {self._fd}>"


# What a record must hold, as it may have come from anywhere.
FIELDS = {"shape": list, "strides": list, "dtype": str, "offset": int, "size": int, "buffer_size": int,
          "allocation_size": int, "memory_type": int, "dedicated": bool, "device_uuid": str, "driver_uuid": str}


def _whole(value):
    return isinstance(value, int) and 0 <= value < 1 << 63


def _good(value, kind):
    if kind is list:
        return isinstance(value, list | tuple) and all(map(_whole, value))
    return _whole(value) if kind is int else isinstance(value, kind)


def empty_array(core, shape, dtype) -> Array:
    sizes = shape if isinstance(shape, tuple | list) else (shape,)
    good = 2 <= len(sizes) <= 4 and all(isinstance(size, int) and 1 <= size < 1 << 31 for size in sizes)
    require(good and math.prod(sizes) < 1 << 48, "Engine: empty shape", repr(shape), "2 to 4 sizes of at least 1")
    require(dtype in PIXELS, "Engine: empty dtype", repr(dtype), '"uint8", "uint16" or "float32"')
    return Array(core.empty(list(sizes), PIXELS.index(dtype)))


def share_array(core, array: Array) -> Shared:
    if not isinstance(array, Array):
        raise InputError(f"Engine: share: got {type(array).__name__}, expected an Array.")
    require(not isinstance(array._core, Given), "Engine: share: array", "one in the caller's memory",
            "one in the engine's", "Copy it into engine.empty().")
    return Shared(*core.share(array._core))


def attach_array(core, shared: Shared) -> Array:
    if not isinstance(shared, Shared):
        raise InputError(f"Engine: attach: got {type(shared).__name__}, expected Shared.")
    for name, kind in FIELDS.items():
        value = shared.record.get(name)
        require(_good(value, kind), f"Engine: attach: record: {name}", repr(value),
                "whole numbers" if kind is list else f"{kind.__name__}", "Give the record as it came.")
    return Array(core.attach(shared.fd, {name: shared.record[name] for name in FIELDS}))
