# SPDX-License-Identifier: Apache-2.0
"""Tokens as SVG: sharp at any size, and small."""

import numpy as np

from .overlay import PALETTE, rate_shares, steps
from .picture import ramp
from .reconstruct import coarse_first, corners

MOST = 6000     # outlines; more would be a surface, and slow to draw


def _number(value):
    return f"{value:.2f}".rstrip("0").rstrip(".")


def paths(tokens, index=0):
    """[(group, path), ...] of the valid tokens, coarsest first: one path of rectangles for each group of detail."""
    groups, box, found = steps(tokens, index)[1], corners(tokens, index), {}
    for i in coarse_first(tokens, index)[-MOST:]:
        x0, y0, x1, y1 = box[i]
        found.setdefault(int(groups[i]), []).append(
            f"M{_number(x0)} {_number(y0)}h{_number(x1 - x0)}v{_number(y1 - y0)}h{_number(x0 - x1)}z")
    return [(group, "".join(found[group])) for group in sorted(found, reverse=True)]


def svg(tokens, size, index=0, *, gaze_uv=(), dim="", stroke=1.1, label="tokens"):
    """An <svg> of every token's outline over an image of (height, width) px.

    Args:
        tokens: Tokens or a Layout.
        size: (height, width) px of the image.
        index: which image of the batch.
        gaze_uv: (x, y) points in 0..1, drawn as crosses.
        dim: a name unlike any other's in the page: what no token covers is darkened, which needs it; "" for not.
        stroke: width of the lines, px of the screen.
        label: what a screen reader says.
    """
    height, width = size
    drawn = paths(tokens, index)
    parts = []
    if dim:
        holes = "".join(f'<path d="{path}"/>' for _, path in drawn)
        parts.append(f'<mask id="{dim}"><path fill="#fff" d="M0 0h{width}v{height}h-{width}z"/>{holes}</mask>'
                     f'<path mask="url(#{dim})" d="M0 0h{width}v{height}h-{width}z" fill="#0b0d10" opacity=".74"/>')
    parts += [f'<path d="{path}" fill="none" stroke="{PALETTE[group % len(PALETTE)]}" stroke-width="{stroke}" '
              'vector-effect="non-scaling-stroke"/>' for group, path in drawn]
    reach = max(width, height) / 44
    for x, y in gaze_uv:
        x, y = x * width, y * height
        near, ring = reach * 0.25, reach * 0.55
        shape = "".join(f"M{_number(x + dx * near)} {_number(y + dy * near)}L{_number(x + dx * reach)} "
                        f"{_number(y + dy * reach)}" for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1)))
        shape += f"M{_number(x + ring)} {_number(y)}a{ring:.2f} {ring:.2f} 0 1 0 {-2 * ring:.2f} 0"
        shape += f"a{ring:.2f} {ring:.2f} 0 1 0 {2 * ring:.2f} 0z"
        parts += [f'<path d="{shape}" fill="none" stroke="{ink}" stroke-opacity="{opacity}" stroke-width="{line}" '
                  'stroke-linecap="round" vector-effect="non-scaling-stroke"/>'
                  for ink, opacity, line in (("#000", 0.6, 4.5), ("#fff", 1, 1.8))]
    return (f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{label}" '
            f'xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>')


def bar(found):
    """A strip of colour for each [(group, px per texel, count), ...], and the words that explain it."""
    parts = "".join(f'<i style="flex:{count};background:{PALETTE[group % len(PALETTE)]}"></i>'
                    for group, _, count in found)
    words = ", ".join(f"{count} at {step:.3g} px a texel" for _, step, count in found)
    return f'<div class="bar" role="img" aria-label="{words}" title="{words}">{parts}</div>'


def gradient():
    """The ramp of relevance, as CSS."""
    return f"linear-gradient(90deg,{','.join(f'rgb({r},{g},{b})' for r, g, b in ramp()[::15].tolist())})"


def rate_key(codes, share=False):
    """A swatch and a size for each rate of an image, and its share of it."""
    return "".join(f'<span><i style="background:rgb{ink}"></i>{width}&times;{height}{f" {part:.0%}" if share else ""}'
                   "</span>" for width, height, ink, part in rate_shares(codes))


def extent(tokens, index=0):
    """(height, width) px that the valid tokens reach to: the image, or a little more."""
    valid = np.asarray(tokens.valid[index], bool)
    if not valid.any():
        return 1, 1
    x, y = np.ceil(corners(tokens, index)[valid][:, 2:].max(axis=0) - 0.01)    # float32 positions
    return max(int(y), 1), max(int(x), 1)
