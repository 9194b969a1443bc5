# SPDX-License-Identifier: Apache-2.0
"""What this machine offers (info), and what stands in the way (doctor). Imports nothing heavy."""

import contextlib
import importlib.metadata
import importlib.util
import os
import platform
import sys
from pathlib import Path

import numpy as np

LAYER = "VkLayer_khronos_validation.json"
REPORT = "Please report this with the output of `foveate info`."
FILTERED = 2        # of 255: what hardware filters may be off by, docs/backends.md


def info():
    """What foveate found: version, machine and every backend candidate with every reason against it.

    Returns:
        dict with version, python, numpy, machine, cores, isa, and candidates: a list of dicts with
        backend, device, uuid, driver, software, in_place (reads arrays where they lie), shares (memory that
        others open), sync (how its work is ordered with theirs: "timeline", "binary" or "host"), profiling (what it
        can tell: timestamps, sources, statistics), usable and reasons; and shading_rate: usable, reasons, rates, tile
        (least and largest px), strict and combiners of its VK_KHR_fragment_shading_rate, see `foveate.sample_vrs`; and
        filter_side: px a side of images that its hardware filters, for Engine(exact=False), or 0; and cuda: driver,
        version, reason against it, and devices: dicts with ordinal, name, uuid, instance_uuid, compute, timelines, and
        vulkan: what the same device is called there, or None.

    Example:
        >>> "cpu" in [candidate["backend"] for candidate in foveate.info()["candidates"]]
        True
    """
    from . import Engine, __version__, cuda

    with contextlib.closing(Engine(backend="cpu")) as engine:
        isa = engine.caps["isa"]
    return {
        "version": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": f"{platform.system()} {platform.machine()}",
        "cores": len(os.sched_getaffinity(0)),
        "isa": isa,
        "candidates": candidates(),
        "cuda": cuda.found(),
    }


def candidates():
    """Every backend that could be, usable or not, with every reason against it."""
    from . import _core, backends

    return [dict(candidate) for candidate in _core.candidates()] + backends.candidates()


def doctor(*, need=()):
    """Checks the installation, each check with what was found and what would mend it.

    Args:
        need: what must work: any of "vulkan", "opengl", "cuda", "torch", "pillow". Anything else that is missing is a
            note.

    Returns:
        list of dicts with check, state ("ok", "note" or "fail"), found and fix.

    Example:
        >>> [row["check"] for row in foveate.doctor() if row["state"] == "fail"]
        []
    """
    checks = [_python(), _numpy(), *_cpu()]
    checks += [_loader(), _drivers(), *_devices(), _cuda(), _cache(), _layer()]
    checks += [_package("torch", "torch"), _package("pillow", "PIL")]
    for check in checks:
        if check["state"] == "note" and check.pop("of", None) in need:
            check["state"] = "fail"
        check.pop("of", None)
    return checks


def _check(name, good, found, fix="", of=None):
    """A row. `of` marks what may be missing unless it is needed; everything else must work."""
    state = "ok" if good else "note" if of else "fail"
    return {"check": name, "state": state, "found": found, "fix": "" if good else fix, "of": of}


def _python():
    return _check("Python", sys.version_info >= (3, 11), platform.python_version(), "Use Python 3.11 or newer.")


def _numpy():
    major, minor = (int(part) for part in np.__version__.split(".")[:2])
    return _check("NumPy", (major, minor) >= (1, 26), np.__version__, 'pip install "numpy>=1.26"')


def _trial(**options):
    """A small image through an engine: (device, bytes), so that two backends can be compared."""
    from . import Engine

    ramp = np.arange(64 * 64 * 3, dtype=np.uint32) * 2654435761 >> 24
    with contextlib.closing(Engine(**options)) as engine:
        tokens = engine.tokens(ramp.astype(np.uint8).reshape(64, 64, 3), budget=10, gaze=(0.3, 0.6))
        return engine.caps["device"], tokens.numpy().tobytes()


def _cpu():
    try:
        device, _ = _trial(backend="cpu")
    except Exception as error:  # whatever it is, the doctor reports it
        return [_check("cpu backend", False, str(error), "Reinstall foveate.")]
    return [_check("cpu backend", True, device)]


def _loader():
    import ctypes

    try:
        ctypes.CDLL("libvulkan.so.1")
    except OSError as error:
        return _check("Vulkan loader", False, str(error), "Install libvulkan1.", of="vulkan")
    return _check("Vulkan loader", True, "libvulkan.so.1")


