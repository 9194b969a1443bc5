# SPDX-License-Identifier: Apache-2.0
"""`foveate bench batch`: JPEG files to tokens on disk, against the loops that it replaces, in one run.

Each contender goes through the same folder once a round, in turn; ratios are the median of the rounds' own. The stages
alone, as wide as in the batch, say how well they overlap: a batch cannot take less than its slowest.
"""

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from . import batch
from .batch.options import Options
from .batch.pipeline import CHUNK_IMAGES
from .batch.rows import Maker, Picture
from .batch.sink import Tar
from .bench import machine, write
from .bench_cases import Peers, photograph
from .decode import decode
from .engine import Engine
from .error import require

ASKED = {"model": "qwen2.5-vl", "budget": 273}
GAZE = (0.4, 0.6)
GOALS = {"Pillow, Hugging Face Qwen2-VL processor": 5.0, "OpenCV, INTER_AREA": 2.0}


def folder_of(folder, count):
    """1080p JPEGs of one photograph, shifted, with grain, so that no two are alike."""
    from PIL import Image

    image, chance = photograph(1920, 1080).astype(np.int16), np.random.default_rng(0)
    for number in range(count):
        grain = chance.integers(-6, 7, image.shape[:2], np.int16)[..., None]
        pixels = np.clip(np.roll(image, 61 * number, 1) + grain, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:04d}.jpg", quality=90)
    return sorted(folder.glob("*.jpg"))


def contenders(paths, scratch):
    """Name -> a function that turns every path into float16 patches on disk."""
    peers = Peers(np.zeros((28, 28, 3), np.uint8), len(os.sched_getaffinity(0)))

    def ours(**options):
        return lambda: batch.run(paths, scratch / "ours", backend="cpu", **ASKED | options)

    def theirs(load):
        def loop():
            (scratch / "theirs").mkdir()
            for path in paths:
                np.save(scratch / "theirs" / f"{path.stem}.npy", load(path).astype(np.float16))
        return loop

    def pillow(path):
        from PIL import Image

        return peers.transformers(images=[Image.open(path).convert("RGB")], return_tensors="np")["pixel_values"]

    def opencv(path):
        data = peers.cv2.imdecode(np.fromfile(path, np.uint8), peers.cv2.IMREAD_COLOR)
        peers.image = peers.cv2.cvtColor(data, peers.cv2.COLOR_BGR2RGB)
        return peers.cv2_grid(peers.cv2.INTER_AREA)

    found = {"foveate, rate and gaze": ours(gaze=GAZE)}
    if peers.transformers:
        found["Pillow, Hugging Face Qwen2-VL processor"] = theirs(pillow)
    if peers.cv2:
        found["OpenCV, INTER_AREA"] = theirs(opencv)
    found["foveate, grid, JPEGs at half their size"] = ours(layout="grid")
    found["foveate, grid, whole JPEGs"] = ours(layout="grid", scale=False)
    return found


def race(runs, scratch, rounds):
    """Seconds of each round, by contender."""
    times = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            for left in ("ours", "theirs"):
                shutil.rmtree(scratch / left, ignore_errors=True)
            start = time.perf_counter()
            run()
            if number:      # the first is for caches
                times[name].append(time.perf_counter() - start)
    return times


