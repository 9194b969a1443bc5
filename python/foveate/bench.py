# SPDX-License-Identifier: Apache-2.0
"""`foveate bench`: our stages against what a user would use instead, in one process, one after another.

Times are medians over rounds in which every contender has its turn, a short burst of calls, so that a machine
whose speed drifts is the same machine for all of them; a ratio is the median of the rounds' own ratios.
"""

import argparse
import json
import os
import platform
import statistics
import time
from pathlib import Path

import numpy as np

from . import _core, bench_cases, bench_processor
from .bench_cases import ON_VULKAN, Peers, photograph
from .engine import Engine
from .error import require

CASES = {**bench_cases.CASES, **bench_processor.CASES}
BURST = 5, 0.01                 # timed calls of one contender in a row: so many, for so many seconds at least
WARM = 0.005                    # seconds of calls before them: caches and clocks as a loop over images has them
SETTLE = 0.01                   # seconds before each run: other libraries' threads spin for a while after theirs


def race(contenders, rounds, seconds=8.0):
    """Median milliseconds of each, and the median of each round's ratio to the first."""
    for run in contenders.values():
        run()
    times = {name: [] for name in contenders}
    end = time.perf_counter() + seconds
    while len(times[next(iter(times))]) < rounds and time.perf_counter() < end:
        for name, run in contenders.items():
            time.sleep(SETTLE)
            _burst(run, 1, WARM)
            times[name].append(statistics.median(_burst(run, *BURST)) * 1e3)
    first = times[next(iter(times))]
    return {name: {"ms": statistics.median(own), "best_ms": min(own), "rounds": len(own),
                   "ratio": statistics.median(b / a for a, b in zip(first, own, strict=True))}
            for name, own in times.items()}


def copy_bandwidth():
    """Bytes read and written each second by a copy that no cache holds."""
    source = np.ones(1 << 26, np.uint8)
    target = np.empty_like(source)
    best = min(_timed(lambda: np.copyto(target, source)) for _ in range(7))
    return 2 * source.nbytes / best


def _burst(run, calls, seconds):
    times = []
    while len(times) < calls or sum(times) < seconds:
        times.append(_timed(run))
    return times


def _timed(run):
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def batch_memory(peers):
    """Peak resident memory of the mixed batch over what its inputs and outputs take."""
    images = [np.ascontiguousarray(peers.image[:h, :1920 - h]) for h in range(400, 1040, 20)]
    engine = Engine(backend="cpu")
    engine.tokens(peers.image[:64, :64], budget=4, model="qwen2.5-vl")
    Path("/proc/self/clear_refs").write_text("5")
    before = _resident("VmRSS")
    tokens = engine.tokens(images, layout="grid", budget=273, model="qwen2.5-vl")
    outputs = tokens.numpy().nbytes
    return {"over_inputs_and_outputs_mib": (_resident("VmHWM") - before - outputs) / 2**20,
            "outputs_mib": outputs / 2**20, "inputs_mib": sum(i.nbytes for i in images) / 2**20}


def _resident(field):
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    return 0


def vulkan_engines():
    for index, candidate in enumerate(c for c in _core.candidates() if c["backend"] == "vulkan"):
        if candidate["usable"]:
            yield candidate["device"], Engine(backend="vulkan", device=str(index))


def machine():
    model = platform.processor()
    for line in Path("/proc/cpuinfo").read_text().splitlines() if os.path.exists("/proc/cpuinfo") else ():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    return f"{model}, {len(os.sched_getaffinity(0))} threads, {platform.system()}, Python {platform.python_version()}"


