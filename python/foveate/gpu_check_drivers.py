# SPDX-License-Identifier: Apache-2.0
"""How `foveate.gpu_check` finds drivers: as the loader does, else by manifests that lie elsewhere, else by manifests
of its own for the vendor's libraries. Each way is tried in a process of its own: a loader looks once.
"""

import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

VULKAN = ("VK_DRIVER_FILES", "VK_ICD_FILENAMES")
EGL = "__EGL_VENDOR_LIBRARY_FILENAMES"
# Where container runtimes put a driver's manifests and libraries without telling the loader.
FOLDERS = ("/usr/local/nvidia/share", "/usr/local/nvidia", "/usr/share", "/usr/local/share", "/etc")
LIBRARY_FOLDERS = ("/usr/local/nvidia/lib64", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64",
                   "/usr/lib/wsl/lib")
LIBRARIES = ("libGLX_nvidia.so.0", "libEGL_nvidia.so.0")
SECONDS = 30.0
LISTING = "import foveate, json; print(json.dumps(foveate.info()['candidates']))"


def machine():
    """What the machine is, by the processor's and the driver's own words."""
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        named = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.M)
        model = named[1] if named else model
    try:
        told = subprocess.run(["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"],
                              capture_output=True, text=True, timeout=20)
        gpu = told.stdout.strip() if told.returncode == 0 else told.stderr.strip() or told.stdout.strip()
    except FileNotFoundError:
        gpu = "no nvidia-smi"
    except (OSError, subprocess.TimeoutExpired) as error:
        gpu = f"nvidia-smi: {error}"
    return {"processor": model, "threads": len(os.sched_getaffinity(0)),
            "system": f"{platform.system()} {platform.machine()}", "gpu": gpu}


def manifests(kind, folders=FOLDERS):
    """The vendor's manifests of this kind: "vulkan/icd.d" or "glvnd/egl_vendor.d"."""
    return [path for folder in folders for path in sorted(Path(folder).glob(f"{kind}/*nvidia*.json"))]


def libraries(folders=LIBRARY_FOLDERS):
    searched = [*os.environ.get("LD_LIBRARY_PATH", "").split(":"), *folders]
    return [path for name in LIBRARIES
            for path in [next((Path(f) / name for f in searched if f and (Path(f) / name).exists()), None)] if path]


def egl(folder):
    """What lets EGL find the vendor's driver where it would not by itself."""
    known = manifests("glvnd/egl_vendor.d")
    if EGL in os.environ or any(path.is_relative_to(usual) for path in known for usual in ("/usr/share", "/etc")):
        return {}
    if not known:
        found = [library for library in libraries() if "EGL" in library.name]
        if not found:
            return {}
        known = [folder / "egl.json"]
        known[0].write_text(json.dumps({"file_format_version": "1.0.0", "ICD": {"library_path": str(found[0])}}))
    return {EGL: str(known[0])}


def ways(folder):
    """(what, environment) in the order in which they are tried; the OpenGL driver is the vendor's in all of them."""
    also = egl(folder)
    yield "as it is", also
    if any(os.environ.get(name) for name in VULKAN):
        return                              # the user has chosen
    for path in manifests("vulkan/icd.d"):
        yield str(path), dict.fromkeys(VULKAN, str(path)) | also
    for library in libraries():
        path = folder / f"{library.name}.json"
        path.write_text(json.dumps({"file_format_version": "1.0.1",
                                    "ICD": {"library_path": str(library), "api_version": "1.3.0"}}))
        yield f"a manifest made for {library}", dict.fromkeys(VULKAN, str(path)) | also
    for library in libraries():
        yield f"{library} without a loader", {"FOVEATE_VULKAN_LIBRARY": str(library)} | also


def listed(environment):
    """(candidates, error) as a fresh process sees them."""
    try:
        done = subprocess.run([sys.executable, "-X", "faulthandler", "-c", LISTING], capture_output=True, text=True,
                              timeout=SECONDS, env=os.environ | environment)
    except subprocess.TimeoutExpired:
        return [], f"no end within {SECONDS:.0f} s"
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        return [], (lines[0] if done.returncode < 0 and lines else lines[-1] if lines else f"exit {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1]), ""


def on_hardware(candidates):
    return any(c["backend"] == "vulkan" and c["usable"] and not c["software"] for c in candidates)


def find(folder, *, search=True):
    """The first way that shows Vulkan on hardware, else the first that shows anything; and what each way showed."""
    best, tried = None, []
    for what, environment in ways(folder):
        candidates, error = listed(environment)
        shown = [f"{c['device']}{'' if c['usable'] else ' (' + ', '.join(c['reasons']) + ')'}" for c in candidates
                 if c["backend"] == "vulkan"]
        tried.append({"way": what, "shown": shown, "error": error})
        if best is None or (on_hardware(candidates) and not on_hardware(best[0])):
            best = candidates, environment
        if on_hardware(candidates) or not search:
            break
    if search and not libraries():
        tried.append({"way": "the vendor's libraries", "shown": [],
                      "error": f"no {' and no '.join(LIBRARIES)} where they usually lie"})
    return {"candidates": best[0], "environment": best[1], "tried": tried}
