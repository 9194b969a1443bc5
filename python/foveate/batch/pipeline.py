# SPDX-License-Identifier: Apache-2.0
"""Shards of a batch, with reading, decoding, foveating and writing at the same time.

Threads read and decode ahead, the calling thread runs the engine, one thread writes; all let go of the GIL while they
work. What is ahead is bounded: by images, and by px from the moment that a header is read.
"""

import os
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np

from ..decode import decode, header, scaled
from .rows import Failed, Maker, Picture, Row, failed
from .sink import SINKS

AHEAD_PX = 256 << 20    # decoded and not yet tokens: 768 MiB of RGB
STAGES = ("read", "decode", "foveate", "write", "commit")
SPARE_BYTES = 128 << 20
CHUNK_IMAGES, CHUNK_PX = 8, 16 << 20    # of a call of the engine
NEAR_PX = 4 << 20       # of one on the cpu, which finds them in its caches
EXPECTED = (OSError, ValueError, KeyError, TypeError)   # of a file, of a sidecar, of ours: a fault of this image alone


class Clock:
    """Seconds that each stage was busy, all its threads together."""

    def __init__(self):
        self._lock, self.seconds = threading.Lock(), dict.fromkeys(STAGES, 0.0)

    def timed(self, stage, function, *arguments):
        start = time.perf_counter()
        try:
            return function(*arguments)
        finally:
            spent = time.perf_counter() - start
            with self._lock:
                self.seconds[stage] += spent


class Spare:
    """Memory of images that are done with, for those to come: fresh pages cost a fifth of what decoding does."""

    def __init__(self):
        self._lock, self._free = threading.Lock(), []

    def take(self, size):
        with self._lock:
            for at, memory in enumerate(self._free):
                if size <= memory.nbytes <= 2 * size:
                    return self._free.pop(at)
        return np.empty(size, np.uint8)

    def give(self, memory):
        with self._lock:
            self._free.append(memory)
            while sum(kept.nbytes for kept in self._free) > SPARE_BYTES:
                self._free.pop(0)


class Pipeline:
    """One engine, its readers and its writer."""

    def __init__(self, engine, source, gaze, options, store, workers):
        self._source, self._gaze, self._options, self._store = source, gaze, options, store
        self._maker = Maker(engine, options, source.keys)
        self._workers, self._spare = workers, Spare()
        self._chunk_px = NEAR_PX if engine.backend["sample"] == "cpu" else CHUNK_PX
        self.clock = Clock()

    def run(self, shards, *, stopping=lambda: False, said=lambda **counts: None):
        """Makes each shard, (number, range of images), and yields its record once it is there.

        `stopping` is asked between shards; `said` hears of images, tokens and failures as they come.
        """
        with ThreadPoolExecutor(self._workers, "foveate-read") as readers, \
                ThreadPoolExecutor(self._workers, "foveate-decode") as decoders, \
                ThreadPoolExecutor(1, "foveate-write") as writer, ThreadPoolExecutor(1, "foveate-commit") as committer:
            begun = deque()     # (last image, Written), in order
            adds, commits = deque(), deque()    # what is under way: (future, Written)

            def images():
                for number, indices in shards:
                    if stopping():
                        return
                    begun.append((indices[-1], Written(self, number, indices, said)))
                    yield from indices

            try:
                for chunk in chunks(self._decoded(images(), readers, decoders), self._chunk_px):
                    rows = iter(self.clock.timed("foveate", self._maker, [p for p in chunk if isinstance(p, Picture)]))
                    rows = [next(rows) if isinstance(item, Picture) else item for item in chunk]
                    for item in chunk:
                        if isinstance(item, Picture) and item.memory is not None:
                            self._spare.give(item.memory)
                    for last, part in by_shard(chunk, rows, begun):
                        shard = begun[0][1]
                        adds.append((writer.submit(self.clock.timed, "write", shard.add, part), shard))
                        if last:
                            begun.popleft()
                            closed = writer.submit(self.clock.timed, "write", shard.close)
                            commits.append((committer.submit(self._commit, shard, closed), shard))
                    for _ in results(adds, 4):
                        pass
                    yield from results(commits, 2)
                for _ in results(adds, 0):
                    pass
                yield from results(commits, 0)
            except BaseException:
                readers.shutdown(wait=False, cancel_futures=True)
                decoders.shutdown(wait=False, cancel_futures=True)
                writer.shutdown(wait=True, cancel_futures=True)
                committer.shutdown(wait=True, cancel_futures=True)
                for _, shard in (*begun, *adds, *commits):
                    shard.abandon()
                raise

    def _commit(self, shard, closed):
        """While the next shard is written: disks are slow to sync."""
        closed.result()
        return self.clock.timed("commit", shard.commit)

    def _decoded(self, indices, readers, decoders):
        """Picture or Failed, in order. Headers are read in order and admit images by their px."""
        reads, decodes, ahead, most = deque(), deque(), 0, 2 * self._workers + CHUNK_IMAGES
        indices = iter(indices)
        while True:
            for index in islice(indices, max(0, most - len(reads))):
                reads.append((index, readers.submit(self.clock.timed, "read", self._read, index)))
            if not reads and not decodes:
                return
            while reads and len(decodes) < most:
                index, found = reads[0]
                if decodes and not found.done():
                    break
                data, head, gaze, error = found.result()
                px = head.width * head.height if head else 0
                if decodes and ahead + px > AHEAD_PX:
                    break
                reads.popleft()
                ahead += px
                decodes.append((px, error or decoders.submit(self.clock.timed, "decode", self._decode, index, data,
                                                             head, gaze)))
            if decodes:
                px, made = decodes.popleft()
                ahead -= px
                yield made if isinstance(made, Failed) else made.result()

    def _read(self, index):
        """(bytes, Header, gaze, None), or (None, None, None, Failed)."""
        try:
            gaze = self._gaze(index)
            data = self._source.read(index)
            return data, header(data), gaze, None
        except EXPECTED as error:
            return None, None, None, failed(index, self._source.keys[index], error)

    def _decode(self, index, data, head, gaze):
        options = self._options
        try:
            upright = head.height, head.width
            upright = upright[::-1] if options.orient and head.orientation > 4 else upright
            scale, memory = 1, None
            if head.format == "jpeg" and head.channels != 4:
                scale = self._maker.scale(upright)
                if head.orientation == 1 or not options.orient:     # what is turned moves to other memory
                    memory = self._spare.take(scaled(head.height, scale) * scaled(head.width, scale) * 3)
            pixels = decode(data, scale=scale, orient=options.orient, background=options.background, into=memory)
            memory = memory if pixels.base is memory else None
            return Picture(index, pixels, upright, gaze, scale if pixels.shape[:2] != upright else 1, memory)
        except EXPECTED as error:
            return failed(index, self._source.keys[index], error)


