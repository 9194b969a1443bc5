# SPDX-License-Identifier: Apache-2.0
"""Patches and NumPy's results as torch.Tensors where a model has its weights."""

from ..error import require
from ..tensor import Tokens
from .framework import need

torch = need("torch")


def patches_of(tokens: Tokens, device, copy: bool):
    """The patches on this device, or for None where they are; from another one only where copy says so."""
    made = tokens.torch()
    if device is not None and made.device != device:
        require(copy, "model: tokens", f"patches on {made.device}", f"the model's {device}",
                "Pass copy=True to copy them, or move the model.")
        made = made.to(device)
    return made


def to_device(array, device):
    """A NumPy array of ours, without a copy on the cpu."""
    return torch.from_numpy(array).to(device)


def read_table(table, read):
    """(N, D) sums of entries of a (S * S, D) table, by the indices and weights of `table.taps`."""
    indices, weights = (to_device(value.T.copy(), table.device) for value in read)
    made = torch.nn.functional.embedding_bag(indices, table.float(), mode="sum", per_sample_weights=weights)
    return made.to(table.dtype)
