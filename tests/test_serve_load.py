# SPDX-License-Identifier: Apache-2.0
"""Half of what the service can do, and three times as much: nothing breaks, nobody is refused without need, and when it
is over it has what it had before.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import foveate.serve as serve
import numpy as np
import pytest
from child import child
from foveate.serve.protocol import Request, Tensor
from serving import ask, infer_body, jpeg, running, served

CLIENT = Path(serve.__file__).with_name("load.py")
LONG = os.environ.get("FOVEATE_LONG") == "1"
AT_ONCE, MOST = 32, 256         # requests: as many as are worked on at once by default; more than may wait
BOUND = 48 << 20                # bytes that may stay beside the baseline; 32 MiB of them are the service's own choice
IMAGE = jpeg(np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8), quality=90)
GOOD = {"http": "200", "grpc": "OK"}
REFUSED = {"http": {"429", "503"}, "grpc": {"RESOURCE_EXHAUSTED", "UNAVAILABLE"}}


@pytest.fixture
def load(tmp_path):
    """load(wire, address, seconds, rate, connections) -> what foveate/serve/load.py says, and {status: how many}."""
    body, headers = infer_body(IMAGE, budget=64, dtype="float16")
    file = tmp_path / "body"
    file.write_bytes(body)

    def run(wire, address, seconds, rate, connections):
        command = [sys.executable, str(CLIENT), wire, address, str(file), headers["inference-header-content-length"],
                   *map(str, (seconds, rate, connections))]
        found = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=120).stdout)
        statuses = {}
        for key, count in found["counts"].items():
            statuses[key.split()[0]] = statuses.get(key.split()[0], 0) + count
        return found, statuses

    return run


def footprint(process):
    """(bytes in memory, descriptors) of a process and all that it started."""
    processes, total, count = [process.pid], 0, 0
    for pid in processes:
        for task in Path(f"/proc/{pid}/task").iterdir():
            processes += map(int, (task / "children").read_text().split())
        total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        count += len(os.listdir(f"/proc/{pid}/fd"))
    return total, count


@pytest.mark.alone
@pytest.mark.parametrize("wire", GOOD)
def test_half_and_three_times_as_much(load, wire):
    seconds = 20 if LONG else 1.0
    with running("--log-level", "warning", "--grpc-port", 0) as (http, _, process):
        address = process.addresses[wire]
        # engine and decoders have the memory of the largest batch from now on
        assert ask(http, "POST", "/v2/models/foveate/infer", *infer_body([IMAGE] * AT_ONCE, budget=64))[0] == 200
        most, statuses = load(wire, address, max(1.0, seconds / 2), 0, AT_ONCE)
        assert set(statuses) == {GOOD[wire]}, most
        half, statuses = load(wire, address, seconds * 1.5 if LONG else 1.0, most["good"] / 2, MOST)
        assert set(statuses) == {GOOD[wire]}, half
        time.sleep(2)
        before = footprint(process)
        much, statuses = load(wire, address, seconds, most["good"] * 3, MOST)
        assert set(statuses) <= {GOOD[wire], "unsent"} | REFUSED[wire], much
        assert statuses[GOOD[wire]] > 0 and set(statuses) & REFUSED[wire]
        end = time.monotonic() + 10
        while True:
            after = footprint(process)
            if after[0] <= before[0] + BOUND and after[1] <= before[1]:
                break
            assert time.monotonic() < end, (before, after)
            time.sleep(0.1)
        assert ask(http, "POST", "/v2/models/foveate/infer", *infer_body())[0] == 200
        print(json.dumps({"wire": wire, "capacity": most, "half": half, "three times": much, "before": before,
                          "after": after}))


# In a process whose heap has not yet had all sorts of things: what is free in it already would take the rush.
FREED = """
import asyncio, time
from foveate.serve import slack

def rush():
    blocks = [b"%d" % number * 15_000 for number in range(1000, 3000)]
    return blocks[15::16]       # what is free afterwards lies between what is not

def freed(top):
    return top - slack.resident() > 80 << 20

async def after(one, seconds, ended):
    kept, top = rush(), slack.resident()
    one.soon()
    end = time.monotonic() + seconds
    while time.monotonic() < end and not (ended and freed(top) and one._task is None):
        if work:
            one.soon()
        await asyncio.sleep(0.02)
    assert kept and slack.resident() < top + (8 << 20)
    return freed(top)

async def main():
    one = slack.Slack(lambda: bool(work))
    yield await after(one, 20, True)        # quiet
    work.append(1)
    yield await after(one, 0.5, False)      # busy
    slack.BUSY_S = 0.2
    yield await after(one, 20, True)        # busy for long
    await one.close()
    yield await after(one, 0.5, False)

async def collect():
    return [found async for found in main()]

slack.hold()
slack.QUIET_S, work = 0.1, []
print(asyncio.run(collect()))
"""


def test_free_memory_is_given_back_when_nobody_asks():
    assert child(None, FREED) == "[True, False, True, False]"


def test_the_engine_lets_go_of_its_blocks_too(monkeypatch):
    """What was answered stays as it was, and the next answer is the same."""
    monkeypatch.setattr("foveate.serve.slack.QUIET_S", 0.05)
    monkeypatch.setattr("foveate.serve.slack.KEPT", -(1 << 40))
    request = Request("foveate", parameters={"budget": 64}, inputs={"image": Tensor("image", "BYTES", (1,), [IMAGE])})

    async def test(service):
        before, found = service._engine, await service.infer(request)
        patches = found.outputs[0].data
        kept, held = patches.copy(), before.stats["memory_used"]
        end = time.monotonic() + 5
        while service._engine is before:
            assert time.monotonic() < end
            await asyncio.sleep(0.02)
        assert held > 1 << 19 and service._engine.stats["memory_used"] == 0
        assert np.array_equal(patches, kept)
        assert np.array_equal((await service.infer(request)).outputs[0].data, kept)

    served(test)
