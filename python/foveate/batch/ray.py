# SPDX-License-Identifier: Apache-2.0
"""The same shards on Ray: actors of one engine each make them, in the same way and into the same folder.

The folder's records are the checkpoint, as they are without Ray: a run begun on one machine goes on on many, and back.
Source and folder must be where every node finds them. Numbers of shards go to actors and records come back; images
and tokens do not travel. Ray starts killed workers again, and a shard that was half made is made again under its own
name.
"""

import importlib
import json
import logging
import os
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from queue import Empty, SimpleQueue

from .. import Engine
from ..error import UnsupportedError
from .gazing import gaze_of
from .options import shards_of
from .pipeline import CHUNK_IMAGES, Pipeline
from .run import StoppedError, Tally
from .sink import SINKS
from .source import open_source
from .store import Store

BLOCKS = 1024       # at most: what Ray plans with
CALL = 64           # images, or a shard: a call costs Ray about what an image costs us
AHEAD = 4 * CHUNK_IMAGES    # images that a pipeline reads and decodes before it needs them, and some


class Shards:
    """An actor: numbers of shards in, their records out. Calls wait side by side; one pipeline makes what all ask for,
    so that it decodes a shard's first images while the one before is written.
    """

    def __init__(self, source, columns, options, out, engine, limits, failures):
        opened = open_source(source, **columns)
        self._plan = dict(shards_of(len(opened.keys), options.shard_size))
        self._store = Store(out, SINKS[options.format].suffix)
        self._pipeline = Pipeline(Engine(**engine, threads=1), opened, gaze_of(options.gaze, opened), options,
                                  self._store, 1)
        self._tally, self._failures = Tally(*limits, None), failures
        self._given, self._waiting, self._ended = SimpleQueue(), {}, None
        self._maker = ThreadPoolExecutor(1, "foveate-shards")

    def __call__(self, batch):
        # of a block that Ray gives again, the shards before the kill are there
        try:
            found = [self._store.record(number) or self._made(number) for number in map(int, batch["shard"])]
            records = [one.result() if isinstance(one, Future) else one for one in found]
        except StoppedError as error:       # Ray would make these its own
            records = [{"stopped": str(error)}]
        except OSError as error:
            records = [{"os": [error.errno, error.strerror or str(error), error.filename and str(error.filename)]}]
        return {"record": [json.dumps(record) for record in records]}

    def _made(self, number):
        found = Future()
        self._given.put((number, found))
        self._maker.submit(self._work)
        return found

    def _work(self):
        try:
            number, found = self._given.get_nowait()
        except Empty:
            return      # a run for another call took it up
        try:
            if self._ended:
                raise self._ended       # what comes after an error is not begun
            for record in self._pipeline.run(self._at_hand(number, found), said=self._said):
                self._waiting.pop(record["shard"]).set_result(record)
        except BaseException as error:
            self._ended = error
            for left in (found, *self._waiting.values()):
                if not left.done():
                    left.set_exception(error)

    def _at_hand(self, number, found):
        """Shards for one run of the pipeline. It ends where none is left: it must not wait for Ray in their midst."""
        while True:
            self._waiting[number] = found
            yield number, self._plan[number]
            try:
                number, found = self._given.get_nowait()
            except Empty:
                return

    def _said(self, *, images, tokens, failures):
        if failures:
            if self._failures is not None:
                found = importlib.import_module("ray").get(self._failures.add.remote([f["index"] for f in failures]))
                self._tally.failures = found - len(failures)
            self._tally(images=images, tokens=tokens, failures=failures)


class Failures:
    """An actor that counts those of all workers, each image once, however often its shard is begun."""

    def __init__(self, earlier, most):
        self._earlier, self._most, self._found = earlier, most, set()

    def add(self, indices):
        """How many there are: up to the one that ends the run, whoever else finds one at the same time."""
        self._found.update(indices)
        return min(self._earlier + len(self._found), self._most + 1)


def run_shards(source, columns, options, out, todo, workers, engine, gpus, stopping, tally, limits):
    """Yields the record of each shard as it comes; what is still being made when it is left is not in the folder.

    `limits` are (on_error, max_failures).
    """
    try:
        ray = importlib.import_module("ray")
        data = importlib.import_module("ray.data")
    except ModuleNotFoundError:
        raise UnsupportedError('batch: Ray: got no ray, expected it installed. pip install "foveate[ray]"') from None
    if not todo:
        return      # nothing to start Ray for
    tally(images=0, tokens=0, failures=[])      # those of an earlier run may be too many
    if not ray.is_initialized():
        ray.init(logging_level="WARNING", log_to_driver=False, include_dashboard=False)
    context = data.DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    size = min(max(1, CALL // options.shard_size), -(-len(todo) // (4 * workers)))
    calls = min(-(-len(todo) // size), BLOCKS)
    rows = data.from_items([{"shard": number} for number, _ in todo], override_num_blocks=calls)
    # at an actor: what is to be synced, what is made, what to go on with; and the first leaves the others theirs
    hands = min(2 + -(-AHEAD // (size * options.shard_size)), -(-calls // workers))
    actors = data.ActorPoolStrategy(size=min(workers, calls), max_tasks_in_flight_per_actor=hands,
                                    max_concurrent_calls_per_actor=hands, enable_true_multi_threading=True)
    failures = None if limits[1] is None else ray.remote(num_cpus=0)(Failures).remote(tally.failures, limits[1])
    made = rows.map_batches(Shards, batch_size=None, num_cpus=1, num_gpus=gpus, compute=actors, fn_constructor_args=(
        source, columns, options, os.path.abspath(out), engine, limits, failures))
    with closing(iter(made.iter_rows())) as found:      # actors end before the folder is another's
        for row in found:
            record = json.loads(row["record"])
            if "stopped" in record:
                raise StoppedError(record["stopped"])
            if "os" in record:
                raise OSError(*record["os"])
            tally(images=record["images"], tokens=record["tokens"], failures=record["failed"])
            yield record
            if stopping():
                return
