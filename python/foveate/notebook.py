# SPDX-License-Identifier: Apache-2.0
"""What a notebook shows of a value: a picture and the facts. NumPy is all it needs, and no image."""

import base64
import html

import numpy as np

from .outline import bar, extent, gradient, rate_key, svg
from .overlay import details, rate_color
from .picture import heat, png
from .reconstruct import reconstruct

SHOWN = 4       # images of a batch
SIDE = 320      # px of a picture's longer side

STYLE = """<style>
.foveate{font:13px/1.45 system-ui,sans-serif;display:flex;flex-wrap:wrap;gap:16px;align-items:flex-start;margin:4px 0}
.foveate figure{margin:0;width:min-content;min-width:170px}
.foveate .view{position:relative;border-radius:6px;overflow:hidden;background:#14171c}
.foveate .view>*{position:absolute;inset:0;width:100%;height:100%;display:block;margin:0;max-width:none;
image-rendering:pixelated} .foveate svg{opacity:.75}
.foveate .bar{display:flex;height:5px;border-radius:3px;overflow:hidden;margin-top:7px} .foveate .bar i{display:block}
.foveate figcaption{opacity:.72;margin-top:5px;font-variant-numeric:tabular-nums;max-width:320px}
.foveate table{font:inherit;border-collapse:collapse;font-variant-numeric:tabular-nums;margin:0}
.foveate td{padding:1px 14px 1px 0;text-align:left;border:0;background:none} .foveate td:first-child{opacity:.62}
.foveate b{font-weight:600}
.foveate .key i{display:inline-block;width:9px;height:9px;border-radius:3px;margin:0 5px 0 0}
.foveate .key span{margin-right:12px;white-space:nowrap}
</style>"""


def _frame(pictures, title, facts):
    rows = "".join(f"<tr><td>{html.escape(name)}</td><td>{html.escape(str(value))}</td></tr>" for name, value in facts)
    return (f'{STYLE}<div class="foveate">{"".join(pictures)}<div><b>{html.escape(title)}</b>'
            f"<table>{rows}</table></div></div>")


def _figure(size, inside, caption, below=""):
    scale = SIDE / max(size)
    style = f"width:{max(round(size[1] * scale), 1)}px;height:{max(round(size[0] * scale), 1)}px"
    return f'<figure><div class="view" style="{style}">{inside}</div>{below}<figcaption>{caption}</figcaption></figure>'


def _image(pixels):
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(png(pixels)).decode()}">'


def _caption(number, count, valid, size):
    name = f"image {number}: " if count > 1 else ""
    return f"{name}{valid} tokens over {size[1]} &times; {size[0]} px"


def _more(count):
    return [("pictures", f"the first {SHOWN} of {count}")] if count > SHOWN else []


def _shrunk(size):
    """(height, width) to draw at: no more px than are shown on a screen of twice the density."""
    scale = min(1.0, 2 * SIDE / max(size))
    return max(round(size[0] * scale), 1), max(round(size[1] * scale), 1), scale


class _Scaled:
    """Tokens with their positions times a scale."""

    def __init__(self, tokens, scale):
        self.patches, self.preset, self.valid = tokens.patches, tokens.preset, tokens.valid
        self.center_px, self.size_px = tokens.center_px * np.float32(scale), tokens.size_px * np.float32(scale)


def tokens_html(tokens):
    """Tokens as HTML: what the model sees, put together from the patches, under the outlines of the tokens."""
    images, rows = tokens.table.shape
    pictures, rates = [], tokens._made[1]
    for index in range(min(images, SHOWN)):
        size = rates.sizes[index] if rates else extent(tokens, index)   # rates overhang their image
        height, width, scale = _shrunk(size)
        seen = reconstruct((height, width), _Scaled(tokens, scale), index=index)
        seen = np.floor(np.broadcast_to(seen, (height, width, 3)) * 255 + 0.5).astype(np.uint8)
        pictures.append(_figure(size, _image(seen) + svg(tokens, size, index, stroke=0.7),
                                _caption(index, images, int(np.sum(tokens.valid[index])), size),
                                bar(details(tokens, index))))
    facts = [("patches", f"{tokens.patches.dtype} {tokens.shape}"), ("on", tokens.device),
             ("model", f"{tokens.preset.name}, cells of {tokens.preset.cell} texels"),
             ("tokens", f"{rows} for each of {images} images, {int(np.sum(tokens.valid))} valid"), *_more(images)]
    return _frame(pictures, "foveate.Tokens", facts)


def layout_html(layout):
    """A Layout as HTML: the outlines of the tokens."""
    pictures = []
    for index, size in list(enumerate(layout.sizes))[:SHOWN]:
        pictures.append(_figure(size, svg(layout, size, index, stroke=0.9),
                                _caption(index, len(layout.sizes), int(np.sum(layout.valid[index])), size),
                                bar(details(layout, index))))
    facts = [("kind", layout.kind), ("tokens", f"{layout.rows} for each of {len(layout.sizes)} images, "
                                               f"{int(np.sum(layout.valid))} valid"),
             ("cell", f"{layout.cell} texels"), *_more(len(layout.sizes))]
    return _frame(pictures, "foveate.Layout", facts)


def _planes(values):
    """One (rows, columns) array, a batch of them or a list, as a list."""
    if isinstance(values, (list, tuple)):
        return [np.asarray(value) for value in values]
    values = np.asarray(values)
    return [values] if values.ndim == 2 else list(values)


def relevance_html(title, values, facts=()):
    """Relevance as HTML: a heat map for each image.

    Args:
        title: of the value, as "foveate.Relevance".
        values: (rows, columns) of 0..1, or a list of them.
        facts: [(name, value), ...].
    """
    planes = _planes(values)
    pictures = [_figure(plane.shape, _image(heat(plane)), f"{plane.shape[1]} &times; {plane.shape[0]} cells, "
                        f"mean {float(plane.mean()):.3f}") for plane in planes[:SHOWN]]
    scale = f'<div class="bar" title="0 to 1" style="background:{gradient()}"></div>'
    pictures[0] = pictures[0].replace("<figcaption>", scale + "<figcaption>")
    return _frame(pictures, title, [*facts, *_more(len(planes))])


def rates_html(title, codes, facts=()):
    """Rates of cells or of a device's tiles as HTML: a picture and a key for each image.

    Args:
        title: of the value, as "foveate.Rates".
        codes: (rows, columns) of log2 width << 2 | log2 height, or a list of them.
        facts: [(name, value), ...].
    """
    planes, pictures = _planes(codes), []
    for plane in planes[:SHOWN]:
        caption = f'{plane.shape[1]} &times; {plane.shape[0]} rates<br><span class="key">{rate_key(plane, True)}</span>'
        pictures.append(_figure(plane.shape, _image(rate_color(plane)), caption))
    return _frame(pictures, title, [*facts, *_more(len(planes))])
