#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Puts what docs/measured holds between the markers of README.md: of the table what is compared."""

import json
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MEASURED = ROOT / "docs/measured"
BEGIN, END = "<!-- measured:begin -->", "<!-- measured:end -->"
# rows for docs/measured/cpu.md only
LONG = ("memory floor: ", "foveate, Vulkan on ", "foveate, from a PIL image", "the same from a PIL image",
        "foveate, resizing alone", "PIL.Image.resize alone", "torch avg_pool2d chain", "foveate, pyramid at hand",
        "foveate, anti-aliased, acuity", "foveate, one thread", "32 images of mixed sizes")


def table():
    text = (MEASURED / "cpu.md").read_text().split("\n\n", 2)[2]
    return "".join(line for line in text.splitlines(keepends=True) if not any(f"| {word}" in line for word in LONG))


def quality():
    """What the proof of quality.json says, in a paragraph; nothing where it is not measured."""
    if not (MEASURED / "quality.json").exists():
        return ""
    found = json.loads((MEASURED / "quality.json").read_text())
    titles = {row["policy"]: row["title"] for row in found["medians"]}
    lines = {(line["share"], line["ours"], line["other"]): line for line in found["proof"]}
    said = []
    for share, ours, others in ((0.25, "rate", ("grid",)), (0.5, "rate", ("grid",)),
                                (0.25, "rate gaze", ("grid",))):
        for other in others:
            if line := lines.get((share, ours, other)):
                weighted = ", gaze-weighted" if "gaze" in line["key"] else ""
                said.append(f"- {share:.0%} of the cells, {titles[ours]}{weighted}: {line['median_gain']:+.2f} dB over "
                            f"{titles[other]}{' by bilinear' if 'bilinear' in line['other_key'] else ''}, better on "
                            f"{line['won']} of {line['images']} images")
    return f"[Quality](docs/measured/quality.md), medians of PSNR:\n\n{chr(10).join(said)}\n\n" if said else ""


def gpus():
    """A link to the page of every GPU that is measured."""
    found = [(json.loads(path.read_text())["device"], path.stem) for path in sorted(MEASURED.glob("gpu-*.json"))]
    return ", ".join(f"[{device}](docs/measured/{page}.md)" for device, page in found) or "not measured on a GPU yet"


def block():
    pages = {"scaling": "Time from 0.25 to 64 Mpx", "model": "Of a model, by tokens", "select": "Choosing tokens",
             "experiments": "What a small model answers", "batch": "Many files", "serve": "The service"}
    lines = " ".join(f"{about}: [{page}](docs/measured/{page}.md)." for page, about in pages.items()
                      if (MEASURED / f"{page}.md").exists())
    return f"{table()}\n{quality()}{lines} GPU: {gpus()}.\n"


def main():
    readme = ROOT / "README.md"
    before, rest = readme.read_text().split(BEGIN)
    readme.write_text(f"{before}{BEGIN}\n{block()}{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    main()
