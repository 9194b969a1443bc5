# SPDX-License-Identifier: Apache-2.0
"""Arrays that are opened elsewhere: by another Engine, another API, another process on the same device; and how the
work of both sides is ordered."""

import math
import os
from typing import Any

from .error import InputError, require
from .pyramid import Pyramid
from .types import PIXELS, Array, Given


class _Described:
    """A descriptor, closed with this object, and a record of what it is."""

    __slots__ = ("_fd", "record")

    def __init__(self, fd: int, record: dict[str, Any]):
        self._fd, self.record = fd, record

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


class Point(_Described):
    """A point in the work of one side, for the other to wait for on the device: a semaphore and a value.

    `kind` is "timeline": wait until it counts `value` or more, and open it once for all points of an engine;
    "binary": good for one wait, of this point alone; "host": reached already, and there is no `fd`.
    `record` can be sent as JSON beside the descriptor; on the other side `Point(fd, record)` is the same again.
    """

    __slots__ = ()

    @property
    def fd(self) -> int:
        if self._fd < 0:
            raise InputError("Engine: point: got a closed descriptor, expected an open one. Signal again.")
        return self._fd

    @property
    def kind(self) -> str:
        return self.record["kind"]

    @property
    def value(self) -> int:
        return self.record["value"]

    def __repr__(self) -> str:
        return f"<foveate.Point {self.kind} {self.value}, fd {self._fd}>"


class _Timed(_Described):
    """One with the point at which the content is there; None where it is there already."""

    __slots__ = ("point",)

    def __init__(self, fd: int, record: dict[str, Any], point: Point | None = None):
        super().__init__(fd, record)
        self.point = point

    @property
    def fd(self) -> int:
        if self._fd < 0:
            raise InputError("Engine: shared: got a closed descriptor, expected an open one. Share the array again.")
        return self._fd

    def close(self) -> None:
        """Closes the descriptors; calling it again does nothing."""
        super().close()
        if self.point is not None:
            self.point.close()


class Shared(_Timed):
    """A descriptor of memory and the record that says how to open it.

    `fd` is closed with this object: `detach()` gives it away. `record` holds numbers, strings and lists alone, so
    that it can be sent as JSON beside the descriptor: allocation_size (what an importer must name), buffer_size,
    offset and size of the block, memory_type, dedicated, device_uuid, driver_uuid; shape, strides, dtype.
    `point`: when the content is there; None where it is there already.

    On the other side `Shared(fd, record, point)` is the same again.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<foveate.Shared {self.record['dtype']} {tuple(self.record['shape'])}, fd {self._fd}>"


def empty_array(core, shape, dtype) -> Array:
    sizes = shape if isinstance(shape, tuple | list) else (shape,)
    good = 2 <= len(sizes) <= 4 and all(isinstance(size, int) and 1 <= size < 1 << 31 for size in sizes)
    require(good and math.prod(sizes) < 1 << 48, "Engine: empty shape", repr(shape), "2 to 4 sizes of at least 1")
    require(dtype in PIXELS, "Engine: empty dtype", repr(dtype), '"uint8", "uint16" or "float32"')
    return Array(core.empty(list(sizes), PIXELS.index(dtype)))


class SharedTexture(_Timed):
    """A descriptor of an image of optimal tiling, as renderers draw and sample, and the record of how it was made.

    `record`: allocation_size, offset, memory_type and dedicated, of its memory; width, height, levels, and the numbers
    of VkFormat, VkImageUsageFlags and of the VkImageLayout in which it is given to the external queue family;
    device_uuid and driver_uuid. `point`: when the content is there; None where it is there already, or where the
    renderer says so by itself.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<foveate.SharedTexture {self.record['height']} x {self.record['width']}, fd {self._fd}>"


class Texture:
    """A renderer's image, opened by `Engine.attach`."""

    __slots__ = ("_core", "_engine")

    def __init__(self, core, engine):
        self._core, self._engine = core, engine

    def take(self) -> Array:
        """What is drawn, (height, width, 4), copied on the device into memory that every stage reads in place.

        Whoever draws must be done, or `Engine.wait` was given the point of it; and draws the next frame behind
        `Engine.signal`. With `ahead` the host must not read the array before `Engine.settle`.
        """
        return Array(self._engine._open().take(self._core))


