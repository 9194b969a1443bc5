# SPDX-License-Identifier: Apache-2.0
"""The same shards on Ray: actors of one engine each make them, in the same way and into the same folder.

The folder's records are the checkpoint, as they are without Ray: a run begun on one machine goes on on many, and back.
Source and folder must be where every node finds them. Ray starts killed workers again, and a shard that was half made
is made again under its own name.
"""

import importlib
import json
import logging
import os

from .. import Engine
from ..error import UnsupportedError
from .gazing import gaze_of
from .options import shards_of
from .pipeline import Pipeline
from .sink import SINKS
from .source import open_source
from .store import Store

BLOCKS = 1024       # at most: what Ray plans with


class Shards:
    """An actor: numbers of shards in, their records out."""

    def __init__(self, source, columns, options, out, engine):
        opened = open_source(source, **columns)
        self._plan = dict(shards_of(len(opened.keys), options.shard_size))
        self._store = Store(out, SINKS[options.format].suffix)
        self._pipeline = Pipeline(Engine(**engine, threads=1), opened, gaze_of(options.gaze, opened), options,
                                  self._store, 1)

    def __call__(self, batch):
        records = []
        for number in map(int, batch["shard"]):
            # of a block that Ray gives again, the shards before the kill are there
            record = self._store.record(number)
            records += [record] if record else self._pipeline.run([(number, self._plan[number])])
        return {"record": [json.dumps(record) for record in records]}


def run_shards(source, columns, options, out, todo, workers, engine, gpus, stopping, said):
    """Yields the record of each shard as it comes; what is still being made when it is left is not in the folder."""
    try:
        ray = importlib.import_module("ray")
        data = importlib.import_module("ray.data")
    except ModuleNotFoundError:
        raise UnsupportedError('batch: Ray: got no ray, expected it installed. pip install "foveate[ray]"') from None
    if not todo:
        return      # nothing to start Ray for
    if not ray.is_initialized():
        ray.init(logging_level="WARNING", log_to_driver=False, include_dashboard=False)
    context = data.DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    rows = data.from_items([{"shard": number} for number, _ in todo], override_num_blocks=min(len(todo), BLOCKS))
    made = rows.map_batches(Shards, batch_size=1, num_cpus=1, num_gpus=gpus,
                            compute=data.ActorPoolStrategy(min_size=1, max_size=workers),
                            fn_constructor_args=(source, columns, options, os.path.abspath(out), engine))
    for row in made.iter_rows():
        record = json.loads(row["record"])
        said(images=record["images"], tokens=record["tokens"], failures=record["failed"])
        yield record
        if stopping():
            return