def measure(rounds, only=()):
    """Everything, as docs/measured/cpu.json holds it; only: words of CASES."""
    unknown = sorted(set(only) - set(CASES))
    require(not unknown, "bench: case", ", ".join(unknown), "one of " + ", ".join(CASES))
    image = photograph(1920, 1080)
    engine = Engine(backend="cpu")
    threads = len(os.sched_getaffinity(0))
    peers = Peers(image, threads)
    bandwidth = copy_bandwidth()
    result = {"machine": machine(), "isa": engine.caps["isa"], "threads": threads,
              "copy_gb_s": bandwidth / 1e9, "missing": peers.missing, "cases": []}
    unbuilt = () if peers.transformers else tuple(bench_processor.CASES)
    for word in only or (word for word in CASES if word not in unbuilt):
        case = CASES[word](engine, peers)
        rows = race(case.runs, rounds if case.share == 1 else max(8, rounds // case.share))
        for name, asked in case.ratios.items():
            if name in rows:
                rows[name] |= {"goal_ratio": asked, "met": rows[name]["ratio"] >= asked}
        if case.most_ms is not None:
            first = rows[next(iter(rows))]
            first |= {"goal_ms": case.most_ms, "met": first["ms"] <= case.most_ms}
        for name, db in (case.db() if case.db else {}).items():
            rows[name]["db"] = db
        result["cases"].append({"title": case.title, "floor_bytes": case.floor_bytes,
                                "floor_ms": case.floor_bytes / bandwidth * 1e3, "rows": rows})
    result["batch_memory"] = None if only else batch_memory(peers)
    result["vulkan"] = []
    for device, vulkan in vulkan_engines() if not only else ():
        rows = {}
        for word in ON_VULKAN:
            case = CASES[word](vulkan, peers)
            rows[case.title] = race({"foveate": case.runs["foveate"]}, 5)["foveate"]["ms"]
        result["vulkan"].append({"device": device, "ms": rows})
    return result


def remark(row):
    """The goal of a row, whether it is met, and how near to the truth it comes."""
    said = [f"{row['db']:.1f} dB"] if "db" in row else []
    for key, wanted in (("goal_ratio", "{:g} or more"), ("goal_ms", "{:g} ms or less")):
        if key in row:
            said.append(f"goal: {wanted.format(row[key])}; {'met' if row['met'] else 'not met'}")
    return ", ".join(said)


def markdown(result):
    lines = [f"Machine: {result['machine']}; instruction set {result['isa']}; copy bandwidth "
             f"{result['copy_gb_s']:.1f} GB/s (read and write). 1920 x 1080 RGB8 photograph in memory. Medians; "
             "ratios are of the same rounds.", "", "| work | by | ms | ratio | |", "|---|---|---:|---:|---|"]
    for case in result["cases"]:
        for index, (name, row) in enumerate(case["rows"].items()):
            title = case["title"] if index == 0 else ""
            lines.append(f"| {title} | {name} | {row['ms']:.3f} | {row['ratio']:.2f} | {remark(row)} |")
        lines.append(f"| | memory floor: {case['floor_bytes'] / 1e6:.1f} MB at copy bandwidth | "
                     f"{case['floor_ms']:.3f} | | |")
    for vulkan in result["vulkan"]:
        for title, ms in vulkan["ms"].items():
            lines.append(f"| {title} | foveate, Vulkan on {vulkan['device']} | {ms:.2f} | | |")
    if memory := result["batch_memory"]:
        lines += ["", f"Peak memory of the mixed batch over its inputs ({memory['inputs_mib']:.0f} MiB) and outputs "
                  f"({memory['outputs_mib']:.0f} MiB): {memory['over_inputs_and_outputs_mib']:.1f} MiB."]
    lines += [f"Not installed here, so not measured: {text}." for text in result["missing"]]
    return "\n".join(lines) + "\n"


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="foveate bench", description="Ratios against OpenCV, torch and the "
                                     "Hugging Face processor, in one process.")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--case", action="append", default=[], help="only this one, may be repeated: "
                        + ", ".join(CASES))
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--out", type=Path, help="folder for cpu.json and cpu.md")
    options = parser.parse_args(arguments)
    result = measure(options.rounds, tuple(options.case))
    write(options.out, "cpu", result, "# Measured on a CPU\n\nWritten by `make bench`.\n\n" + markdown(result))
    print(json.dumps(result, indent=1) if options.json else markdown(result))
    return 0


def write(folder, name, result, page, picture=None):
    """name.json, name.md and name.svg into a folder, if there is one."""
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
    (folder / f"{name}.md").write_text(page)
    if picture is not None:
        (folder / f"{name}.svg").write_text(picture)
