# SPDX-License-Identifier: Apache-2.0
"""The pages that `foveate bench quality` writes, and its command line."""

import argparse
import json
from pathlib import Path

from .error import require
from .quality_bench import SHARES, measure

WORDS = {"psnr": "nearest", "gaze_psnr": "nearest, gaze-weighted", "psnr_bilinear": "bilinear",
         "gaze_psnr_bilinear": "bilinear, gaze-weighted"}


def db(value):
    return "" if value is None else f"{value:.2f}"


def share_text(row):
    return f"{row['budget']} tokens" if row["share"] is None else f"{row['share']:.0%}"


def goal(line):
    """Two cells of a table: what a comparison has to reach, and whether it does."""
    wanted = []
    if line["goal_gain"] is not None:
        wanted.append(f"{line['goal_gain']:+.1f} dB" if line["goal_gain"] else "no worse")
    if line["goal_often"] is not None:
        wanted.append(f"{line['goal_often']:.0%} won")
    return f"{', '.join(wanted)} | {'' if line['met'] is None else 'yes' if line['met'] else 'no'}"


def markdown(result):
    """Tables: the proof, the medians, MTF50 by ring, and a row for every image."""
    titles = {row["policy"]: row["title"] for row in result["medians"]}
    lines = [f"{result['images']} images, plain 16 px cells, {result['machine']}, foveate {result['version']}. PSNR in "
             "dB of what the patches alone give back; 99 stands for 99 and above.", ""]
    if result["proof"]:
        lines += ["## Ours against the others", "", "Won and lost are images; the rest are equal.", "",
                  "| share of cells | ours | against | median gain, dB | won | lost | goal | met |",
                  "|---:|---|---|---:|---:|---:|---|---|"]
        lines += [f"| {line['share']:.0%} | {titles[line['ours']]}, {WORDS[line['key']]} | {titles[line['other']]}, "
                  f"{WORDS[line['other_key']]} | {line['median_gain']:+.2f} | {line['won']} of {line['images']} | "
                  f"{line['lost']} | {goal(line)} |" for line in result["proof"]]
        lines.append("")
    lines += ["## Medians", "", "| share of cells | policy | tokens of budget | nearest | nearest, gaze | bilinear | "
              "bilinear, gaze | SSIM |", "|---:|---|---:|---:|---:|---:|---:|---:|"]
    for row in result["medians"]:
        share = "by budget" if row["share"] is None else f"{row['share']:.0%}"
        lines.append(f"| {share} | {row['title']} | {row['tokens_of_budget']:.1%} | {db(row['psnr'])} | "
                     f"{db(row['gaze_psnr'])} | {db(row['psnr_bilinear'])} | {db(row['gaze_psnr_bilinear'])} | "
                     f"{row['ssim']:.4f} |")
    if result["mtf"]:
        lines += ["", "## MTF50 by ring", "", f"Cycles/px where half of a grating's contrast is left, bilinear; "
                  f"{result['mtf']['budget']} tokens on {result['mtf']['side']} x {result['mtf']['side']} px, gaze in "
                  "the middle. Rings in halves of the diagonal. Empty: the contrast never falls to one half, or was "
                  "never above it.", ""]
        rings = result["mtf"]["rows"][0]["rings"]
        lines += ["| policy | " + " | ".join(f"{ring['from']:g} to {ring['to']:g}" for ring in rings) + " |",
                  "|---|" + "---:|" * len(rings)]
        for row in result["mtf"]["rows"]:
            cells = ["" if ring["mtf50"] is None else f"{ring['mtf50']:.3f}" for ring in row["rings"]]
            lines.append(f"| {row['title']} | " + " | ".join(cells) + " |")
    lines += ["", "## Every image", "", "Nearest, and after the stroke gaze-weighted, at the gaze given in uv.", ""]
    for share in dict.fromkeys(row["share"] for row in result["rows"]):
        rows = [row for row in result["rows"] if row["share"] == share]
        names = list(dict.fromkeys(row["policy"] for row in rows))
        lines += [f"### {share_text(rows[0])}{'' if share is None else ' of the cells'}", "",
                  "| image | px | gaze | tokens | " + " | ".join(titles[name] for name in names) + " |",
                  "|---|---:|---|---:|" + "---:|" * len(names)]
        table = {(row["image"], row["policy"]): row for row in rows}
        for image in dict.fromkeys(row["image"] for row in rows):
            first = next(row for row in rows if row["image"] == image)
            cells = [f"{row['psnr']:.2f} / {row['gaze_psnr']:.2f}" if (row := table.get((image, name))) else ""
                     for name in names]
            lines.append(f"| {image} | {first['width']} x {first['height']} | {first['gaze'][0]:g}, "
                         f"{first['gaze'][1]:g} | {first['budget']} | " + " | ".join(cells) + " |")
        lines.append("")
    lines += [f"Not in this build, so not measured: {kind}." for kind in result["kinds_missing"]]
    lines += [f"Not installed here, so not measured: {name}." for name in result["images_missing"]]
    lines += [f"Left out: {note}" for note in result["notes"]]
    return "\n".join(lines).rstrip() + "\n"


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="foveate bench quality", description="PSNR of every layout at an equal "
                                     "number of tokens, over the pictures bundled in installed packages.")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--budget", type=int, help="tokens an image, instead of a share of its cells")
    size.add_argument("--share", type=float, action="append", help="of the cells, 0..1; may be repeated; default: "
                      + ", ".join(map(str, SHARES)))
    parser.add_argument("--image", action="append", default=[], help="only this picture, as coffee; may be repeated")
    parser.add_argument("--no-charts", action="store_true", help="leave out the modulation transfer by ring")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--out", type=Path, help="folder for quality.json and quality.md")
    options = parser.parse_args(arguments)
    shares = tuple(options.share or SHARES)
    for share in shares:
        require(0 < share <= 1, "bench: share", share, "above 0 and at most 1")
    require(options.budget is None or options.budget > 0, "bench: budget", options.budget, "1 or more tokens")
    result = measure((None,) if options.budget else shares, options.budget, tuple(options.image),
                     charts=not options.no_charts)
    text = markdown(result)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "quality.json").write_text(json.dumps(result, indent=1) + "\n")
        (options.out / "quality.md").write_text("# Measured: quality\n\nWritten by `foveate bench quality`; the "
                                                "method is in [quality](../guide/quality.md).\n\n" + text)
    print(json.dumps(result, indent=1) if options.json else text)
    return 0
