# SPDX-License-Identifier: Apache-2.0
"""The command line, the pictures it draws and the report it writes."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from foveate import Engine, cli, demo, doctor, info, policies, quality_bench, quality_report, report
from foveate.report import write_report
from images import random_image
from PIL import Image
from safetensors.numpy import load_file

EMPTY_TAGS = {"meta", "img", "br"}


def run(capsys, *arguments):
    """(exit status, stdout, stderr) of a command line."""
    status = cli.run([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(random_image(1, 96, 128)).save(path)
    return path


# ---- literals ----------------------------------------------------------------------------------------------


def test_encode_counts(capsys, photo):
    status, text, _ = run(capsys, "encode", photo, "--budget", 48, "--backend", "cpu", "--json")
    row = json.loads(text)["images"][0]
    assert status == 0
    assert (row["width"], row["height"], row["tokens"], row["valid"]) == (128, 96, 48, 48)
    assert row["detail"] == [{"px_per_texel": 1.0, "tokens": 48}] and row["shape"] == [1, 48, 3, 16, 16]


def test_encode_prints_a_table(capsys, photo):
    status, text, _ = run(capsys, "encode", photo, photo, "--gaze", "0.5,0.5", "--backend", "cpu")
    assert status == 0
    assert text.count("128 x 96") == 2 and "273" in text and "median" in text


def test_gaze_reaches_the_layout(capsys, photo):
    out = {}
    for gaze in ("0.1,0.1", "0.9,0.9"):
        target = photo.with_name(gaze + ".safetensors")
        assert run(capsys, "encode", photo, "--gaze", gaze, "--budget", 40, "--out", target)[0] == 0
        out[gaze] = load_file(target)["center_px"]
    assert out["0.1,0.1"].sum() < out["0.9,0.9"].sum()


def test_encode_saves_what_the_engine_returns(capsys, photo):
    target = photo.with_name("tokens.safetensors")
    assert run(capsys, "encode", photo, photo, "--model", "qwen2.5-vl", "--budget", 12, "--dtype", "float16",
               "--backend", "cpu", "--out", target)[0] == 0
    tokens = Engine(backend="cpu").tokens([Image.open(photo)] * 2, model="qwen2.5-vl", budget=12, dtype="float16")
    saved = load_file(target)
    assert saved["patches"].dtype == np.float16
    assert np.array_equal(saved["patches"], tokens.numpy())
    for field in ("center_px", "size_px", "level", "valid"):
        assert np.array_equal(saved[field], getattr(tokens, field))


def test_no_command_is_help(capsys):
    status, text, error = run(capsys)
    assert status == 0 and error == ""
    assert [word for word in ("info", "doctor", "encode", "bench") if word not in text] == []


def test_info(capsys):
    status, text, _ = run(capsys, "info", "--json")
    found = json.loads(text)
    assert status == 0 and found == info()
    cpu = [candidate for candidate in found["candidates"] if candidate["backend"] == "cpu"]
    assert len(cpu) == 1 and cpu[0]["usable"] and cpu[0]["reasons"] == []
    assert cpu[0]["device"] in run(capsys, "info")[1]


def test_version(capsys):
    status, text, _ = run(capsys, "--version")
    assert (status, text.strip()) == (0, info()["version"])


def test_doctor(capsys):
    status, text, _ = run(capsys, "doctor", "--json")
    checks = {check["check"]: check for check in json.loads(text)}
    assert status == 0
    assert checks["NumPy"]["state"] == checks["cpu backend"]["state"] == "ok"
    assert all(check["fix"] for check in checks.values() if check["state"] != "ok")
    assert "cpu backend" in run(capsys, "doctor")[1]


def test_doctor_fails_what_is_needed(capsys, monkeypatch):
    module = sys.modules["foveate.doctor"]
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    assert run(capsys, "doctor")[0] == 0
    status, text, _ = run(capsys, "doctor", "--need", "torch", "--json")
    row = next(check for check in json.loads(text) if check["check"] == "torch")
    assert status == 1 and row == {"check": "torch", "state": "fail", "found": "not installed",
                                   "fix": "pip install torch"}


def test_doctor_compares_every_device(monkeypatch):
    """A device whose bytes differ from the cpu's is a failure when Vulkan is needed."""
    module = sys.modules["foveate.doctor"]
    monkeypatch.setattr(module, "_trial", lambda **options: ("x", str(options["backend"]).encode()))
    rows = [check for check in doctor(need=("vulkan",)) if check["check"].startswith("vulkan:")]
    assert rows and all(check["state"] == "fail" for check in rows)


