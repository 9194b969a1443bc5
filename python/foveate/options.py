# SPDX-License-Identifier: Apache-2.0
"""What an Engine is made with."""

import os

from . import _core, backends
from .error import require, whole
from .types import STAGES


def open_core(backend, device, memory_budget, threads, share, exact, trace, ahead, cuda):
    """The engine behind an Engine with these options, every one of them checked."""
    names = dict(backend) if isinstance(backend, dict) else {"*": backend}
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
    for what, value in (("share", share), ("exact", exact), ("trace", trace), ("ahead", ahead), ("cuda", cuda)):
        require(isinstance(value, bool), f"Engine: {what}", repr(value), "True or False")
    names, chosen = _chosen(names, cuda) if not (device or share) else (names, ("", ""))
    executors = backends.executors(names.values(), device, chosen)
    return _core.Engine(names, device, budget, count, "", share, exact, trace, ahead, cuda, executors)


def _chosen(names, cuda):
    """The backends with what "auto" stands for, as it does for stages that are not named; and what that is."""
    if "*" not in names and not set(STAGES) <= set(names):
        names["*"] = "auto"
    if "auto" not in names.values():
        return names, ("", "")
    chosen = backends.automatic(cuda)
    return {stage: chosen[0] if name == "auto" else name for stage, name in names.items()}, chosen
