# SPDX-License-Identifier: Apache-2.0
"""OpenGL's own buffers and textures for an engine on CUDA: registered once, and read where the renderer draws.

For machines that have CUDA and no Vulkan. Everything here belongs to the thread on which the renderer's context is
current, and ends by `close()`, not with the garbage collector.
"""

import math
from typing import Any

from .engine import Engine
from .error import require
from .types import PIXELS, Array, Pixels

BYTES = {"uint8": 1, "uint16": 2, "float32": 4}


class Mapped:
    """The pixels of a registered buffer where they lie: CUDA has them now, and OpenGL must leave them alone.

    Any library that knows the CUDA array interface takes it, and so does the engine: `engine.tokens(mapped)` copies it
    once, on the device. `unmap()` gives the buffer back to OpenGL, at the end of a `with` block too.
    """

    def __init__(self, registered: "Registered", pointer: int, stream: int):
        self._registered, self._pointer, self._stream = registered, pointer, stream
        self.shape, self.dtype = registered.shape, registered.dtype

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        require(self._registered._mapped is self, "gl: Registered: mapped", "one after unmap()", "one before it",
                "map() again.")
        kind = "|u1" if self.dtype == "uint8" else f"<{'f' if self.dtype == 'float32' else 'u'}{BYTES[self.dtype]}"
        return {"version": 3, "shape": self.shape, "typestr": kind, "strides": None, "stream": self._stream,
                "data": (self._pointer, False)}

    def unmap(self) -> None:
        """Gives it back, behind what the stream was given. Calling it again does nothing."""
        if self._registered._mapped is self:
            self._registered._core.unmap()
            self._registered._mapped = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.unmap()


class Registered:
    """A buffer or texture of OpenGL's that CUDA sees, from `foveate.gl.register`.

    `shape` and `dtype` are those of its pixels. Its rows are in OpenGL's order: of what was drawn the first is the
    lowest. `close()` comes before OpenGL's object ends, and before or after the engine does; a `with` block closes it.
    """

    def __init__(self, engine: Engine, core: Any, shape: tuple[int, ...], dtype: Pixels):
        self._engine, self._core, self._mapped = engine, core, None
        self.shape, self.dtype = shape, dtype

    def map(self, *, stream: int | None = None) -> Mapped:
        """A buffer's pixels for CUDA, without a copy; what OpenGL was given before is done when the stream sees them.

        Args:
            stream: that works with them: None or 1 the legacy default stream, 2 the thread's own, or a handle.

        Raises:
            InputError: a texture, one that is mapped or closed, or a context that is not current on this thread.
        """
        good = stream is None or (isinstance(stream, int) and stream > 0)
        require(good, "gl: Registered: map: stream", repr(stream),
                "None, 1 (the legacy default stream), 2 (the thread's default stream) or a stream's handle")
        number = 1 if stream is None else stream
        self._mapped = Mapped(self, self._core.map(number), number)
        return self._mapped

    def take(self) -> Array:
        """A copy in the engine's memory, made on the device and counted in stats["image_copies"].

        Returns:
            Array of `shape`, which stages read where it lies; OpenGL may draw the next frame.

        Raises:
            InputError: one that is mapped or closed, or a context that is not current on this thread.
        """
        taken = Array(self._core.take(self._engine._open(), list(self.shape), PIXELS.index(self.dtype)))
        self._engine._count_copies(self.shape[0] if len(self.shape) == 4 else 1)
        return taken

    def close(self) -> None:
        """Unregisters it. Calling it again does nothing."""
        self._core.close()
        self._mapped = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def register(engine: Engine, *, buffer: Any = None, texture: Any = None, shape: tuple[int, ...] | None = None,
             dtype: Pixels = "uint8") -> Registered:
    """A renderer's buffer or texture for an engine on CUDA, without the host in between.

    Args:
        engine: made with cuda=True, on the context's device.
        buffer, texture: one of both: moderngl's object, or OpenGL's name of it. A texture is 2D and RGBA8.
        shape, dtype: of a buffer's pixels, as `Engine.empty` takes them; a texture has its own: (height, width, 4).

    Raises:
        InputError: no context current on this thread; registered already; another format or too few bytes.
        UnsupportedError: an engine without CUDA, or on another device than the context.
    """
    require((buffer is None) != (texture is None), "gl: register",
            "neither" if buffer is None else "both", "a buffer or a texture")
    item = texture if buffer is None else buffer
    name = getattr(item, "glo", item)
    require(isinstance(name, int) and 0 < name < 1 << 32, "gl: register", repr(item), "moderngl's object or a name")
    if buffer is not None:
        require(isinstance(shape, tuple | list) and 2 <= len(shape) <= 4
                and all(isinstance(size, int) and 1 <= size < 1 << 31 for size in shape), "gl: register: shape",
                repr(shape), "2 to 4 sizes of at least 1")
        require(dtype in PIXELS, "gl: register: dtype", repr(dtype), '"uint8", "uint16" or "float32"')
    core = engine._open().cuda_graphics(texture is not None, name)
    if texture is not None:
        return Registered(engine, core, (core.height, core.width, 4), "uint8")
    needed = math.prod(shape) * BYTES[dtype]
    if needed > core.size:
        core.close()
    require(needed <= core.size, "gl: register: buffer", f"{core.size} bytes", f"at least {needed} for {tuple(shape)}")
    return Registered(engine, core, tuple(shape), dtype)
