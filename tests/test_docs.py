# SPDX-License-Identifier: Apache-2.0
"""The documentation is part of the program: its code runs, its commands work, its tables are those of the source.

`python tests/test_docs.py` writes the included sources and the table of limits again.
"""

import ast
import importlib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import foveate
import numpy as np
import pytest

TREE = Path(__file__).resolve().parent.parent
PAGES = [TREE / "README.md", *sorted((TREE / "docs").rglob("*.md"))]
# Commands that are not run, and why.
NOT_RUN = {
    "make": "sets up and tests the whole tree; `make test` runs this file",
    "pip": "installs packages",
    "git": "fetches a repository",
    "sudo": "changes the system",
    "foveate bench": "takes minutes; `make bench` runs it",
    "foveate serve": "does not end; tests/test_serve_life.py starts it, and tells it to stop",
}
# <!-- needs: NAME --> before a block: only run where the tests have it.
ELSEWHERE = ("needs: timm", "needs: triton")    # tests/naflex_cases.py and test_serve_triton.py run them
NEEDS = {"vulkan": "lavapipe", "gl": "lavapipe", "cuda": "lavapipe", "cuda-gl": "cuda", "torch": "torch",
         "hf": "transformers", "serve": "sys"}


def name(page):
    return page.relative_to(TREE).as_posix()


def blocks(page):
    """(line number, language, text, marker) of every fenced block; the marker is a comment on the line before."""
    lines, found, start = page.read_text().splitlines(), [], None
    for number, line in enumerate(lines, 1):
        if start is None and line.startswith("```"):
            start = number
        elif start is not None and line == "```":
            before = re.fullmatch(r"<!-- (.+) -->", lines[start - 2]) if start > 1 else None
            text = "\n".join(lines[start:number - 1]) + "\n"
            found.append((start, lines[start - 1][3:].strip(), text, before[1] if before else ""))
            start = None
    assert start is None, f"{name(page)}:{start}: a block that does not end"
    return found


def cases(*languages):
    return [pytest.param(page, number, text, marker, id=f"{name(page)}:{number}")
            for page in PAGES for number, language, text, marker in blocks(page)
            if language in languages and not marker.startswith("include:") and marker not in ELSEWHERE]


