# SPDX-License-Identifier: Apache-2.0
"""model: how the small model is trained and tried: what it is told, a short run of each, and the intervals."""

import json
import math

import numpy as np
import pytest
from foveate.model.small import words
from foveate.model.small.reader import Reader
from foveate.model.small.scenes import Thing, scene

torch = pytest.importorskip("torch")
from foveate.model.small import experiments, lessons, train, trial  # noqa: E402

WORD = Thing("word", "ox", 2, (700, 100, 760, 130))
SEVEN = Thing("digit", "7", 0, (100, 100, 180, 180))
THREE = Thing("digit", "3", 8, (800, 800, 860, 860))


def boxes(*corners):
    corners = np.array(corners, np.float32)
    return corners[:, :2], corners[:, 2:]


def test_tokens_are_told_what_they_show():
    low, high = boxes((700, 100, 716, 116),     # a corner of o
                      (720, 100, 760, 140),     # the middle of x
                      (640, 64, 768, 192),      # all of the word
                      (120, 120, 136, 136),     # inside the 7
                      (0, 0, 64, 64))           # nothing
    labels = lessons.shown(low, high, [WORD, SEVEN])
    of = words.CLASSES.index
    assert [set(np.flatnonzero(row)) for row in labels] == [{of("o")}, {of("x")}, {of("o"), of("x")}, {of("7")}, set()]


def test_answers_are_looked_for_where_they_are():
    things = [WORD, SEVEN, THREE]
    assert lessons.meant("how many digits", things) == [[SEVEN.box, THREE.box]]
    assert lessons.meant("where is the 3", things) == [[THREE.box]]
    assert lessons.meant("which digit is at the top left", things) == [[SEVEN.box]]
    assert lessons.meant("read the word at the top right", things) == [[(700, 100, 730, 130)], [(730, 100, 760, 130)]]
    assert lessons.meant("read the word", things) == lessons.meant("read the word at the top right", things)
    low, high = boxes((690, 90, 701, 101), (690, 90, 700, 100), (0, 0, 1024, 1024))
    assert lessons.over(low, high, [WORD.box]).tolist() == [True, False, True]


def test_a_batch_says_what_it_wants(cpu):
    rng = np.random.default_rng(0)
    pool = [scene(rng) for _ in range(20)]
    for _ in range(12):         # several ways of cutting
        batch = lessons.batch_of(rng, cpu, pool)
        count, rows = batch["valid"].shape
        assert batch["patches"].shape == (count, rows, 768) and batch["labels"].shape[:2] == (count, rows)
        ends = batch["wanted"] == words.INDEX[words.END]
        assert (ends.sum(-1) == 1).all()
        starts = (batch["text"] == words.INDEX[words.SAY]).argmax(-1)
        told = batch["wanted"] != lessons.IGNORE
        assert (told.argmax(-1) == starts).all()
        assert not (batch["looks"] & ~batch["valid"][:, None, None]).any()
        # the words of an answer are given as they are wanted
        assert (batch["text"][..., 1:][told[..., :-1] & ~ends[..., :-1]] == batch["wanted"][told & ~ends]).all()


def test_a_short_training_learns_and_is_kept(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(train, "EVERY", 10)
    assert train.main(["--minutes", "0.25", "--seed", "5", "--out", str(tmp_path)]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [json.loads(line) for line in (tmp_path / "training.jsonl").read_text().splitlines()] == lines
    assert lines[-1]["label"] < lines[0]["label"] and "answer" in lines[-1] and "answer" not in lines[0]
    assert Reader(tmp_path / "weights.safetensors").weights["words.weight"].shape == (len(words.VOCABULARY), 128)


def test_intervals_are_student_s():
    mean, half = trial.interval([1.0, 2.0, 3.0])
    assert mean == 2 and half == pytest.approx(4.303 / math.sqrt(3))
    assert trial.cell([0.5, 0.5]) == "50.0 ± 0.0"
    assert trial.difference([0.5, 0.6, 0.7], [0.1, 0.2, 0.3]) == ("+40.0 ± 0.0", "holds")
    assert trial.difference([0.1, 0.2], [0.5, 0.6])[1] == "does not hold"
    assert trial.difference([0.1, 0.9], [0.2, 0.3])[1] == "undecided"
    assert trial.shares([True, False, True], ["a", "a", "b"]) == {"all": pytest.approx(2 / 3), "a": 0.5, "b": 1.0}


def test_asked_in_a_batch_is_asked_alone(cpu):
    items, asked, reader = trial.cases(0, 2), trial.Asked(), Reader()
    tokens = cpu.tokens([case.pixels for case in items], budget=96, model="vit16")
    said = asked.answers(*asked.encode(tokens), [case.question for case in items])
    for case, text in zip(items, said, strict=True):
        alone = reader(cpu.tokens(case.pixels, budget=96, model="vit16"), case.question)
        assert alone.text == text or alone.confidence < 0.6     # two answers that are equally likely, to rounding


@pytest.mark.long
def test_experiments_end_to_end(tmp_path):
    assert experiments.main(["--seeds", "2", "--scenes", "2", "--out", str(tmp_path)]) == 0
    rows = json.loads((tmp_path / "experiments.json").read_text())
    assert {row["tokens"] for row in rows["layouts"]} == {64, 128, 273, 4096}
    assert {row["way"] for row in rows["selections"]} >= {"topk", "logpolar", "hybrid", "uniform", "random"}
    assert "| claim | difference | |" in (tmp_path / "experiments.md").read_text()
