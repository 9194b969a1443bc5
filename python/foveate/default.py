# SPDX-License-Identifier: Apache-2.0
"""The engine that the stage functions use when they are given none: one per process, made on first use."""

import os
import threading

_lock = threading.Lock()
_engine = None
forks = 0           # how often this process came out of a fork() of one that had foveate loaded
_inherited = []     # engines of a parent process: never ended here, where their threads do not exist


def engine_of(engine):
    """The engine itself, or the process's own."""
    global _engine
    if engine is not None:
        return engine
    if _engine is None:
        from .engine import Engine

        with _lock:
            if _engine is None:
                _engine = Engine()
    return _engine


def _after_fork():
    global _engine, _lock, forks
    forks += 1
    _lock = threading.Lock()    # another thread may have held it
    if _engine is not None:
        _inherited.append(_engine)
        _engine = None


os.register_at_fork(after_in_child=_after_fork)
