# SPDX-License-Identifier: Apache-2.0
"""model: what needs torchvision, in a process that has it: timm, and the adapters for transformers once more."""

import re

import vision


def test_naflex_and_the_others_beside_torchvision():
    last = vision.run_tests("naflex_cases.py", "test_model_qwen.py", "test_model_siglip2.py", "test_model_vit.py", "-k",
                            "naflex_cases or full_resolution")
    passed = re.fullmatch(r"(\d+) passed.*", last)
    assert passed and int(passed[1]) > 60, last