def stages(paths, scratch, workers):
    """Seconds of each stage alone over the whole folder, with the threads that it has in the batch."""
    engine, options = Engine(backend="cpu"), Options(dict(ASKED), gaze=GAZE)
    maker = Maker(engine, options, [path.stem for path in paths])
    found = {}

    def timed(name, function):
        start = time.perf_counter()
        result = function()
        found[name] = time.perf_counter() - start
        return result

    with ThreadPoolExecutor(workers) as pool:
        data = timed("read", lambda: list(pool.map(Path.read_bytes, paths)))
        pixels = timed("decode", lambda: list(pool.map(decode, data)))
    pictures = [Picture(number, plane, plane.shape[:2], (GAZE,), 1) for number, plane in enumerate(pixels)]
    rows = timed("foveate", lambda: [row for first in range(0, len(pictures), CHUNK_IMAGES)
                                     for row in maker(pictures[first:first + CHUNK_IMAGES])])

    def written():
        fd = os.open(scratch / "alone.tar", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        sink = Tar(fd, maker._keys)
        for row in rows:
            sink.add(row)
        sink.close()
        os.fsync(fd)
        os.close(fd)

    timed("write", written)
    return found


def on_ray(paths, scratch, workers):
    """Here and there, by the difference of a short run and a long one: it has no start in it."""
    found, (short, long) = {}, (2, 10)
    for name in ("local", "ray"):
        seconds = {}
        for repeat in (1, short, long):     # the first starts Ray
            shutil.rmtree(scratch / "ours", ignore_errors=True)
            start = time.perf_counter()
            batch.run(list(paths) * repeat, scratch / "ours", backend="cpu", gaze=GAZE, shard_size=16,
                      workers=workers, distributor=name, **ASKED)
            seconds[repeat] = time.perf_counter() - start
        each = (seconds[long] - seconds[short]) / (long - short)
        found[name] = {"ms": each / len(paths) * 1e3, "start_s": seconds[short] - short * each}
    return found


def measure(count=48, rounds=5, ray=False):
    require(count > 0, "bench: images", count, "1 or more")
    require(rounds > 0, "bench: rounds", rounds, "1 or more")
    workers = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        (scratch / "in").mkdir()
        paths = folder_of(scratch / "in", count)
        times = race(contenders(paths, scratch), scratch, rounds)
        first = times[next(iter(times))]
        rows = {name: {"ms": statistics.median(own) / count * 1e3,
                       "ratio": statistics.median(b / a for a, b in zip(first, own, strict=True))}
                for name, own in times.items()}
        for name, goal in GOALS.items():
            if name in rows:
                rows[name] |= {"goal_ratio": goal, "met": rows[name]["ratio"] >= goal}
        alone = [stages(paths, scratch, workers) for _ in range(3)]
        single = {name: min(found[name] for found in alone) / count * 1e3 for name in alone[0]}
        size = sum(path.stat().st_size for path in paths) // count
        result = {"machine": machine(), "images": count, "file_bytes": size,
                  "workers": workers, "rows": rows, "stages_ms": single,
                  "of_slowest": rows[next(iter(rows))]["ms"] / max(single.values()),
                  "of_sum": rows[next(iter(rows))]["ms"] / sum(single.values())}
        if ray:
            result["ray"] = on_ray(paths, scratch, workers)
    return result


def markdown(result):
    lines = [f"Machine: {result['machine']}. {result['images']} JPEGs of 1920 x 1080 px, "
             f"{result['file_bytes'] // 1000} kB each, to 273 Qwen2.5-VL tokens in float16 on disk, "
             f"{result['workers']} workers. Medians; ratios are of the same rounds.", "",
             "| by | ms an image | ratio | |", "|---|---:|---:|---|"]
    for name, row in result["rows"].items():
        goal = f"goal: {row['goal_ratio']:g} or more; {'met' if row['met'] else 'not met'}" if "met" in row else ""
        lines.append(f"| {name} | {row['ms']:.2f} | {row['ratio']:.2f} | {goal} |")
    stages = ", ".join(f"{name} {ms:.2f}" for name, ms in result["stages_ms"].items())
    lines += ["", f"The stages alone, ms an image: {stages}. The batch takes {result['of_slowest']:.2f} times its "
              f"slowest stage and {result['of_sum']:.2f} times all of them one after another (goal: 1.15 times the "
              f"slowest or less; {'met' if result['of_slowest'] <= 1.15 else 'not met'})."]
    if ray := result.get("ray"):
        ratio = ray["ray"]["ms"] / ray["local"]["ms"]
        lines += ["", f"On Ray with as many workers an image takes {ray['ray']['ms']:.2f} ms where it takes "
                  f"{ray['local']['ms']:.2f} without, {ratio:.2f} times (goal: 1.15 or less; "
                  f"{'met' if ratio <= 1.15 else 'not met'}); {ray['ray']['start_s']:.1f} s go into the start."]
    return "\n".join(lines) + "\n"


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="foveate bench batch", description="JPEG files to tokens on disk, against "
                                     "loops with Pillow and OpenCV.")
    parser.add_argument("--images", type=int, default=48, help="default: 48")
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    parser.add_argument("--ray", action="store_true", help="on Ray too")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--out", type=Path, help="folder for batch.json and batch.md")
    options = parser.parse_args(arguments)
    result = measure(options.images, options.rounds, options.ray)
    text = markdown(result)
    write(options.out, "batch", result,
          "# Measured: files to tokens on disk\n\nWritten by `foveate bench batch --ray`.\n\n" + text)
    print(json.dumps(result, indent=1) if options.json else text)
    return 0
