# SPDX-License-Identifier: Apache-2.0
"""SIGTERM under load, on every wire at once: whatever the service took it answers, and says so to the rest.

What clients count is held against what the service logged: a request that one of them lost would be missing here.
"""

import asyncio
import collections
import contextlib
import json
import os
import random
import signal
import time

import aiohttp
import grpc
import numpy as np
import pytest
from calling import BIG, Failed, call, path_of, tokens_of
from serving import infer_body, jpeg, running, said_by
from tritonclient.grpc import service_pb2 as pb

LONG = os.environ.get("FOVEATE_LONG") == "1"
SEED, SIZE = 6, (240, 320)
WORKERS = {"HTTP": 4, "ModelInfer": 3, "ModelStreamInfer": 2}
# what grpc's own client says when it could not write, and the end of the stream has not come to it yet
UNWRITTEN = grpc.StatusCode.INTERNAL, "Internal error from Core"
AHEAD = 3       # requests of a stream that are on their way before one is answered


class Tally:
    """How requests ended: (wire, "ok", a code of the catalogue, "away": nobody listened any more, or "lost")."""

    def __init__(self):
        self.ends, self.sent, self.told = collections.Counter(), collections.Counter(), None

    def begin(self, wire):
        self.sent[wire] += 1
        return time.monotonic()

    def end(self, wire, what, begun=None):
        if what == "away" and (self.told is None or (begun is not None and begun < self.told)):
            what = "lost"       # it was sent to a service that was there
        self.ends[wire, what] += 1


async def over_http(tally, address):
    body, headers = infer_body(jpeg(size=SIZE), budget=64)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(20)) as session:
        while True:
            begun = tally.begin("HTTP")
            try:
                async with session.post(f"http://{address}/v2/models/foveate/infer", data=body, headers=headers) as got:
                    said = await got.read()
                    what = "ok" if got.status == 200 else json.loads(said)["code"]
            except aiohttp.ClientConnectorError:
                what = "away"
            except aiohttp.ClientError:
                what = "lost"
            tally.end("HTTP", what, begun)
            if what != "ok":
                return


async def over_grpc(tally, channel):
    request = tokens_of(jpeg(size=SIZE), budget=64).SerializeToString()
    while True:
        begun = tally.begin("ModelInfer")
        try:
            what = "ok"
            await call(channel, "ModelInfer", request)
        except Failed as failed:
            what = failed.code or "away"
        tally.end("ModelInfer", what, begun)
        if what != "ok":
            return


async def over_stream(tally, channel, number):
    """One image, many gazes. What is not answered must be under the words that end the stream."""
    wire, waiting = "ModelStreamInfer", 0
    stream = channel.stream_stream(path_of(wire))()
    gazes = np.random.default_rng(number).uniform(0, 1, (10_000, 1, 2)).astype(np.float32)

    async def answered():
        nonlocal waiting
        data = await stream.read()
        if data is grpc.aio.EOF:
            return False
        said = pb.ModelStreamInferResponse.FromString(data)
        waiting -= 1
        tally.end(wire, said.infer_response.parameters["code"].string_param if said.error_message else "ok")
        return True

    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):      # the end, which is told below
        for index, gaze in enumerate(gazes):
            image = jpeg(size=SIZE) if index == 0 else b""
            request = tokens_of(image, gaze, sequence_id=number, sequence_start=index == 0, budget=64)
            tally.begin(wire)
            waiting += 1
            await stream.write(request.SerializeToString())
            if waiting >= AHEAD and not await answered():
                break
    with contextlib.suppress(grpc.aio.AioRpcError):
        while await answered():
            pass
    ended = await stream.code(), await stream.details()
    assert tally.told and (ended[0] is grpc.StatusCode.UNAVAILABLE or ended == UNWRITTEN), ended
    code = dict(await stream.trailing_metadata() or ()).get("x-error-code", "a write")
    for _ in range(waiting):
        tally.end(wire, f"under {code}")


def logged(child):
    """The same by the service's own log: of those that it took."""
    found = collections.Counter()
    for line in map(json.loads, said_by(child).splitlines()):
        path = line.get("path", "")
        wire = "HTTP" if path.endswith("/infer") else path.rpartition("/")[2]
        if line["event"] == "request" and wire in WORKERS and (wire != "ModelStreamInfer" or "model" in line):
            found[wire, line.get("code", "ok")] += 1
    return found


async def under_load(child, http, seconds):
    """The tally of all clients; SIGTERM comes so long after each wire has answered."""
    tally = Tally()

    async def stop():
        while not all(tally.ends[wire, "ok"] for wire in WORKERS):
            await asyncio.sleep(0.01)
        await asyncio.sleep(seconds)
        tally.told = time.monotonic()
        child.send_signal(signal.SIGTERM)

    async with grpc.aio.insecure_channel(child.addresses["grpc"], options=BIG) as channel:
        await asyncio.gather(stop(), *(over_http(tally, http) for _ in range(WORKERS["HTTP"])),
                             *(over_grpc(tally, channel) for _ in range(WORKERS["ModelInfer"])),
                             *(over_stream(tally, channel, 1 + n) for n in range(WORKERS["ModelStreamInfer"])))
    return tally


@pytest.mark.parametrize("number", range(10 if LONG else 2))
def test_a_stop_loses_nothing(number):
    seconds = random.Random(f"{SEED} {number}").uniform(0, 0.5)
    with running("--grpc-port", 0) as (http, _, child):
        tally = asyncio.run(under_load(child, http, seconds))
        assert child.wait(20) == 0
        service = logged(child)
    ends = tally.ends
    for wire in WORKERS:
        assert sum(count for (where, _), count in ends.items() if where == wire) == tally.sent[wire], ends
    declared = {"ok", "draining", "away", "under draining", "under a write"}
    assert {what for _, what in ends} <= declared, ends
    taken = collections.Counter({key: count for key, count in ends.items() if key[1] in ("ok", "draining")})
    # a client that could not write reads no more either: it may have missed its last refusals, and nothing but these
    refused = "ModelStreamInfer", "draining"
    missed = service[refused] - taken[refused]
    assert 0 <= missed <= ends["ModelStreamInfer", "under a write"], (ends, service)
    taken[refused] += missed
    assert taken == service, (ends, service)
