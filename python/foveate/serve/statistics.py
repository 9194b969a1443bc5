# SPDX-License-Identifier: Apache-2.0
"""Counts and times of each model, in the shape of Triton's statistics extension."""

import time

PARTS = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit", "cache_miss")


class Statistics:
    """Of one model. Times are in ns."""

    def __init__(self, name, version):
        self.name, self.version = name, version
        self.last_ms = self.inferences = self.executions = 0
        self.parts = {part: [0, 0] for part in PARTS}
        self.batches = {}       # size: parts

    def add(self, part, ns):
        self.parts[part][0] += 1
        self.parts[part][1] += int(ns)

    def succeeded(self, ns, images, decode_ns, done):
        """One request's: `done` is what the batcher said of it."""
        self.last_ms = time.time_ns() // 1_000_000
        self.inferences += images
        for part, value in (("success", ns), ("queue", done.queue_ns), ("compute_input", decode_ns),
                            ("compute_infer", done.run_ns)):
            self.add(part, value)
        if done.first:
            self.executions += 1
            batch = self.batches.setdefault(done.batch, {"compute_input": [0, 0], "compute_infer": [0, 0],
                                                         "compute_output": [0, 0]})
            for part, value in (("compute_input", decode_ns), ("compute_infer", done.run_ns), ("compute_output", 0)):
                batch[part][0] += 1
                batch[part][1] += int(value)

    def as_dict(self):
        return {
            "name": self.name, "version": self.version, "last_inference": self.last_ms,
            "inference_count": self.inferences, "execution_count": self.executions,
            "inference_stats": {part: _pair(value) for part, value in self.parts.items()},
            "response_stats": {},
            "batch_stats": [{"batch_size": size, **{part: _pair(value) for part, value in parts.items()}}
                            for size, parts in sorted(self.batches.items())],
            "memory_usage": [],
        }


def _pair(value):
    return {"count": value[0], "ns": value[1]}
