# SPDX-License-Identifier: Apache-2.0
"""Do tokens fit a model: were they cut as its patches are?"""

from ..error import require
from ..tensor import Tokens


def fit(tokens: Tokens, how: str, **expected) -> None:
    """Requires what a model counts on: patch, merge, frames, channels ("first" or "last") and depth of the tokens.

    how: the options of `Engine.tokens` that have it, for whoever made others.
    """
    require(isinstance(tokens, Tokens), "model: tokens", type(tokens).__name__, "Tokens")
    have = tokens.preset
    fields = {"patch": have.patch, "merge": have.merge, "frames": have.frames, "channels": have.channels,
              "depth": len(have.mean)}
    wrong = [name for name, value in expected.items() if fields[name] != value]
    require(not wrong, "model: preset", ", ".join(f"{name} {fields[name]}" for name in wrong),
            ", ".join(f"{name} {expected[name]}" for name in wrong) + ", as the model has",
            f"Make them with {how}.")


def square(value) -> int:
    """A side in texels, of which configurations have one or two that are equal."""
    return value if isinstance(value, int) else value[0]
