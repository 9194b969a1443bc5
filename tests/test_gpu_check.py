# SPDX-License-Identifier: Apache-2.0
"""`make gpu-check` on a machine without a GPU: the shape of its report, and that it sees what is wrong."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import conftest
import foveate
import numpy as np
import pytest
from child import TREE
from foveate import (
    gpu_check,
    gpu_check_drivers,
    gpu_check_filters,
    gpu_check_report,
    gpu_check_sections,
    gpu_check_speed,
)
from foveate.error import UnsupportedError

DRIVERS = [name for name in conftest.BACKENDS if name in conftest.DEVICES][:1]
GPU = {"backend": "vulkan", "device": "H200", "uuid": "ab", "driver": "", "usable": True, "software": False,
       "reasons": []}
SOFT = GPU | {"device": "llvmpipe", "software": True}


@pytest.fixture(params=DRIVERS)
def ordered(request, tmp_path, capsys, monkeypatch):
    """ordered(*options) -> (exit status, report, page, what was printed) of a quick run on a driver of the tests."""
    monkeypatch.setenv("FOVEATE_CUDA_LIBRARY", conftest.STUB["FOVEATE_CUDA_LIBRARY"])   # the section interop
    def run(*options):
        device = conftest.options(request.param)["device"]
        status = gpu_check.main(["--backend", "vulkan", "--device", device, "--quick", "--out", str(tmp_path),
                                 *options])
        data, page = sorted(tmp_path.iterdir())
        assert data.name == page.name.replace(".md", ".json") and data.name.startswith("gpu-")
        return status, json.loads(data.read_text()), page.read_text(), capsys.readouterr().out

    return run


def test_report(ordered):
    status, report, page, said = ordered()
    assert status == 0 and "gpu-check: parity and interop as they should be" in said
    sections = {entry["section"]: entry for entry in report["sections"]}
    assert list(sections) == [name for name, _ in gpu_check.SECTIONS]
    assert [sections[name]["state"] for name in ("parity", "filters", "copies", "stages", "speed")] == ["ok"] * 5
    assert sections["vrs"]["state"] in ("ok", "none") and sections["interop"]["state"] in ("ok", "none")
    rows = sections["parity"]["rows"]
    assert len(rows) == 2 * len(gpu_check_sections.CASES) and all(row["got"] == row["cpu"] for row in rows)
    assert [row["stage"] for row in sections["stages"]["rows"]][-1] == "tokens"
    assert len(sections["copies"]["rows"]) >= 2 and all(row["gb_s"] > 0.1 for row in sections["copies"]["rows"])
    speed = [(row["work"], row["batch"], row["by"]) for row in sections["speed"]["rows"]]
    for count in gpu_check_speed.QUICK_BATCHES:
        assert {("pyramid", count, "foveate vulkan"), ("tokens", count, "foveate vulkan, grid"),
                ("tokens", count, "foveate vulkan, rate and gaze"), ("tokens", count, "torch, eager")} <= set(speed)
    assert all(row["ms"] > 0 and row["ratio"] > 0 and row["gb_s"] > 0 for row in sections["speed"]["rows"])
    assert report["device"] in page and "no numbers to quote" in page
    for title in ("Sections", "Drivers", "Parity with the cpu", "Copies", "Stages", "Speed"):
        assert f"## {title}" in page
    assert report["drivers"][0]["way"] == "as it is" and report["drivers"][0]["shown"]


def test_a_planted_fault_is_seen(ordered):
    status, report, page, said = ordered("--section", "parity", "--plant")
    assert status == 1 and "gpu-check: failed: parity on vulkan" in said
    wrong = [row for row in report["sections"][0]["rows"] if row["state"] == "fail"]
    assert len(wrong) == 1 and wrong[0]["got"] != wrong[0]["cpu"] and wrong[0]["case"] == "pyramid of 8 bits"
    assert "29 of 30 comparisons the same, 1 not" in page and "FAILED" in page and wrong[0]["got"] in page


def test_nothing_to_compare_is_a_failure(ordered):
    status, report, _, said = ordered("--section", "copies")
    assert status == 1 and [entry["section"] for entry in report["sections"]] == ["copies"]
    assert "got no backend to compare with the cpu, expected vulkan, opengl or cuda" in said
    assert said.count("wrote") == 2


def test_verdict():
    def of(*states):
        return gpu_check.verdict({"sections": [{"section": s, "backend": "cuda", "state": v} for s, v in states]})[0]

    assert of(("parity", "ok"), ("interop", "none")) == 0
    assert of(("parity", "ok"), ("interop", "ok"), ("speed", "error"), ("vrs", "fail")) == 0
    for bad in ("fail", "error"):
        assert of(("parity", "ok"), ("interop", bad)) == 1
        assert of(("parity", bad)) == 1
    assert of() == of(("parity", "none")) == 1


def test_what_is_checked():
    options = SimpleNamespace(backend=None, device=None)
    listed = [SOFT, GPU, GPU | {"device": "another"}, GPU | {"backend": "cuda", "usable": False},
              GPU | {"backend": "cpu"}]
    assert gpu_check.chosen(listed, options) == {"vulkan": GPU}
    options.backend = ["vulkan", "cuda"]
    assert gpu_check.chosen(listed, options) == {"vulkan": SOFT}
    options.device = "h200"
    assert gpu_check.chosen(listed, options) == {"vulkan": GPU}


# Sections that end otherwise than they should

ORDER = {"section": "parity", "backend": "cpu", "device": None, "seconds": 1.0, "quick": True, "plant": False}


def test_filters_that_are_off(cpu, make_engine):
    class Zeros:
        def tokens(self, *args, **options):
            return SimpleNamespace(numpy=lambda: 0 * cpu.tokens(*args, **options).numpy())

    assert gpu_check_filters.filters(cpu, cpu, quick=True)["note"] == "no filters"
    with make_engine(DRIVERS[0], exact=False) as engine:
        found = gpu_check_filters.filters(engine, Zeros(), seconds=0.0, quick=True)
    assert found["state"] == "fail" and "rings, smooth" in found["note"]


def test_a_section_that_fails():
    found = gpu_check.child(ORDER | {"backend": "vulkan", "device": "none such"}, 30, {})
    assert found["state"] == "error" and found["note"].startswith("exit status 1: ")
    assert 'Engine: device: got "none such"' in found["note"] and found["seconds"] > 0


def test_a_section_without_an_end():
    found = gpu_check.child(ORDER, 0.01, {})
    assert found["state"] == "error" and found["note"] == "no end within 0 s: stopped"


def test_a_section_that_crashes(tmp_path, monkeypatch):
    crash = tmp_path / "python"
    crash.write_text("#!/bin/sh\necho the driver fell over >&2\nkill -SEGV $$\n")
    crash.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(crash))
    found = gpu_check.child(ORDER, 30, {})
    assert found["state"] == "error" and found["note"] == "signal 11: the driver fell over"
    assert gpu_check_drivers.listed({}) == ([], "the driver fell over")


def test_without_time_every_section_says_so(ordered):
    status, report, _, _ = ordered("--budget", "1")
    assert status == 1 and {entry["note"] for entry in report["sections"]} == {"no time left"}


def test_parity_sees_errors(cpu):
    class Broken:
        def __getattr__(self, name):
            raise UnsupportedError("no such stage") if name == "warp" else RuntimeError("driver\nfell over")

    found = gpu_check_sections.parity(Broken(), cpu, quick=True)
    states = {row["case"]: (row["state"], row["error"]) for row in found["rows"]}
    assert found["state"] == "fail" and "0 of 30" in found["note"] and "not seen" in found["note"]
    assert states["warp"] == ("none", "no such stage")
    assert states["tokens of a batch"] == ("fail", "RuntimeError: driver\nfell over")
    assert "| RuntimeError: driver fell over |" in "\n".join(gpu_check_report.table(found["rows"]))


# Where drivers are found

def test_manifests_and_libraries(tmp_path, monkeypatch):
    icd = tmp_path / "share/vulkan/icd.d/nvidia_icd.x86_64.json"
    icd.parent.mkdir(parents=True)
    icd.write_text("{}")
    (icd.parent / "lvp_icd.json").write_text("{}")
    library = tmp_path / "lib/libEGL_nvidia.so.0"
    library.parent.mkdir()
    library.touch()
    assert gpu_check_drivers.manifests("vulkan/icd.d", [tmp_path / "share", tmp_path]) == [icd]
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    assert gpu_check_drivers.libraries([tmp_path / "lib"]) == [library]
    monkeypatch.setenv("LD_LIBRARY_PATH", str(library.parent))
    for name in gpu_check_drivers.VULKAN:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv(gpu_check_drivers.EGL, raising=False)
    monkeypatch.setattr(gpu_check_drivers, "manifests", lambda kind: [icd] if "vulkan" in kind else [])
    ways = list(gpu_check_drivers.ways(tmp_path))
    also = {gpu_check_drivers.EGL: str(tmp_path / "egl.json")}
    assert ways[:2] == [("as it is", also), (str(icd), dict.fromkeys(gpu_check_drivers.VULKAN, str(icd)) | also)]
    assert ways[3] == (f"{library} without a loader", {"FOVEATE_VULKAN_LIBRARY": str(library)} | also)
    made = Path(ways[2][1]["VK_DRIVER_FILES"])
    for manifest in (made, tmp_path / "egl.json"):
        assert json.loads(manifest.read_text())["ICD"]["library_path"] == str(library)

    shown = {"": [SOFT], str(icd): [], str(made): [GPU]}
    monkeypatch.setattr(gpu_check_drivers, "listed",
                        lambda environment: (shown[environment.get("VK_DRIVER_FILES", "")], ""))
    found = gpu_check_drivers.find(tmp_path)
    assert found["candidates"] == [GPU] and found["environment"]["VK_DRIVER_FILES"] == str(made)
    assert [way["shown"] for way in found["tried"]] == [["llvmpipe"], [], ["H200"]]
    assert gpu_check_drivers.find(tmp_path, search=False)["candidates"] == [SOFT]
    monkeypatch.setenv("VK_DRIVER_FILES", "mine.json")
    monkeypatch.setenv(gpu_check_drivers.EGL, "mine.json")
    assert list(gpu_check_drivers.ways(tmp_path)) == [("as it is", {})]


# The script around it

def script(**environment):
    done = subprocess.run([str(TREE / "tools/gpu_check.sh"), "--help"], capture_output=True, text=True, timeout=60,
                          env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")} | environment)
    return done.returncode, done.stdout + done.stderr


def test_script(tmp_path):
    status, said = script(PYTHON=sys.executable)
    assert status == 0 and "usage: gpu-check" in said
    bare = tmp_path / "python3"     # with no packages of its own
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S -E "$@"\n')
    bare.chmod(0o755)
    status, said = script(PYTHON=str(bare))
    assert status == 2 and said.strip() == (f"gpu-check: NumPy: got none in {bare}, expected 1.26 or newer. "
                                            "Run: python3 -m pip install numpy")
    status, said = script(PYTHON="/no/such/python")
    assert status == 2 and said.strip() == "gpu-check: Python: got none that works, expected 3.11 or newer. Set PYTHON."


def test_script_without_a_build(tmp_path):
    """A copy of the script with no build around it, a Python that has NumPy alone, and no compiler."""
    for name in ("tools", "bin", "site"):
        (tmp_path / name).mkdir()
    (tmp_path / "tools/gpu_check.sh").write_bytes((TREE / "tools/gpu_check.sh").read_bytes())
    for name in ("sh", "dirname", "cat", "ls", "head"):
        (tmp_path / "bin" / name).symlink_to(f"/usr/bin/{name}")
    packages = Path(np.__file__).parent.parent
    for found in (packages / "numpy", *packages.glob("numpy.libs")):
        (tmp_path / "site" / found.name).symlink_to(found)
    python = tmp_path / "bin/python3"
    start = f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); exec(sys.argv[1])"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S -E -c "{start}" "$2"\n')
    python.chmod(0o755)
    done = subprocess.run(["/bin/sh", str(tmp_path / "tools/gpu_check.sh")], capture_output=True, text=True, timeout=60,
                          env={"PATH": str(tmp_path / "bin"), "PYTHON": str(python), "CXX": "no-such-compiler"})
    assert done.returncode == 2, done.stderr
    assert f"foveate: got no build that {python} loads, and no cmake c++" in done.stderr
    assert "Carry python/foveate/_core*.so, or a wheel in dist/, made for this Python." in done.stderr


def test_the_readme_names_what_was_measured(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("measured", TREE / "tools/measured.py")
    measured = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(measured)
    monkeypatch.setattr(measured, "MEASURED", tmp_path)
    assert measured.gpus() == "not measured on a GPU yet"
    report = {"device": "NVIDIA H200", "machine": {"gpu": "", "processor": "x", "threads": 1, "system": ""},
              "quick": False, "versions": {}, "sections": [], "drivers": [], "candidates": []}
    gpu_check.save(tmp_path, report)
    assert measured.gpus() == "[NVIDIA H200](docs/measured/gpu-nvidia-h200.md)"
    assert (tmp_path / "gpu-nvidia-h200.md").read_text().startswith("# Measured: NVIDIA H200\n")


def test_nothing_else_is_public():
    assert not any(name.startswith("gpu_check") for name in foveate.__all__)
