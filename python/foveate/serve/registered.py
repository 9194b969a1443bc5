# SPDX-License-Identifier: Apache-2.0
"""Memory that clients registered: what of it a request may read and write.

The client may write to it at any time. So a number is never read from it twice, nor once where it matters: sizes come
from the request, and pixels, whose values cannot mislead anything, are all that is taken out of it.
"""

import contextlib
import math
import os
from dataclasses import dataclass

import numpy as np

from .. import sealed
from ..error import InputError, LimitError, require
from .protocol import Tensor, shape_of, to_bytes

ALIGN = 64          # bytes; of each output in its window


class WindowError(LimitError):
    """An answer does not fit. `need`: bytes that it takes."""

    def __init__(self, text, need):
        super().__init__(text)
        self.need = need


@dataclass
class Region:
    """A client's memory, mapped; `users` are requests that are at it, in the table or not."""

    memory: object
    size: int
    writable: bool
    identity: tuple
    users: int = 0


class Regions:
    """The memory of one connection."""

    def __init__(self, most, most_bytes):
        self.most, self.most_bytes = most, most_bytes
        self.table, self.left = {}, []      # by handle; out of the table and still in use
        self.next = 1

    def register(self, fd, writable):
        size = sealed.size_of(fd)
        require(size > 0, "serve: memory seals", "memory that can change its size",
                "a memfd with F_SEAL_SHRINK, F_SEAL_GROW and F_SEAL_SEAL")
        held = [*self.table.values(), *self.left]
        count = len(held) + 1
        state = os.fstat(fd)
        identity = state.st_dev, state.st_ino
        require(all(region.identity != identity for region in held), "serve: memory region",
                "memory that is registered already", "other memory")
        require(count <= self.most, "serve: memory regions", count, f"at most {self.most}",
                "Unregister some.", LimitError)
        room = self.most_bytes - sum(region.size for region in held)
        require(size <= room, "serve: memory bytes", size, f"at most {room} more", "Unregister some.", LimitError)
        try:
            memory = sealed.mapped(fd, size, writable=writable)
        except OSError:
            raise InputError("serve: memory mapping: got memory that cannot be mapped as asked, expected it open for "
                             "that.") from None
        handle, self.next = self.next, self.next + 1
        self.table[handle] = Region(memory, size, writable, identity)
        return handle, size

    def get(self, handle):
        region = self.table.get(handle) if type(handle) is int else None
        require(region is not None, "serve: memory region", "a number that is none", "one that register gave")
        return region

    def unregister(self, handle):
        """It may be in use: then it counts until it is not, and stays mapped as long as anything looks at it."""
        region = self.get(handle)
        del self.table[handle]
        if region.users:
            self.left.append(region)

    def clear(self):
        """Lets go of all of it; what still looks at some keeps that alone."""
        self.table, self.left = {}, []

    @contextlib.contextmanager
    def using(self, region):
        region.users += 1
        try:
            yield
        finally:
            region.users -= 1
            if not region.users:
                self.left = [other for other in self.left if other is not region]


def window(region, offset, size):
    """Raises unless these bytes lie in the region; the sum is never made."""
    good = all(type(number) is int and 0 <= number for number in (offset, size))
    require(good and offset <= region.size and size <= region.size - offset, "serve: memory window",
            f"offset {_shown(offset)} and {_shown(size)} bytes", f"bytes inside of {region.size}")


def pixels_of(region, entry):
    """A Tensor over the client's memory."""
    shape = shape_of("shape", entry.get("shape"))
    require(entry.get("datatype") == "UINT8", "serve: memory datatype", "another", "UINT8",
            "Send other tensors in the message.")
    size = math.prod(shape)
    window(region, offset := entry.get("offset", 0), size)
    data = np.frombuffer(region.memory, np.uint8, size, offset).reshape(shape)
    data.flags.writeable = False
    return Tensor(str(entry.get("name")), "UINT8", shape, data)


def deliver(region, offset, size, outputs):
    """Writes outputs one behind the other; what the client is told of each. A window too small is not written to."""
    found, at = [], offset
    pieces = [to_bytes(tensor) for tensor in outputs]
    for tensor, piece in zip(outputs, pieces, strict=True):
        at = -(-at // ALIGN) * ALIGN
        found.append({"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape), "offset": at,
                      "size": len(piece)})
        at += len(piece)
    if at - offset > size:
        raise WindowError(f"serve: memory window: got {size} bytes, expected at least {at - offset}.", at - offset)
    for entry, piece in zip(found, pieces, strict=True):
        region.memory[entry["offset"]:entry["offset"] + len(piece)] = piece
    return found


def _shown(number):
    return number if type(number) is int and abs(number) < 1 << 64 else "no number"