def lacks(marker):
    from conftest import BACKENDS

    need = marker.removeprefix("needs: ")
    return marker.startswith("needs: ") and NEEDS[need] not in (*BACKENDS, *sys.modules)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with photographs made by code, and the cpu backend where none is named."""
    from PIL import Image

    y, x = np.mgrid[0:360, 0:480]
    pixels = np.stack([x * y >> 6 & 255, x & 255, 255 - (y & 255)], -1).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.jpg")
    (tmp_path / "photos").mkdir()
    for name in "abc":
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{name}.jpg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FOVEATE_DEVICE", raising=False)
    monkeypatch.setattr(foveate.Engine.__init__, "__defaults__", ("cpu",))
    return tmp_path


@pytest.fixture
def server(folder, monkeypatch):
    from serving import running

    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    with running("--memory", folder / "foveate", "--grpc-port", 0) as (_, _, child):
        yield child.addresses


# Code and commands

@pytest.mark.parametrize("page,number,text,marker", cases("python"))
def test_code_runs(folder, page, number, text, marker, request):
    """Runs a block. The comment behind a bare expression is its value."""
    if marker in ("needs: torch", "needs: hf"):      # without it the test fails
        importlib.import_module("torch" if marker == "needs: torch" else "transformers")
    if lacks(marker):
        pytest.skip(f"no {marker}")
    if marker == "needs: serve":
        for what, port in (("http", 8000), ("grpc", 8001)):
            text = text.replace(f"127.0.0.1:{port}", request.getfixturevalue("server")[what])
    if marker == "needs: cuda":
        request.getfixturevalue("stub_cuda")("lavapipe")
    if marker == "needs: cuda-gl":
        request.getfixturevalue("kernel_stub")
    run_code(page, number, text)


def run_code(page, number, text):
    space = {"__name__": "__main__"}
    lines = text.splitlines()
    for statement in ast.parse(text).body:
        source = "\n" * (number + statement.lineno - 1) + ast.get_source_segment(text, statement)
        comment = lines[statement.end_lineno - 1][statement.end_col_offset:].strip()
        if isinstance(statement, ast.Expr) and comment:
            value = eval(compile(source.strip(), f"{name(page)}:{number}", "eval"), space)
            assert f"# {value!r}" == comment, f"{name(page)}:{number + statement.lineno}: {value!r}"
        else:
            exec(compile(source, name(page), "exec"), space)


def runnable(text, where):
    """The lines that are run, as bash reads them."""
    kept = []
    for line in text.replace("\\\n", " ").splitlines():
        line = line.removeprefix("$ ")
        words = shlex.split(line, comments=True)
        if not words or words[0] in NOT_RUN or " ".join(words[:2]) in NOT_RUN:
            continue
        assert words[0] == "foveate" or words[:3] == ["python", "-m", "foveate"] or re.match(r"\w+=", line), where
        if not ("vulkan" in line and lacks("needs: vulkan")):
            kept.append(line)
    return kept


@pytest.mark.parametrize("page,number,text,marker", cases("console", "bash"))
def test_commands_work(folder, page, number, text, marker):
    lines = runnable(text, f"{name(page)}:{number}")
    if not lines:
        return
    python = shlex.quote(sys.executable)
    head = ["set -eu", f'python() {{ {python} "$@"; }}', 'foveate() { python -m foveate "$@"; }']
    from conftest import manifest

    # one driver is enough, and SwiftShader takes seconds to compile for every command
    env = dict(os.environ)
    if driver := manifest("lavapipe"):
        env |= {"VK_DRIVER_FILES": driver, "VK_ICD_FILENAMES": driver}
    done = subprocess.run(["bash", "-c", "\n".join(head + lines)], cwd=folder, capture_output=True, text=True,
                          timeout=300, env=env)
    assert done.returncode == 0, f"{name(page)}:{number}\n{done.stdout}{done.stderr}"


# What the pages copy from the source

def included(text):
    """The page with every included file as it is now."""
    def block(match):
        source = (TREE / match[1]).read_text()
        return f"<!-- include: {match[1]} -->\n```{match[2]}\n{source}```\n"

    return re.sub(r"<!-- include: (\S+) -->\n```(\w+)\n.*?^```\n", block, text, flags=re.S | re.M)


def limits():
    """(name, value, comment) of engine/limits.h."""
    text = (TREE / "engine/limits.h").read_text()
    found = re.findall(r"inline constexpr [\w:]+ (\w+) = ([^;]+);(?: *// (.*))?", text)
    assert len(found) == text.count("inline constexpr")
    for word, value, comment in found:
        yield word, eval(re.sub(r"\b(\d+)u?(?:ll)?\b", r"\1", value)), comment


def limits_table():
    rows = [f"| `{word}` | {value} | {comment} |" for word, value, comment in limits()]
    return "\n".join(["<!-- limits:begin -->", "| name | value | what |", "|---|---:|---|", *rows,
                      "<!-- limits:end -->"])


def with_limits(text):
    return re.sub(r"<!-- limits:begin -->.*<!-- limits:end -->", lambda _: limits_table(), text, flags=re.S)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_includes_are_the_source(page):
    assert included(page.read_text()) == page.read_text()


@pytest.mark.parametrize("stage", ["image", "pyramid", "relevance", "rate", "layout", "sample", "warp", "tensor"])
def test_a_stage_page_shows_its_oracle(stage):
    page = (TREE / f"docs/stages/{stage}.md").read_text()
    assert f"<!-- include: tests/oracle/{stage}.py -->\n```python\n" in page


def test_limits():
    page = (TREE / "docs/limits.md").read_text()
    assert "<!-- limits:begin -->" in page and with_limits(page) == page
    known = foveate._core.limits()
    assert {word.lower(): value for word, value, _ in limits()} == known


@pytest.mark.parametrize("page,folders,pattern", [
    ("docs/backends.md", ("engine", "python"), r"(?:getenv\(|filled\(|environ(?:\.get)?[(\[])\"(\w+)\""),
    ("docs/guide/testing.md", ("tests/conftest.py", "tests/images.py"), r"\b(FOVEATE_(?:TEST|ICD|LONG)\w*[A-Z])\b"),
])
def test_environment_variables(page, folders, pattern):
    paths = [TREE / folder for folder in folders]
    files = [f for path in paths for f in ([path] if path.is_file() else path.rglob("*"))]
    read = {v for f in files if f.suffix in (".cpp", ".h", ".py") for v in re.findall(pattern, f.read_text())}
    text = (TREE / page).read_text()
    assert read and sorted(v for v in read - {"HOME", "XDG_DATA_HOME", "XDG_DATA_DIRS"} if v not in text) == []


# The pages themselves

def headings(page):
    plain = [re.sub(r"[^\w\- ]", "", line.lstrip("#").strip().lower()) for line in page.read_text().splitlines()
             if line.startswith("#")]
    return {text.replace(" ", "-") for text in plain}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.S | re.M)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{name(page)}: {target}"
        assert not anchor or anchor in headings(there), f"{name(page)}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_no_machine_is_in_the_pages(page):
    text = page.read_text()
    assert not re.search(r"(?<![\w.~/])/(home|root|tmp|work|Users|mnt|opt)/", text)
    assert not re.search(r"[ \t]$|\t", re.sub(r"^```.*?^```", "", text, flags=re.S | re.M), re.M), "blanks at an end"


def test_readme():
    text = (TREE / "README.md").read_text()
    assert text.count("\n") <= 120
    assert text.index("<!-- measured:begin -->") < text.index("<!-- measured:end -->")
    for needed in ("docs/picture.png", "make demo", "make test", "pip install"):
        assert needed in text


def test_every_page_is_linked():
    """From the README in any number of steps."""
    seen, left = set(), [TREE / "README.md"]
    while left:
        page = left.pop()
        seen.add(page)
        for target in re.findall(r"\]\(([^)\s#]+\.md)[^)]*\)", page.read_text()):
            there = (page.parent / target).resolve()
            if there.exists() and there not in seen:
                left.append(there)
    assert [name(page) for page in PAGES if page not in seen] == []


if __name__ == "__main__":
    for changed in PAGES:
        changed.write_text(with_limits(included(changed.read_text())))
    print(f"{os.path.relpath(TREE)}: {len(PAGES)} pages")
