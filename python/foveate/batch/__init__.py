# SPDX-License-Identifier: Apache-2.0
"""Many images to shards of tokens, and back: `run` writes, `read` gives them again.

`foveate.batch.mappers` has functions for the loops of other libraries.
"""

from .read import Sample, read, torch_dataset
from .run import Result, StoppedError, run

__all__ = ["Result", "Sample", "StoppedError", "read", "run", "torch_dataset"]
