# SPDX-License-Identifier: Apache-2.0
"""Tests that must not share their process: what crashes, forks, leaks or counts drivers' calls."""

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent
TREE = TESTS.parent


def child(backend, script, *arguments, timeout=120, alone=False, **env):
    """Runs a script in a process with this one backend (or none) and no compiled pipelines; its output.

    alone: without the packages of the environment.
    """
    import conftest

    if backend is not None:
        conftest.options(backend)  # fails here and now where there is no driver
    base = {k: v for k, v in os.environ.items() if k not in ("VK_DRIVER_FILES", "VK_ICD_FILENAMES")}
    base |= {"PYTHONPATH": os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]),
             "FOVEATE_TEST_BACKENDS": backend or "cpu", "FOVEATE_CACHE_DIR": "",
             **(conftest.STUB if backend == "cuda" else {}), **env}
    command = [sys.executable, *(["-S"] if alone else []), "-c", script, *map(str, arguments)]
    try:
        done = subprocess.run(command, env=base, timeout=timeout, capture_output=True, text=True)
    except subprocess.TimeoutExpired as late:
        raise AssertionError(f"no end within {timeout} s: {(late.stdout or b'')[-2000:]}") from None
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout.strip()


def ended(process, seconds=20):
    """Waits for its end, and brings it about where it does not come by itself."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


# SwiftShader opens one for its compiler each time the loader loads it, and does not close it when unloaded.
DRIVERS_OWN = ("/memfd:swiftshader_jit",)


def descriptors():
    """What the process has open, but for the listing itself and what drivers are known to leave."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            found.append((int(name), os.readlink(f"/proc/self/fd/{name}")))
        except FileNotFoundError:
            continue
    return sorted((fd, file) for fd, file in found if not file.startswith(DRIVERS_OWN))


def compiled(folder, name, sources, *flags):
    """A program or library made of C++ sources of the tree. Without a compiler the test fails."""
    out = Path(folder) / name
    command = [os.environ.get("CXX", "c++"), "-std=c++20", "-Wall", "-Wextra", "-Werror", "-O1", "-g",
               "-Wno-missing-field-initializers", f"-I{TREE}", f"-I{TREE / 'shaders'}", *flags,
               *(str(TREE / source) for source in sources), "-o", str(out), "-ldl", "-pthread"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return out
