# SPDX-License-Identifier: Apache-2.0
"""What must work where a package is missing that the tests' own environment has."""

import sys
from pathlib import Path

from child import TESTS, TREE, child


def run(folder, names, script, *arguments, timeout=120):
    """Runs a script in a process that sees every package of this one but these; its output. folder: an empty one."""
    folder = Path(folder)
    for found in (Path(path) for path in sys.path if path.endswith("site-packages")):
        for entry in found.iterdir():
            if entry.suffix != ".pth" and not _is_of(entry.name, names) and not (folder / entry.name).is_symlink():
                (folder / entry.name).symlink_to(entry)
    start = f"import sys\nsys.path[:0] = {[str(TREE / 'python'), str(folder)]!r}\n"
    return child(None, start + script, *arguments, timeout=timeout, alone=True, PYTHONPATH=str(TESTS))


def _is_of(entry, names):
    """torch, torch-2.13.0.dist-info and torch.libs are all of torch."""
    return any(entry == name or entry.startswith((f"{name}-", f"{name}.")) for name in names)


