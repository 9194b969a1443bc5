# SPDX-License-Identifier: Apache-2.0
"""`foveate bench batch`: JPEG files to tokens on disk, against the loops that it replaces, in one run.

Each contender goes through the same folder once a round, in turn; ratios are the median of the rounds' own. The stages
alone say how well they overlap: a batch cannot take less than its slowest, nor than all their work on all processors.
"""

import argparse
import contextlib
import json
import os
import shutil
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
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
SHARD = 16      # images: several shards of so few, so that one is synced while the next is written
WHOLE = 256     # and as many as there are unless one says otherwise
ONE = "foveate, one worker"
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
        return lambda: batch.run(paths, scratch / "ours", backend="cpu", shard_size=SHARD, **ASKED | options)

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

    found = {"foveate, rate and gaze": ours(gaze=GAZE), ONE: ours(gaze=GAZE, workers=1)}
    if peers.transformers:
        found["Pillow, Hugging Face Qwen2-VL processor"] = theirs(pillow)
    if peers.cv2:
        found["OpenCV, INTER_AREA"] = theirs(opencv)
    found["foveate, grid, JPEGs at half their size"] = ours(layout="grid")
    found["foveate, grid, whole JPEGs"] = ours(layout="grid", scale=False)
    return found


def race(runs, scratch, rounds):
    """Seconds of each round by contender, and the processor's seconds in each of them."""
    times, busy = {name: [] for name in runs}, {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            for left in ("ours", "theirs"):
                shutil.rmtree(scratch / left, ignore_errors=True)
            start, cpu = time.perf_counter(), time.process_time()
            run()
            if number:      # the first is for caches
                times[name].append(time.perf_counter() - start)
                busy[name].append((time.process_time() - cpu) / times[name][-1])
    return times, busy


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


def busy():
    """Processor's seconds of this process and of each below it, by their ids."""
    found, below = {}, {os.getpid()}
    for path in sorted(Path("/proc").glob("[0-9]*/stat"), key=lambda path: int(path.parent.name)):
        with contextlib.suppress(OSError):      # it ended meanwhile
            words = path.read_text().rpartition(")")[2].split()
            if int(path.parent.name) in below or int(words[1]) in below:
                below.add(int(path.parent.name))
                found[path.parent.name] = (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
    return found


def cost(paths, out, **options):
    """Seconds of a run, and of processors in it."""
    shutil.rmtree(out, ignore_errors=True)
    spent, left, before, start = {}, [len(paths)], busy(), time.perf_counter()

    def said(images=0, **_):
        left[0] -= images
        if not left[0]:         # while those who worked are there
            spent.update(busy())

    batch.run(paths, out, backend="cpu", gaze=GAZE, said=said, **ASKED | options)
    return time.perf_counter() - start, sum(spent[one] - before.get(one, 0) for one in spent)


def on_ray(paths, scratch, workers, shard, rounds):
    """Here and there, by the difference of a short run and a long one, as many shards for each worker: it has no start
    in it. What processors do for Ray is in theirs.
    """
    less, more = (shard * workers * each for each in ((4, 20) if shard < 64 else (1, 3)))
    found = {name: {"ms": [], "cpu_ms": [], "start_s": []} for name in ("local", "ray")}
    for _ in range(rounds):
        for name, rows in found.items():
            (short, cpu), (long, all_cpu) = (cost(
                list(islice(cycle(paths), count)), scratch / "ours", shard_size=shard, workers=workers,
                distributor=name) for count in (less, more))
            rows["ms"].append((long - short) / (more - less) * 1e3)
            rows["cpu_ms"].append((all_cpu - cpu) / (more - less) * 1e3)
            rows["start_s"].append(short - less * rows["ms"][-1] / 1e3)
    result = {name: {what: statistics.median(values) for what, values in rows.items()} for name, rows in found.items()}
    pairs = zip(found["local"]["ms"], found["ray"]["ms"], strict=True)
    return result | {"shard": shard, "ratio": statistics.median(there / here for here, there in pairs)}


def measure(count=128, rounds=5, ray=False):
    require(count > 0, "bench: images", count, "1 or more")
    require(rounds > 0, "bench: rounds", rounds, "1 or more")
    workers = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        (scratch / "in").mkdir()
        paths = folder_of(scratch / "in", count)
        times, busy = race(contenders(paths, scratch), scratch, rounds)
        ours, first = next(iter(times.items()))
        rows = {name: {"ms": statistics.median(own) / count * 1e3,
                       "ratio": statistics.median(b / a for a, b in zip(first, own, strict=True))}
                for name, own in times.items()}
        for name, goal in GOALS.items():
            if name in rows:
                rows[name] |= {"goal_ratio": goal, "met": rows[name]["ratio"] >= goal}
        single = {}
        for number in {1, workers}:
            alone = [stages(paths, scratch, number) for _ in range(3)]
            single[number] = {name: min(found[name] for found in alone) / count * 1e3 for name in alone[0]}
        wide = rows[ours]["ms"]
        size = sum(path.stat().st_size for path in paths) // count
        result = {"machine": machine(), "images": count, "file_bytes": size,
                  "workers": workers, "rows": rows, "stages_ms": single[workers], "stages_one_ms": single[1],
                  "of_slowest": wide / max(single[workers].values()), "of_sum": wide / sum(single[workers].values()),
                  "of_slowest_one": rows[ONE]["ms"] / max(single[1].values()),
                  "processors": statistics.median(busy[ours])}
        if ray:
            batch.run(paths[:1], scratch / "first", backend="cpu", distributor="ray", **ASKED)     # starts Ray
            result["ray"] = [on_ray(paths, scratch, workers, shard, min(rounds, 3)) for shard in (SHARD, WHOLE)]
    return result


def markdown(result):
    lines = [f"Machine: {result['machine']}. {result['images']} JPEGs of 1920 x 1080 px, "
             f"{result['file_bytes'] // 1000} kB each, to 273 Qwen2.5-VL tokens in float16 on disk, "
             f"{result['workers']} workers. Medians; ratios are of the same rounds.", "",
             "| by | ms an image | ratio | |", "|---|---:|---:|---|"]
    for name, row in result["rows"].items():
        goal = f"goal: {row['goal_ratio']:g} or more; {'met' if row['met'] else 'not met'}" if "met" in row else ""
        lines.append(f"| {name} | {row['ms']:.2f} | {row['ratio']:.2f} | {goal} |")
    one, wide = (", ".join(f"{name} {ms:.2f}" for name, ms in result[key].items())
                 for key in ("stages_one_ms", "stages_ms"))
    lines += ["", f"The stages alone, ms an image: with one worker {one}; the batch takes "
              f"{result['of_slowest_one']:.2f} times the slowest (goal: 1.15 or less; "
              f"{'met' if result['of_slowest_one'] <= 1.15 else 'not met'}). "
              f"With {result['workers']}: {wide}; {result['of_slowest']:.2f} times the slowest and "
              f"{result['of_sum']:.2f} times all one after another, with {result['processors']:.2f} processors busy."]
    for one in result.get("ray", ()):
        here, there, met = one["local"], one["ray"], "met" if one["ratio"] <= 1.15 else "not met"
        lines += ["", f"On Ray with as many workers, shards of {one['shard']}, an image takes {there['ms']:.2f} ms "
                  f"where it takes {here['ms']:.2f} without, {one['ratio']:.2f} times (goal: 1.15 or less; {met}), and "
                  f"processors {there['cpu_ms']:.2f} ms, for Ray's own processes too, where they take "
                  f"{here['cpu_ms']:.2f}; {there['start_s']:.1f} s go into the start."]
    return "\n".join(lines) + "\n"


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="foveate bench batch", description="JPEG files to tokens on disk, against "
                                     "loops with Pillow and OpenCV.")
    parser.add_argument("--images", type=int, default=128, help="default: 128")
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
