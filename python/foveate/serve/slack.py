# SPDX-License-Identifier: Apache-2.0
"""Memory that malloc keeps between requests: all of it while they come, none of it when a rush is over.

glibc's malloc gives memory back at moments of its own, mallopt(3): blocks of the size of a body or an answer go and
come with thousands of page faults each, which may take longer than the request; or they stay for good, since a small
block lies behind them. Here it keeps what it has, and malloc_trim(3) gives back what is free when nobody asks.
"""

import asyncio
import contextlib
import ctypes
import os

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3     # malloc.h
HELD, BLOCK = 1 << 30, 32 << 20     # bytes at the end of its heap, and of a block in it: the most that glibc takes
QUIET_S, BUSY_S = 1.0, 60.0         # seconds without a request, and with some, until it is looked what is free
KEPT = 32 << 20                     # bytes that may stay: what one image or two take, so that they need not fault


def hold():
    """Nothing is given back by malloc itself from now on. It is the whole process that this is about."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)   # other C libraries have none
    if mallopt is not None:
        mallopt(M_TRIM_THRESHOLD, HELD)
        mallopt(M_MMAP_THRESHOLD, BLOCK)


class Slack:
    """Gives back what is free. `soon` is to be called when a request ends."""

    def __init__(self, busy, rest=None):
        """busy: whether there is work; rest: awaited before, for what is not malloc's. Both without arguments."""
        self._busy, self._rest = busy, rest
        self._trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        self._timer = self._task = None
        self._ended, self._looked, self._least = 0.0, 0.0, resident()

    def soon(self):
        loop = asyncio.get_running_loop()
        self._ended = loop.time()
        if self._timer is None and self._trim is not None:
            self._timer = loop.call_later(QUIET_S, self._look)

    def _look(self):
        loop = asyncio.get_running_loop()
        now, self._timer = loop.time(), None
        if (self._busy() or now < self._ended + QUIET_S) and now < self._looked + BUSY_S:
            self._timer = loop.call_later(QUIET_S, self._look)
            return
        self._looked = now
        if self._task is None and resident() > self._least + KEPT:
            self._task = loop.create_task(self._give_back())

    async def _give_back(self):
        try:
            if self._rest is not None:
                await self._rest()
            await asyncio.to_thread(ctypes.CDLL(None).malloc_trim, 0)       # 10 ms of 200 MB
        finally:
            self._task = None
            if not self._busy():    # what a new rush holds already is not the least
                self._least = resident()

    async def close(self):
        self._trim = None
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await self._task


def resident() -> int:
    """Bytes of this process that are in memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
