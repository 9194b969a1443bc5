# SPDX-License-Identifier: Apache-2.0
"""The tables of docs/guide/serve.md are those of the source. `python tests/test_serve_docs.py` writes them again."""

import re
from pathlib import Path

from foveate.serve import limits
from foveate.serve.fault import KINDS
from foveate.serve.models import MODELS

PAGE = Path(__file__).resolve().parent.parent / "docs/guide/serve.md"


def tables():
    rows = [f"| `{name}` | {value} | {what} |" for name, value, what in limits.rows()]
    yield "limits", ["| name | value | what |", "|---|---:|---|", *rows]
    rows = [f"| `{code}` | {kind.status} | {kind.grpc} | `{kind.text}` |" for code, kind in KINDS.items()]
    yield "errors", ["| code | HTTP | gRPC | text |", "|---|---:|---:|---|", *rows]


def with_tables(text):
    for name, lines in tables():
        begin, end = f"<!-- serve {name}:begin -->", f"<!-- serve {name}:end -->"
        assert begin in text and end in text
        table = "\n".join([begin, *lines, end])
        text = re.sub(f"{begin}.*?{end}", lambda _, table=table: table, text, flags=re.S)
    return text


def test_tables_are_the_source():
    assert with_tables(PAGE.read_text()) == PAGE.read_text()


def test_every_parameter_is_on_the_page():
    rows = {row.split("`")[1]: row for row in PAGE.read_text().splitlines() if re.match(r"\| `\w+`: ", row)}
    assert set(rows) == {*MODELS, "embed"}
    for name, module in MODELS.items():
        words = set(re.findall(r"`(\w+)`", rows[name]))
        known = set(module.parameters(limits.Limits())) | {port.name for port in (*module.INPUTS, *module.OUTPUTS)}
        assert known <= words, known - words


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text()))
