# SPDX-License-Identifier: Apache-2.0
"""gaze: sources of where somebody looks."""

import json
import math

import pytest
from foveate.error import InputError
from foveate.gaze import Chosen, Constant, Gaze, GazeSource, Pointer, Replay, fixations

LINE = [(0.0, 0.2, 0.1), (0.1, 0.4, 0.1), (0.2, 0.4, 0.5)]


def test_a_constant():
    assert Constant(0.25, 0.75).at(7.0) == Gaze(7.0, 0.25, 0.75)
    assert Constant().at().uv == (0.5, 0.5)


def test_between_samples():
    replay = Replay(LINE)
    assert replay.at(0.05).x == pytest.approx(0.3) and replay.at(0.05).y == 0.1
    assert replay.at(0.1).uv == (0.4, 0.1)
    assert replay.at().uv == replay.at(0.2).uv == (0.4, 0.5)
    assert replay.span_s == (0.0, 0.2)


def test_before_and_behind():
    replay = Replay(LINE, hold_s=0.125)
    assert replay.at(-0.001) is None
    assert replay.at(0.3).uv == (0.4, 0.5)
    assert replay.at(0.3251) is None


def test_a_blink_is_held_and_then_nobody_looks():
    nan = math.nan
    blink = [(0.0, 0.2, 0.2), (0.05, nan, nan), (0.1, 0.4, 0.2), (0.6, 0.8, 0.2)]
    replay = Replay(blink)
    assert replay.at(0.05).x == pytest.approx(0.3)      # the gap of 0.1 s is bridged
    assert replay.at(0.2).x == pytest.approx(0.4)       # of 0.5 s it is not: held for 0.15 s,
    assert replay.at(0.3) is None                       # and then none
    unsure = [(0.0, 0.2, 0.2, 0.9), (0.05, 0.9, 0.9, 0.1), (0.1, 0.4, 0.2, 0.8)]
    assert Replay(unsure, confidence=0.5).at(0.05).x == pytest.approx(0.3)
    assert Replay(unsure, confidence=0.5).at(0.05).confidence == 0.8
    assert Replay(unsure).at(0.05).x == 0.9


def test_a_loop():
    replay = Replay(LINE, loop=True)
    assert replay.at(0.25).x == pytest.approx(replay.at(0.05).x)
    assert replay.at(-0.15).x == pytest.approx(replay.at(0.05).x)


def test_files(tmp_path):
    table = tmp_path / "gaze.csv"
    table.write_text("t,x,y,confidence\n0,0,0.1,1\n0.05,,,0\n0.1,0.4,0.1,0.5\n")
    lines = tmp_path / "gaze.jsonl"
    rows = [{"time_s": 0, "x": 0, "y": 0.1, "confidence": 1}, {"time_s": 0.1, "x": 0.4, "y": 0.1, "confidence": 0.5}]
    lines.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    for path in (table, str(lines)):
        found = Replay(path).at(0.05)
        assert (found.x, found.y, found.confidence) == (pytest.approx(0.2), pytest.approx(0.1), 0.5)
        assert Replay(path).at(0.0).x == 0.0


def test_a_pointer():
    place = [(320.0, 120.0), (640, 480)]
    pointer = Pointer(lambda: tuple(place))
    assert pointer.at(3.0) == Gaze(3.0, 0.5, 0.25)
    for outside in ((-1.0, 5.0), (5.0, 481.0)):
        place[0] = outside
        assert pointer.at() is None
    place[:] = [(0.0, 0.0), (0, 0)]
    assert pointer.at() is None
    pointer.close()
    pointer.close()
    assert pointer.at() is None


def test_what_a_model_chose():
    source = Chosen()
    assert source.at() is None
    source.put(0.1, 0.2)
    source.put(0.3, 0.4, confidence=0.5)
    assert source.points == [(0.1, 0.2), (0.3, 0.4)]
    assert source.at().confidence == 0.5
    assert source.at(0.0) is None


def test_all_are_sources(tmp_path):
    for source in (Constant(), Replay(LINE), Pointer(lambda: ((0, 0), (1, 1))), Chosen()):
        assert isinstance(source, GazeSource)
        source.close()
        source.close()


def test_rests():
    path = [Gaze(t / 100, 0.2, 0.2) for t in range(20)]
    path += [Gaze(0.2 + t / 100, 0.2 + 0.1 * t, 0.2) for t in range(1, 5)]          # a jump
    path += [Gaze(0.24 + t / 100, 0.6, 0.2 + 0.001 * t, 0.5) for t in range(1, 11)]
    found = fixations(path)
    # the jump's last sample is near enough to the second rest to belong to it
    assert [(round(g.x, 3), round(g.y, 4)) for g in found] == [(0.2, 0.2), (0.6, 0.205)]
    assert found[0].time_s == 0 and found[1].confidence == 0.5
    assert fixations(path, least_s=0.15)[-1].time_s == 0
    assert fixations([]) == []


def test_outside_is_on_the_border():
    assert Gaze(0, -0.5, 1.5).uv == (0.0, 1.0)


@pytest.mark.parametrize("make, text", [
    (lambda: Constant(1.5, 0), "gaze: x: got 1.5, expected 0..1 of the image."),
    (lambda: Constant("left"), "gaze: x: got 'left', expected a number."),
    (lambda: Constant(0, None), "gaze: y: got None, expected a number."),
    (lambda: Chosen().put(0, -0.5), "gaze: y: got -0.5, expected 0..1 of the image."),
    (lambda: Replay([]), "gaze: recording: got 0 samples, of which none counts, expected one or more."),
    (lambda: Replay([(0, math.nan, 0)]), "gaze: recording: got 1 samples, of which none counts, expected one or more."),
    (lambda: Replay([(1, 0, 0), (0.5, 0, 0)]), "gaze: time_s: got 0.5, expected times that do not fall."),
    (lambda: Replay([(0, 0)]), "gaze: sample 0: got 2 values, expected (time_s, x, y) or (time_s, x, y, confidence)."),
    (lambda: Replay([(math.inf, 0, 0)]), "gaze: sample 0: got time inf, expected a time in seconds."),
    (lambda: Replay(LINE, hold_s=-1), "gaze: hold_s: got -1, expected 0 or more seconds."),
    (lambda: Replay(LINE, hold_s=None), "gaze: hold_s: got None, expected a number."),
    (lambda: Replay([(0, "left", 0)]), "gaze: sample 0: got 'left', expected a number."),
])
def test_errors(make, text):
    with pytest.raises(InputError) as error:
        make()
    assert str(error.value) == text


@pytest.mark.parametrize("name, content, text", [
    ("gaze.csv", "x,y\n0,0\n", r"gaze: row 1: got no time_s, expected columns time_s, x and y\."),
    ("gaze.jsonl", "[1, 2]\n", r"gaze: row 1: got no time_s, x, y, expected columns time_s, x and y\."),
    ("gaze.jsonl", "{\n", r"gaze: recording: got .*, expected a \.csv or \.jsonl file\."),
    ("nothing.csv", None, r"gaze: recording: got .*No such file.*, expected a \.csv or \.jsonl file\."),
])
def test_files_that_are_none(tmp_path, name, content, text):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=text):
        Replay(tmp_path / name)
