# SPDX-License-Identifier: Apache-2.0
"""What an Engine is made with."""

import os

from . import _core, backends
from .error import require, whole


def open_core(backend, device, memory_budget, threads, share, trace, ahead, cuda):
    """The engine behind an Engine with these options, every one of them checked."""
    names = backend if isinstance(backend, dict) else {"*": backend}
    for name in (*names, *names.values()):
        require(isinstance(name, str), "Engine: backend", repr(backend),
                '"auto", "cpu", "vulkan", "opengl", "cuda", or a dict of them by stage')
    device = os.environ.get("FOVEATE_DEVICE", "") if device is None else str(device)
    budget = 0
    if memory_budget is not None:
        require(isinstance(memory_budget, int) and 0 < memory_budget < 1 << 63, "Engine: memory_budget",
                repr(memory_budget), "a number of bytes above 0")
        budget = memory_budget
    count = 0 if threads is None else whole("Engine: threads", threads, 1, _core.limits()["threads"])
    for what, value in (("share", share), ("trace", trace), ("ahead", ahead), ("cuda", cuda)):
        require(isinstance(value, bool), f"Engine: {what}", repr(value), "True or False")
    executors = backends.executors(names.values(), device)
    return _core.Engine(dict(names), device, budget, count, "", share, trace, ahead, cuda, executors)
