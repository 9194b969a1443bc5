# SPDX-License-Identifier: Apache-2.0
"""What must work where a package is missing that the tests' own environment has."""

import sys
from pathlib import Path

import foveate
from child import TESTS, child


def run(folder, names, script, *arguments, timeout=120):
    """Runs a script in a process that sees every package of this one but these; its output. folder: an empty one."""
    own = Path(folder) / "foveate"
    own.mkdir()     # sources and what was built of them lie in two folders while it is being worked on
    _link(own, [*Path(foveate.__file__).parent.iterdir(), Path(foveate._core.__file__)])
    for found in (Path(path) for path in sys.path if path.endswith("site-packages")):
        _link(own.parent, [entry for entry in found.iterdir()
                           if entry.suffix != ".pth" and not _is_of(entry.name, names)])
    start = f"import sys\nsys.path.insert(0, {str(folder)!r})\n"
    return child(None, start + script, *arguments, timeout=timeout, alone=True, PYTHONPATH=str(TESTS))


def _link(folder, entries):
    for entry in entries:
        if not (folder / entry.name).exists():
            (folder / entry.name).symlink_to(entry)


def _is_of(entry, names):
    """torch, torch-2.13.0.dist-info and torch.libs are all of torch."""
    return any(entry == name or entry.startswith((f"{name}-", f"{name}.")) for name in names)


