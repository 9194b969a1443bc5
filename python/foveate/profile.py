# SPDX-License-Identifier: Apache-2.0
"""`foveate profile`: the time of each stage on the host and on the device, against the bytes that it must move."""

import statistics
import time

import numpy as np

from .bench import copy_bandwidth
from .engine import Engine
from .error import require

WARM = 3                    # rounds before those that count: pipelines, pools, caches
COPIED = 1 << 26            # bytes, more than a cache holds
COPIES = 5                  # that are measured, after WARM of them
TOLD = ("register", "vgpr", "sgpr", "occupan", "spill", "stack", "scratch", "shared", "local")  # shown


def steps(engine, pixels, *, model, budget, gaze):
    """[(stage, call(values) -> value, bytes(values))]: a call sees what the ones before it made, by stage."""
    image = engine.image(pixels)
    taken = np.asarray(pixels).nbytes

    def levels(made):
        pyramid = made["pyramid"]
        return sum(int(np.prod(pyramid.level(level).shape)) * 2 for level in range(1, pyramid.levels))

    return [
        ("pyramid", lambda made: engine.pyramid(image, levels=5), lambda made: taken + levels(made)),
        ("relevance", lambda made: engine.relevance(image, gaze=gaze, model=model),
         lambda made: made["relevance"].cells.nbytes),
        ("rate", lambda made: engine.rate(image, relevance=made["relevance"], budget=budget, model=model),
         lambda made: taken + made["relevance"].cells.nbytes + made["rate"].codes.nbytes),
        ("layout", lambda made: engine.layout(image, kind="rate", rates=made["rate"], gaze=gaze),
         lambda made: made["layout"].table.nbytes),
        ("sample", lambda made: engine.sample(made["pyramid"], made["layout"], model=model),
         lambda made: 2 * made["sample"].data.numpy().nbytes),
    ]


def device_copy(engine) -> float | None:
    """Bytes read and written each second by a copy in the device's own memory; None where it tells no time."""
    core, taken = engine._open(), []
    for _ in range(WARM + COPIES):
        engine.spans()
        if not core.copy(COPIED):
            return None
        taken += [span.end_ns - span.begin_ns for span in engine.spans() if span.name == "copy"]
    return 2 * COPIED / statistics.median(taken[WARM:]) * 1e9 if taken else None


def profile(pixels, *, backend="auto", device=None, model="qwen2.5-vl", budget=273, gaze=(0.5, 0.5), rounds=20) -> dict:
    """Times the stages one by one, then all of them in one call.

    Args:
        pixels: one image, as `foveate.image` takes it.
        backend, device: as for `foveate.Engine`.
        model, budget, gaze: of the tokens.
        rounds: that are measured, 1..1000.

    Returns:
        dict: backend, device, shaders, copy_gb_s and device_copy_gb_s, rows, kernels (what the driver says of each, or
        None) and, of the last round, events (host and device, ns) and submits.
    """
    require(isinstance(rounds, int) and 1 <= rounds <= 1000, "profile: rounds", rounds, "1..1000")
    engine = Engine(backend, device=device, trace=True)
    stages = steps(engine, pixels, model=model, budget=budget, gaze=gaze)
    stages.append(("tokens", lambda made: engine.tokens(pixels, model=model, budget=budget, gaze=gaze), None))
    host, busy, made, events = {}, {}, {}, []
    for turn in range(WARM + rounds):
        events = []
        for stage, call, _ in stages:
            engine.spans()
            begin = time.monotonic_ns()
            made[stage] = call(made)
            end = time.monotonic_ns()
            spans = engine.spans()
            events.append({"stage": stage, "begin_ns": begin, "end_ns": end,
                           "device": [span._asdict() for span in spans]})
            if turn >= WARM:
                host.setdefault(stage, []).append((end - begin) / 1e6)
                busy.setdefault(stage, []).append(sum(span.end_ns - span.begin_ns for span in spans) / 1e6)
    caps, rows = engine.caps, []
    bandwidth, on_device = copy_bandwidth(), device_copy(engine)
    for stage, _, moved in stages:
        milliseconds, device_ms = statistics.median(host[stage]), statistics.median(busy[stage])
        count = moved(made) if moved else None
        row = {"stage": stage, "host_ms": milliseconds, "device_ms": device_ms or None,
               "dispatches": len(events[[event["stage"] for event in events].index(stage)]["device"])}
        if count is not None:
            rate = count / (device_ms or milliseconds) * 1e3
            held = on_device if device_ms else bandwidth if caps["software"] else None
            row |= {"bytes": count, "gb_s": rate / 1e9, "of_copy": rate / held if held else None}
        rows.append(row)
    dropped = engine.stats["spans_dropped"]
    kernels = engine._open().kernels() if "statistics" in caps.get("profiling", ()) else None
    engine.close()
    return {"backend": caps["backend"], "device": caps["device"], "shaders": caps.get("shaders", ""), "rounds": rounds,
            "copy_gb_s": bandwidth / 1e9, "device_copy_gb_s": on_device and on_device / 1e9, "rows": rows,
            "kernels": kernels, "events": events, "spans_dropped": dropped}


def told(kernel) -> str:
    """What of a kernel's statistics says how many of it run at once: registers, memory of its own, spills."""
    return ", ".join(f"{name} {value:g}" for name, value in kernel["statistics"].items()
                     if any(word in name.lower() for word in TOLD))


def submits(result) -> list[tuple[int, str]]:
    """(submission of the device, what it runs) of the last round, as profilers count them: from 1, warm-up included."""
    found = {}
    for event in result["events"]:
        for span in event["device"]:
            found.setdefault(span["submit"], []).append(span["name"])
    return [(number, ", ".join(names)) for number, names in sorted(found.items())]


def trace_events(result) -> dict:
    """The last round as Chrome, Perfetto and speedscope read it."""
    first = result["events"][0]["begin_ns"]
    tracks = {1: "host", 2: f"{result['backend']}, {result['device']}"}
    events = [{"name": "thread_name", "ph": "M", "pid": 1, "tid": track, "args": {"name": name}}
              for track, name in tracks.items()]

    def add(track, name, begin, end, **more):
        events.append({"name": name, "ph": "X", "pid": 1, "tid": track, "ts": (begin - first) / 1e3,
                       "dur": (end - begin) / 1e3, "args": more})

    for event in result["events"]:
        add(1, event["stage"], event["begin_ns"], event["end_ns"])
        for span in event["device"]:
            add(2, span["name"], span["begin_ns"], span["end_ns"], submit=span["submit"])
    return {"traceEvents": events, "displayTimeUnit": "ms"}