# ---- pictures ----------------------------------------------------------------------------------------------


def test_overlay_file(capsys, photo):
    target = photo.with_name("deep") / "overlay.png"
    assert run(capsys, "encode", photo, "--gaze", "0.5,0.5", "--overlay", target)[0] == 0
    with Image.open(target) as picture:
        assert picture.format == "PNG" and picture.width == 1280 and picture.height > 960


def test_overlay_names_for_several(capsys, photo):
    other = photo.with_name("other.png")
    other.write_bytes(photo.read_bytes())
    assert run(capsys, "encode", photo, other, "--overlay", photo.with_name("o.png"))[0] == 0
    assert photo.with_name("o-photo.png").is_file() and photo.with_name("o-other.png").is_file()


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
    assert text.count("<h3>relevance and rate image</h3>") == 1 and "2&times;2</span>" in text
    assert list((tmp_path / "a").iterdir()) == [tmp_path / "a" / "r.html"]


def test_report_stays_below_its_size(tmp_path, monkeypatch):
    image = random_image(5, 400, 400)
    entry = {"name": "noise", "image": image, "budget": 100, "shown": [shown("grid", images=image, budget=100)]}
    monkeypatch.setattr(report, "MOST_BYTES", 60000)
    assert write_report(tmp_path / "r.html", [entry]).stat().st_size <= 60000


def test_encode_reports_every_policy_at_one_budget(capsys, photo):
    target = photo.with_name("r.html")
    assert run(capsys, "encode", photo, "--gaze", "0.5,0.5", "--budget", 40, "--report", target)[0] == 0
    text = target.read_text()
    for title in ("as asked: views", "uniform grid", "centre crop", "rings", "views"):
        assert f"<h3>{title}</h3>" in text
    assert "at most 40 tokens" in text