class Sharing:
    """What an Engine that shares its memory can do with others."""

    __slots__ = ()

    def share(self, array: Array) -> Shared:
        """What another Engine, API or process needs to open an array of this one; see docs/interop.md."""
        core = self._open()
        if not isinstance(array, Array):
            raise InputError(f"Engine: share: got {type(array).__name__}, expected an Array.")
        require(not isinstance(array._core, Given), "Engine: share: array", "one in the caller's memory",
                "one in the engine's", "Copy it into engine.empty().")
        shared = Shared(*core.share(getattr(array._core, "plain", array._core)))
        if self._ahead:
            shared.point = self.signal()
        return shared

    def attach(self, shared: Shared | SharedTexture) -> Array | Texture:
        """What another Engine or a renderer shared, in the same memory; its descriptor stays the caller's.

        What is asked of the engine from now on waits for `shared.point`, on the device.
        """
        core = self._open()
        if not isinstance(shared, Shared | SharedTexture):
            raise InputError(f"Engine: attach: got {type(shared).__name__}, expected Shared or SharedTexture.")
        fields = FIELDS if isinstance(shared, Shared) else TEXTURE_FIELDS
        for name, kind in fields.items():
            value = shared.record.get(name)
            require(_good(value, kind), f"Engine: attach: record: {name}", repr(value),
                    "whole numbers" if kind is list else f"{kind.__name__}", "Give the record as it came.")
        record = {name: shared.record[name] for name in fields}
        if isinstance(shared, SharedTexture):
            attached = Texture(core.attach_texture(shared.fd, record), self)
        else:
            attached = Array(core.attach(shared.fd, record))
        if shared.point is not None:
            self.wait(shared.point)
        return attached

    def texture(self, pyramid: Pyramid, image: int = 0) -> SharedTexture:
        """Every level of one image as a mip-mapped image of optimal tiling, for what filters in hardware.

        Its memory is the descriptor's, and lives on without the engine; each call makes a new one.

        Args:
            pyramid: of 8-bit images, encoded, with edge="exact" or with sides that halve evenly.
            image: which of the batch.

        Returns:
            SharedTexture of R8G8B8A8_UNORM, with as many levels as the pyramid has: the nearest byte, alpha 255, gray
            in all three. It lies in the layout GENERAL, given to the external queue family.

        Raises:
            InputError: a pyramid that no such image can hold; an engine that does not share.
            UnsupportedError: another backend than Vulkan; a device that cannot share such an image.
        """
        core = self._open()
        if not isinstance(pyramid, Pyramid):
            raise InputError(f"pyramid: texture: got {type(pyramid).__name__}, expected a Pyramid.")
        images = len(pyramid.image)
        require(isinstance(image, int) and 0 <= image < images, "pyramid: image", repr(image), f"0..{images - 1}")
        shared = SharedTexture(*core.texture(pyramid._core, image))
        if self._ahead:
            shared.point = self.signal()
        return shared

    def signal(self) -> Point:
        """The point behind everything the engine was asked so far, for the other side to wait for."""
        return Point(*self._open().signal())

    def expect(self) -> Point:
        """A point for the other side to signal, which opens its `fd`; then give the point to `wait`.

        Raises:
            UnsupportedError: an engine with "host" as caps["sync"].
        """
        return Point(*self._open().expect())

    def wait(self, point: Point) -> None:
        """What is asked from now on waits, on the device, until the other side has reached a point.

        Each point is waited for once. Of one from `expect` the signal must be under way: a device that waits for what
        never comes stops for ever, and every result of it is a WaitTimeoutError.

        Raises:
            InputError: a point that was waited for, or was not made by `signal` or `expect`.
            UnsupportedError: one of another device, or of a kind that this engine does not have.
        """
        core = self._open()
        if not isinstance(point, Point):
            raise InputError(f"Engine: wait: got {type(point).__name__}, expected a Point.")
        for name, kind in POINT_FIELDS.items():
            value = point.record.get(name)
            require(_good(value, kind), f"Engine: wait: record: {name}", repr(value), kind.__name__,
                    "Give the record as it came.")
        own = point.kind == "host" or point.record["expected"]
        core.wait(-1 if own else point.fd, {name: point.record[name] for name in POINT_FIELDS})
        if point.kind == "binary":
            point.close()

    def settle(self) -> None:
        """Waits on the host until the device has done everything the engine was asked.

        Raises:
            WaitTimeoutError, DeviceLostError: it has not.
        """
        self._open().settle()


# What a record must hold, as it may have come from anywhere.
FIELDS = {"shape": list, "strides": list, "dtype": str, "offset": int, "size": int, "buffer_size": int,
          "allocation_size": int, "memory_type": int, "dedicated": bool, "device_uuid": str, "driver_uuid": str}
TEXTURE_FIELDS = {"allocation_size": int, "offset": int, "memory_type": int, "dedicated": bool, "width": int,
                  "height": int, "levels": int, "format": int, "usage": int, "layout": int, "device_uuid": str,
                  "driver_uuid": str}
POINT_FIELDS = {"kind": str, "value": int, "expected": bool, "device_uuid": str, "driver_uuid": str}


def _whole(value):
    return isinstance(value, int) and 0 <= value < 1 << 63


def _good(value, kind):
    if kind is list:
        return isinstance(value, list | tuple) and all(map(_whole, value))
    return _whole(value) if kind is int else isinstance(value, kind)
