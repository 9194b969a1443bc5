# SPDX-License-Identifier: Apache-2.0
"""A section of the report: what the small model answers from the same number of tokens, and where it looked."""

import html
from dataclasses import dataclass

import numpy as np

from .outline import svg
from .reconstruct import corners
from .report_style import ANSWERS

LEAST = 0.04        # of the most attention: less is not drawn


@dataclass
class Told:
    """One answer: how it came about, of how many tokens, and where the model looked."""

    title: str
    about: str
    answer: object          # model.look.Answer
    tokens: object
    points: list
    right: bool
    outlined: bool = True


def attention(tokens, weights, size):
    """An <svg> of the tokens an answer drew on, the more the stronger."""
    height, width = size
    weights = np.where(tokens.valid[0], np.asarray(weights, float), 0)
    most = max(weights.max(), 1e-9)
    boxes = corners(tokens)
    parts = [f'<rect x="{x0:.1f}" y="{y0:.1f}" width="{x1 - x0:.1f}" height="{y1 - y0:.1f}" '
             f'opacity="{0.15 + 0.6 * weight / most:.2f}"/>'
             for (x0, y0, x1, y1), weight in zip(boxes, weights, strict=True) if weight > LEAST * most]
    return f'<svg class="drawn" viewBox="0 0 {width} {height}" aria-hidden="true">{"".join(parts)}</svg>'


def card(told, size, name, label):
    """A picture with its tokens, what drew the eye, and the answer."""
    outlines = svg(told.tokens, size, gaze_uv=told.points, stroke=0.8, label=label) if told.outlined else ""
    drawn = attention(told.tokens, told.answer.attention, size)
    mark = '<b class="right">right</b>' if told.right else '<b class="wrong">wrong</b>'
    count = int(np.asarray(told.tokens.valid).sum())
    ratio = f"aspect-ratio:{size[1]}/{size[0]}"
    return f"""<figure class="card"><div class="view photo-{name}" style="{ratio}">{drawn}{outlines}
</div><figcaption><h3>{html.escape(told.title)}</h3><p>{html.escape(told.about)}</p>
<div class="said"><q>{html.escape(told.answer.text)}</q>{mark}</div>
<dl><div><dt>tokens</dt><dd>{count}</dd></div><div><dt>sure</dt><dd>{told.answer.confidence:.0%}</dd></div></dl>
</figcaption></figure>"""


def section(rows, size, name, lead):
    """(HTML, CSS) of [(question, [Told, ...]), ...] about one image, whose photograph is the class photo-NAME."""
    groups = "".join(f'<h3 class="asked">{html.escape(question)}?</h3><div class="cards">'
                     + "".join(card(told, size, name, f"tokens: {told.title}") for told in found) + "</div>"
                     for question, found in rows)
    return (f'<section id="answers"><header class="entry"><h2>What a small model answers</h2></header>'
            f'<p class="lead">{html.escape(lead)}</p>{groups}</section>', ANSWERS)
