# SPDX-License-Identifier: Apache-2.0
"""EGL by its own library, for what moderngl does not offer: a look at the devices before anything is made on one, and
waits that end.

Nothing is loaded before the first call.
"""

import ctypes
import os
from functools import cache

from .error import UnsupportedError

LIBRARY = "libEGL.so.1"
EXTENSIONS, RENDER_NODE = 0x3055, 0x3377
FLUSH = 1                   # GL_SYNC_FLUSH_COMMANDS_BIT
COMPLETE = 0x9117           # GL_SYNC_GPU_COMMANDS_COMPLETE
EXPIRED, FAILED = 0x911B, 0x911D


_loaded = []                # by which process


@cache
def _library():
    try:
        library = ctypes.CDLL(LIBRARY)
        _loaded.append(os.getpid())
    except OSError as error:
        raise UnsupportedError(f"gl: EGL: got {error}, expected {LIBRARY}. Install libegl1.") from None
    library.eglGetProcAddress.restype, library.eglGetProcAddress.argtypes = ctypes.c_void_p, [ctypes.c_char_p]
    return library


def function(name, result, *arguments):
    """A function of EGL's, or of the OpenGL whose context is current. Other Python threads go on while it runs."""
    address = _library().eglGetProcAddress(name.encode())
    if not address:
        raise UnsupportedError(f"gl: EGL: got no {name}, expected a driver with it. Install a newer one.")
    return ctypes.CFUNCTYPE(result, *arguments)(address)


def devices() -> list[bool]:
    """Whether each device of EGL, in its order, is hardware that renders; none where there is no EGL.

    A software device says so. A display controller, as servers have for their consoles, has no node to render by. In a
    child of a process that loaded EGL there is none: drivers do not survive a fork.
    """
    return [] if _loaded and _loaded[0] != os.getpid() else _devices()


@cache
def _devices():
    pointer, number = ctypes.c_void_p, ctypes.c_int
    try:
        query = function("eglQueryDevicesEXT", ctypes.c_uint, number, ctypes.POINTER(pointer), ctypes.POINTER(number))
        text_of = function("eglQueryDeviceStringEXT", ctypes.c_char_p, pointer, number)
    except UnsupportedError:
        return []
    listed, count = (pointer * 64)(), number()
    if not query(len(listed), listed, count):
        return []

    def hardware(device):
        offered = (text_of(device, EXTENSIONS) or b"").split()
        return b"EGL_MESA_device_software" not in offered and (
            b"EGL_EXT_device_drm_render_node" not in offered or text_of(device, RENDER_NODE) is not None)

    return [hardware(device) for device in listed[:count.value]]


class Fence:
    """The end of what the context that is current has been given, to be waited for."""

    def __init__(self):
        self._fence_sync = function("glFenceSync", ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
        self._client_wait = function("glClientWaitSync", ctypes.c_uint, ctypes.c_void_p, ctypes.c_uint,
                                     ctypes.c_uint64)
        self._delete = function("glDeleteSync", None, ctypes.c_void_p)
        self._sync = None

    @property
    def pending(self) -> bool:
        """Whether the last wait ran out."""
        return self._sync is not None

    def wait(self, wait_ns) -> None:
        """Everything is done that was begun before this call, or before one that ran out.

        Raises:
            TimeoutError: not within this time. Until a wait ends well the same end is waited for.
            RuntimeError: OpenGL failed.
        """
        if self._sync is None:
            self._sync = self._fence_sync(COMPLETE, 0)
        # without one, or with one of a context that is gone, the answer is FAILED
        answer = self._client_wait(self._sync, FLUSH, wait_ns)
        if answer == EXPIRED:
            raise TimeoutError(f"no end within {wait_ns // 1_000_000} ms")
        sync, self._sync = self._sync, None
        self._delete(sync)
        if answer == FAILED:
            raise RuntimeError("GL_WAIT_FAILED")
