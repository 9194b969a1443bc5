# SPDX-License-Identifier: Apache-2.0
"""`foveate bench model`: rows for every count of tokens, the whole grid among them. No time is asserted."""

import json

import pytest
import tiny_models
from commands import run
from foveate import bench_model
from foveate.error import InputError


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(bench_model, "build", lambda: tiny_models.qwen("qwen2_5_vl"))


def test_rows(capsys, tmp_path):
    status, out, _ = run(capsys, "bench", "model", "--side", "6", "--tokens", "9", "--rounds", "1", "--json", "--out",
                         tmp_path)
    found = json.loads(out)
    assert status == 0 and json.loads((tmp_path / "model.json").read_text()) == found
    assert list(found["rows"]) == ["9", "36"] and found["px"] == 6 * 28
    few, whole = found["rows"].values()
    assert whole["tower_ratio"] == whole["end_to_end"] == 1 and few["tower_ratio"] > 0 and few["end_to_end"] > 0
    # windows are counted as full, so linear parts are a quarter
    assert 4 * few["tower_flops"] <= whole["tower_flops"] and few["prefill_flops"] < whole["prefill_flops"]
    page = (tmp_path / "model.md").read_text()
    assert "| 36 |" in page and "| 9 |" in page and "goal" not in page


def test_without_a_count_it_takes_its_own(capsys, monkeypatch):
    monkeypatch.setattr(bench_model, "COUNTS", (4, 999))
    status, out, _ = run(capsys, "bench", "model", "--side", "4", "--rounds", "1")
    assert status == 0 and "| 4 |" in out and "| 16 |" in out and "999" not in out


def test_the_goal_is_of_the_whole_size():
    row = {"engine_ms": 1, "tower_flops": 1, "tower_ms": 1, "tower_ratio": 12.0, "prefill_flops": 1, "prefill_ms": 1,
           "answer_ms": 1, "end_to_end": 2}
    result = {"machine": "", "torch": "", "threads": 1, "tower_weights": 1, "weights": 1, "px": 1, "text": 1,
              "answer": 1, "rounds": 1, "rows": {"273": row, "4096": row}}
    assert "12.0 times faster; goal: 11 or more; met." in bench_model.markdown(result)
    row["tower_ratio"] = 10.9
    assert "goal: 11 or more; not met." in bench_model.markdown(result)


@pytest.mark.parametrize("options, text", [
    (("--side", "0"), "bench: side: got 0, expected 1..256."),
    (("--rounds", "0"), "bench: rounds: got 0, expected 1 or more."),
    (("--side", "4", "--tokens", "17"), "bench: tokens: got [16, 17], expected 1..16, the image's own."),
    (("--side", "4", "--tokens", "0"), "bench: tokens: got [0, 16], expected 1..16, the image's own."),
])
def test_errors(options, text):
    with pytest.raises(InputError) as error:
        bench_model.main(list(options))
    assert str(error.value) == text
