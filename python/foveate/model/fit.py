# SPDX-License-Identifier: Apache-2.0
"""Do tokens fit a model: how they were cut, and where they lie."""

from ..error import require
from ..tensor import Tokens


def fit(tokens: Tokens, preset: str, **expected) -> None:
    """Requires what a model counts on: patch, merge, frames, channels ("first" or "last") and depth of the tokens.

    preset: the name of one that has it, for whoever made others.
    """
    require(isinstance(tokens, Tokens), "model: tokens", type(tokens).__name__, "Tokens")
    have = tokens.preset
    fields = {"patch": have.patch, "merge": have.merge, "frames": have.frames, "channels": have.channels,
              "depth": len(have.mean)}
    wrong = [name for name, value in expected.items() if fields[name] != value]
    require(not wrong, "model: preset", ", ".join(f"{name} {fields[name]}" for name in wrong),
            ", ".join(f"{name} {expected[name]}" for name in wrong) + ", as the model has",
            f'Make them with model="{preset}", or by hand alike.')


def square(value) -> int:
    """A side in texels, of which configurations have one or two that are equal."""
    return value if isinstance(value, int) else value[0]


def torch_of(tokens: Tokens, device, copy: bool):
    """The patches as a torch.Tensor on this device, or their own; from another one only where copy says so."""
    made = tokens.torch()
    if device is not None and made.device != device:
        require(copy, "model: tokens", f"patches on {made.device}", f"the model's {device}",
                "Pass copy=True to copy them, or move the model.")
        made = made.to(device)
    return made
