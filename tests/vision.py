# SPDX-License-Identifier: Apache-2.0
"""What needs torchvision: it is not in the venv, for the libraries in front of torch go other ways where they see it.

FOVEATE_VISION has it, and timm. The wheel is for another torch, so the operators that it misses are declared first.
"""

import os

from child import TESTS, child

DECLARED = """
import torch
library = torch.library.Library("torchvision", "DEF")
for name in ("nms", "qnms"):
    library.define(name + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
import torchvision
"""


def run(script, *arguments, timeout=300):
    """Runs a script in a process that sees torchvision and timm; its output."""
    folder = os.environ.get("FOVEATE_VISION")
    assert folder, "FOVEATE_VISION: no folder with torchvision and timm. Run `make setup`, and . .cache/env.sh"
    path = os.pathsep.join([str(TESTS), folder, *filter(None, [os.environ.get("PYTHONPATH")])])
    return child(None, DECLARED + script, *arguments, timeout=timeout, PYTHONPATH=path)


def run_tests(*arguments, timeout=300):
    """Runs pytest there; its last line, such as "12 passed in 3.21s"."""
    out = run("import pytest, sys\nsys.exit(pytest.main(['-q', '-p', 'no:cacheprovider', *sys.argv[1:]]))",
              *(str(TESTS / a) if a.endswith(".py") else a for a in arguments), timeout=timeout)
    return out.splitlines()[-1]