def results(under_way, most):
    """Results of what is done, in order; waits until no more than `most` are under way."""
    while len(under_way) > most or (under_way and under_way[0][0].done()):
        yield under_way[0][0].result()
        under_way.popleft()


def by_shard(chunk, rows, begun):
    """(whether the shard ends there, rows) of the part of a chunk in each shard; `begun` moves on meanwhile."""
    part = []
    for item, row in zip(chunk, rows, strict=True):
        part.append(row)
        if item.index == begun[0][0]:
            yield True, part
            part = []
    if part:
        yield False, part


def chunks(items, most):
    """Lists of a few images each, for one call of the engine."""
    found, px = [], 0
    for item in items:
        size = item.pixels.shape[0] * item.pixels.shape[1] if isinstance(item, Picture) else 0
        if found and (len(found) == CHUNK_IMAGES or px + size > most):
            yield found
            found, px = [], 0
        found.append(item)
        px += size
    if found:
        yield found


class Written:
    """A shard being written: `add` and `close` by the writer's thread, then `commit`."""

    def __init__(self, pipeline, number, indices, said):
        self._store, self._options, self._number, self._said = pipeline._store, pipeline._options, number, said
        self._keys = [pipeline._source.keys[index] for index in indices]
        self._path = self._fd = self._sink = None
        self._images = self._tokens = 0
        self._failed, self._error = [], None

    def add(self, rows):
        try:
            self._add(rows)
        except BaseException as error:
            self._error = error     # a commit may be waiting behind this: it must not happen
            raise

    def _add(self, rows):
        if self._sink is None:
            self._path = self._store.temporary()
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            self._sink = SINKS[self._options.format](self._fd, self._keys)
        failures = [row._asdict() for row in rows if isinstance(row, Failed)]
        made = [row for row in rows if isinstance(row, Row)]
        for row in made:
            self._sink.add(row)
        tokens = sum(row.about["valid"] for row in made)
        self._images, self._tokens = self._images + len(made), self._tokens + tokens
        self._failed += failures
        self._said(images=len(made), tokens=tokens, failures=failures)

    def close(self):
        if self._error is None:
            self._sink.close()

    def commit(self):
        if self._error is not None:
            raise self._error
        record = self._store.commit(self._number, self._path, self._fd, self._sink.digest, {
            "images": self._images, "tokens": self._tokens, "failed": self._failed})
        self.abandon()
        return record

    def abandon(self):
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

