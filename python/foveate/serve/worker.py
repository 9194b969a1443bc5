# SPDX-License-Identifier: Apache-2.0
"""Image files as pixels by processes that may be killed, hang or run out of memory, each at the cost of one request."""

import asyncio
import collections
import hashlib
import json
import re
import signal
import time
from dataclasses import dataclass, field

import numpy as np

from ..decode import LIMITS, SCALES, DecodeError
from ..error import Error, InputError, LimitError, require
from .worker_process import Worker

START_S = 30.0              # until a worker has imported what it needs
DEATHS, DEATHS_S = 5, 60.0  # as many in as many seconds, and the pool is not healthy
SUSPECT_S = 600.0           # seconds for which a file is remembered that a worker ended in
SUSPECTS = 1024             # files remembered
ENDS = 2                    # of workers, and a file is refused
CODES = {"empty", "format", "header", "size", "pixels", "frames", "scans", "truncated", "corrupt"}
WORDS = re.compile(r"[A-Za-z0-9 ,]{1,80}")


class WorkerError(Error, RuntimeError):
    """No pixels, and it may not be the file's fault. `code`: "died", "time", "memory", "quarantine" or "busy"."""

    def __init__(self, text, *, code):
        super().__init__(text)
        self.code = code


@dataclass
class Job:
    """One file that waits for its pixels."""

    data: memoryview
    options: dict
    answer: asyncio.Future = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def settle(self, result):
        if self.answer.done():      # who asked has left
            return
        if isinstance(result, Exception):
            self.answer.set_exception(result)
        else:
            self.answer.set_result(result)


