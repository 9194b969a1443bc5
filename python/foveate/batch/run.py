# SPDX-License-Identifier: Apache-2.0
"""A batch from its source to its shards: nothing lost, nothing twice, whatever happens on the way."""

import json
import os
import signal
import threading
import time
from contextlib import contextmanager
from typing import NamedTuple

from .. import Engine
from ..error import Error, choice, require, whole
from .gazing import gaze_of
from .options import Options, keys_digest, shards_of
from .pipeline import Pipeline
from .sink import SINKS
from .source import open_source
from .store import Store


class StoppedError(Error, RuntimeError):
    """The run was told to end at a failure, or there were too many. What is in the folder is whole; resume goes on."""


class Result(NamedTuple):
    """Of the whole folder, shards of earlier runs too; `seconds` and `stages` are of this run alone."""

    images: int
    tokens: int
    failed: list[dict]
    shards: int
    resumed: int
    missing: int
    seconds: float
    stages: dict[str, float]
    interrupted: bool


def run(source, out, *, gaze=None, dtype="float16", format="webdataset", shard_size: int = 256,
        image: str = "image", key: str | None = None, scale: bool = True, orient: bool = True, background=None,
        resume: bool = False, on_error: str = "skip", max_failures: int | None = None, workers: int | None = None,
        backend="auto", device: str | None = None, distributor: str = "local",
        gpus_per_worker: float = 0, said=None, engine=None, **tokens):
    """Turns many image files into shards of tokens.

    Args:
        source: JPEG, PNG and WebP files: a folder, a glob, a list of paths, a .txt file of paths, WebDataset's .tar
            files, .parquet or .arrow files, or a Hugging Face dataset.
        out: a folder, new or empty.
        gaze: (x, y) for all, "sidecar" (key "gaze" of the .json beside an image), "column:NAME" or "column:X,Y" of a
            table, a .parquet file with the columns key and gaze, or None.
        dtype: of the patches: "float16", "bfloat16", "float32", or "uint8", which is not normalised.
        format: "webdataset" ({key}.safetensors and {key}.json in tars), "parquet" or "safetensors".
        shard_size: images a shard: what is written, or lost by a kill, at once.
        image, key: columns of tables: the image, and what it is called; None: file and row.
        scale: decode JPEGs at 1/2, 1/4 or 1/8 where no token needs more (layout="grid").
        orient, background: see `foveate.decode.decode`.
        resume: go on with a run of the same options and images.
        on_error: "skip" records an image that fails and goes on, "fail" ends the run.
        max_failures: more end the run; None: any number.
        workers: threads that read and decode; None: one for each processor. With distributor="ray": actors.
        backend, device, engine: where it runs; an Engine of the caller's own, or how to make one.
        distributor: "local", or "ray", for which source and out must be where every node finds them.
        gpus_per_worker: what Ray gives to each actor.
        said: called with keywords as things happen: total once, images, tokens and failures of each shard that was
            there with earlier=True, then those that come, and stages, the seconds that each was busy.
        tokens: what `Engine.tokens` takes: budget, model, layout, relevance, ...

    Returns:
        Result. `out` holds the shards, failures.jsonl and manifest.json.

    Raises:
        InputError: an option or a source outside the above, a folder of another run.
        StoppedError: on_error="fail" or max_failures.
        OSError: the folder cannot be written to. Nothing that is there is torn.

    >>> import pathlib, tempfile
    >>> import numpy as np, PIL.Image
    >>> import foveate.batch
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> (folder / "in").mkdir()
    >>> for name in ("a.png", "b.jpg"):
    ...     PIL.Image.fromarray(np.zeros((64, 96, 3), np.uint8)).save(folder / "in" / name)
    >>> result = foveate.batch.run(folder / "in", folder / "out", budget=12, backend="cpu")
    >>> result.images, result.tokens, result.shards, sorted(path.name for path in (folder / "out").iterdir())[:2]
    (2, 24, 1, ['00000.tar', '_foveate'])
    """
    options = Options(tokens, dtype, format, shard_size, _plain(gaze), scale, orient, background)
    choice("batch: on_error", on_error, {"skip": 0, "fail": 0})
    choice("batch: distributor", distributor, {"local": 0, "ray": 0})
    workers = (os.cpu_count() or 1) if workers is None else whole("batch: workers", workers, 1, 256)
    if max_failures is not None:
        whole("batch: max_failures", max_failures, 0, 1 << 30)
    opened = open_source(source, image=image, key=key)
    pointed = gaze_of(options.gaze, opened)
    plan = shards_of(len(opened.keys), shard_size)
    store = Store(out, SINKS[format].suffix)
    store.open(config_of(options, opened.keys), resume)
    tally = Tally(on_error, max_failures, said)
    if said:
        said(total=len(opened.keys))
    start = time.perf_counter()
    try:
        done = store.done()
        for record in done.values():
            tally.failures += len(record["failed"])
            if said:
                said(images=record["images"], tokens=record["tokens"], failures=record["failed"], earlier=True)
        todo = [shard for shard in plan if shard[0] not in done]
        with interruptible() as stopping:
            if distributor == "ray":
                from .ray import run_shards

                stages, made = {}, run_shards(source, {"image": image, "key": key}, options, out, todo, workers,
                                              {"backend": backend, "device": device}, gpus_per_worker, stopping, tally,
                                              (on_error, max_failures))
            else:
                pipeline = Pipeline(engine or Engine(backend=backend, device=device), opened, pointed, options, store,
                                    workers)
                stages, made = pipeline.clock.seconds, pipeline.run(todo, stopping=stopping, said=tally)
                tally.stages = stages
            resumed = len(done)
            for record in made:
                done[record["shard"]] = record
        result = _result(done, plan, resumed, time.perf_counter() - start, stages)
        if not result.missing:
            _tell(store, options, done)
            store.clear()
        return result
    finally:
        store.close()


