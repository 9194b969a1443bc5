# SPDX-License-Identifier: Apache-2.0
"""A chart with logarithmic axes as SVG, readable on light and on dark ground."""

import math
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 860, 520
LEFT, RIGHT, TOP, BOTTOM = 74, 236, 52, 58      # px around the plot; the names of the lines are on the right
LINE = 17                                       # px between two names
# of the same lines on light and on dark ground
LIGHT = ("#0b63ce", "#b4410e", "#0f7b4f", "#8a2fb0", "#8a6d00", "#b3125f", "#2f6f8f", "#4d4d4d")
DARK = ("#6fb1ff", "#ff9a66", "#5fd3a0", "#d594f2", "#e2c044", "#ff86b8", "#8fd0ee", "#c4c4c4")
GROUNDS = ((("#ffffff", "#1c2127", "#dde1e6"), LIGHT), (("#14171c", "#e2e6ec", "#353b44"), DARK))


def log_log(series, *, title, x_label, y_label, dashed=()):
    """The text of an SVG file.

    Args:
        series: {name: [(x, y), ...]}, above 0, at most 8 of them.
        title, x_label, y_label: plain text.
        dashed: names whose lines are dashed.
    """
    points = [point for line in series.values() for point in line]
    x_ticks = sorted({x for x, _ in points})
    low, high = (f(math.log10(y) for _, y in points) for f in (min, max))
    bottom, top = math.floor(low), max(math.ceil(high), math.floor(low) + 1)
    left, right = math.log(x_ticks[0]), math.log(x_ticks[-1])

    def at(x, y):
        across = (math.log(x) - left) / (right - left) if right > left else 0.5
        up = (math.log10(y) - bottom) / (top - bottom)
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
           f'height="{HEIGHT}" role="img" aria-label="{escape(title, {chr(34): "&quot;"})}">', f"<style>{_style()}"
           "</style>", f'<rect class="ground" width="{WIDTH}" height="{HEIGHT}"/>',
           _text(LEFT, 28, title, "title")]
    for x in x_ticks:
        across, _ = at(x, 10.0**bottom)
        out += [f'<path class="grid" d="M{across:.1f} {TOP}V{HEIGHT - BOTTOM}"/>',
                _text(across, HEIGHT - BOTTOM + 20, f"{x:g}", anchor="middle")]
    for power in range(bottom, top + 1):
        _, down = at(x_ticks[0], 10.0**power)
        out += [f'<path class="grid" d="M{LEFT} {down:.1f}H{WIDTH - RIGHT}"/>',
                _text(LEFT - 8, down + 4, f"{10.0**power:g}", anchor="end")]
    middle = (TOP + HEIGHT - BOTTOM) / 2
    out += [_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14, x_label, anchor="middle"),
            f'<g transform="rotate(-90 20 {middle:g})">{_text(20, middle, y_label, anchor="middle")}</g>']
    places = _apart([at(*line[-1])[1] for line in series.values()])
    for number, ((name, line), place) in enumerate(zip(series.items(), places, strict=True)):
        drawn = [at(*point) for point in line]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in drawn)
        dash = ' stroke-dasharray="7 5"' if name in dashed else ""
        end_x, end_y = drawn[-1]
        out += [f'<path class="line s{number}"{dash} d="M{path}"/>',
                *(f'<circle class="dot s{number}" cx="{x:.1f}" cy="{y:.1f}" r="3.2"/>' for x, y in drawn),
                f'<path class="hair s{number}" d="M{end_x + 5:.1f} {end_y:.1f}L{end_x + 18:.1f} {place:.1f}"/>',
                _text(end_x + 22, place + 4, name, f"name t{number}")]
    return "\n".join([*out, "</svg>"]) + "\n"


def _text(x, y, words, kind="", anchor="start"):
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(words)}</text>'


def _apart(wanted):
    """Places as near to the wanted ones as they get while they are LINE apart and inside the picture."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    places = {}
    floor = TOP
    for index in order:
        places[index] = floor = max(wanted[index], floor)
        floor += LINE
    ceiling = HEIGHT - BOTTOM
    for index in reversed(order):
        places[index] = ceiling = min(places[index], ceiling)
        ceiling -= LINE
    return [places[index] for index in range(len(wanted))]


def _style():
    rules = ["text{font:13px system-ui,sans-serif}.title{font-size:15px;font-weight:600}.grid{stroke-width:1}"
             ".line{fill:none;stroke-width:2.2;stroke-linejoin:round}.hair{fill:none;stroke-width:1}"]
    for scheme, ((ground, ink, grid), colours) in zip(("light", "dark"), GROUNDS, strict=True):
        own = f".ground{{fill:{ground}}}text{{fill:{ink}}}.grid{{stroke:{grid}}}"
        own += "".join(f".s{i}{{stroke:{c}}}.dot.s{i}{{fill:{c}}}.t{i}{{fill:{c}}}" for i, c in enumerate(colours))
        rules.append(own if scheme == "light" else f"@media (prefers-color-scheme:dark){{{own}}}")
    return "".join(rules)
