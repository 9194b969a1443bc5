#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Puts the table of docs/measured/cpu.md between the markers of README.md."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- measured:begin -->", "<!-- measured:end -->"


def main():
    text = (ROOT / "docs/measured/cpu.md").read_text()
    table = text.split("\n\n", 2)[2]
    readme = ROOT / "README.md"
    before, rest = readme.read_text().split(BEGIN)
    after = rest.split(END)[1]
    readme.write_text(f"{before}{BEGIN}\n{table}\nGPU: not measured on a GPU yet.\n{END}{after}")


if __name__ == "__main__":
    main()
