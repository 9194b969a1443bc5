# SPDX-License-Identifier: Apache-2.0
"""The model embed: tokens through a checkpoint's vision encoder, where the service was given one."""

import numpy as np

from ...engine import Engine
from ..fault import Fault
from ..work import Port, array_tensor
from .foveate import INPUTS, cut, parameters, planned, split, tokens_of

OURS = ("model", "dtype")       # what the encoder decides


class Embed:
    """As the modules of the other models are, for one `foveate.model.encoder.Encoder`.

    Requests do not run together: torch rounds otherwise in another batch, and an answer must not depend on others.
    """

    TITLE = "tokens through a vision encoder"
    BATCHES = False
    INPUTS = INPUTS

    def __init__(self, encoder, pooled=True):
        self._encoder, self._pooled = encoder, pooled
        rows = Port("embeddings", ("FP32",), (-1, -1, encoder.width))
        pooled = (Port("pooled", ("FP32",), (-1, encoder.width)),) if pooled else ()
        self.OUTPUTS = (rows, *pooled, Port("center_px", ("FP32",), (-1, -1, 2)),
                        Port("size_px", ("FP32",), (-1, -1, 2)), Port("valid", ("BOOL",), (-1, -1)),
                        Port("image_size", ("INT32",), (-1, 2)))

    def parameters(self, limits):
        return {name: one for name, one in parameters(limits).items() if name not in OURS}

    def plan(self, request, limits):
        work = planned(request, limits, self.OUTPUTS, self.parameters(limits))
        work.values = len(work.sizes) * tokens_of(work) * self._encoder.width
        if work.values > limits.values:
            raise Fault("values", limit=limits.values)
        return work

    def run(self, engine, works):
        return [self._run(engine, work) for work in works]

    def _run(self, engine, work):
        tokens = cut(engine, [work], **self._encoder.tokens)
        rows, pooled = self._encoder.of_tokens(tokens)
        made = next(split([work], tokens))
        made["embeddings"] = array_tensor("embeddings", "FP32", rows)
        if self._pooled:
            made["pooled"] = array_tensor("pooled", "FP32", pooled)
        return made


def embed_of(path, device="cpu"):
    """The model of a checkpoint: a folder with config.json and safetensors. No code of it is run."""
    from ...model.encoder import load_encoder

    encoder = load_encoder(path, device=device, local_files_only=True)
    with Engine(backend="cpu", threads=1) as engine:    # whether it pools is seen when it runs
        _, pooled = encoder(np.zeros((64, 64, 3), np.uint8), engine=engine, budget=4)
    return Embed(encoder, pooled is not None)
