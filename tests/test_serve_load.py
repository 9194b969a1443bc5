# SPDX-License-Identifier: Apache-2.0
"""Half of what the service can do, and three times as much: nothing breaks, and nobody is refused without need."""

import json
import os
import subprocess
import sys
from pathlib import Path

import foveate.serve as serve
import pytest
from serving import infer_body, jpeg, running

CLIENT = Path(serve.__file__).with_name("load.py")
LONG = os.environ.get("FOVEATE_LONG") == "1"


@pytest.fixture
def load(tmp_path):
    """load(address, seconds, rate, connections) -> what foveate/serve/load.py says."""
    body, headers = infer_body(jpeg(size=(480, 640)), budget=64, dtype="float16")
    file = tmp_path / "body"
    file.write_bytes(body)

    def run(address, seconds, rate, connections):
        command = [sys.executable, str(CLIENT), address, str(file), headers["inference-header-content-length"],
                   *map(str, (seconds, rate, connections))]
        return json.loads(subprocess.run(command, capture_output=True, check=True, timeout=120).stdout)

    return run


def rss(child):
    with open(f"/proc/{child.pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_half_and_three_times_as_much(load):
    seconds = 20 if LONG else 1.5
    with running("--log-level", "warning") as (address, _, child):
        load(address, 0.3, 0, 4)
        most = load(address, seconds / 2, 0, 8)
        assert set(most["counts"]) == {"200"}
        half = load(address, seconds, most["good"] / 2, 256)
        assert set(half["counts"]) == {"200"}, half
        before = rss(child)
        much = load(address, seconds, most["good"] * 3, 256)
        assert {key.split()[0] for key in much["counts"]} <= {"200", "429", "503", "unsent"}, much
        assert much["counts"]["200"] > 0 and len(much["counts"]) > 1
        again = load(address, seconds / 2, most["good"] / 2, 256)
        assert set(again["counts"]) == {"200"}, again
        assert rss(child) < before + (256 << 20)
        print(json.dumps({"capacity": most, "half": half, "three times": much}))
