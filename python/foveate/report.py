# SPDX-License-Identifier: Apache-2.0
"""One HTML file that shows what ways of spending the same tokens make of each image; it needs nothing but itself."""

import base64
import html
import io
import os
from pathlib import Path

import numpy as np

from . import policies, quality
from .outline import bar, gradient, rate_key, svg
from .overlay import PALETTE, details, rate_color
from .picture import heat, png
from .reconstruct import reconstruct
from .report_style import STYLE

MOST_BYTES = 8 << 20


def _address(kind, data):
    return f"data:image/{kind};base64," + base64.b64encode(data).decode()


def photograph(pixels, side, webp=82):
    """An address of an image at most `side` px long. WebP: a tenth of the bytes of a PNG of a photograph."""
    from PIL import Image

    picture = Image.fromarray(pixels)
    if max(picture.size) > side:
        scale = side / max(picture.size)
        picture = picture.resize((max(round(picture.width * scale), 1), max(round(picture.height * scale), 1)),
                                 Image.Resampling.LANCZOS)
    out = io.BytesIO()
    picture.save(out, "WEBP", quality=webp, method=4)
    return _address("webp", out.getvalue())


def _db(value):
    return "exact" if value >= 99 else f"{value:.2f}"


def measure(entry):
    """Adds to each shown policy what it leaves: its picture and its PSNRs."""
    image, gaze, rows = entry["image"], entry.get("gaze_uv") or [(0.5, 0.5)], []
    for shown in entry["shown"]:
        seen = reconstruct(image.shape[:2], shown.tokens)
        seen = seen if seen.shape[2] == 3 else np.repeat(seen[..., :1], 3, axis=2)
        rows.append({"shown": shown, "seen": np.floor(seen * 255 + 0.5).astype(np.uint8),
                     "found": details(shown.tokens), "psnr": quality.psnr(image, seen),
                     "gaze": quality.weighted_psnr(image, seen, gaze)})
    return rows


def _cell_picture(colors, size, edge):
    """A small PNG of cells, shown as large as its cells are: it may overhang the image like them."""
    rows, columns = colors.shape[:2]
    style = f"width:{columns * edge / size[1]:.4%};height:{rows * edge / size[0]:.4%}"
    return f'<img class="cells" alt="" style="{style}" src="{_address("png", png(colors, 9))}">'


def planes(entry, number, name):
    """(title, picture, key) of relevance and of rates, of those that the entry has."""
    size, found = entry["image"].shape[:2], []
    cell = entry.get("cell") or entry["shown"][0].tokens.preset.cell
    if entry.get("relevance") is not None:
        values = np.asarray(entry["relevance"], float)
        found.append(("relevance", heat(values), '<div class="scale"><span>0</span>'
                      f'<i style="background:{gradient()}"></i><span>1</span></div>'))
    if entry.get("rates") is not None:
        codes = np.asarray(entry["rates"])
        found.append(("rate image", rate_color(codes), f'<div class="key">{rate_key(codes)}</div>'))
    return [(title, f'<div class="view photo-{number} gray" style="aspect-ratio:{size[1]}/{size[0]}" role="img" '
             f'aria-label="{title} of {name}">{_cell_picture(colors, size, cell)}</div>', key)
            for title, colors, key in found]


def card(row, number, place, entry, name, best, side, before=()):
    """One way of spending the tokens; with what came before its tokens it is as wide as the page."""
    shown, size = row["shown"], entry["image"].shape[:2]
    title, count = html.escape(shown.policy.title), sum(count for _, _, count in row["found"])
    gaze = entry.get("gaze_uv", ()) if shown.policy.gazes else ()
    drawn = svg(shown.tokens, size, gaze_uv=gaze, dim=f"dim-{number}-{place}", label=f"{count} tokens: {title}")
    ratio = f"aspect-ratio:{size[1]}/{size[0]}"
    tokens = f'<div class="view photo-{number}" style="{ratio}">{drawn}</div>'
    seen = (f'<img class="view" style="{ratio}" src="{photograph(row["seen"], side)}" '
            f'alt="{name} from the patches of {title}">')
    marks = [' class="best"' if row[key] == best[key] else "" for key in ("psnr", "gaze")]
    facts = f"""<dl><div><dt>PSNR</dt><dd{marks[0]}>{_db(row["psnr"])}</dd></div>
<div><dt>gaze-weighted</dt><dd{marks[1]}>{_db(row["gaze"])}</dd></div>
<div><dt>tokens</dt><dd>{count}</dd></div><div><dt>ms</dt><dd>{shown.ms:.2f}</dd></div></dl>"""
    head = f"<h3>{title}</h3><p>{html.escape(shown.policy.about)}</p>"
    here = f"card-{number}-{place}"
    close = f'<a class="close" href="#entry-{number}" aria-label="close">×</a>'
    if not before:
        return f"""<figure class="card" id="{here}"><a class="pictures" href="#{here}">{tokens}
{seen}</a>{close}<figcaption>{head}{bar(row["found"])}{facts}</figcaption></figure>"""
    panels = [*before, ("tokens", tokens, bar(row["found"])), ("what the model sees", seen, "")]
    views = "".join(f'<div class="panel">{view}<span>{words}</span>{key}</div>' for words, view, key in panels)
    return f"""<figure class="card wide" id="{here}">{close}<figcaption><div>{head}</div>{facts}</figcaption>
<a class="pictures" href="#{here}">{views}</a></figure>"""


