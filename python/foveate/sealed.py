# SPDX-License-Identifier: Apache-2.0
"""Memory that two processes share and neither can pull from under the other: a memfd, sealed at its size.

Linux memfd_create(2) and fcntl(2). Who reads a mapped file that another process truncates dies of SIGBUS; this file
cannot be truncated.
"""

import ctypes
import fcntl
import mmap
import os
import weakref

import numpy as np

SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
TMPFS = 0x01021994      # linux/magic.h; huge pages are another file system, whose pages can run out under a reader


def create(size: int) -> int:
    """A descriptor of zeros that are there once written to."""
    fd = os.memfd_create("foveate", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(fd, size)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
    except BaseException:
        os.close(fd)
        raise
    return fd


def size_of(fd: int) -> int:
    """Bytes of memory that is sealed; 0 for any other descriptor, which may shrink under its reader."""
    try:
        seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
    except OSError:
        return 0
    state = ctypes.create_string_buffer(256)        # struct statfs begins with its type, a long
    if seals & SEALS != SEALS or ctypes.CDLL(None).fstatfs(fd, state) != 0:
        return 0
    return os.fstat(fd).st_size if ctypes.c_long.from_buffer(state).value == TMPFS else 0


def mapped(fd: int, size: int, *, writable: bool = False) -> mmap.mmap:
    """The memory, here. It stays as long as anything looks at it, whatever becomes of the descriptor."""
    return mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0))


def write(fd: int, data, at: int = 0) -> None:
    """All of the data, without a mapping and its page faults."""
    left = memoryview(data).cast("B")
    while left:
        done = os.pwrite(fd, left, at)
        left, at = left[done:], at + done


def lent(memory: mmap.mmap, shape, released, *arguments, offset: int = 0, dtype=np.uint8) -> np.ndarray:
    """An array over the memory; `released(*arguments)` is called when neither it nor any view of it is left."""
    dtype = np.dtype(dtype)
    count = int(np.prod(shape, dtype=np.int64))
    whole = np.frombuffer(memory, np.uint8, count * dtype.itemsize, offset)
    # every view keeps this one: NumPy hands a base on only as far as the array that holds no other array
    weakref.finalize(whole, released, *arguments).atexit = False
    return whole.view(dtype).reshape(shape)
