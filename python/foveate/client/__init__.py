# SPDX-License-Identifier: Apache-2.0
"""client: what foveate finds, on its way to a server of a language model, each way saying what it preserves; and pixels
on their way to foveate's own service.

`chat`: pictures for any server that speaks OpenAI's chat protocol. `vllm` and `sglang`: embeddings that a vision tower
in this process has made. `memory`: the service's memory, shared. Each module is imported by its name; importing one
imports NumPy alone.
"""

from .preserves import PRESERVES

__all__ = ["PRESERVES"]
