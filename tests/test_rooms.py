# SPDX-License-Identifier: Apache-2.0
"""The rules of the tree: complete rooms, one direction of includes, line caps, licence tags, no private paths."""

import re
import subprocess
from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parent.parent
CAPS = {".glsl": 200, ".h": 200, ".cpp": 400, ".py": 350}
STAGES = ("image", "pyramid", "relevance", "rate", "layout", "sample", "warp", "tensor", "model")
# A stage without a shader says why.
NO_SHADER = {
    "image": "the caller's bytes are read as they are; there is nothing to compute",
    "tensor": "it copies blocks, which is an API call",
}
TAGGED = {".cpp", ".h", ".glsl", ".py", ".sh", ".cmake", ".toml", ".yaml", ".txt"}
# Who may include whom: python -> bindings -> interop -> engine -> shaders/shared.
FORBIDDEN = {
    "shaders/shared": r"/|Python\.h|nanobind|cuda|vulkan",
    "engine": r"interop/|dlpack|Python\.h|nanobind|cuda|torch",
    "interop": r"Python\.h|nanobind|bindings",
}


def tracked():
    """Files of the repository, new ones included, ignored ones not."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=TREE, capture_output=True,
                            text=True, check=True).stdout.splitlines()
    return [TREE / name for name in listed if (TREE / name).is_file()]


FILES = tracked()


def name(path):
    return path.relative_to(TREE).as_posix()


def under(folder, *suffixes):
    return [f for f in FILES if name(f).startswith(folder + "/") and f.suffix in suffixes]


def built_stages():
    return [stage for stage in STAGES if (TREE / f"engine/stages/{stage}.cpp").is_file()]


def test_there_are_stages():
    assert {"image", "pyramid", "layout", "sample", "tensor"} <= set(built_stages())


@pytest.mark.parametrize("stage", built_stages())
def test_room_is_complete(stage):
    room = [f"python/foveate/{stage}.py", f"tests/test_{stage}.py", f"docs/stages/{stage}.md"]
    if stage not in NO_SHADER:
        room += [f"shaders/{stage}.comp.glsl", f"shaders/shared/{stage}.h", f"engine/cpu/{stage}.cpp",
                 f"tests/oracle/{stage}.py"]
    assert [file for file in room if not (TREE / file).is_file()] == []


def test_shaders_belong_to_stages():
    words = {f.name.split(".")[0].split("_")[0] for f in FILES if f.name.endswith(".comp.glsl")}
    assert words <= set(STAGES)


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_include_direction(folder):
    wrong = []
    for file in under(folder, ".h", ".cpp"):
        for number, line in enumerate(file.read_text().splitlines(), 1):
            if re.match(r"\s*#\s*include", line) and re.search(FORBIDDEN[folder], line):
                wrong.append(f"{name(file)}:{number}: {line.strip()}")
    assert wrong == []


def test_only_its_module_imports_what_is_heavy():
    heavy = re.compile(r"^(?:from|import) (torch|PIL|transformers|cv2|typer|rich|matplotlib)\b", re.M)
    allowed = {"cli.py", "cli_serve.py", "plot.py"}
    found = {f.name for f in under("python/foveate", ".py") if heavy.search(f.read_text())}
    found -= {f.name for f in under("python/foveate/model", ".py")}     # each is for one framework
    found -= {f.name for f in under("python/foveate", ".py") if f.name.startswith("cli_")}
    assert found <= allowed


def test_line_caps():
    long = {name(f): f.read_text().count("\n") for f in FILES if f.suffix in CAPS or f.name == "README.md"}
    assert {f: n for f, n in long.items() if n > (120 if f == "README.md" else CAPS.get(Path(f).suffix, 120))} == {}


def test_columns():
    wide = [f"{name(f)}:{n}" for f in FILES if f.suffix in CAPS
            for n, line in enumerate(f.read_text().splitlines(), 1) if len(line) > 120]
    assert wide == []


def test_licence_tag():
    def tag(file):
        head = file.read_text().splitlines()[:2]
        # a script's interpreter comes first
        return any(re.fullmatch(r"(//|#) SPDX-License-Identifier: Apache-2\.0", line) for line in head)

    assert [name(f) for f in FILES if f.suffix in TAGGED and not tag(f)] == []
    assert "Apache License" in (TREE / "LICENSE").read_text()


def test_no_private_path():
    # a home folder, or a file that names itself: both are wrong on every other machine
    home = re.compile(r"(?<![\w.])/(?:home|root|Users)/\w")
    text = [f for f in FILES if f.suffix not in (".png", ".npy", ".spv") and f.name != "LICENSE"]
    wrong = [f"{name(f)}:{n}" for f in text
             for n, line in enumerate(f.read_text(errors="replace").splitlines(), 1) if home.search(line)]
    assert wrong == []


def test_nothing_left_to_do():
    mark = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|NotImplementedError")
    wrong = [f"{name(f)}:{n}" for f in FILES if f.suffix in CAPS and f != Path(__file__).resolve()
             for n, line in enumerate(f.read_text().splitlines(), 1) if mark.search(line)]
    assert wrong == []


def test_no_second_door():
    # the library never prints, aborts or leaves the process
    door = re.compile(r"\b(printf|std::cout|std::cerr|std::abort|std::exit|std::terminate|assert)\s*[(<]")
    wrong = [f"{name(f)}:{n}" for folder in ("engine", "interop", "python/bindings")
             for f in under(folder, ".h", ".cpp") for n, line in enumerate(f.read_text().splitlines(), 1)
             if door.search(line.split("//")[0])]
    assert wrong == []


def test_public_names():
    import foveate

    assert len(foveate.__all__) <= 25
    assert set(built_stages()) <= set(foveate.__all__)
