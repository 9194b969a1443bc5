# SPDX-License-Identifier: Apache-2.0
"""Images that lie in a CUDA device's memory, and what this machine has of CUDA.

    engine = foveate.Engine(cuda=True)      # on the Vulkan device that is a CUDA device as well; or Engine("cuda", ...)
    tokens = engine.tokens(frames, ...)     # frames may be on that device: torch, CuPy, anything with DLPack
    torch.from_dlpack(tokens.patches)       # on cuda:N, without a copy
"""

from typing import Any

from . import _core
from .error import Error, InputError

KINDS = (2, 13)     # DLPack's CUDA, and memory that CUDA moves by itself


def on_cuda(item: Any, engine) -> bool:
    """Whether an object's array is CUDA's, for an engine that takes such."""
    if engine._open().cuda_device() is None:
        return False
    kind = type(item)
    if hasattr(kind, "__dlpack_device__"):
        try:
            return int(item.__dlpack_device__()[0]) in KINDS
        except (BufferError, RuntimeError, TypeError, ValueError):
            return False
    return getattr(item, "__cuda_array_interface__", None) is not None


def taken(item: Any, engine) -> _core.Source:
    """The array for the engine to read; copied, once and on the device, unless its memory is the engine's."""
    core = engine._open()
    try:
        source, copied = core.cuda_source(getattr(item, "_core", item))
    except Error:
        raise
    except (AttributeError, BufferError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"image: CUDA array: got {type(error).__name__} ({error}), expected an array that can be "
                         "shared.") from error
    if copied:
        engine._count_copies(source.shape[0] if len(source.shape) == 4 else 1)
    return source


def found() -> dict[str, Any]:
    """The driver, its version and devices, and for each the Vulkan device that is the same; or the reason for none."""
    table = _core.cuda()
    vulkan = {c["uuid"]: c["device"] for c in map(dict, _core.candidates()) if c["backend"] == "vulkan" and c["uuid"]}
    for device in table["devices"]:
        device["vulkan"] = vulkan.get(device["instance_uuid"]) or vulkan.get(device["uuid"])
    return table
