# SPDX-License-Identifier: Apache-2.0
"""The command line and the files it writes."""

import json
import subprocess
import sys

import conftest
import numpy as np
import pytest
from commands import run
from foveate import Engine, cli_encode, doctor, info
from images import random_image
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load_file

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


def test_relevance_and_rate_reach_the_engine(capsys, photo):
    """Every option gives what Engine.tokens gives for it, and --json says what was used, defaults too."""
    target, gray = photo.with_name("tokens.safetensors"), photo.with_name("gray.png")
    values = np.uint8([[0, 51], [102, 255]])
    Image.fromarray(values).save(gray)
    status, text, _ = run(
        capsys, "encode", photo, "--gaze", "0.25,0.5", "--budget", 30, "--rates", "square", "--max-rate", 4,
        "--information", "--saliency", "both", "--roi", "0,0,0.5,0.25", "--query", gray, "--falloff",
        "bands,5,1,15,0.5", "--fov", 60, "--backend", "cpu", "--out", target, "--json")
    engine, terms = Engine(backend="cpu"), {"information": True, "saliency": "both", "roi": [(0.0, 0.0, 0.5, 0.25)],
                                            "falloff": ("bands", (5.0, 1.0), (15.0, 0.5)), "fov_deg": 60.0}
    tokens = engine.tokens(Image.open(photo), gaze=(0.25, 0.5), budget=30, rates="square", max_rate=4,
                           relevance=terms | {"query": values.astype(np.float32) / 255})
    saved = load_file(target)
    assert status == 0 and np.array_equal(saved["center_px"], tokens.center_px)
    assert np.array_equal(saved["patches"], tokens.numpy())
    used = json.loads(text)["images"][0]["used"]
    assert used == json.loads(json.dumps({
        "layout": "rate", "model": None, "gaze": [(0.25, 0.5)], "relevance": terms | {"query": str(gray)},
        "cell": 16, "budget": 30, "dtype": "float32", "rates": "square", "max_rate": 4}))
    with safe_open(target, "np") as file:
        assert json.loads(file.metadata()["used"]) == used


def test_what_was_used_has_the_defaults(capsys, photo):
    row = json.loads(run(capsys, "encode", photo, "--backend", "cpu", "--json")[1])["images"][0]
    assert row["used"] == {"layout": "rate", "model": None, "gaze": [], "relevance": {}, "cell": 16, "budget": 273,
                           "dtype": "float32", "rates": "vrs", "max_rate": 4}
    row = json.loads(run(capsys, "encode", photo, "--layout", "rings", "--model", "siglip2", "--json")[1])["images"][0]
    assert (row["used"]["rates"], row["used"]["budget"], row["used"]["model"]) == (None, 172, "siglip2")


def test_a_map_of_16_bits(photo):
    gray = photo.with_name("gray.png")
    Image.fromarray(np.uint16([[0, 13107], [32768, 65535]])).save(gray)
    assert np.abs(cli_encode.read_map(gray) - [[0, 0.2], [0.5, 1]]).max() < 1e-4


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
    assert cpu[0]["in_place"] and not cpu[0]["shares"]
    table = run(capsys, "info")[1]
    assert cpu[0]["device"] in table and "arrays in place" in table


@pytest.mark.parametrize("driver", [name for name in conftest.BACKENDS if name in conftest.DEVICES])
def test_info_of_memory(driver, capsys):
    """Software drivers read the host's memory and share theirs."""
    name = conftest.DEVICES[driver]
    found = [candidate for candidate in info()["candidates"]
             if candidate["backend"] == "vulkan" and name in candidate["device"]]
    assert [(candidate["in_place"], candidate["shares"]) for candidate in found] == [(True, True)]
    line = next(line for line in run(capsys, "info")[1].splitlines() if name in line)
    assert "arrays in place, shared by descriptors" in line


@pytest.mark.parametrize("driver", [name for name in conftest.BACKENDS if name in conftest.DEVICES])
def test_info_of_shading_rates(driver, capsys):
    """No software driver has them, and that is said."""
    text = run(capsys, "info")[1]
    line = next(line for line in text.splitlines() if "shading rates of" in line and conftest.DEVICES[driver] in line)
    assert line.endswith(": no VK_KHR_fragment_shading_rate")


@pytest.mark.parametrize("driver", [name for name in conftest.BACKENDS if name in conftest.DEVICES])
def test_info_and_doctor_of_filters(driver, capsys):
    lines = run(capsys, "info")[1].splitlines()
    line = next(line for line in lines if "filters of vulkan" in line and conftest.DEVICES[driver] in line)
    assert line.endswith("images up to 16384 px a side, with exact=False")
    status, text, _ = run(capsys, "doctor", "--json")
    rows = [row for row in json.loads(text) if row["check"].endswith(": filters")]
    row = next(row for row in rows if conftest.DEVICES[driver] in row["check"])
    assert status == 0 and row["found"] == "images up to 16384 px a side, off by 0.5 of 255"


