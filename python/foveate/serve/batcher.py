# SPDX-License-Identifier: Apache-2.0
"""Dynamic batching: works that wait together run together, on the one thread that has the engine.

The knobs are those of Triton's dynamic batcher, and mean the same.
"""

import asyncio
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

from ..error import require
from .fault import Fault
from .work import Work


@dataclass(frozen=True)
class Batching:
    """max_batch_size: images. preferred_batch_size: sizes that go at once; () for any.
    max_queue_delay_microseconds: how long an idle engine waits for more; 0: it takes what is there.
    """

    max_batch_size: int = 32
    preferred_batch_size: tuple[int, ...] = ()
    max_queue_delay_microseconds: int = 0

    def __post_init__(self):
        most = 4096
        require(1 <= self.max_batch_size <= most, "serve: max_batch_size", self.max_batch_size, f"1..{most}")
        good = all(1 <= size <= self.max_batch_size for size in self.preferred_batch_size)
        require(good, "serve: preferred_batch_size", self.preferred_batch_size, "sizes up to max_batch_size")
        delay = self.max_queue_delay_microseconds
        require(0 <= delay <= 1_000_000, "serve: max_queue_delay_microseconds", delay, "0..1000000")


class Done(NamedTuple):
    """What came of a work: its tensors by name, and times of its batch. queue_ns: from submit to the engine."""

    outputs: dict
    queue_ns: int
    run_ns: int
    batch: int      # images that ran together
    first: bool     # of its batch: batches are counted once


class _Waiting(NamedTuple):
    work: Work
    future: asyncio.Future
    since: float
    images: int


class Batcher:
    """execute: works of one key to (outputs or an exception) for each; it is called on a thread of the batcher's."""

    def __init__(self, execute, batching=None):
        self.batching = batching or Batching()
        self.busy_since = None      # when the engine took the batch that it has
        self._execute = execute
        self._queues: dict[tuple, deque[_Waiting]] = {}
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._thread = ThreadPoolExecutor(1, "foveate-engine")
        self._task = asyncio.get_running_loop().create_task(self._run())

    def submit(self, work, batches=True) -> asyncio.Future[Done]:
        """A future of Done. Cancel it, and the work is dropped unless the engine has it."""
        future = asyncio.get_running_loop().create_future()
        images = max(1, len(work.images))
        # images of very different sizes do not wait for each other
        largest = max((height * width for height, width in work.sizes), default=0).bit_length()
        key = (work.key, largest) if batches else (id(future),)
        self._queues.setdefault(key, deque()).append(_Waiting(work, future, time.monotonic(), images))
        self._idle.clear()
        self._wake.set()
        return future

    def depth(self) -> int:
        """Works that wait for the engine."""
        return sum(len(queue) for queue in self._queues.values())

    async def _run(self):
        loop = asyncio.get_running_loop()
        while True:
            batch, wait = self._take()
            if batch:
                await self._execute_batch(loop, batch)
                continue
            if not self._queues:
                self._idle.set()
            self._wake.clear()
            try:
                await asyncio.wait_for(self._wake.wait(), wait)
            except TimeoutError:
                pass

    def _take(self):
        """(a batch, None), or (None, seconds until there may be one). The queue that waited longest goes first."""
        knobs, soonest = self.batching, None
        for key in list(self._queues):
            queue = self._queues[key]
            while queue and queue[0].future.done():
                queue.popleft()
            if not queue:
                del self._queues[key]
        for key in sorted(self._queues, key=lambda key: self._queues[key][0].since):
            queue = self._queues[key]
            left = queue[0].since + knobs.max_queue_delay_microseconds * 1e-6 - time.monotonic()
            size = self._size(queue)
            if left <= 0 or size >= knobs.max_batch_size or size in knobs.preferred_batch_size:
                return self._cut(key, size), None
            soonest = left if soonest is None else min(soonest, left)
        return None, soonest

    def _size(self, queue):
        """Images of the next batch: as many as there are, or the largest preferred size that they fill."""
        size, sizes = 0, []
        for waiting in queue:
            if waiting.future.done():
                continue
            if sizes and size + waiting.images > self.batching.max_batch_size:
                break
            size += waiting.images
            sizes.append(size)
        fitting = [size for size in sizes if size in self.batching.preferred_batch_size]
        return fitting[-1] if fitting else sizes[-1]

    def _cut(self, key, size):
        queue, batch = self._queues[key], []
        while queue and size > 0:
            waiting = queue.popleft()
            if not waiting.future.done():
                batch.append(waiting)
                size -= waiting.images
        if not queue:
            del self._queues[key]
        return batch

    async def _execute_batch(self, loop, batch):
        start = time.monotonic()
        self.busy_since = start
        try:
            found = await loop.run_in_executor(self._thread, self._execute, [one.work for one in batch])
        except asyncio.CancelledError:
            found = [Fault("draining")] * len(batch)
            raise
        except Exception as error:      # a mistake of ours: whoever called logs it
            found = [error] * len(batch)
        finally:
            self.busy_since = None
            run_ns, images = int((time.monotonic() - start) * 1e9), sum(one.images for one in batch)
            for index, (waiting, made) in enumerate(zip(batch, found, strict=True)):
                if waiting.future.done():
                    continue
                if isinstance(made, Exception):
                    waiting.future.set_exception(made)
                else:
                    queue_ns = int((start - waiting.since) * 1e9)
                    waiting.future.set_result(Done(made, queue_ns, run_ns, images, index == 0))

    async def between(self, call):
        """Calls it on the engine's thread, between two batches."""
        await asyncio.get_running_loop().run_in_executor(self._thread, call)

    async def flush(self):
        """Until the engine has done all that was submitted."""
        await self._idle.wait()

    async def close(self):
        """Ends at once: what still waits gets a fault."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        for queue in self._queues.values():
            for waiting in queue:
                if not waiting.future.done():
                    waiting.future.set_exception(Fault("draining"))
        self._queues.clear()
        self._thread.shutdown(wait=False, cancel_futures=True)
