# SPDX-License-Identifier: Apache-2.0
"""Shared memory with the service: its messages, its socket, and words that are none."""

import contextlib
import os
import socket

import pytest
from foveate.error import InputError
from foveate.serve import shared
from foveate.serve.fault import Fault
from memory_service import (
    BYTES,
    SHAPE,
    SIZE,
    Echo,
    Raw,
    descriptors,
    memfd,
    refused,
    serving,
    small,
    steady,
    works,
)


@pytest.fixture
def service(tmp_path):
    with small(tmp_path) as server:
        yield server


@pytest.fixture
def raw(service):
    with Raw(service.path) as client:
        yield client


# Literals

def test_messages(raw):
    assert raw.greeting == {"protocol": 1}
    fd = memfd(8192)
    assert raw.register(fd) == {"id": 1, "region": 1, "size": 8192}
    os.close(fd)
    into, answer = raw.memory(4096, writable=True)
    assert into == 2
    reply = raw.ask({"op": "infer", "model": "echo", "to": {"region": 2, "offset": 128, "size": 1000},
                     "memory": [{"name": "image", "datatype": "UINT8", "shape": [1, 2, 3], "region": 1, "offset": 5}],
                     "request": {"parameters": {"budget": 3}}})
    assert reply == {"id": 3, "outputs": [
        {"name": "total", "datatype": "FP32", "shape": [1], "offset": 128, "size": 4},
        {"name": "echo", "datatype": "UINT8", "shape": [1, 2, 3], "offset": 192, "size": 6}]}
    assert raw.ask({"op": "unregister", "region": 1}) == {"id": 4}
    refused(raw.ask({"op": "unregister", "region": 1}), "serve: memory region: got a number that is none")
    del answer


# Facts

def test_the_service_reads_where_the_client_wrote(service, raw):
    image, memory = raw.memory(4096, fill=1)
    into, _answer = raw.memory(SIZE, writable=True)
    for value in (1, 2):
        memory[:BYTES] = bytes([value]) * BYTES
        raw.ask(raw.infer(image, into, SIZE, SHAPE))
    first, second = (request.inputs["image"].data for request in service.infer.seen)
    assert not first.flags.writeable and not first.flags.owndata and first.max() == first.min() == 2
    assert first.__array_interface__["data"][0] == second.__array_interface__["data"][0]


def test_answers_in_any_order(service, raw):
    image, _ = raw.memory(4096)
    into, _answer = raw.memory(SIZE, writable=True)
    service.infer.hold = hold = shared.asyncio.Event()
    raw.send(raw.infer(image, into, SIZE, SHAPE))
    service.infer.begun.wait(10)
    assert raw.ask({"op": "unregister", "region": 99})["id"] == 4
    service.loop.call_soon_threadsafe(hold.set)
    assert raw.heard()["id"] == 3


# Words that are none

def test_hostile_messages(service):
    """Each is answered or ends its connection; the service stays, and no descriptor is left."""
    before = descriptors()
    deep = b'{"id":1,"op":' + b"[" * 60000 + b"}"
    ends = [b"{", b"[]", b"null", b"\xff\xfe", b'{"id":1,"id":2}', b'{"id":-1}', b'{"id":"1"}', b'{"id":1e999}', deep,
            b'{"id":1,"op":NaN}', b"{}"]
    for message in ends:
        with Raw(service.path) as client:
            fd = memfd(4096)
            client.send(message, fd)
            os.close(fd)
            assert "error" in client.heard() and client.heard() is None
    stays = [{}, {"op": "x"}, {"op": None}, {"op": "register"}, {"op": "register", "writable": 1}, {"op": "infer"},
             {"op": "infer", "model": 3, "to": {}}, {"op": "infer", "model": "m", "to": []},
             {"op": "infer", "model": "m", "to": {"region": True}}, {"op": "infer", "to": {"region": [1]}},
             {"op": "infer", "model": "m", "to": {}, "memory": 4}, {"op": "infer", "model": "m", "memory": [4]},
             {"op": "unregister", "region": "1"}, {"op": "unregister", "region": 1.0},
             {"op": "infer", "model": "m", "to": {}, "request": {"inputs": 3}},
             {"op": "infer", "model": "m", "to": {}, "request": {"what": 3}},
             {"op": "infer", "model": "m", "to": {}, "request": []}]
    with Raw(service.path) as client:
        for message in stays:
            reply = client.ask(message)
            assert reply["id"] == client.number and "error" in reply and "/" not in reply["error"], (message, reply)
        fds = [memfd(4096) for _ in range(3)]
        client.send({"op": "register"}, *fds)       # two of them are cut off
        assert "error" in client.heard() and client.heard() is None
        for fd in fds:
            os.close(fd)
    with Raw(service.path) as client:
        works(client)
    service.infer.seen.clear()
    steady(lambda: not service.connections and descriptors() == before)


def test_a_client_that_does_not_read(service, monkeypatch):
    monkeypatch.setattr(shared, "SEND_S", 0.3)
    client = Raw(service.path)
    client.socket.settimeout(0.2)
    with contextlib.suppress(OSError):
        for _ in range(100000):
            client.send({"op": "x"})
    steady(lambda: not service.connections)
    client.socket.close()


def test_failures_say_nothing_of_the_inside(tmp_path):
    async def infer(request):
        if request.model == "fault":
            raise Fault("deadline")
        raise RuntimeError("/etc/secret at 0x7f0012345678")

    with serving(tmp_path / "memory", infer) as server, Raw(server.path) as client:
        image, _ = client.memory(4096)
        into, _answer = client.memory(SIZE, writable=True)
        refused(client.ask(client.infer(image, into, SIZE, SHAPE)), "internal error", "internal")
        refused(client.ask(client.infer(image, into, SIZE, SHAPE) | {"model": "fault"}), "Request timeout expired",
                "deadline")


# The socket

def test_socket(tmp_path):
    path = tmp_path / "memory"
    with serving(path, Echo()) as server:
        assert path.stat().st_mode & 0o777 == 0o600
        with pytest.raises(InputError, match="serve: memory socket: got a file, or a service that listens there"), \
                serving(path, Echo()):
            pass
        with Raw(server.path) as client:
            works(client)
    assert not path.exists()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as left:     # as a killed service leaves it
        left.bind(str(path))
    with serving(path, Echo()), Raw(path) as client:
        works(client)
    path.write_text("kept")
    with pytest.raises(InputError, match="serve: memory socket: got a file"), serving(path, Echo()):
        pass
    assert path.read_text() == "kept"
    for bad, what in ((tmp_path / "none" / "memory", "a folder that others"), (tmp_path / ("x" * 120), "a long path")):
        with pytest.raises(InputError, match=f"serve: memory socket: got {what}"), serving(bad, Echo()):
            pass
    tmp_path.chmod(0o777)
    with pytest.raises(InputError, match="serve: memory socket: got a folder"), serving(tmp_path / "m", Echo()):
        pass
    tmp_path.chmod(0o700)
