# SPDX-License-Identifier: Apache-2.0
"""The report, the demo, the ways they compare, and the bench of their quality."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from commands import run
from foveate import Engine, demo, demo_answers, policies, quality_bench, report
from foveate.report import write_report
from images import random_image
from PIL import Image

EMPTY_TAGS = {"meta", "img", "br"}


class Page(HTMLParser):
    """Checks that tags are balanced and collects what the page would load."""

    def __init__(self, text):
        super().__init__()
        self.open, self.loads, self.sections = [], [], 0
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag not in EMPTY_TAGS:
            self.open.append(tag)
        self.sections += tag == "section"
        self.loads += [value for key, value in attrs if key in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def shown(name, **options):
    return policies.Shown(policies.POLICIES[name], Engine(backend="cpu").tokens(**options), 1.5)


def test_report_needs_nothing_else(tmp_path):
    image = random_image(4, 80, 120)
    ways = [shown("views", images=image, gaze=[(0.3, 0.3)], budget=30), shown("grid", images=image, budget=30)]
    entry = {"name": "<b>&", "image": image, "budget": 30, "gaze_uv": [(0.3, 0.3)], "shown": ways}
    planes = {"relevance": np.linspace(0, 1, 40).reshape(5, 8), "rates": np.full((5, 8), 5)}
    text = write_report(tmp_path / "a" / "r.html", [entry, entry | planes], facts=["cpu"], side=200).read_text()
    page = Page(text)
    assert page.open == [] and page.sections == 2
    assert page.loads and all(link.startswith(("data:image/", "#")) for link in page.loads)
    assert re.findall(r"url\((?!data:image/|#)", text) == [] and "<script" not in text
    assert "<b>&" not in text and "&lt;b&gt;&amp;" in text
    assert text.count('class="card wide"') == 1 and text.count("<span>rate image</span>") == 1
    assert "2&times;2</span>" in text
    assert list((tmp_path / "a").iterdir()) == [tmp_path / "a" / "r.html"]


def test_report_stays_below_its_size(tmp_path, monkeypatch):
    image = random_image(5, 400, 400)
    entry = {"name": "noise", "image": image, "budget": 100, "shown": [shown("grid", images=image, budget=100)]}
    monkeypatch.setattr(report, "MOST_BYTES", 60000)
    assert write_report(tmp_path / "r.html", [entry]).stat().st_size <= 60000


def test_encode_reports_every_policy_at_one_budget(capsys, photo):
    target = photo.with_name("r.html")
    assert run(capsys, "encode", photo, "--gaze", "0.3,0.6", "--budget", 40, "--saliency", "both", "--max-rate", 4,
               "--report", target)[0] == 0
    text = target.read_text()
    for title in ("as asked: rate", "rate, gaze", "rate, no gaze", "uniform grid", "centre crop", "rings", "views",
                  "log-polar", "cortical"):
        assert f"<h3>{title}</h3>" in text
    assert "at most 40 tokens" in text and "vrs up to 4 x 4 cells; gaze 0.3, 0.6; saliency both" in text
    assert text.count("<span>relevance</span>") == text.count("<span>rate image</span>") == 1


def test_cells_that_the_budget_made_larger(capsys, tmp_path):
    """What is drawn of them, and said, is of the cells that were used."""
    path, target = tmp_path / "large.png", tmp_path / "o.png"
    Image.fromarray(random_image(2, 320, 480)).save(path)
    status, text, _ = run(capsys, "encode", path, "--budget", 2, "--gaze", "0.5,0.5", "--json", "--overlay", target,
                          "--show", "rates", "--show", "relevance", "--report", tmp_path / "r.html")
    assert status == 0 and json.loads(text)["images"][0]["used"]["cell"] == 32
    assert (tmp_path / "r.html").read_text().count("width:100.0000%;height:100.0000%") == 2


def test_what_was_asked_for_is_shown_once(capsys, photo):
    target = photo.with_name("r.html")
    for arguments, title in ((("--gaze", "0.3,0.6"), "rate, gaze"), ((), "rate, no gaze"),
                             (("--layout", "views"), "views")):
        assert run(capsys, "encode", photo, *arguments, "--budget", 40, "--dtype", "bfloat16",
                   "--report", target)[0] == 0
        text = target.read_text()
        assert "<h3>as asked: " in text and f"<h3>{title}</h3>" not in text


@pytest.mark.parametrize("name", [name for name, policy in policies.POLICIES.items() if policy.gazes])
def test_policies_use_the_gaze(name):
    """The finest tokens lie around it, wherever it is; with detail everywhere, so that nothing else draws them."""
    engine, image = Engine(backend="cpu"), random_image(6, 320, 480)
    for gaze in ((0.2, 0.3), (0.75, 0.6)):
        tokens = policies.encode(engine, image, name, budget=150, gaze=[gaze]).tokens
        valid = tokens.valid[0]
        size, center = tokens.size_px[0][valid].prod(1), tokens.center_px[0][valid]
        finest = size <= np.partition(size, 9)[9] * 1.01
        place = center[finest].mean(0)
        assert np.hypot(*(place - np.multiply(gaze, (480, 320)))) < 50, (name, gaze, place)


def test_demo(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(demo, "SCENES", [*demo.SCENES[:2], ("skimage", "data/no.png", 96, ())])
    demo.main([str(tmp_path / "report.html")])
    text = capsys.readouterr().out
    assert "astronaut" in text and "coffee" in text and "not installed: skimage/data/no.png" in text
    assert all(kind in text for kind in policies.missing())
    page = (tmp_path / "report.html").read_text()
    assert Page(page).sections == 3
    _, asked = demo_answers.page()
    for question, expected in asked:
        assert f"{question}?" in page and question in text and expected in text
    assert page.count("<q>") == 3 * len(asked) and page.count('class="drawn"') == 3 * len(asked)


def test_demo_pictures_are_there():
    assert [name for package, name, *_ in demo.SCENES if demo.find(package, name) is None] == []


def test_bench_quality(capsys, tmp_path):
    status, text, _ = run(capsys, "bench", "quality", "--share", 0.25, "--image", "page", "--image", "coffee",
                          "--no-charts", "--json", "--out", tmp_path)
    found = json.loads(text)
    assert status == 0 and found["images"] == 2 and found["kinds_missing"] == policies.missing()
    assert json.loads((tmp_path / "quality.json").read_text()) == found
    rows = {(row["image"], row["policy"]): row for row in found["rows"]}
    assert rows["coffee", "grid"]["budget"] == 950 // 4 and rows["page", "grid"]["budget"] == 24 * 12 // 4
    assert all(row["tokens"] <= row["budget"] for row in found["rows"])
    views = next(line for line in found["proof"] if line["ours"] == "views")
    gains = [rows[name, "views"]["gaze_psnr"] - rows[name, "grid"]["gaze_psnr"] for name in ("page", "coffee")]
    assert views["images"] == 2 and views["median_gain"] == pytest.approx(sum(gains) / 2)
    page = (tmp_path / "quality.md").read_text()
    assert "| coffee | 600 x 400 | 0.5, 0.45 | 237 |" in page and "uniform grid" in page


class WithRates:
    """An engine that has the layout "rate", for what becomes of its options."""

    def __init__(self):
        self.engine, self.asked = Engine(backend="cpu"), []

    def tokens(self, image, *, layout, max_rate=None, **options):
        self.asked.append((layout, options.get("budget"), max_rate, options["gaze"]))
        return self.engine.tokens(image, layout="grid" if layout == "rate" else layout, **options)


def test_bench_quality_asks_for_rates(monkeypatch):
    monkeypatch.setattr(policies, "KINDS", {**policies.KINDS, "rate": 9})
    engine, image, rows = WithRates(), random_image(3, 160, 240), []
    for share in (0.25, 0.1):
        found, notes = quality_bench.measure_image(engine, "noise", image, (0.5, 0.4), share, None)
        rows += found
        assert notes == []
    asked = [call for call in engine.asked if call[0] == "rate"]
    assert asked == [("rate", 37, None, None), ("rate", 37, None, [(0.5, 0.4)]),
                     ("rate", 15, 8, None), ("rate", 15, 16, None), ("rate", 15, 8, [(0.5, 0.4)]),
                     ("rate", 15, 16, [(0.5, 0.4)])]
    cases = [(line["share"], line["ours"]) for line in quality_bench.proof(rows)]
    assert cases[:2] == [(0.25, "rate"), (0.25, "rate gaze")] and (0.1, "rate gaze 16") in cases
    assert all(line["images"] == 1 for line in quality_bench.proof(rows))


def test_bench_quality_by_budget(capsys):
    status, text, _ = run(capsys, "bench", "quality", "--budget", 64, "--image", "chelsea", "--no-charts")
    assert status == 0 and "### 64 tokens" in text and "| by budget | uniform grid |" in text
