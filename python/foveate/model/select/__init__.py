# SPDX-License-Identifier: Apache-2.0
"""model.select: K of an encoder's N tokens, by every published policy we know, and what they are to be compared with.

Each method takes features (B, N, D), k, and what it needs by name, and returns a `Selection` of exactly k in every
row. Of equal scores the lower index is first; an image has the same result alone and in a batch.
"""

from .polar import hybrid, logpolar
from .prompt import Prompt, thin
from .ranked import random, topk, uniform
from .saint import saint
from .scores import (
    cls_attention,
    feature_norm,
    pooled,
    query_similarity,
    received,
    received_attention,
    split_heads,
    tap,
)
from .selection import Selection, grid_positions
from .shirg import shirg
from .tome import tome
from .topv import topv
from .visionzip import visionzip
from .vrs import vrs

METHODS = {"topk": topk, "logpolar": logpolar, "hybrid": hybrid, "shirg": shirg, "vrs": vrs, "uniform": uniform,
           "random": random, "saint": saint, "topv": topv, "tome": tome, "visionzip": visionzip}

__all__ = ["METHODS", "Prompt", "Selection", "cls_attention", "feature_norm", "grid_positions", "hybrid", "logpolar",
           "pooled", "query_similarity", "random", "received", "received_attention", "saint", "shirg", "split_heads",
           "tap", "thin", "tome", "topk", "topv", "uniform", "visionzip", "vrs"]
