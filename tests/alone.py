# SPDX-License-Identifier: Apache-2.0
"""Tests run side by side in processes; one that is marked `alone` judges what the machine can do, and has it alone.

Each test holds a lock together with the others, one of these holds it by itself. Whoever wants it goes through a door,
so that others who come later do not overtake who waits. What a test itself runs is a part of it and takes neither.
"""

import fcntl
import os
from contextlib import contextmanager
from functools import cache
from pathlib import Path

INSIDE = "PYTEST_CURRENT_TEST" in os.environ     # of a test: pytest sets it


@cache
def _locks():
    """The door and the room: whichever file there is can be locked, and the end of its process unlocks it."""
    here = Path(__file__)
    return here.open("rb"), here.with_name("conftest.py").open("rb")


@contextmanager
def beside_others(alone):
    if INSIDE:
        yield
        return
    door, room = _locks()
    fcntl.flock(door, fcntl.LOCK_EX)
    fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
    fcntl.flock(door, fcntl.LOCK_UN)
    try:
        yield
    finally:
        fcntl.flock(room, fcntl.LOCK_UN)
