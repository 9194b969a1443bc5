# SPDX-License-Identifier: Apache-2.0
"""Who may begin: so many requests and so many pixels at once, a queue of so many more, and nobody waits for long."""

import asyncio
import time
from collections import deque

from .fault import Fault

LEAVES = 128        # after which a rush's speed is known


class Gate:
    """`async with gate.entered(price):` holds a place while a request is worked on.

    A request that costs more than all pixels together runs when it is alone.
    """

    def __init__(self, limits):
        self._limits = limits
        self.active = self.pixels = 0
        self._waiting: deque[tuple[int, asyncio.Future]] = deque()
        self._left: deque[float] = deque(maxlen=LEAVES)     # times, while somebody waits

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def full(self) -> bool:
        """No one more may wait, or it would be for too long."""
        return self._long() and self.active >= self._limits.in_flight

    def _long(self):
        waiting, left = len(self._waiting), self._left
        if waiting >= self._limits.queue:
            return True
        # who would be refused when their time is over is refused before anything is spent on them; half of it is
        # left for what a batch takes, whose requests leave together
        return len(left) == LEAVES and waiting * (time.monotonic() - left[0]) > self._limits.queue_s / 2 * LEAVES

    def _fits(self, price):
        room = self.pixels + price <= self._limits.pixels_in_flight or self.active == 0
        return room and self.active < self._limits.in_flight

    def entered(self, price):
        return _Place(self, price)

    async def enter(self, price):
        """Raises Fault where there is no place now, nor within the time of the queue."""
        if not self._waiting and self._fits(price):
            return self._take(price)
        if self._long():
            raise Fault("queue")
        entry = (price, asyncio.get_running_loop().create_future())
        self._waiting.append(entry)
        try:
            async with asyncio.timeout(self._limits.queue_s):
                await entry[1]      # `leave` has counted the place
        except BaseException as error:
            if entry[1].done() and not entry[1].cancelled():
                self.leave(price)   # it came just then
            else:
                entry[1].cancel()
                self._wake()        # it may have stood before one that fits
            if isinstance(error, TimeoutError):
                raise Fault("queue_time" if self.active >= self._limits.in_flight else "busy") from None
            raise

    def _take(self, price):
        self.active += 1
        self.pixels += price

    def leave(self, price):
        self.active -= 1
        self.pixels -= price
        if self._waiting:
            self._left.append(time.monotonic())
        else:
            self._left.clear()
        self._wake()

    def _wake(self):
        self._waiting = deque(entry for entry in self._waiting if not entry[1].done())
        while self._waiting and self._fits(self._waiting[0][0]):
            price, future = self._waiting.popleft()
            self._take(price)
            future.set_result(None)


class Bodies:
    """Bytes of request bodies that are held, of all requests together. given: called when some are let go of."""

    def __init__(self, limit, given=lambda: None):
        self.held, self._limit, self._given = 0, limit, given

    def take(self, size):
        if self.held + size > self._limit:
            raise Fault("bodies")
        self.held += size

    def give(self, size):
        self.held -= size
        self._given()


class _Place:
    __slots__ = ("_gate", "_price")

    def __init__(self, gate, price):
        self._gate, self._price = gate, price

    async def __aenter__(self):
        await self._gate.enter(self._price)

    async def __aexit__(self, *_):
        self._gate.leave(self._price)
