# SPDX-License-Identifier: Apache-2.0
"""The filters of `foveate.gpu_check`: patches by the device's hardware, how far they are off and how long they take."""

import time
from functools import partial

import numpy as np

from .error import Error
from .gpu_check_sections import found
from .gpu_check_speed import clock, race

# of 255: what docs/backends.md has for one tap on whole texels; and on smooth pictures, against boxes
WHOLE, SMOOTH = 0.75, 4.0
LAYOUTS = {"grid": {"layout": "grid", "budget": 273}, "rings": {"layout": "rings", "gaze": (0.4, 0.6)},
           "logpolar": {"layout": "logpolar", "gaze": (0.4, 0.6), "budget": 273},
           "cortical": {"layout": "cortical", "gaze": (0.4, 0.6), "budget": 273}}
RAW = {"patch": 16, "mean": (0, 0, 0), "std": (1, 1, 1)}
ROUNDS = 15


def pictures(quick):
    """(name, pixels, options, most that they may be off)."""
    height, width = (128, 256) if quick else (1024, 2048)
    y, x = np.mgrid[:height, :width]
    wave = np.sin(x / 37) * np.cos(y / 29)
    smooth = np.round(127.5 + 127 * wave[..., None] * [1, 0.5, -1]).astype(np.uint8)
    noise = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
    for name, options in LAYOUTS.items():
        yield f"{name}, constant", np.full((height - 3, width - 5, 3), (3, 128, 250), np.uint8), options, 0
        yield f"{name}, smooth", smooth[3:, 5:], options, SMOOTH
    yield "whole texels, noise", noise, {"layout": "grid", "grid": (height // 64, width // 64)}, WHOLE


def filters(engine, cpu, *, seconds=20.0, quick=False):
    """Against the cpu's exact bytes, and against the same device's exact way by the wall clock."""
    side = engine.caps["filter_side"]
    if not side:
        return found("none", "no filters")
    end, rows, wall = time.monotonic() + seconds, [], clock(None)
    with type(engine)(engine.caps["backend"], device=engine.caps["uuid"] or None) as exact:
        for name, pixels, options, most in pictures(quick):
            row = {"case": name, "at most, of 255": most}
            try:
                got, want = (by.tokens(pixels, **options, **RAW).numpy() for by in (engine, cpu))
                off = 255 * float(np.abs(got - want).max())
                row |= {"off by, of 255": off, "state": "ok" if off <= most else "fail"}
                if time.monotonic() < end:
                    ways = {f"{way}, ms": partial(by.tokens, pixels, **options, **RAW)
                            for way, by in (("exact", exact), ("filters", engine))}
                    row |= {way: run.get("ms") for way, run in race(ways, wall, 3 if quick else ROUNDS, end).items()}
            except Error as error:
                row |= {"state": "fail", "error": str(error)}
            rows.append(row)
    runs = engine.stats["fast_samples"]
    bad = [row["case"] for row in rows if row["state"] == "fail"]
    return found("fail" if bad or not runs else "ok", ", ".join(bad) or f"images up to {side} px a side", rows)
