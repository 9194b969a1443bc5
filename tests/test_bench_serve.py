# SPDX-License-Identifier: Apache-2.0
"""`foveate bench serve`: that it measures what it says; what it finds is not asserted."""

import json

import pytest
from foveate import bench_serve as bench
from foveate.error import InputError


@pytest.mark.long
def test_it_measures(tmp_path, capsys):
    assert bench.main(["--seconds", "1", "--rounds", "2", "--out", str(tmp_path)]) == 0
    said, found = capsys.readouterr().out, json.loads((tmp_path / "serve.json").read_text())
    assert (tmp_path / "serve.md").read_text().endswith(said.rstrip("\n") + "\n")
    assert [row[0] for row in bench.goals(found)] == [line.split(" | ")[0][2:] for line in said.splitlines()[4:14]]
    for wire, (_, good, refused) in bench.WIRES.items():
        most, three = found[wire]["capacity"], found[wire]["three"]
        assert set(most["statuses"]) == {good} and most["good"] > 0
        assert three["statuses"].keys() <= {good, *refused, "unsent"}
        assert most["cpu_ms"] > found["here"]["cpu_ms"] > 0
        assert len(found["here"]["shares"]) == bench.TURNS and 0 < found["here"]["share"] < 1
        assert min(found[wire]["before"] + found[wire]["after"]) > 10


def test_goals_are_those_of_the_numbers():
    result = {"alone_ms": {"here": 10.0, "service": 17.0}, "here": {"share": 0.7, "shares": [0.6, 0.8]}, "seconds": 20}
    for wire, (_, good, refused) in bench.WIRES.items():
        result[wire] = {"capacity": {"good": 50.0, "cpu_ms": 10.0}, "half": {"statuses": {good: 9}},
                        "three": {"good": 40.0, "statuses": {good: 9, refused[0]: 2, "unsent": 1}},
                        "before": [100.0, 20], "after": [148.0, 20]}
    assert [row[3] for row in bench.goals(result)] == [True] * 10
    result["alone_ms"]["service"], result["here"]["share"] = 17.1, 0.69
    for wire, (_, good, refused) in bench.WIRES.items():
        result[wire] |= {"capacity": {"good": 50.0, "cpu_ms": 10.1}, "half": {"statuses": {good: 9, refused[1]: 1}},
                         "three": {"good": 39.9, "statuses": {good: 9, "-1": 1}}, "after": [148.1, 20]}
    assert [row[3] for row in bench.goals(result)] == [False] * 10
    result["http"]["after"] = [132.0, 21]
    assert [row[3] for row in bench.goals(result)] == [False] * 10


def test_refuses():
    with pytest.raises(InputError, match="bench: seconds: got 0, expected more than 0"):
        bench.measure(seconds=0)
    with pytest.raises(InputError, match="bench: rounds: got 0, expected 1 or more"):
        bench.measure(rounds=0)


class Refuses:
    """An address that says no."""

    def __call__(self, seconds, rate=0, connections=1):
        return {"counts": {"503 queue": 4}, "p50": None, "p99": None, "refused_p99": 1.0}


def test_says_what_was_refused(monkeypatch):
    with pytest.raises(InputError, match=r"bench: statuses: got {'503': 4}, expected 200 alone"):
        bench.side_by_side(Refuses(), Refuses(), 1)
    monkeypatch.setattr(bench.sys, "executable", "/bin/false")
    with pytest.raises(InputError, match="bench: service: got nothing, expected one that listens"):
        bench.service().__enter__()


def test_says_what_the_service_says():
    with bench.service() as (addresses, _):
        with pytest.raises(InputError, match="bench: service: got 415, expected 200"):
            bench.alone(None, addresses["http"], b"", *bench.request_of(b"GIF89a"), 1)
        with pytest.raises(InputError, match="bench: service: got 415, expected 200"):
            bench.ask(addresses["http"], *bench.request_of(b"GIF89a", 2))