def section(number, entry, side):
    """(HTML, rows of figures) of one image."""
    rows = measure(entry)
    name, (height, width) = html.escape(entry["name"]), entry["image"].shape[:2]
    best = {key: max((row[key] for row in rows), default=0) for key in ("psnr", "gaze")}
    groups = sorted({(group, PALETTE[group % len(PALETTE)]) for row in rows for group, _, _ in row["found"]})
    key = "".join(f'<span><i style="background:{ink}"></i>{"1 px" if group == 0 else f"about {2**group} px"} a texel'
                  "</span>" for group, ink in groups)
    cards = "".join(card(row, number, place, entry, name, best, side,
                         planes(entry, number, name) if place == 1 else ()) for place, row in enumerate(rows, 1))
    page = f"""<section id="entry-{number}"><header class="entry"><h2>{name}</h2>
<p class="number">{width} × {height} px · at most {entry["budget"]} tokens</p><div class="key">{key}</div></header>
<div class="cards">{cards}</div></section>"""
    return page, rows


def _table(entries, measured):
    titles = list(dict.fromkeys(row["shown"].policy.title for rows in measured for row in rows))
    head = "".join(f'<th class="number">{html.escape(title)}</th>' for title in titles)
    body = []
    for number, (entry, rows) in enumerate(zip(entries, measured, strict=True), 1):
        by, best = {row["shown"].policy.title: row for row in rows}, max((row["gaze"] for row in rows), default=0)
        cells = "".join(f'<td class="number{" best" if row["gaze"] == best else ""}">{_db(row["gaze"])}</td>'
                        if (row := by.get(title)) else '<td class="number">–</td>' for title in titles)
        body.append(f'<tr><td><a href="#entry-{number}">{html.escape(entry["name"])}</a></td>'
                    f'<td class="number">{entry["budget"]}</td>{cells}</tr>')
    return (f'<div class="scroll"><table><caption>Gaze-weighted PSNR, dB</caption><thead><tr><th>image</th>'
            f'<th class="number">tokens</th>{head}</tr></thead><tbody>{"".join(body)}</tbody></table></div>')


def write_report(path, entries, *, title="What the model sees", facts=(), side=720, more=None):
    """Writes a self-contained HTML file, light or dark as the reader's system is.

    Args:
        path: file to write; its folder is made.
        entries: dicts with name, image (uint8 HWC), budget, shown (a list of policies.Shown), and optionally
            gaze_uv, and what made the tokens of the first of shown: relevance ((rows, columns), 0..1), rates
            ((rows, columns) codes), cell (px of the edge of theirs; None: the preset's).
        title: the heading.
        facts: short strings: backend, machine, version.
        side: longer side of the pictures, px; less where the file would be over 8 MB.
        more: (HTML, CSS, image, name) of a section after the others; the image is the class photo-NAME.

    Returns:
        pathlib.Path of the file.
    """
    while True:
        page = _page(entries, title, facts, side, more)
        if len(page) <= MOST_BYTES or side <= 160:
            break
        side = int(side * 0.8)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(page, encoding="utf-8")
    temporary.replace(path)
    return path


def _page(entries, title, facts, side, more):
    sections, measured, photos = [], [], []
    for number, entry in enumerate(entries, 1):
        text, rows = section(number, entry, side)
        sections.append(text)
        measured.append(rows)
        photos.append(f".photo-{number}{{background-image:url({photograph(entry['image'], side)})}}")
    extra = ""
    if more is not None:
        extra, style, image, name = more
        photos += [f".photo-{name}{{background-image:url({photograph(image, side)})}}", style]
    absent = policies.missing()
    note = f" Not in this build: {', '.join(absent)}." if absent else ""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)} - foveate</title><style>{STYLE}{"".join(photos)}</style></head><body><main>
<h1>{html.escape(title)}</h1>
<p class="lead">The same number of tokens, spent in different ways: where they lie, and the picture put together again
from their patches, and from nothing else. The wide card has what chose them too: how much each cell matters, and its
rate, the cells that share a token.</p>
<p class="facts number">{" · ".join(html.escape(str(fact)) for fact in facts)}</p>
{_table(entries, measured)}
{"".join(sections)}{extra}
<footer>PSNR in dB against the original, each px by the texel over it; gaze-weighted: a px weighs
(e<sub>0</sub>/(e+e<sub>0</sub>))², e its distance to the gaze, e<sub>0</sub> = 0.15 of half the diagonal; where no
token lies, what is around is continued smoothly. ms: <code>Engine.tokens</code> for this one image on the machine named
above. A picture opens large when it is chosen.{note}</footer></main></body></html>
"""
