# SPDX-License-Identifier: Apache-2.0
"""The benches' plumbing: what they say of rows, what they compare, the chart. No time is asserted."""

import importlib.util
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from foveate import bench, bench_cases, bench_processor, bench_scaling, chart
from foveate.error import InputError

TREE = Path(__file__).resolve().parent.parent


def measured(rows, ratio=2.0):
    return {name: {"ms": 1.0, "best_ms": 0.9, "rounds": 1, "ratio": ratio} for name in rows}


@pytest.fixture(scope="module")
def peers():
    pytest.importorskip("cv2")
    return bench_cases.Peers(bench_cases.photograph(1920, 1080), 1)


# Cases

def test_remarks():
    assert bench.remark({"ms": 1}) == ""
    assert bench.remark({"db": 31.26, "goal_ratio": 3, "met": False}) == "31.3 dB, goal: 3 or more; not met"
    assert bench.remark({"goal_ms": 2, "met": True}) == "goal: 2 ms or less; met"


def test_every_contender_gets_its_turn(monkeypatch):
    monkeypatch.setattr(bench, "WARM", 0)
    monkeypatch.setattr(bench, "BURST", (5, 0))
    calls = []
    rows = bench.race({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 2)
    assert rows["a"]["ratio"] == 1 and rows["b"]["rounds"] == 2
    assert "".join(calls) == "ab" + ("a" * 6 + "b" * 6) * 2


def test_bursts_last():
    assert len(bench._burst(lambda: None, 3, 0.002)) > 100
    assert sum(bench._burst(lambda: None, 3, 0.002)) >= 0.002


def test_table(monkeypatch, cpu):
    pytest.importorskip("cv2")
    asked = []
    monkeypatch.setattr(bench, "copy_bandwidth", lambda: 1e10)
    monkeypatch.setattr(bench, "race", lambda runs, rounds: asked.append(rounds) or measured(runs))
    result = bench.measure(60, ("rate", "tiles", "batch"))
    text = bench.markdown(result)
    assert asked == [60, 60, 15]
    assert "| 273 Qwen2.5-VL tokens by rate and gaze | foveate | 1.000 | 2.00 |  |" in text
    assert "| OpenCV INTER_AREA, normalise, patchify | 1.000 | 2.00 | goal: 3 or more; not met |" in text
    assert "8 px tiles, gaze and contrast | foveate | 1.000 | 2.00 | goal: 2 ms or less; met |" in text
    assert result["vulkan"] == [] and "Peak memory" not in text


def test_case_that_is_not_there():
    with pytest.raises(InputError, match="bench: case: got dishes, expected one of pyramid, grid, rate"):
        bench.measure(1, ("dishes", "grid"))


@pytest.mark.parametrize("word", bench.CASES)
def test_ours_runs(cpu, peers, word):
    case = bench.CASES[word](cpu, peers)
    next(iter(case.runs.values()))()
    assert case.floor_bytes > (peers.image.size if word != "adapter" else 0)
    assert set(case.ratios) <= {*case.runs, "Hugging Face Qwen2-VL processor (PIL)"}


def test_chain_makes_what_the_others_make(cpu, peers):
    case = bench_cases.CASES["rate"](cpu, peers)
    theirs = case.runs["OpenCV INTER_AREA, normalise, patchify"]()
    assert case.runs["foveate"]().patches.shape == theirs.shape == (1092, 1176)


def test_processors_make_what_the_stock_one_makes(cpu, peers):
    theirs = bench_processor.STOCK
    for word in ("processor", "processor-4k"):
        runs = bench.CASES[word](cpu, peers).runs
        made = {name: run() for name, run in runs.items()}
        for name in ("foveate, the same bits", "foveate, from a PIL image", "the same from a PIL image"):
            assert np.array_equal(made[name]["pixel_values"], made[theirs]["pixel_values"]), name
        assert np.array_equal(made["foveate, resizing alone"], np.asarray(made["PIL.Image.resize alone"]))
    runs = bench.CASES["foveated"](cpu, peers).runs
    assert next(iter(runs.values()))()["pixel_values"].shape == (4 * 273, 1176)
    assert runs[bench_processor.EQUAL]().shape == (4 * 264, 1176)


def test_processors_without_transformers(monkeypatch, cpu):
    monkeypatch.setattr(bench_cases.Peers, "_load_hf", lambda *_: __import__("nothing_of_this_name"))
    monkeypatch.setattr(bench, "CASES", {"grid": bench.CASES["grid"], "foveated": bench.CASES["foveated"]})
    monkeypatch.setattr(bench, "race", lambda runs, rounds: measured(runs))
    monkeypatch.setattr(bench, "vulkan_engines", lambda: ())
    monkeypatch.setattr(bench, "batch_memory", lambda peers: None)
    result = bench.measure(1)
    assert [case["title"] for case in result["cases"]] == ["grid of 273 Qwen2.5-VL tokens"]
    assert any("transformers" in text for text in result["missing"])


def test_tiles_are_the_same_work(cpu, peers):
    frame = bench_cases.photograph(1280, 720)
    ours = cpu.rate_tiles(frame, tile=8, gaze=(0.3, 0.6), content="ffx").codes
    theirs = peers.cv2_tiles((0.3, 0.6), frame)
    # OpenCV rounds luma in its own way, which moves a tile at a threshold
    assert theirs.shape == ours.shape and (theirs == ours).mean() > 0.98


def test_log_polar_is_nearer_to_the_truth(cpu, peers, monkeypatch):
    monkeypatch.setattr(bench_cases, "OVER", (4, 8))
    db = bench_cases.CASES["warp"](cpu, peers).db()
    assert db["foveate, anti-aliased"] > 40 > db["OpenCV warpPolar, aliased"] > 20, db


# Scaling

def test_scaling(capsys, tmp_path):
    assert bench_scaling.main(["--side", "64", "--side", "128", "--rounds", "1", "--json", "--out", str(tmp_path)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert json.loads((tmp_path / "scaling.json").read_text()) == found
    assert [size["side"] for size in found["sizes"]] == [64, 128]
    rows = found["sizes"][0]["rows"]
    assert next(iter(rows)) == "read" and rows["read"]["ratio"] == 1 and set(bench_scaling.DRAWN) <= set(rows)
    page = (tmp_path / "scaling.md").read_text()
    assert "(scaling.svg)" in page and "take less than one read at" in page
    ElementTree.parse(tmp_path / "scaling.svg")


def test_scaling_in_words():
    sizes = [{"mpx": mpx, "rows": {"rate": {"ms": 0.5 * mpx**1.5, "ratio": ratio}}}
             for mpx, ratio in ((0.25, 2.0), (1, 1.5), (4, 0.9), (16, 0.5))]
    assert bench_scaling.power(sizes, "rate") == pytest.approx(1.5)
    assert bench_scaling.power(sizes[:2], "rate") is None
    assert bench_scaling.below(sizes, "rate") == "4, 16 Mpx only"
    assert bench_scaling.below(sizes, "rate", 3) == "every size"
    assert bench_scaling.below(sizes, "rate", 0.1) == "no size"


def test_shrunk_has_the_same_cells():
    image = bench_cases.photograph(96, 64)
    small = bench_scaling.shrunk(image)
    assert small.shape == (8, 12, 3) and small.dtype == np.uint8
    assert abs(float(small.mean()) - float(image.mean())) < 1


@pytest.mark.parametrize("side", [0, 48, 8224])
def test_side_outside(side):
    with pytest.raises(InputError, match=f"bench: side: got {side}, expected a multiple of 32, 32"):
        bench_scaling.main(["--side", str(side)])


# Chart

def test_chart():
    lines = {"one & two": [(1, 0.2), (10, 20)], "flat": [(1, 19.0), (10, 19.0)]}
    root = ElementTree.fromstring(chart.log_log(lines, title="a < b", x_label="px", y_label="ms", dashed=["flat"]))
    words = {node.text: node for node in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"a < b", "px", "ms", "1", "10", "0.1", "100", "one & two", "flat"} <= set(words)
    ends = [float(words[name].get("y")) for name in lines]
    assert abs(ends[0] - ends[1]) >= chart.LINE - 0.1
    dashes = [node for node in root.iter("{http://www.w3.org/2000/svg}path") if node.get("stroke-dasharray")]
    assert len(dashes) == 1 and "prefers-color-scheme:dark" in next(root.iter("{http://www.w3.org/2000/svg}style")).text


def test_names_of_lines_stay_inside():
    places = chart._apart([400.0] * 8)
    assert len(set(places)) == 8 and max(places) <= chart.HEIGHT - chart.BOTTOM and min(places) >= chart.TOP


# README

def test_readme_holds_what_was_measured():
    spec = importlib.util.spec_from_file_location("measured", TREE / "tools/measured.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    block = (TREE / "README.md").read_text().split(tool.BEGIN)[1].split(tool.END)[0]
    assert block == f"\n{tool.block()}"
    assert "memory floor" not in block
