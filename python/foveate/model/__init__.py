# SPDX-License-Identifier: Apache-2.0
"""model: tokens into models as they are, without a fork of them and without training.

Each module is for one framework, and importing it imports that; this one imports nothing.
"""

from importlib import import_module

_LAZY = {
    "processor": ("load_processor", "register_processors", "FoveatedQwen2VLImageProcessor",
                  "FoveatedQwen2_5_VLImageProcessor", "FoveatedQwen3VLImageProcessor"),
}
_HOME = {name: module for module, names in _LAZY.items() for name in names}


def __getattr__(name):
    if name in _HOME:
        return getattr(import_module(f".{_HOME[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *_HOME})
