# SPDX-License-Identifier: Apache-2.0
"""Spans of the device, `foveate profile` and its trace."""

import json
import time

import conftest
import foveate
import pytest
from commands import run
from foveate import profile as profiling
from foveate.error import InputError
from images import random_image

IMAGE = random_image(1, 64, 64)
OPTIONS = {"gaze": (0.3, 0.6), "budget": 8, "model": "vit16"}
# One call of tokens(): two levels, then everything else.
DISPATCHES = ["pyramid", "relevance", "rate_luma", "rate_detail", "rate_tree", "rate_select", "rate", "layout_rate",
              "sample"]


@pytest.fixture(params=[name for name in conftest.BACKENDS if name in conftest.DEVICES])
def driver(request):
    return request.param


@pytest.fixture
def tracing(driver):
    engine = foveate.Engine(**conftest.options(driver), trace=True)
    yield engine
    assert engine.stats["messages"] == 0, "the validation layer found something"
    engine.close()


def test_spans(tracing):
    for _ in range(2):
        tracing.tokens(IMAGE, **OPTIONS)
        tracing.spans()
    begin = time.monotonic_ns()
    tracing.tokens(IMAGE, **OPTIONS)
    end = time.monotonic_ns()
    spans = tracing.spans()
    names = [span.name for span in spans]
    assert [name for at, name in enumerate(names) if names[at - 1:at] != [name]] == DISPATCHES
    assert len({span.submit for span in spans}) == 1
    times = [moment for span in spans for moment in (span.begin_ns, span.end_ns)]
    assert times == sorted(times)
    assert begin < times[0] and times[-1] < end
    assert tracing.spans() == [] and tracing.stats["spans_dropped"] == 0


def test_submissions_count_up(tracing):
    numbers = []
    for _ in range(3):
        tracing.pyramid(IMAGE)
        numbers.append({span.submit for span in tracing.spans()})
    first = min(numbers[0])
    assert numbers == [{first}, {first + 1}, {first + 2}]


def test_a_submission_for_each_pass(driver, tracing, monkeypatch):
    expected = tracing.tokens(IMAGE, **OPTIONS).numpy()
    monkeypatch.setenv("FOVEATE_SUBMIT_PER_PASS", "1")
    with foveate.Engine(**conftest.options(driver), trace=True, share=True) as engine:
        frame = engine.empty(IMAGE.shape)
        engine.share(frame).close()
        frame.numpy()[:] = IMAGE
        for _ in range(2):
            engine.spans()
            assert engine.tokens(frame, **OPTIONS).numpy().tobytes() == expected.tobytes()
        spans = engine.spans()
        numbers = [span.submit for span in spans]
        assert numbers == list(range(numbers[0], numbers[0] + len(spans)))
        assert engine.stats["messages"] == 0


def test_nothing_is_traced_unasked(engine, driver):
    engine.tokens(IMAGE, **OPTIONS)
    assert engine.spans() == []
    with foveate.Engine("cpu", trace=True) as cpu:
        cpu.tokens(IMAGE, **OPTIONS)
        assert cpu.spans() == []
    with pytest.raises(InputError, match="Engine: trace: got 1, expected True or False"):
        foveate.Engine("cpu", trace=1)


def test_rows(backend):
    result = profiling.profile(IMAGE, **conftest.options(backend), model="vit16", budget=8, rounds=2)
    rows = {row["stage"]: row for row in result["rows"]}
    assert list(rows) == ["pyramid", "relevance", "rate", "layout", "sample", "tokens"]
    levels = 2 * 3 * (32**2 + 16**2 + 8**2 + 4**2)
    cells, patches = 4 * 16, 8 * 3 * 16**2 * 4
    moved = {"pyramid": 64 * 64 * 3 + levels, "relevance": cells, "rate": 64 * 64 * 3 + 2 * cells,
             "sample": 2 * patches}
    assert {stage: rows[stage]["bytes"] for stage in moved} == moved
    for row in rows.values():
        assert row["host_ms"] > 0
        if backend not in conftest.DEVICES:
            assert row["device_ms"] is None and row["dispatches"] == 0
        else:
            assert 0 < row["device_ms"] < row["host_ms"] and row["dispatches"] > 0
    assert result["copy_gb_s"] > 0.1 and result["spans_dropped"] == 0
    count = sum(row["dispatches"] for row in rows.values())
    first = ["relevance"] if backend in conftest.DEVICES else []
    assert [names for _, names in profiling.submits(result)][1:2] == first

    trace = profiling.trace_events(result)
    json.dumps(trace)
    spans = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    assert len(spans) == 6 + count
    assert all(event["dur"] > 0 and event["ts"] >= 0 for event in spans)
    assert {event["tid"] for event in spans} == ({1, 2} if backend in conftest.DEVICES else {1})


def test_command(photo, tmp_path, capsys):
    trace = tmp_path / "trace.json"
    code, text, said = run(capsys, "profile", photo, "--backend", "cpu", "--rounds", "2", "--trace", trace)
    assert code == 0 and f"wrote {trace}" in said.replace("\n", "")
    assert [line.split()[0] for line in text.splitlines()[:7]] == ["stage", "pyramid", "relevance", "rate", "layout",
                                                                   "sample", "tokens"]
    assert {event["name"] for event in json.loads(trace.read_text())["traceEvents"]} >= {"pyramid", "tokens"}
    code, text, _ = run(capsys, "profile", photo, "--backend", "cpu", "--rounds", "1", "--json")
    assert code == 0 and json.loads(text)["rows"][0]["stage"] == "pyramid"
    for arguments, message in ((["--rounds", "0"], "profile: rounds: got 0, expected 1..1000."),
                               (["--gaze", "1"], "profile: gaze: got '1', expected two numbers, x,y."),
                               (["--gaze", "2,2"], "gaze")):
        code, _, said = run(capsys, "profile", photo, "--backend", "cpu", *arguments)
        assert code == 2 and message in said
