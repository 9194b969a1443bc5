# SPDX-License-Identifier: Apache-2.0
"""The libraries that models come from: there, and new enough."""

import importlib
import re
from importlib import metadata

from ..error import UnsupportedError, require

# Library: the extra that brings it, and the first version with what adapters rely on.
NEEDS = {
    "torch": ("torch", "2.4"),
    "transformers": ("hf", "5.18"),     # generate() takes features made beforehand, `mm_encoder_outputs`
    "timm": ("timm", "1.0.31"),         # NaFlexVit reads the coordinates of patches
    "PIL": ("hf", "11"),
    "safetensors": ("hf", "0.5"),
}
PACKAGES = {"PIL": "pillow"}            # where it is called otherwise


def need(*libraries):
    """The libraries, imported, in the order they were named; one alone is not in a tuple.

    Raises:
        UnsupportedError: one that is missing, too old, or does not start, and how to get it.
    """
    found = tuple(_library(name) for name in libraries)
    return found if len(found) > 1 else found[0]


def _library(name):
    extra, least = NEEDS[name]
    hint = f"Run: pip install 'foveate[{extra}]'"
    try:
        version = metadata.version(PACKAGES.get(name, name))
    except metadata.PackageNotFoundError:
        raise UnsupportedError(f"model: {name}: got none, expected {least} or newer. {hint}") from None
    require(_numbers(version) >= _numbers(least), f"model: {name}", version, f"{least} or newer", hint,
            UnsupportedError)
    try:
        return importlib.import_module(name)
    except (ImportError, RuntimeError) as error:    # torchvision for another torch is a RuntimeError
        reason = str(error).splitlines()[0]
        raise UnsupportedError(f"model: {name}: got {reason}, expected it to start. {hint}") from None


def _numbers(version):
    return tuple(int(number) for number in re.findall(r"\d+", re.split(r"[+a-z]", version)[0]))
