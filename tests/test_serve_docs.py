# SPDX-License-Identifier: Apache-2.0
"""The tables of docs/guide/serve.md and serve_triton.md are those of the source, and serve_openapi.json its routes.

`python tests/test_serve_docs.py` writes them again.
"""

import json
import re
from pathlib import Path

from foveate.serve import limits
from foveate.serve.fault import KINDS
from foveate.serve.models import MODELS
from foveate.serve.service import Service
from serve_openapi import description, text
from triton_otherwise import OTHERWISE

GUIDE = Path(__file__).resolve().parent.parent / "docs/guide"
PAGE, TRITON, OPENAPI = GUIDE / "serve.md", GUIDE / "serve_triton.md", GUIDE / "serve_openapi.json"


def tables():
    rows = [f"| `{name}` | {value} | {what} |" for name, value, what in limits.rows()]
    yield "limits", ["| name | value | what |", "|---|---:|---|", *rows]
    rows = [f"| `{code}` | {kind.status} | {kind.grpc} | `{kind.text}` |" for code, kind in KINDS.items()]
    yield "errors", ["| code | HTTP | gRPC | text |", "|---|---:|---:|---|", *rows]


def otherwise():
    """What Triton says and what we do, reason by reason."""
    record = json.loads((Path(__file__).parent / "golden/triton.json").read_text())
    lines = []
    for reason, answers in OTHERWISE.items():
        lines += [f"**{reason}**", "", "| request | Triton | here |", "|---|---|---|"]
        lines += [f"| {key} | {answer(record[key])} | {answer(said)} |" for key, said in answers.items()] + [""]
    yield "otherwise", lines[:-1]


def answer(said):
    """Facts in a cell of a table."""
    status, rest = said
    if status != 200:
        return f"{status} `{rest}`" if rest else str(status)
    if isinstance(rest, dict) and "outputs" in rest:
        return "200, outputs " + ", ".join(f"`{name}` of rank {rank}" for name, _, rank, *_ in rest["outputs"])
    return "200, no body" if rest == "NoneType" else f"200, JSON with {', '.join(rest)}" if rest else "200, `[]`"


def with_tables(text, tables):
    for name, lines in tables:
        begin, end = f"<!-- serve {name}:begin -->", f"<!-- serve {name}:end -->"
        assert begin in text and end in text
        table = "\n".join([begin, *lines, end])
        text = re.sub(f"{begin}.*?{end}", lambda _, table=table: table, text, flags=re.S)
    return text


def test_tables_are_the_source():
    assert with_tables(PAGE.read_text(), tables()) == PAGE.read_text()
    assert with_tables(TRITON.read_text(), otherwise()) == TRITON.read_text()


def openapi():
    return text(description(Service()))


def test_the_description_is_that_of_the_routes():
    assert OPENAPI.read_text() == openapi() and "serve_openapi.json" in PAGE.read_text()


def test_every_parameter_is_on_the_page():
    rows = {row.split("`")[1]: row for row in PAGE.read_text().splitlines() if re.match(r"\| `\w+`: ", row)}
    assert set(rows) == {*MODELS, "embed"}
    for name, module in MODELS.items():
        words = set(re.findall(r"`(\w+)`", rows[name]))
        known = set(module.parameters(limits.Limits())) | {port.name for port in (*module.INPUTS, *module.OUTPUTS)}
        assert known <= words, known - words


if __name__ == "__main__":
    OPENAPI.write_text(openapi())
    PAGE.write_text(with_tables(PAGE.read_text(), tables()))
    TRITON.write_text(with_tables(TRITON.read_text(), otherwise()))