class Tally:
    """Counts failures as they come, and ends the run where it was told to."""

    def __init__(self, on_error, max_failures, said):
        self._fail, self._most, self._said, self.failures = on_error == "fail", max_failures, said, 0
        self.stages = {}

    def __call__(self, *, images, tokens, failures):
        self.failures += len(failures)
        if self._said:
            self._said(images=images, tokens=tokens, failures=failures, stages=dict(self.stages))
        if failures and self._fail:
            raise StoppedError(f"batch: image: got {failures[0]['key']} ({failures[0]['error']}), expected no failure. "
                               "on_error=\"skip\" records it and goes on.")
        if self._most is not None and self.failures > self._most:
            raise StoppedError(f"batch: failures: got {self.failures}, expected at most {self._most}. "
                               f"The last: {failures[-1]['error'] if failures else 'of an earlier run'}")


def config_of(options, keys):
    return {"options": options.described(), "digest": options.digest, "images": len(keys), "keys": keys_digest(keys)}


def _plain(gaze):
    """As JSON would have it, so that it is the same after a restart."""
    if gaze is None or isinstance(gaze, str):
        return gaze
    try:
        return json.loads(json.dumps(gaze))
    except TypeError:
        require(False, "batch: gaze", type(gaze).__name__, "x, y, a word or a file")


def _result(done, plan, resumed, seconds, stages):
    records = [done[number] for number, _ in plan if number in done]
    missing = len(plan) - len(records)
    return Result(sum(record["images"] for record in records), sum(record["tokens"] for record in records),
                  [entry for record in records for entry in record["failed"]], len(records), resumed, missing,
                  seconds, dict(stages), missing > 0)


def _tell(store, options, done):
    """failures.jsonl and manifest.json: they too follow from the images and options alone."""
    records = [done[number] for number in sorted(done)]
    failures = [entry for record in records for entry in record["failed"]]
    store.finish("failures.jsonl", "".join(json.dumps(entry, sort_keys=True) + "\n" for entry in failures))
    shards = [{name: record[name] for name in ("files", "images", "tokens")} for record in records]
    store.finish("manifest.json", json.dumps({
        "options": options.described(), "images": sum(record["images"] for record in records),
        "tokens": sum(record["tokens"] for record in records), "failed": len(failures), "shards": shards},
        indent=1, sort_keys=True) + "\n")


@contextmanager
def interruptible():
    """The first Ctrl-C asks to stop behind the shard at hand, the second stops at once. Who ignores it goes on to."""
    asked = threading.Event()
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN     # as a shell's background jobs do
    if ignored or threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return

    def handler(number, frame):
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    before = signal.signal(signal.SIGINT, handler)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, before)