class DecodePool:
    """Processes that decode image files for a service.

    Args:
        workers: how many.
        memory_mib: memory that decoding one file may take, MiB.
        cpu_s: seconds of processor time for one file, whole ones.
        timeout_s: seconds for one file once it is begun.
        wait_s: seconds until `decode` gives up, waiting for a worker included.
        pixels, side: the most of an image and of its longer side.
        file_bytes: the most of an encoded image.

    It belongs to one event loop. `async with DecodePool() as pool:` opens and closes it.
    """

    def __init__(self, workers: int = 1, *, memory_mib: int = 1024, cpu_s: int = 10, timeout_s: float = 15.0,
                 wait_s: float = 30.0, pixels: int = LIMITS["image_pixels"], side: int = LIMITS["image_side"],
                 file_bytes: int = 16 << 20):
        for name, value, high in (("workers", workers, 256), ("memory_mib", memory_mib, 1 << 20),
                                  ("cpu_s", cpu_s, 3600), ("pixels", pixels, LIMITS["image_pixels"]),
                                  ("side", side, LIMITS["image_side"]), ("file_bytes", file_bytes, 1 << 30)):
            require(type(value) is int and 1 <= value <= high, f"serve: decode {name}", repr(value), f"1..{high}")
        for name, value in (("timeout_s", timeout_s), ("wait_s", wait_s)):
            require(0 < value <= 3600, f"serve: decode {name}", repr(value), "above 0, at most 3600")
        self.workers, self.memory_mib, self.cpu_s = workers, memory_mib, cpu_s
        self.timeout_s, self.wait_s = timeout_s, wait_s
        self.pixels, self.side, self.file_bytes = pixels, side, file_bytes
        self.ready = set()      # workers
        self.ended = 0          # workers that nobody ended
        self._deaths = collections.deque(maxlen=DEATHS)
        self._suspects = collections.OrderedDict()      # SHA-256 -> (workers that ended in it, when the last)
        self._seats, self._jobs, self._up = [], None, None

    async def open(self) -> "DecodePool":
        """Starts the workers; returns when the first is ready. Raises WorkerError where none comes up."""
        self._jobs, self._up = asyncio.Queue(), asyncio.Event()
        self._seats = [asyncio.create_task(self._seat()) for _ in range(self.workers)]
        try:
            await asyncio.wait_for(self._up.wait(), START_S)
        except TimeoutError:
            await self.close()
            raise WorkerError(f"serve: decode worker: got none ready in {START_S:g} s, expected one that starts. "
                              "pip install 'foveate[serve]'", code="died") from None
        except BaseException:
            await self.close()
            raise
        return self

    async def close(self) -> None:
        """Ends the workers. Pixels that were given out stay."""
        seats, self._seats = self._seats, []
        for seat in seats:
            seat.cancel()
        await asyncio.gather(*seats, return_exceptions=True)
        while self._jobs is not None and not self._jobs.empty():
            self._jobs.get_nowait().settle(_closed())

    async def __aenter__(self):
        return await self.open()

    async def __aexit__(self, *_):
        await self.close()

    @property
    def healthy(self) -> bool:
        """A worker is ready, and they do not end again and again."""
        crashing = len(self._deaths) == DEATHS and time.monotonic() - self._deaths[0] < DEATHS_S
        return bool(self.ready) and not crashing

    async def decode(self, data, *, scale: int = 1, orient: bool = True, background=None) -> np.ndarray:
        """As `foveate.decode.decode`, in a worker.

        The pixels are read where the worker wrote them: nothing is copied here. Their memory holds another image once
        the array and every view of it are gone.

        Returns:
            (H, W, 3) uint8, read-only.

        Raises:
            DecodeError: as `foveate.decode.decode`.
            LimitError: more than `file_bytes`.
            WorkerError: see its `code`.
        """
        if not self._seats:
            raise _closed()
        data = memoryview(data).cast("B")
        require(len(data) <= self.file_bytes, "serve: decode file", f"{len(data)} bytes",
                f"at most {self.file_bytes}", "", LimitError)
        require(scale in SCALES, "serve: decode scale", repr(scale), "1, 2, 4 or 8")
        if self._suspects and self._ends_in(data) >= ENDS:
            raise WorkerError(f"serve: decode quarantine: got a file in which {ENDS} workers ended, expected another. "
                              f"It is refused for {SUSPECT_S:g} s.", code="quarantine")
        job = Job(data, {"scale": int(scale), "orient": bool(orient), "pixels": self.pixels, "side": self.side,
                         "background": None if background is None else [int(value) for value in background]})
        self._jobs.put_nowait(job)
        try:
            return await asyncio.wait_for(job.answer, self.wait_s)
        except TimeoutError:
            raise WorkerError(f"serve: decode wait: got no worker in {self.wait_s:g} s, expected one in time. "
                              "Send it again later.", code="busy") from None

    async def _seat(self):
        """One worker after the other, and the jobs for them."""
        job = None
        while True:
            worker = await self._started()
            try:
                job, error = await self._serve(worker, job)
            except asyncio.CancelledError:
                if worker.job is not None:
                    worker.job.settle(_closed())
                raise
            finally:
                self.ready.discard(worker)
                by = await asyncio.shield(worker.end())
            if error is None and by == signal.SIGXCPU:
                error = self._late()
            if error is None:
                self.ended += 1
                self._deaths.append(time.monotonic())
                error = WorkerError(f"serve: decode worker: got its end by {f'signal {by}' if by else 'itself'}, "
                                    "expected pixels. Send the file again.", code="died")
            if worker.job is not None:
                self._suspect(worker.job.data)
                worker.job.settle(error)

    async def _started(self):
        room = -(-self.pixels * 3 // 4096) * 4096
        options = {"memory": self.memory_mib << 20, "room": room, "file": room + self.file_bytes, "cpu_s": self.cpu_s}
        while True:
            try:
                worker = Worker(room, self.file_bytes, options)
            except OSError:     # no descriptor, or no process to be had
                worker = None
            if worker is not None:
                good = False
                try:
                    good = await worker.heard(START_S)
                finally:
                    if not good:
                        await asyncio.shield(worker.end())
                if good:
                    worker.confined = good == b'{"confined": true}'
                    self.ready.add(worker)
                    self._up.set()
                    return worker
            self._deaths.append(time.monotonic())
            await asyncio.sleep(1)      # it would fail again at once

    async def _serve(self, worker, job):
        """Jobs until the worker has to go: (a job it has not begun, what went wrong where that is known)."""
        while True:
            while job is None or job.answer.done():
                job = await self._next(worker)
                if job is None:
                    return None, None
            if worker.gone.is_set():
                return job, None
            worker.job, job = job, None
            try:
                slab, message = await worker.ask(worker.job.data, worker.job.options, self.timeout_s)
            except OSError:
                worker.job.settle(self._no_memory())
                worker.job = None
                continue
            if message is None:
                return None, self._late()
            result = self._understood(message)
            if result is None:
                return None, None
            if isinstance(result, tuple):
                result = worker.lend(slab, *result)
            worker.job.settle(result)
            worker.job = result = slab = None

    async def _next(self, worker):
        """A job, or None when the worker is gone."""
        taking, gone = asyncio.ensure_future(self._jobs.get()), asyncio.ensure_future(worker.gone.wait())
        try:
            await asyncio.wait({taking, gone}, return_when=asyncio.FIRST_COMPLETED)
            return taking.result() if taking.done() else None
        finally:
            taking.cancel()
            gone.cancel()

    def _understood(self, message):
        """(height, width), or an error, of what a worker said; None where it makes no sense."""
        try:
            said = json.loads(message)
        except (ValueError, RecursionError):
            return None
        match said:
            case {"height": int(height), "width": int(width)}:
                if 0 < height <= self.side and 0 < width <= self.side and height * width <= self.pixels:
                    return height, width
            case {"memory": True}:
                return self._no_memory()
            case {"error": [code, got, expected]} if code in CODES:
                if WORDS.fullmatch(str(got)) and WORDS.fullmatch(str(expected)):
                    return DecodeError(code, got, expected)
        return None

    def _late(self):
        return WorkerError(f"serve: decode time: got more than {self.cpu_s} s of a processor or {self.timeout_s:g} s, "
                           "expected a file decoded in time. Send a smaller one.", code="time")

    def _no_memory(self):
        return WorkerError(f"serve: decode memory: got more than {self.memory_mib} MiB, expected a file decoded in "
                           "them. Send a smaller one.", code="memory")

    def _suspect(self, data):
        digest = hashlib.sha256(data).digest()
        self._suspects[digest] = self._ends_in(data) + 1, time.monotonic()
        self._suspects.move_to_end(digest)
        while len(self._suspects) > SUSPECTS:
            self._suspects.popitem(last=False)

    def _ends_in(self, data):
        ends, when = self._suspects.get(hashlib.sha256(data).digest(), (0, 0.0))
        return ends if time.monotonic() - when < SUSPECT_S else 0


def _closed():
    return InputError("serve: decode pool: got a closed one, expected an open one. Open it first.")
