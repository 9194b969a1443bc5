# SPDX-License-Identifier: Apache-2.0
"""Backends that live in Python: they run the lists of steps that the engine makes of its stages."""

import importlib
import importlib.util

from .. import _core, egl
from ..cuda import found as cuda_found

NAMES = ("cuda", "opengl")


def _module(name):
    return importlib.import_module(f"{__name__}.{name}")


def executors(names, device, chosen=("", "")):
    """An executor for each of the backends in `names` that lives here. `chosen`: what `automatic` has found."""
    return {name: _module(name).executor(chosen[1] if name == chosen[0] else device)
            for name in NAMES if name in names}


def automatic(cuda=False):
    """(backend, device) that "auto" means where no device is named: the first GPU that is usable, or the cpu.

    What computes on the processor is passed over: it has the same cores as the cpu backend. Nothing is imported,
    compiled or made for devices that are not there. `cuda`: only where CUDA sees the memory.
    """
    if cuda:
        vulkan = any(device["vulkan"] for device in cuda_found()["devices"])
    else:
        vulkan = _usable(map(dict, _core.candidates()), "vulkan") is not None
    if vulkan:
        return "vulkan", ""
    if _usable(map(dict, _core.cuda_candidates()), "cuda") is not None:
        found = _usable(_module("cuda").candidates(), "cuda")   # with a compiler, too
        if found is not None:
            return "cuda", found
    if cuda:
        return "vulkan", ""     # which says what each side has
    if importlib.util.find_spec("moderngl") and any(egl.devices()):
        found = _usable(_module("opengl").candidates(), "opengl")
        if found is not None:
            return "opengl", found
    return "cpu", ""


def _usable(candidates, backend):
    """The UUID, or else the name, of the first of this backend that is a usable GPU; None: there is none."""
    return next((found["uuid"] or found["device"] for found in candidates
                 if found["backend"] == backend and found["usable"] and not found["software"]), None)


def candidates():
    """Every device of every backend here, as `info()` lists them, usable or not."""
    return [found for name in NAMES for found in _module(name).candidates()]