def _manifests(kind):
    homes = [os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local/share")]
    roots = homes + (os.environ.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share").split(":") + ["/etc"]
    return sorted({path for root in roots if root for path in Path(root, "vulkan", kind).glob("*.json")})


def _drivers():
    named = os.environ.get("VK_DRIVER_FILES") or os.environ.get("VK_ICD_FILENAMES")
    files = [Path(name) for name in named.split(":") if name] if named else _manifests("icd.d")
    lost = [path.name for path in files if not path.is_file()]
    if lost:
        return _check("Vulkan drivers", False, "not a file: " + ", ".join(lost),
                      "Mend VK_DRIVER_FILES or VK_ICD_FILENAMES.", of="vulkan")
    names = ", ".join(path.name for path in files) or "no driver manifest"
    return _check("Vulkan drivers", bool(files), names,
                  "Install a driver; mesa-vulkan-drivers has one for every processor.", of="vulkan")


def _devices():
    rows, same = [], None
    for candidate in candidates():
        if candidate["backend"] == "cpu":
            continue
        name = f"{candidate['backend']}: {candidate['device']}"
        if not candidate["usable"]:
            rows.append(_check(name, False, "; ".join(candidate["reasons"]), 'Use backend="cpu".',
                               of=candidate["backend"]))
            continue
        try:
            same = same or _trial(backend="cpu")[1]
            agrees = _trial(backend=candidate["backend"], device=candidate["uuid"])[1] == same
        except Exception as error:
            rows.append(_check(name, False, str(error), 'Use backend="cpu".', of=candidate["backend"]))
            continue
        rows.append(_check(name, agrees, "the same bytes as the cpu" if agrees else "other bytes than the cpu",
                           REPORT, of=candidate["backend"]))
        if agrees and candidate["filter_side"]:
            rows.append(_filters(name, candidate, same))
    # one device of a backend that works is enough, whatever the others lack
    working = {row["of"] for row in rows if row["state"] == "ok"}
    for row in rows:
        row["of"] = None if row["of"] in working else row["of"]
    return rows


def _filters(name, candidate, exact):
    """What Engine(exact=False) reads by, on whole texels: a byte's rounding is all that differs."""
    try:
        made = _trial(backend=candidate["backend"], device=candidate["uuid"], exact=False)[1]
    except Exception as error:
        return _check(f"{name}: filters", False, str(error), "Leave out exact=False.", of=candidate["backend"])
    off = 255 * np.abs(np.frombuffer(made, np.float32) - np.frombuffer(exact, np.float32)).max()
    found = f"images up to {candidate['filter_side']} px a side, off by {off:.1f} of 255"
    return _check(f"{name}: filters", off <= FILTERED, found, REPORT, of=candidate["backend"])


def _cuda():
    """One device that Vulkan and CUDA both have is what arrays on CUDA need."""
    from . import cuda

    table = cuda.found()
    if not table["driver"] or table["reason"]:
        return _check("CUDA", False, table["reason"], "Only for arrays on CUDA: install NVIDIA's driver.", of="cuda")
    found = [f"{d['ordinal']} {d['name']}: {d['vulkan'] or 'not a Vulkan device'}" for d in table["devices"]]
    return _check("CUDA", any(d["vulkan"] for d in table["devices"]),
                  f"{table['version']}: " + (", ".join(found) or "no device"),
                  "Install the Vulkan part of NVIDIA's driver (in a container: NVIDIA_DRIVER_CAPABILITIES=all).",
                  of="cuda")


def _cache():
    """Where compiled pipelines are kept. Without it everything works, and the first call is slower."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    folder = Path(os.environ.get("FOVEATE_CACHE_DIR")
                  or (Path(base) if base.startswith("/") else Path.home() / ".cache") / "foveate")
    nearest = next((path for path in (folder, *folder.parents) if path.exists()), folder)
    return _check("pipeline cache", os.access(nearest, os.W_OK), str(folder),
                  "Make it writable, or set FOVEATE_CACHE_DIR.", of="cache")


def _layer():
    found = [path for path in _manifests("explicit_layer.d") if path.name == LAYER]
    return _check("Vulkan validation layer", bool(found), LAYER if found else "not installed",
                  "Only for work on foveate: install vulkan-validationlayers.", of="layer")


def _package(name, module):
    try:
        there = importlib.util.find_spec(module) is not None
        return _check(name, there, importlib.metadata.version(name) if there else "not installed",
                      f"pip install {name}", of=name)
    except importlib.metadata.PackageNotFoundError:
        return _check(name, True, "installed", of=name)
