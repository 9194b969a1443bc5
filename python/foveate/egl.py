# SPDX-License-Identifier: Apache-2.0
"""EGL by its own library, for what moderngl does not offer: waits for a device that end.

Nothing is loaded before the first call.
"""

import ctypes
from functools import cache

from .error import UnsupportedError

LIBRARY = "libEGL.so.1"
FLUSH = 1                   # GL_SYNC_FLUSH_COMMANDS_BIT
COMPLETE = 0x9117           # GL_SYNC_GPU_COMMANDS_COMPLETE
EXPIRED, FAILED = 0x911B, 0x911D


@cache
def _library():
    try:
        library = ctypes.CDLL(LIBRARY)
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