def test_info_where_there_are_shading_rates():
    from foveate.cli import _shading

    assert _shading({"usable": True, "rates": [[1, 1], [4, 2]], "tile": [8, 32]}) == "1x1 4x2, tiles of 8..32 px"


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


def test_overlay_shows_what_is_asked_for(capsys, photo):
    target, names = photo.with_name("o.png"), ("relevance", "rates", "tokens", "seen")
    words = [word for name in names for word in ("--show", name)]
    for gaze in ((), ("--gaze", "0.5,0.5")):
        assert run(capsys, "encode", photo, *gaze, "--overlay", target, *words)[0] == 0
        with Image.open(target) as picture:
            assert picture.width == 1288 and picture.height > 960
    assert run(capsys, "encode", photo, "--layout", "grid", "--overlay", target, "--show", "seen")[0] == 0
    with Image.open(target) as picture:
        assert picture.width == 1280


def test_overlay_names_for_several(capsys, photo):
    other = photo.with_name("other.png")
    other.write_bytes(photo.read_bytes())
    status, _, error = run(capsys, "encode", photo, other, photo, "--overlay", photo.with_name("o.png"))
    written = ["o-photo.png", "o-other.png", "o-photo-2.png"]
    assert status == 0 and error.count("wrote ") == 3
    assert sorted(path.name for path in photo.parent.glob("o-*")) == sorted(written)


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
    (["encode", "photo.png", "--layout", "spiral"], "spiral"),
    (["encode", "photo.png", "--layout", "grid", "--max-rate", "4"],
     "encode: layout: got grid with --max-rate, expected rate. Leave one of the two out."),
    (["encode", "photo.png", "--layout", "rings", "--saliency", "both"], "encode: layout: got rings with --saliency"),
    (["encode", "photo.png", "--max-rate", "3"], "rate: max_rate: got 3, expected 1, 2, 4, 8 or 16"),
    (["encode", "photo.png", "--max-rate", "0"], "rate: max_rate: got 0"),
    (["encode", "photo.png", "--max-rate", "1", "--budget", "9"],
     "rate: budget: got 9, expected 48 or more for 8 x 6 cells in blocks of 1. Raise max_rate or the budget."),
    (["encode", "photo.png", "--rates", "round"], "round"),
    (["encode", "photo.png", "--saliency", "much"], "much"),
    (["encode", "photo.png", "--falloff", "cortical"],
     "encode: falloff: got cortical without a gaze, expected a gaze too. Add --gaze x,y."),
    (["encode", "photo.png", "--fov", "90"], "encode: fov: got 90.0 without a gaze, expected a gaze too."),
    (["encode", "photo.png", "--gaze", "0,0", "--fov", "0"], "relevance: fov_deg: got 0.0, expected above 0"),
    (["encode", "photo.png", "--gaze", "0,0", "--falloff", "steep"], "relevance: falloff: got 'steep', expected one"),
    (["encode", "photo.png", "--gaze", "0,0", "--falloff", "polynomial,a"],
     "encode: falloff: got 'polynomial,a', expected a name and its numbers, as polynomial,5,2 or bands,0.25,1"),
    (["encode", "photo.png", "--gaze", "0,0", "--falloff", "bands,1"], "encode: falloff: got 'bands,1', expected"),
    (["encode", "photo.png", "--roi", "0,0,1"],
     "encode: roi: got '0,0,1', expected x0,y0,x1,y1 in 0..1, as 0.2,0.1,0.6,0.5."),
    (["encode", "photo.png", "--roi", "0.5,0,0.1,1"], "relevance: roi: got (0.5, 0, 0.1, 1)"),
    (["encode", "photo.png", "--query", "no.png"], "image: file: got no.png, expected a file that exists."),
    (["encode", "photo.png", "--overlay", "o.jpg"], "encode: overlay: got o.jpg, expected a name that ends in .png."),
    (["encode", "photo.png", "--show", "seen"],
     "encode: show: got seen without --overlay, expected a file to draw into. Add --overlay FILE.png."),
    (["encode", "photo.png", "--layout", "grid", "--overlay", "o.png", "--show", "rates"],
     "encode: show: got rates with --layout grid, expected tokens or seen. Only --layout rate has rates and"),
    (["doctor", "--need", "luck"], "doctor: need: got luck, expected vulkan, opengl, cuda, torch or pillow."),
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
    monkeypatch.setattr(cli_encode._core, "limits", lambda: {"image_pixels": 96 * 128 - 1})
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
