# SPDX-License-Identifier: Apache-2.0
"""`foveate bench scaling`: how the time of each stage grows with the image, against one bare read of it.

The same 273 tokens of Qwen3-VL at every size: its 32 px cells tile these squares, and 64 Mpx make 256 blocks of
16 x 16 of them, where the 28 px cells of Qwen2.5-VL would make 361, more than there are tokens, and so be doubled.
"""

import argparse
import json
import math
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from .bench import machine, race, write
from .bench_cases import photograph
from .chart import log_log
from .engine import Engine
from .error import require

MODEL, CELL, BUDGET, GAZE = "qwen3-vl", 32, 273, (0.4, 0.6)
SIDES = (512, 1024, 2048, 4096, 8192)       # px: 0.25 to 64 Mpx, in 2^20 px
SMALL = 4                                   # px of a cell of the picture on which solving is timed
ROUNDS, SECONDS = 30, 15.0                  # of each size
READ, SOLVE = "read", "solving"
# what is drawn: row -> the name of its line
DRAWN = {"tokens": "tokens, rate + gaze", "pyramid": "pyramid", "rate and layout": "rate + layout",
         SOLVE: "of it solving", "layout": "layout", "sample": "sample", READ: "read, one thread",
         "read, all threads": "read, all threads"}


def shrunk(image):
    """The picture with cells of SMALL px: the same cells, 1 / 64 of the px."""
    step = CELL // SMALL
    height, width = (side // step for side in image.shape[:2])
    parts = image.reshape(height, step, width, step, 3)
    return np.rint(parts.mean((1, 3), dtype=np.float32)).astype(np.uint8)


def stages(engine, image, pool, threads):
    """(what is timed, the coarsest rate that was chosen): the read is first, so that ratios are to it."""
    words = image.reshape(-1).view(np.uint64)
    parts = np.array_split(words, threads)
    taken, small = engine.image(image), engine.image(shrunk(image))
    weights = engine.relevance(taken, gaze=GAZE, cell=CELL)
    few = engine.relevance(small, gaze=GAZE, cell=SMALL)
    rates = engine.rate(taken, relevance=weights, budget=BUDGET, cell=CELL)
    levels = rates.max_rate.bit_length()
    pyramid = engine.pyramid(taken, levels=levels)
    layout = engine.layout(taken, kind="rate", rates=rates, gaze=GAZE)

    def rate():
        return engine.rate(taken, relevance=weights, budget=BUDGET, cell=CELL)

    return {READ: words.max,
            "read, all threads": lambda: max(pool.map(np.max, parts)),
            "pyramid": lambda: engine.pyramid(taken, levels=levels),
            "relevance": lambda: engine.relevance(taken, gaze=GAZE, cell=CELL),
            "rate": rate,
            SOLVE: lambda: engine.rate(small, relevance=few, budget=BUDGET, cell=SMALL),
            "layout": lambda: engine.layout(taken, kind="rate", rates=rates, gaze=GAZE),
            "rate and layout": lambda: engine.layout(taken, kind="rate", rates=rate(), gaze=GAZE),
            "solving and layout": lambda: (engine.rate(small, relevance=few, budget=BUDGET, cell=SMALL),
                                           engine.layout(taken, kind="rate", rates=rates, gaze=GAZE)),
            "sample": lambda: engine.sample(pyramid, layout, model=MODEL),
            "tokens": lambda: engine.tokens(image, gaze=GAZE, budget=BUDGET, model=MODEL)}, rates.max_rate


def measure(sides=SIDES, rounds=ROUNDS, seconds=SECONDS):
    """Everything, as docs/measured/scaling.json holds it."""
    engine, threads = Engine(backend="cpu"), len(os.sched_getaffinity(0))
    sizes = []
    with ThreadPoolExecutor(threads) as pool:
        for side in sides:
            runs, max_rate = stages(engine, photograph(side, side), pool, threads)
            sizes.append({"side": side, "mpx": side * side / 2**20, "max_rate": max_rate,
                          "rows": race(runs, rounds, seconds)})
    return {"machine": machine(), "isa": engine.caps["isa"], "threads": threads, "model": MODEL, "budget": BUDGET,
            "sizes": sizes}


def power(sizes, row):
    """The exponent of the time's growth over the sizes from 1 Mpx on, by least squares of the logarithms."""
    points = [(math.log(size["mpx"]), math.log(size["rows"][row]["ms"])) for size in sizes if size["mpx"] >= 1]
    return float(np.polyfit(*zip(*points, strict=True), 1)[0]) if len(points) > 1 else None


def below(sizes, row, limit=1.0):
    """At which sizes a row takes less than the limit, in reads by one thread; in words."""
    found = [f"{size['mpx']:g}" for size in sizes if size["rows"][row]["ratio"] < limit]
    return "every size" if len(found) == len(sizes) else f"{', '.join(found)} Mpx only" if found else "no size"


def markdown(result):
    sizes = result["sizes"]
    names = list(sizes[0]["rows"])
    lines = [f"Machine: {result['machine']}; instruction set {result['isa']}; {result['threads']} threads. "
             f"{result['budget']} tokens of {result['model']} by rate and gaze at every size; square RGB8 photographs "
             "in memory; 1 Mpx = 2^20 px. Medians over rounds in which every row has its turn.", "",
             "![Time against size, both logarithmic](scaling.svg)", "",
             "| ms | " + " | ".join(f"{size['mpx']:g} Mpx" for size in sizes) + " | grows as |",
             "|---|" + "---:|" * len(sizes) + "---|"]
    for name in names:
        grows = power(sizes, name)
        lines.append(f"| {name} | " + " | ".join(f"{size['rows'][name]['ms']:.3f}" for size in sizes)
                     + f" | {'' if grows is None else f'Mpx^{grows:.2f}'} |")
    lines += ["| coarsest rate, cells | " + " | ".join(str(size["max_rate"]) for size in sizes) + " | |", "",
              "In reads of the image by one thread, medians of the rounds' own ratios:", "",
              "| reads | " + " | ".join(f"{size['mpx']:g} Mpx" for size in sizes) + " |",
              "|---|" + "---:|" * len(sizes)]
    lines += [f"| {name} | " + " | ".join(f"{size['rows'][name]['ratio']:.2f}" for size in sizes) + " |"
              for name in names]
    lines += ["", "- `read`: NumPy's `max` over the image as words of 8 bytes, by one thread; it looks at every byte "
              "once and writes nothing. `read, all threads`: the same in equal parts. Small images stay in the caches, "
              "for every row.",
              f"- `solving`: rate over the same cells with {SMALL} px a cell instead of {CELL}: all of choosing and "
              f"1 / {(CELL // SMALL)**2} of looking at px, so a little more than solving alone. What is left of "
              " `rate` is looking at px. Both rise by a step where the coarsest rate does.",
              f"- rate and layout take less than one read at {below(sizes, 'rate and layout')}; solving and layout, "
              f"without looking at px, at {below(sizes, 'solving and layout')}; layout alone at "
              f"{below(sizes, 'layout')}."]
    return "\n".join(lines) + "\n"


def picture(result):
    series = {name: [(size["mpx"], size["rows"][row]["ms"]) for size in result["sizes"]]
              for row, name in DRAWN.items()}
    return log_log(series, title=f"{result['budget']} tokens of {result['model']}, {result['threads']} threads",
                   x_label="Mpx", y_label="ms", dashed=(DRAWN[READ], DRAWN["read, all threads"]))


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="foveate bench scaling", description="Time of the stages from 0.25 to "
                                     "64 Mpx against one bare read of the image.")
    parser.add_argument("--side", type=int, action="append", help="px of a square image, a multiple of 32; may be "
                        "repeated; default: " + ", ".join(map(str, SIDES)))
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--out", type=Path, help="folder for scaling.json, scaling.md and scaling.svg")
    options = parser.parse_args(arguments)
    sides = sorted(set(options.side or SIDES))
    for side in sides:
        require(side % 32 == 0 and 32 <= side <= 8192, "bench: side", side, "a multiple of 32, 32..8192 px")
    result = measure(sides, options.rounds)
    text = markdown(result)
    page = "# Measured: time against size\n\nWritten by `foveate bench scaling`.\n\n" + text
    write(options.out, "scaling", result, page, picture(result))
    print(json.dumps(result, indent=1) if options.json else text)
    return 0
