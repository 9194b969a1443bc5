# SPDX-License-Identifier: Apache-2.0
"""model: what its modules import, and what they say where something is missing."""

import subprocess
import sys
from importlib import metadata

import pytest
from foveate.error import UnsupportedError
from foveate.model.framework import NEEDS, need


def test_the_package_alone_imports_nothing_heavy():
    code = ("import sys, foveate.model, foveate.model.framework\n"
            "print(sorted({'torch', 'transformers', 'timm', 'PIL', 'safetensors'} & set(sys.modules)))")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_adapters_without_their_framework():
    """Not an ImportError from the middle of a file."""
    code = ("import importlib, sys\nfrom foveate.error import UnsupportedError\n"
            "for name in ('torch', 'transformers', 'timm'):\n    sys.modules[name] = None\n"
            "for name in ('qwen', 'siglip2', 'vit', 'naflex'):\n"
            "    try:\n        importlib.import_module('foveate.model.' + name)\n"
            "    except UnsupportedError as error:\n        print(name, str(error)[:17])\n")
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out == ("qwen model: torch: got\nsiglip2 model: torch: got\nvit model: torch: got\n"
                   "naflex model: torch: got\n")


def test_libraries_in_order():
    torch, transformers = need("torch", "transformers")
    assert (torch.__name__, transformers.__name__) == ("torch", "transformers")
    assert need("torch") is torch


@pytest.mark.parametrize("name", NEEDS)
def test_a_missing_library(monkeypatch, name):
    def none(package):
        raise metadata.PackageNotFoundError(package)

    monkeypatch.setattr(metadata, "version", none)
    extra, least = NEEDS[name]
    with pytest.raises(UnsupportedError) as error:
        need(name)
    assert str(error.value) == (f"model: {name}: got none, expected {least} or newer. "
                                f"Run: pip install 'foveate[{extra}]'")


@pytest.mark.parametrize("version, fits", [("5.17.9", False), ("5.18.0", True), ("5.18.0.dev0", True), ("5.9", False),
                                           ("6.0+cpu", True)])
def test_versions_are_numbers(monkeypatch, version, fits):
    monkeypatch.setattr(metadata, "version", lambda package: version)
    if fits:
        assert need("transformers").__name__ == "transformers"
        return
    with pytest.raises(UnsupportedError, match=f"model: transformers: got {version}, expected 5.18 or newer. Run: "
                                               r"pip install 'foveate\[hf\]'"):
        need("transformers")


def test_a_library_that_does_not_start(monkeypatch, tmp_path):
    (tmp_path / "timm").mkdir()
    (tmp_path / "timm" / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(metadata, "version", lambda package: "1.0.31")
    with pytest.raises(UnsupportedError, match="model: timm: got operator torchvision::nms does not exist, "
                                               r"expected it to start. Run: pip install 'foveate\[timm\]'"):
        need("timm")
