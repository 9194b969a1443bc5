# SPDX-License-Identifier: Apache-2.0
"""What a notebook and matplotlib show of a value."""

import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
from foveate import Engine
from foveate import overlay as drawing
from foveate.notebook import rates_html, relevance_html
from images import random_image


def balanced(text):
    opened = []

    class Check(HTMLParser):
        def handle_starttag(self, tag, attrs):
            if tag not in ("img", "br"):
                opened.append(tag)

        def handle_endtag(self, tag):
            assert opened.pop() == tag

    Check().feed(text)
    return opened == []


def test_notebooks():
    engine = Engine(backend="cpu")
    images = [random_image(s, 200, 320) for s in range(6)]
    tokens = engine.tokens(images, gaze=(0.5, 0.5), budget=60, dtype="bfloat16")
    for text in (tokens._repr_html_(), engine.layout([(200, 320)] * 6, kind="rings")._repr_html_()):
        assert balanced(text) and text.count("<svg") == 4 and "the first 4 of 6" in text
    for text in (relevance_html("foveate.Relevance", np.zeros((3, 4)), [("a<b", 1)]),
                 rates_html("foveate.Rates", [np.zeros((3, 4), np.uint8)])):
        assert balanced(text) and "data:image/png" in text and "a<b" not in text


def test_tokens_that_overhang_are_drawn_over_their_image():
    tokens = Engine(backend="cpu").tokens(random_image(1, 70, 90), budget=9, max_rate=4)
    assert (tokens.center_px + tokens.size_px[..., ::-1] / 2).max() > 90
    assert "9 tokens over 90 &times; 70 px" in tokens._repr_html_()


def test_relevance_and_rates_draw_themselves():
    engine, images = Engine(backend="cpu"), [random_image(s, 64 + 16 * s, 96) for s in range(6)]
    relevance = engine.relevance(images, gaze=(0.5, 0.5), saliency="both")
    rates = engine.rate(images, relevance=relevance, budget=20)
    tiles = engine.rate_tiles([(64, 96)] * 6, gaze=(0.5, 0.5))
    for value, fact in ((relevance, "16 px"), (rates, "vrs up to 8 x 8 cells"), (tiles, "of 1x1")):
        text = value._repr_html_()
        assert balanced(text) and text.count("data:image/png") == 4 and "the first 4 of 6" in text
        assert f"foveate.{type(value).__name__}" in text and fact in text
    assert tiles[0]._repr_html_().count("data:image/png") == 1


def test_a_notebook_loads_nothing_heavy():
    code = ("import foveate, numpy as np, sys\n"
            "foveate.Engine(backend='cpu').tokens(np.zeros((64, 64, 3), np.uint8), budget=4)._repr_html_()\n"
            "import foveate.overlay, foveate.quality, foveate.policies\n"
            "print([m for m in ('PIL', 'matplotlib', 'torch', 'skimage', 'rich') if m in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_matplotlib():
    import matplotlib
    matplotlib.use("agg")
    from foveate.plot import draw
    from matplotlib.figure import Figure

    image = random_image(1, 96, 128)
    tokens = Engine(backend="cpu").tokens(image, gaze=(0.5, 0.5), budget=30)
    figure = Figure()
    axes = draw(figure.add_subplot(), tokens, image, gaze_uv=[(0.5, 0.5)], legend=True)
    assert len(axes.collections) == len(drawing.details(tokens)) == len(axes.get_legend().texts)
    assert axes.get_xlim() == (0, 128) and axes.get_ylim() == (96, 0)
    figure.canvas.draw()
    assert draw(Figure().add_subplot(), Engine(backend="cpu").layout((96, 128))).get_xlim() == (0, 128)