def test_demo(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(demo, "SCENES", [*demo.SCENES[:2], ("skimage", "data/no.png", 96, ())])
    demo.main([str(tmp_path / "report.html")])
    text = capsys.readouterr().out
    assert "astronaut" in text and "coffee" in text and "not installed: skimage/data/no.png" in text
    assert all(kind in text for kind in policies.missing())
    assert Page((tmp_path / "report.html").read_text()).sections == 2


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
    against = {(line["ours"], line["other"]) for line in quality_bench.proof(rows) if line["asked_often"] == 0.9}
    assert {("rate gaze", "grid"), ("rate gaze", "random"), ("rate gaze 8", "random")} <= against
    assert all(line["images"] == 1 for line in quality_bench.proof(rows))


def test_what_a_comparison_asks():
    rows = [{"image": image, "policy": policy, "share": 0.25, "psnr": db}
            for policy, values in (("rate", (31.0, 30.0, 32.0)), ("grid", (30.0, 30.0, 30.5)))
            for image, db in zip("abc", values, strict=True)]
    line = quality_bench.compare(rows, 0.25, "rate", "psnr", "psnr", "grid", 1.0, 0.9)
    assert line["median_gain"] == 1.0 and (line["won"], line["lost"], line["images"]) == (2, 0, 3)
    assert line["met"] is False and quality_report.asked(line) == "+1.0 dB, 90% won | no"
    line = quality_bench.compare(rows, 0.25, "rate", "psnr", "psnr", gain=0.0)
    assert line["met"] is True and quality_report.asked(line) == "no worse | yes"
    line = quality_bench.compare(rows, 0.25, "rate", "psnr", "psnr")
    assert line["met"] is None and quality_report.asked(line) == " | "
    assert quality_bench.compare(rows, 0.25, "rate", "psnr", "psnr", "rings") is None


def test_bench_scaling(capsys):
    status, text, _ = run(capsys, "bench", "scaling", "--side", 64, "--rounds", 1)
    assert status == 0 and "| coarsest rate, cells | 4 | |" in text


def test_bench_quality_by_budget(capsys):
    status, text, _ = run(capsys, "bench", "quality", "--budget", 64, "--image", "chelsea", "--no-charts")
    assert status == 0 and "### 64 tokens" in text and "| by budget | uniform grid |" in text


# ---- errors ------------------------------------------------------------------------------------------------


def broken_files(folder):
    (folder / "words.png").write_text("not a picture")
    Image.fromarray(random_image(1, 96, 128)).save(folder / "half.png")
    (folder / "half.png").write_bytes((folder / "half.png").read_bytes()[:4000])
    (folder / "evil\x1b[31m.png").write_text("x")


@pytest.mark.parametrize(("arguments", "message"), [
    (["encode", "no.png"], "image: file: got no.png, expected a file that exists."),
    (["encode", "words.png"], "image: file: got words.png, expected a picture that Pillow can read."),
    (["encode", "half.png"], "image: file: got half.png ("),
    (["encode", "evil\x1b[31m.png"], "image: file: got evil?[31m.png, expected"),
    (["encode", "."], "Is a directory"),
    (["encode", "photo.png", "--gaze", "0.5"], "encode: gaze: got '0.5', expected x,y in 0..1, as 0.4,0.6."),
    (["encode", "photo.png", "--gaze", "a,b"], "encode: gaze: got 'a,b'"),
    (["encode", "photo.png", "--gaze", "7,7"], "relevance: gaze"),
    (["encode", "photo.png", "--model", "nope"], "nope"),
    (["encode", "photo.png", "--budget", "0"], "layout: budget: got 0"),
    (["encode", "photo.png", "--dtype", "bfloat16", "--report", "r.html"], "encode: dtype: got bfloat16"),
    (["encode", "photo.png", "--layout", "spiral"], "spiral"),
    (["doctor", "--need", "luck"], "doctor: need: got luck, expected vulkan, torch or pillow."),
    (["bench", "--case", "dishes"], "bench: case: got dishes, expected one of pyramid, grid, rate, terms, tiles,"),
    (["bench", "scaling", "--side", "48"], "bench: side: got 48, expected a multiple of 32, 32..8192 px."),
    (["bench", "quality", "--share", "1.5"], "bench: share: got 1.5, expected above 0 and at most 1."),
    (["bench", "quality", "--budget", "0"], "bench: budget: got 0, expected 1 or more tokens."),
    (["bench", "quality", "--image", "no"], "bench: image: got no, expected the name of a bundled picture, as coffee."),
    (["fly"], "fly"),
])
def test_errors_are_one_line(capsys, photo, monkeypatch, arguments, message):
    broken_files(photo.parent)
    monkeypatch.chdir(photo.parent)
    status, text, error = run(capsys, *arguments)
    assert status == 2 and text == ""
    assert error.count("\n") == 1 and message in error and "Traceback" not in error and "\x1b" not in error


def test_too_large_before_it_is_decoded(capsys, photo, monkeypatch):
    monkeypatch.setattr(cli._core, "limits", lambda: {"image_pixels": 96 * 128 - 1})
    status, _, error = run(capsys, "encode", photo)
    assert status == 2 and f"{photo}, 128 x 96 px, expected at most 12287 px." in error.replace("\n", " ")


def test_without_typer():
    code = "import sys; sys.modules['typer'] = None; from foveate.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == ('foveate: command line: got no typer, expected it installed. '
                           'pip install "foveate[cli]"\n')


def test_as_a_program(photo):
    done = subprocess.run([sys.executable, "-m", "foveate", "encode", str(photo), "--json"],
                          capture_output=True, text=True)
    assert done.returncode == 0 and json.loads(done.stdout)["images"][0]["tokens"] == 273
