# SPDX-License-Identifier: Apache-2.0
"""How the package is built, and that a broken set-up says one clear line and repairs itself."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import foveate
import foveate._core
import pytest

TREE = Path(__file__).resolve().parent.parent
CORE = Path(foveate._core.__file__)


def read(*command):
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, check=True).stdout


# ---- the binary --------------------------------------------------------------------------------------------


def test_hardened():
    dynamic, segments, symbols = (read("readelf", flag, CORE) for flag in ("-Wd", "-Wl", "-Ws"))
    assert "BIND_NOW" in dynamic and "GNU_RELRO" in segments
    assert "RPATH" not in dynamic and "RUNPATH" not in dynamic
    assert re.search(r"GNU_STACK.* RW ", segments)
    assert "__stack_chk_fail" in symbols


def test_links_to_no_driver():
    needed = re.findall(r"NEEDED.*\[(.*)\]", read("readelf", "-Wd", CORE))
    allowed = r"(libc|libm|libstdc\+\+|libgcc_s|libpthread|libdl|ld-linux.*)\.so\.\d+"
    assert [name for name in needed if not re.fullmatch(allowed, name)] == []


def test_exports_one_function():
    exported = [line.split()[-1] for line in read("nm", "-D", "--defined-only", CORE).splitlines()]
    assert exported == ["PyInit__core"]


def test_no_fused_multiply_add():
    """A contraction would give other bytes on machines that have it."""
    assert re.findall(r"\bv?fn?m(?:add|sub)\w*", read("objdump", "-d", "--no-show-raw-insn", CORE)) == []


def test_row_kernels_share_no_code():
    """A weak symbol compiled for AVX-512 could be the one the linker keeps for everybody."""
    objects = sorted(TREE.glob("build/*/CMakeFiles/foveate_rows_*.dir/engine/cpu/rows.cpp.o"))
    assert objects
    for path in objects:
        weak = [line for line in read("nm", path).splitlines() if re.search(r" [WVu] (?!DW\.ref)", line)]
        assert weak == [], path


def test_typed():
    assert Path(foveate.__file__).with_name("py.typed").is_file()
    stub = CORE.with_name("_core.pyi").read_text()
    assert "class Engine" in stub and "def candidates" in stub


# ---- tools/setup.py ----------------------------------------------------------------------------------------


@pytest.fixture
def setup(tmp_path, monkeypatch):
    """tools/setup.py, working in an empty tree."""
    monkeypatch.syspath_prepend(TREE / "tools")
    for name in ("setup", "packages"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import setup

    for name, path in {"TREE": ".", "CACHE": ".cache", "VENV": ".venv", "STAMPS": ".venv/stamps",
                       "PYTHON": ".venv/bin/python", "BUILD": "build/dev",
                       "SWIFTSHADER": ".cache/swiftshader", "MOCK": ".cache/mock"}.items():
        monkeypatch.setattr(setup, name, tmp_path / path)
    return setup


def test_extras_are_written_out(setup):
    project = {"name": "foveate", "optional-dependencies": {"a": ["x>=1"], "b": ["foveate[a]", "y==2"]}}
    assert setup.requirements(project, "b") == ["x>=1", "y==2"]


def test_half_a_venv_is_repaired(setup):
    setup.VENV.mkdir()
    (setup.VENV / "bin").mkdir()
    (setup.VENV / "bin" / "python").symlink_to(sys.executable)
    setup.make_venv()
    assert read(setup.PYTHON, "-c", "import pip, sys; print(sys.prefix)").strip() == str(setup.VENV)
    before = setup.PYTHON.stat(follow_symlinks=False).st_mtime_ns
    setup.make_venv()
    assert setup.PYTHON.stat(follow_symlinks=False).st_mtime_ns == before
    shutil.rmtree(next(setup.VENV.glob("lib/python*/site-packages/pip")))
    setup.make_venv()
    assert read(setup.PYTHON, "-c", "import pip; print('ok')") == "ok\n"


def write_project(setup, requirement):
    (setup.TREE / "pyproject.toml").write_text(
        f'[build-system]\nrequires = ["{requirement}"]\n[project]\nname = "foveate"\ndependencies = []\n'
        "[project.optional-dependencies]\ndemo = []\ndev = []\n")


def fake_python(setup, body):
    setup.PYTHON.parent.mkdir(parents=True, exist_ok=True)
    setup.PYTHON.write_text(f"#!/bin/sh\n{body}\n")
    setup.PYTHON.chmod(0o755)


def test_no_network_is_one_line(setup):
    write_project(setup, "wheel")
    fake_python(setup, "echo 'WARNING: Retrying'; echo 'ERROR: No matching distribution'; echo Hint; exit 1")
    with pytest.raises(setup.Problem) as caught:
        setup.install_requirements("test")
    assert str(caught.value) == (
        "pip: got exit status 1 (ERROR: No matching distribution). With a network, run the same command again. "
        "Log: .cache/log/pip.log")
    assert not (setup.STAMPS / "pip-test").exists()


def test_packages_are_installed_once_and_put_back(setup):
    write_project(setup, "wheel")
    site = setup.VENV / "lib/python3.11/site-packages/wheel-1.dist-info"
    fake_python(setup, f"echo x >> {setup.TREE}/calls; mkdir -p {site}")

    def calls():
        return (setup.TREE / "calls").read_text().count("x")

    setup.install_requirements("test")
    setup.install_requirements("test")
    setup.install_requirements("demo")  # the larger set serves the smaller
    assert calls() == 1
    site.rmdir()
    setup.install_requirements("test")
    assert calls() == 2
    write_project(setup, "wheel>=2")
    setup.install_requirements("test")
    assert calls() == 3


def test_missing_compiler_is_one_line(setup, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(setup.Problem) as caught:
        setup.install_packages("demo", setup.execute, print)
    assert str(caught.value) == ("system: got no C++20 compiler. Run: sudo sh -c 'apt-get update && apt-get "
                                 "install -y --no-install-recommends g++'")


def test_demo_goes_on_without_vulkan(setup, monkeypatch, capsys):
    packages = sys.modules["packages"]
    monkeypatch.setattr(packages, "VULKAN", (("Vulkan headers", "libvulkan-dev", lambda: False),))
    monkeypatch.setattr(packages, "BUILD", ())
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    setup.install_packages("demo", setup.execute, print)
    assert "the Vulkan backend is left out" in capsys.readouterr().out
    with pytest.raises(setup.Problem, match="got no Vulkan headers"):
        setup.install_packages("test", setup.execute, print)


def test_manifests_follow_the_tree(setup):
    libraries = {}
    for folder, name, manifest in ((setup.SWIFTSHADER, "libvk_swiftshader.so", "icd.json"),
                                   (setup.MOCK, "libVkICD_mock_icd.so", "icd.json"),
                                   (setup.MOCK, "libVkLayer_khronos_validation.so",
                                    "layers/VkLayer_khronos_validation.json")):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
        libraries[folder / manifest] = folder / name
    setup.fetch_drivers()
    for manifest, library in libraries.items():
        assert str(library) in manifest.read_text()
        manifest.write_text("half")
    setup.fetch_drivers()
    for manifest, library in libraries.items():
        assert str(library) in manifest.read_text()


def test_drivers_elsewhere_than_on_debian(setup, monkeypatch):
    monkeypatch.setattr(setup.shutil, "which", lambda name: None)
    with pytest.raises(setup.Problem, match=r"^drivers: got no apt-get here, expected Debian\. Put swiftshader/"):
        setup.fetch_drivers()


# ---- the commands ------------------------------------------------------------------------------------------


def test_ci_runs_make_test():
    script = (TREE / ".ci/run").read_text()
    assert "set -euo pipefail" in script and "make test" in script and os.access(TREE / ".ci/run", os.X_OK)


def test_every_lane_is_a_target():
    text = (TREE / "Makefile").read_text()
    lanes = re.search(r"^LANES := (.*)$", text, re.M)[1].split()
    assert {"cpp", "python", "validation", "asan", "tsan", "spirv"} == set(lanes)
    assert [lane for lane in lanes if not re.search(rf"^test-{lane}:", text, re.M)] == []


@pytest.mark.parametrize(("words", "message"), [
    ("", "spirv: got 0 modules in"),
    ("0x07230203,0x00010300,0x00000000,0x00000001,0x00000000", "expected a valid module"),
])
def test_bad_shader_is_a_failure(tmp_path, words, message):
    (tmp_path / "shaders").mkdir()
    if words:
        (tmp_path / "shaders" / "a.h").write_text(words)
    done = subprocess.run([sys.executable, TREE / "tools/spirv.py", tmp_path], capture_output=True, text=True)
    assert done.returncode == 1 and message in done.stderr
