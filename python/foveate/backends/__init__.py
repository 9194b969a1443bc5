# SPDX-License-Identifier: Apache-2.0
"""Backends that live in Python: they run the lists of steps that the engine makes of its stages."""

import importlib

NAMES = ("cuda", "opengl")


def executors(names, device):
    """An executor for each of the backends in `names` that lives here."""
    return {name: importlib.import_module(f"{__name__}.{name}").executor(device)
            for name in NAMES if name in names}


def candidates():
    """Every device of every backend here, as `info()` lists them, usable or not."""
    return [found for name in NAMES for found in importlib.import_module(f"{__name__}.{name}").candidates()]
