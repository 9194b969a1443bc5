# SPDX-License-Identifier: Apache-2.0
"""`make gpu-check`: everything that only a GPU can say, in one command with no network and a bounded time.

Each section runs in a process of its own, so that a driver that fails, crashes or hangs costs that section alone.
`python -m foveate.gpu_check --help` has the options. Exit status: 0, or 1 where parity or interop failed, or where
there was nothing to compare.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

from . import gpu_check_drivers as drivers
from .gpu_check_report import markdown, remark

BUDGET = 420.0                  # seconds for everything
BACKENDS = ("vulkan", "opengl", "cuda")
# (section, seconds for all backends), in order: what may be left out for want of time comes last
SECTIONS = (("parity", 75.0), ("interop", 75.0), ("filters", 20.0), ("vrs", 20.0), ("copies", 30.0), ("stages", 30.0),
            ("speed", 150.0))
QUICK = 0.1                     # of those seconds
GRACE = 15.0                    # seconds over them until a section is stopped
MUST = ("parity", "interop")    # whose failure is the command's


def arguments_of(arguments):
    parser = argparse.ArgumentParser(prog="gpu-check", description=__doc__.split("\n\n")[0])
    parser.add_argument("--backend", action="append", choices=BACKENDS, help="this one, on software too; may be "
                        "repeated. Default: every usable one on hardware")
    parser.add_argument("--device", help="by a part of its name")
    parser.add_argument("--section", action="append", choices=[name for name, _ in SECTIONS], help="may be repeated")
    parser.add_argument("--budget", type=float, default=BUDGET, help=f"seconds; default {BUDGET:.0f}")
    parser.add_argument("--quick", action="store_true", help="small images and few rounds: to see that it works")
    parser.add_argument("--out", type=Path, help="folder of the report; default: docs/measured, out/ with --quick")
    parser.add_argument("--plant", action="store_true", help="damage one result, to see that parity sees it")
    parser.add_argument("--run", metavar="JSON", help=argparse.SUPPRESS)    # one section, in its own process
    return parser.parse_args(arguments)


# The child: one section on one backend.

def run_section(order):
    from . import gpu_check_sections as sections
    from .engine import Engine
    from .gpu_check_filters import filters
    from .gpu_check_speed import speed

    call = {"speed": speed, "filters": filters}.get(order["section"]) or getattr(sections, order["section"])
    options = {"seconds": order["seconds"], "quick": order["quick"]}
    if order["section"] == "parity":
        options["plant"] = order["plant"]
    more = {}
    if order["section"] == "filters":
        more["exact"] = False
    if order["section"] == "copies":
        more["trace"] = True
    if order["section"] == "interop" and takes_cuda(Engine) and order["backend"] == "vulkan":
        more["cuda"] = True
    if order["section"] == "speed" and not order["quick"]:
        more["memory_budget"] = 32 << 30
    with Engine(order["backend"], device=order["device"], **more) as engine, Engine("cpu") as cpu:
        return call(engine, cpu, **options)


def takes_cuda(engine):
    import inspect

    return "cuda" in inspect.signature(engine).parameters


def child(order, seconds, environment):
    """What a section found; its own state where it ended otherwise than it should."""
    command = [sys.executable, "-X", "faulthandler", "-m", "foveate.gpu_check", "--run", json.dumps(order)]
    begin = time.monotonic()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds,
                              env=os.environ | environment)
    except subprocess.TimeoutExpired:
        return {"state": "error", "note": f"no end within {seconds:.0f} s: stopped", "rows": [],
                "seconds": time.monotonic() - begin}
    if done.returncode == 0:
        result = json.loads(done.stdout.splitlines()[-1])
    else:
        ended = f"signal {-done.returncode}" if done.returncode < 0 else f"exit status {done.returncode}"
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        said = lines[-1] if done.returncode > 0 and lines else " / ".join(lines[:4])
        result = {"state": "error", "note": f"{ended}: {said}", "rows": []}
    return result | {"seconds": time.monotonic() - begin}


# The parent

def versions():
    found = {"python": platform.python_version()}
    for name in ("foveate", "numpy", "torch", "cupy-cuda13x", "cupy-cuda12x", "cupy"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def chosen(candidates, options):
    """The candidates that are checked: each backend's first usable one, of hardware unless it is asked for."""
    made = {}
    for candidate in candidates:
        name = candidate["backend"]
        if not candidate["usable"] or name not in (options.backend or BACKENDS) or name in made:
            continue
        if options.device and options.device.lower() not in candidate["device"].lower():
            continue
        if candidate["software"] and not options.backend:
            continue
        made[name] = candidate
    return made


def check(options, say):
    """The whole report, as it is written."""
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        found = drivers.find(Path(folder), search=not options.device)
        picked = chosen(found["candidates"], options)
        report = {"machine": drivers.machine(), "versions": versions(), "quick": options.quick,
                  "drivers": found["tried"], "candidates": found["candidates"], "sections": [],
                  "device": next((c["device"] for c in picked.values()), "no device")}
        for name, seconds in SECTIONS:
            for backend, candidate in picked.items():
                if options.section and name not in options.section:
                    continue
                left = options.budget - (time.monotonic() - begin)
                allowed = min(seconds / len(picked) * (QUICK if options.quick else 1), max(left - GRACE, 0))
                entry = {"section": name, "backend": backend, "device": candidate["device"]}
                if left < GRACE:
                    entry |= {"state": "error", "note": "no time left", "rows": [], "seconds": 0.0}
                else:
                    order = {"section": name, "backend": backend, "device": candidate["uuid"] or None,
                             "seconds": allowed, "quick": options.quick, "plant": options.plant}
                    entry |= child(order, min(allowed + GRACE, left), found["environment"])
                report["sections"].append(entry)
                say(remark(entry))
        report["seconds"] = time.monotonic() - begin
    return report


def verdict(report):
    """(exit status, why) of a report."""
    bad = [f"{entry['section']} on {entry['backend']}" for entry in report["sections"]
           if entry["section"] in MUST and entry["state"] in ("fail", "error")]
    compared = any(entry["section"] == "parity" and entry["state"] == "ok" for entry in report["sections"])
    if bad:
        return 1, f"failed: {', '.join(bad)}"
    if not compared:
        return 1, "got no backend to compare with the cpu, expected vulkan, opengl or cuda"
    return 0, "parity and interop as they should be"


def save(folder, report):
    """gpu-<device>.json and .md; where they are."""
    folder.mkdir(parents=True, exist_ok=True)
    name = "gpu-" + (re.sub(r"[^a-z0-9]+", "-", report["device"].lower()).strip("-") or "none")
    paths = folder / f"{name}.json", folder / f"{name}.md"
    paths[0].write_text(json.dumps(report, indent=1) + "\n")
    paths[1].write_text(markdown(report))
    return paths


def main(arguments=None):
    options = arguments_of(arguments)
    if options.run:
        print(json.dumps(run_section(json.loads(options.run)), default=float))
        return 0
    report = check(options, lambda line: print(line, flush=True))
    status, why = verdict(report)
    report["verdict"] = why
    for path in save(options.out or Path("out" if options.quick else "docs/measured"), report):
        print(f"wrote {path}")
    print(f"gpu-check: {why}; {report['seconds']:.0f} s")
    return status


if __name__ == "__main__":
    sys.exit(main())
