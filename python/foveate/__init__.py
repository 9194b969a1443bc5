# SPDX-License-Identifier: Apache-2.0
"""Foveated patch tensors: exactly K tokens, fine where it matters and coarse elsewhere.

>>> import foveate, numpy as np
>>> engine = foveate.Engine()
>>> engine.tokens(np.zeros((480, 640, 3), np.uint8), gaze=(0.4, 0.6), budget=273).patches.shape
(1, 273, 3, 16, 16)
"""

from . import error
from ._core import version as __version__
from .doctor import doctor, info
from .engine import Engine
from .error import Error
from .image import Image, image
from .layout import Layout, layout
from .presets import Preset, presets
from .pyramid import Pyramid, pyramid
from .rate import Rates, rate
from .relevance import Relevance, relevance
from .sample import Patches, sample
from .tensor import Tokens, tensor
from .types import Array
from .warp import warp

__all__ = [
    "Array", "Engine", "Error", "Image", "Layout", "Patches", "Preset", "Pyramid", "Rates", "Relevance", "Tokens",
    "__version__", "doctor", "error", "image", "info", "layout", "presets", "pyramid", "rate", "relevance", "sample",
    "tensor", "warp",
]
