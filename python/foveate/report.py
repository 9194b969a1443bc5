# SPDX-License-Identifier: Apache-2.0
"""One HTML file that shows what became of each image; it needs nothing but itself."""

import base64
import html
import io
import os
from pathlib import Path

from .overlay import PALETTE, details, overlay, reconstruct

STYLE = """
:root { color-scheme: light dark; --ground: #fbfaf8; --panel: #ffffff; --ink: #1c2026; --soft: #656d78;
  --line: #e4e2dd; --accent: #b3541e; }
@media (prefers-color-scheme: dark) { :root { --ground: #14171c; --panel: #1b1f26; --ink: #e6e9ee;
  --soft: #97a1af; --line: #2b313a; --accent: #ffb627; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 56px 24px 80px; }
h1 { font-size: 34px; line-height: 1.15; letter-spacing: -.02em; margin: 0 0 10px; font-weight: 650; }
h2 { font-size: 20px; letter-spacing: -.01em; margin: 0; font-weight: 620; }
p { margin: 0; } .lead { color: var(--soft); max-width: 62ch; } .facts { margin-top: 14px; color: var(--soft);
  font-size: 14px; }
.number { font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; margin: 36px 0 24px; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th { text-align: left; font-weight: 500; color: var(--soft); border-bottom: 1px solid var(--line);
  padding: 6px 18px 6px 0; white-space: nowrap; }
td { border-bottom: 1px solid var(--line); padding: 7px 18px 7px 0; white-space: nowrap; }
th.number, td.number { text-align: right; }
a { color: inherit; text-decoration: none; } a:hover, a:focus-visible { color: var(--accent); }
section { border-top: 1px solid var(--line); padding: 34px 0 10px; }
header.entry { display: flex; flex-wrap: wrap; gap: 4px 18px; align-items: baseline; margin-bottom: 14px; }
header.entry p { color: var(--soft); font-size: 14px; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(300px, 1fr)); gap: 18px; }
figure { margin: 0; } figure img { display: block; width: 100%; height: auto; border-radius: 6px;
  background: #14171c; }
figcaption { color: var(--soft); font-size: 13px; margin-top: 7px; }
.bar { display: flex; height: 8px; border-radius: 4px; overflow: hidden; margin: 16px 0 8px;
  background: var(--line); } .bar i { display: block; }
.key { display: flex; flex-wrap: wrap; gap: 4px 20px; font-size: 13px; color: var(--soft); }
.key i { display: inline-block; width: 10px; height: 10px; border-radius: 3px; margin-right: 7px; }
footer { color: var(--soft); font-size: 13px; border-top: 1px solid var(--line); margin-top: 40px;
  padding-top: 16px; }
@media print { section { break-inside: avoid; } }
"""


def data_uri(picture):
    """A picture as an address. WebP: a tenth of the bytes of a PNG of a photograph."""
    out = io.BytesIO()
    picture.save(out, "WEBP", quality=86, method=4)
    return "data:image/webp;base64," + base64.b64encode(out.getvalue()).decode()


def section(number, entry, side):
    index, gaze = entry.get("index", 0), entry.get("gaze_uv", ())
    image, tokens = entry["image"], entry["tokens"]
    name, layout = html.escape(entry["name"]), html.escape(entry["layout"])
    found = details(tokens, index)
    total = sum(count for _, _, count in found)
    height, width = image.shape[:2]
    inks = [PALETTE[group % len(PALETTE)] for group, _, _ in found]
    bar = "".join(f'<i style="flex:{count};background:{ink}"></i>'
                  for ink, (_, _, count) in zip(inks, found, strict=True))
    key = "".join(f'<span><i style="background:{ink}"></i>{step:.3g} px a texel: '
                  f'<span class="number">{count}</span></span>'
                  for ink, (_, step, count) in zip(inks, found, strict=True))
    drawn = data_uri(overlay(image, tokens, index=index, gaze_uv=gaze, side=side, legend=False))
    seen = data_uri(reconstruct(image, tokens, index=index, side=side))
    return f"""
<section id="entry-{number}">
<header class="entry"><h2>{name}</h2>
<p class="number">{layout} · {width} × {height} px · {total} tokens · {entry["ms"]:.2f} ms</p></header>
<div class="pair">
<figure><img src="{drawn}" alt="{name} with its {total} tokens drawn as rectangles">
<figcaption>Each rectangle is one token; its colour says how many px a texel of it covers.</figcaption></figure>
<figure><img src="{seen}" alt="{name} put together again from its patches">
<figcaption>What the model sees: the patches, put back where they came from.</figcaption></figure>
</div>
<div class="bar" role="img" aria-label="share of tokens by detail">{bar}</div>
<div class="key">{key}</div>
</section>"""


def write_report(path, entries, *, title="What the model sees", facts=(), side=900):
    """Writes a self-contained HTML file, light or dark as the reader's system is.

    Args:
        path: file to write; its folder is made.
        entries: dicts with name, layout, image (uint8 HWC), tokens, ms, and optionally index and gaze_uv.
        title: the heading.
        facts: short strings: backend, machine, version.
        side: longer side of the pictures, px.

    Returns:
        pathlib.Path of the file.
    """
    rows = []
    for number, entry in enumerate(entries, 1):
        found = details(entry["tokens"], entry.get("index", 0))
        height, width = entry["image"].shape[:2]
        detail = ", ".join(f"{step:.3g}: {count}" for _, step, count in found)
        rows.append(f'<tr><td><a href="#entry-{number}">{html.escape(entry["name"])}</a></td>'
                    f'<td>{html.escape(entry["layout"])}</td><td class="number">{width} × {height}</td>'
                    f'<td class="number">{sum(count for _, _, count in found)}</td><td class="number">{detail}</td>'
                    f'<td class="number">{entry["ms"]:.2f}</td></tr>')
    body = "".join(section(number, entry, side) for number, entry in enumerate(entries, 1))
    page = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)} - foveate</title><style>{STYLE}</style></head><body><main>
<h1>{html.escape(title)}</h1>
<p class="lead">Every image below became a fixed number of tokens: fine where the gaze is, coarse elsewhere.</p>
<p class="facts number">{" · ".join(html.escape(str(fact)) for fact in facts)}</p>
<div class="scroll"><table><thead><tr><th>image</th><th>layout</th><th class="number">px</th>
<th class="number">tokens</th><th class="number">px a texel: tokens</th><th class="number">ms</th></tr></thead>
<tbody>{"".join(rows)}</tbody></table></div>
{body}
<footer>ms: median of repeated calls of <code>Engine.tokens</code> for this one image on the machine named above.
</footer></main></body></html>
"""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(page, encoding="utf-8")
    temporary.replace(path)
    return path
