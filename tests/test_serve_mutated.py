# SPDX-License-Identifier: Apache-2.0
"""The service over HTTP and good requests gone wrong: each has an answer of the catalogue, or its connection ends."""

import asyncio
import collections
import json
import os

import pytest
import serving
from foveate.serve.fault import KINDS
from hostile import good, hostile_requests
from serving import ask, infer_body, running, said_by

OURS = {"internal", "device", "memory", "decoder", "not_ready", "cancelled", "queue", "queue_time", "draining"}
DECLARED = {200, *(kind.status for code, kind in KINDS.items() if code not in OURS)}
WORDS = ("--limit", "header_s=0.5", "--limit", "body_s=0.5", "--limit", "depth=32")
AT_ONCE = 16


async def answered(address, data):
    """(status, body) of the first answer; (0, b""): the connection ended without one."""
    host, port = address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(data)
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            status = int(head.split()[1])
            if status >= 200:
                break
        length = [line.partition(":")[2] for line in head.split("\r\n") if line.startswith("content-length:")]
        size = 0 if data.startswith(b"HEAD ") or not length else int(length[0])
        return status, await reader.readexactly(size)
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        assert not getattr(error, "partial", b"").startswith(b"HTTP"), (data[:300], error)      # it broke off
        return 0, b""
    finally:
        writer.close()


async def asked(address, requests):
    """How often each code came; what is not declared raises."""
    counts, left = collections.Counter(), asyncio.Semaphore(AT_ONCE)

    async def one(done, data):
        async with left, asyncio.timeout(60):       # far beyond the service's own times: a hang is found, speed is not
            status, body = await answered(address, data)
        if status == 0:
            counts["closed"] += 1
            return
        assert status in DECLARED, (status, body[:300], done, data[:400])
        if status >= 400 and body:
            serving.scan(status, body)
            code = json.loads(body)["code"]
            assert KINDS[code].status == status and code not in OURS, (code, done, data[:400])
            counts[code] += 1
        else:
            counts[str(status)] += 1

    async with asyncio.TaskGroup() as group:
        for request in requests:
            group.create_task(one(*request))
    return counts


def drive(count):
    """Counts of so many requests, after which the service is as it was."""
    with running(*WORDS) as (address, _, child):
        def used():
            return len(os.listdir(f"/proc/{child.pid}/fd"))

        body, headers = infer_body(budget=12)
        assert asyncio.run(asked(address, [("nothing", one.bytes(None)) for one in good()])) == {"200": 9}
        before = used()
        counts = asyncio.run(asked(address, hostile_requests(count)))
        assert ask(address, "POST", "/v2/models/foveate/infer", body, headers)[0] == 200
        assert ask(address, "GET", "/v2/health/ready")[0] == 200 and child.poll() is None
        assert used() <= before + AT_ONCE       # decoders keep memory for as many as there were at once
        said = said_by(child)
    assert b"Traceback" not in said and b"request failed" not in said and b"decode worker" not in said, said[-3000:]
    assert sum(counts.values()) == count
    return counts


def test_requests_gone_wrong():
    counts = drive(200)
    assert len(counts) > 15 and counts["200"] > 20 and counts["closed"] < 20, counts


@pytest.mark.long
def test_many_requests_gone_wrong():
    counts = drive(10_000)
    assert len(counts) > 28 and counts["200"] > 1000 and counts["closed"] < 500, counts
