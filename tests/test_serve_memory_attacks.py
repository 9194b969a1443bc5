# SPDX-License-Identifier: Apache-2.0
"""Every way to misuse memory that is shared with the service: none ends it, and nothing is left of any."""

import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading

import numpy as np
import pytest
from foveate import Engine, sealed
from foveate.serve import shared
from foveate.serve.protocol import Response
from images import LONG
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
    tensors,
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


@pytest.mark.parametrize("seals", [0, fcntl.F_SEAL_SHRINK, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW,
                                   fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL, fcntl.F_SEAL_SEAL])
def test_wrong_seals(raw, seals):
    fd = memfd(4096, seals)
    refused(raw.register(fd), "serve: memory seals: got memory that can change its size")
    os.close(fd)
    works(raw)


def test_not_even_memory(raw, tmp_path):
    (tmp_path / "file").write_bytes(bytes(4096))
    ends = os.pipe()
    fds = [os.open(tmp_path / "file", os.O_RDWR), *ends, os.open("/dev/zero", os.O_RDWR), memfd(0),
           os.open("/dev/shm", os.O_TMPFILE | os.O_RDWR)]
    for fd in fds:
        refused(raw.register(fd), "serve: memory seals")
        os.close(fd)
    works(raw)


def test_huge_pages_are_not_memory(raw):
    try:
        fd = memfd(2 << 20, flags=os.MFD_HUGETLB)
    except OSError:
        pytest.skip("a kernel without huge pages")
    assert sealed.size_of(fd) == 0
    refused(raw.register(fd), "serve: memory seals")
    os.close(fd)


def test_truncated_under_a_reader(raw):
    """What SIGBUS needs cannot be done to sealed memory, at any time."""
    fd = memfd(4096)
    image = raw.register(fd)["region"]
    into, _answer = raw.memory(SIZE, writable=True)
    for size in (0, 1, 4095, 8192):
        with pytest.raises(PermissionError):
            os.ftruncate(fd, size)
        assert "outputs" in raw.ask(raw.infer(image, into, SIZE, SHAPE))
    with contextlib.suppress(OSError):      # a hole is zeros, not an end
        subprocess.run(["fallocate", "-p", "-l", "4096", f"/proc/{os.getpid()}/fd/{fd}"], check=False)
    assert "outputs" in raw.ask(raw.infer(image, into, SIZE, SHAPE))
    os.close(fd)


@pytest.mark.parametrize("offset,shape", [
    (1, (4096,)), (4096, (1,)), (4097, (1,)), (-1, (1,)), (0, (4097,)), (1 << 63, (1,)), ((1 << 64) - 1, (2,)),
    (0, (1 << 30, 1 << 30)), (0, (1 << 30,) * 8), ("0", (1,)), (True, (1,)), (1.0, (1,)), (None, (1,))])
def test_outside(raw, offset, shape):
    image, _ = raw.memory(4096)
    into, _answer = raw.memory(SIZE, writable=True)
    refused(raw.ask(raw.infer(image, into, SIZE, shape, offset)), "serve: memory window: got offset")
    assert "outputs" in raw.ask(raw.infer(image, into, SIZE, (1365, 1, 3), 1))      # to the last byte
    works(raw)


@pytest.mark.parametrize("shape", [[-1], [1 << 31], [1.5], ["2"], [True], "33", None, [1] * 9, {}])
def test_no_shapes(raw, shape):
    image, _ = raw.memory(4096)
    into, _answer = raw.memory(SIZE, writable=True)
    message = raw.infer(image, into, SIZE, SHAPE)
    message["memory"][0]["shape"] = shape
    refused(raw.ask(message), "malformed request: shape", "field")
    works(raw)


@pytest.mark.parametrize("to", [{"offset": -1}, {"offset": SIZE}, {"size": SIZE + 1}, {"offset": 1, "size": SIZE},
                                {"size": 1 << 70}, {"size": None}])
def test_window_outside(raw, to):
    image, _ = raw.memory(4096)
    into, _answer = raw.memory(SIZE, writable=True)
    message = raw.infer(image, into, SIZE, SHAPE)
    message["to"] |= to
    refused(raw.ask(message), "serve: memory window: got offset")
    works(raw)


def test_window_too_small(raw):
    image, _ = raw.memory(4096, fill=9)
    into, answer = raw.memory(SIZE, writable=True)
    need = 64 + BYTES
    refused(reply := raw.ask(raw.infer(image, into, need - 1, SHAPE)), f"serve: memory window: got {need - 1} bytes",
            "window")
    assert reply["need"] == need and not any(answer[:SIZE])
    assert "outputs" in raw.ask(raw.infer(image, into, need, SHAPE))


def test_output_into_memory_to_read(raw):
    image, memory = raw.memory(SIZE, fill=7)
    refused(raw.ask(raw.infer(image, image, SIZE, SHAPE)), "serve: memory output: got a region to read")
    assert bytes(memory[:]) == b"\7" * SIZE


def test_sealed_against_writing(raw):
    fd = memfd(4096, sealed.SEALS | fcntl.F_SEAL_WRITE)
    refused(raw.register(fd, writable=True), "serve: memory mapping")
    os.close(fd)
    fd = memfd(4096)
    narrow = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY)
    refused(raw.register(narrow, writable=True), "serve: memory mapping")
    assert "region" in raw.register(narrow)
    os.close(narrow)
    os.close(fd)


def test_registered_twice(raw):
    fd = memfd(4096)
    assert "region" in raw.register(fd)
    for again in (fd, os.dup(fd), os.open(f"/proc/self/fd/{fd}", os.O_RDONLY)):
        refused(raw.register(again), "serve: memory region: got memory that is registered already")
        os.close(again)
    works(raw)


def test_unregistered_in_use(service, raw):
    """The mapping stays until the request is done, and counts until then; the number is gone at once."""
    image, memory = raw.memory(1 << 19, fill=5)
    into, answer = raw.memory(SIZE, writable=True)
    service.infer.hold = hold = shared.asyncio.Event()
    raw.send(raw.infer(image, into, SIZE, SHAPE))
    service.infer.begun.wait(10)
    for region in (image, into):
        assert "error" not in raw.ask({"op": "unregister", "region": region})
        refused(raw.ask({"op": "unregister", "region": region}), "serve: memory region")
    refused(raw.ask(raw.infer(image, into, SIZE, SHAPE)), "serve: memory region: got a number that is none")
    fd = memfd(1 << 19)
    refused(raw.register(fd), "serve: memory bytes: got 524288, expected at most 458752 more", "limit")
    memory.close()
    service.loop.call_soon_threadsafe(hold.set)
    total = raw.heard()["outputs"][0]
    assert service.infer.kept == [5 * BYTES]
    assert np.frombuffer(answer, np.float32, 1, total["offset"])[0] == 5 * BYTES
    assert "region" in raw.register(fd)
    os.close(fd)


def test_peer_dies(service):
    """At any point; its mappings and descriptors go, and its requests are cancelled."""
    before = descriptors()
    for step in range(4):
        client = Raw(service.path)
        image, _ = client.memory(4096)
        into, _answer = client.memory(SIZE, writable=True)
        if step:
            service.infer.hold = shared.asyncio.Event()
            service.infer.begun.clear()
            client.send(client.infer(image, into, SIZE, SHAPE))
            service.infer.begun.wait(10)
        if step == 2:
            client.socket.shutdown(socket.SHUT_WR)
        if step == 3:
            client.send(b"{")
        client.socket.close()
        steady(lambda: not service.connections)
        service.infer.hold = None
        service.infer.seen.clear()
        del _, _answer
        steady(lambda: descriptors() == before)
    with Raw(service.path) as client:
        works(client)


def test_a_killed_client(service):
    script = ("import sys, time; sys.path[:0] = sys.argv[2:]; from memory_service import Raw; c = Raw(sys.argv[1])\n"
              "i, _ = c.memory(4096); o, _ = c.memory(65536, writable=True)\n"
              "c.send(c.infer(i, o, 65536, (8, 16, 3))); print('begun', flush=True); time.sleep(60)")
    before = descriptors()
    service.infer.hold = shared.asyncio.Event()
    process = subprocess.Popen([sys.executable, "-c", script, str(service.path), *sys.path], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"begun\n"
    service.infer.begun.wait(10)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()
    service.infer.hold = None
    steady(lambda: not service.connections)
    service.infer.seen.clear()
    steady(lambda: descriptors() == before)


def test_many_regions(service, raw):
    fds = [memfd(4096) for _ in range(9)]
    given = [raw.register(fd) for fd in fds]
    assert all("region" in one for one in given[:8])
    refused(given[8], "serve: memory regions: got 9, expected at most 8", "limit")
    before = descriptors()
    for _ in range(10000 if LONG else 500):
        number = given.pop(0)["region"]
        raw.ask({"op": "unregister", "region": number})
        given.insert(7, raw.register(fds[0]))
        fds.append(fds.pop(0))
        assert "region" in given[7]
    assert descriptors() == before
    for fd in fds:
        os.close(fd)


def test_quota_of_bytes(raw):
    fds = [memfd(size) for size in (1 << 20, 1)]
    assert "region" in raw.register(fds[0])     # all of it
    refused(raw.register(fds[1]), "serve: memory bytes: got 1, expected at most 0 more", "limit")
    raw.ask({"op": "unregister", "region": 1})
    assert "region" in raw.register(fds[1])
    refused(raw.register(fds[0]), "serve: memory bytes", "limit")
    sparse = memfd(1 << 40)
    refused(raw.register(sparse), "serve: memory bytes", "limit")
    for fd in (*fds, sparse):
        os.close(fd)


def test_another_user(service, monkeypatch):
    """By what the kernel says of the socket's other end, not by what it says itself."""
    uid = os.geteuid()
    monkeypatch.setattr(shared.os, "geteuid", lambda: uid + 1)
    with Raw(service.path) as client:
        assert client.greeting["code"] == "refused"
        assert client.greeting["error"].startswith("serve: memory client: got another user")
        assert client.heard() is None
    monkeypatch.undo()
    with Raw(service.path) as client:
        works(client)

    if uid == 0:        # nobody else can become another user
        _in_truth(service.path.parent)


def _in_truth(tmp_path):
    with serving(tmp_path / "other", Echo()) as server:
        for folder in (tmp_path, *tmp_path.parents):
            if folder.stat().st_mode & 0o777 == 0o700:      # pytest's own
                folder.chmod(0o755)
        server.path.chmod(0o666)        # as if someone had let them in
        script = ("import os, socket, sys; os.setgid(65534); os.setuid(65534)\n"
                  "s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.connect(sys.argv[1])\n"
                  "print(s.recv(4096).decode())")
        done = subprocess.run([sys.executable, "-c", script, str(server.path)], capture_output=True, text=True)
        assert json.loads(done.stdout)["code"] == "refused", done.stderr


def test_too_many_clients(service):
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Raw(service.path)) for _ in range(5)]
        assert [client.greeting.get("code") for client in clients] == [None] * 4 + ["refused"]
    steady(lambda: not service.connections)
    with Raw(service.path) as client:
        works(client)


def test_too_many_requests(service, raw):
    image, _ = raw.memory(4096)
    into, _answer = raw.memory(SIZE, writable=True)
    service.infer.hold = hold = shared.asyncio.Event()
    for _ in range(2):
        raw.send(raw.infer(image, into, SIZE, SHAPE))
    refused(raw.ask(raw.infer(image, into, SIZE, SHAPE)), "Exceeds maximum queue size", "queue")
    service.loop.call_soon_threadsafe(hold.set)
    assert {raw.heard()["id"], raw.heard()["id"]} == {3, 4}


def test_written_to_while_it_is_read(tmp_path):
    """Pixels that change under the engine change tokens, and nothing else: K of them, finite, and no crash."""
    engine = Engine(backend="cpu", threads=1)

    async def infer(request):
        pixels = request.inputs["image"].data
        tokens = await shared.asyncio.to_thread(engine.tokens, pixels, budget=64)
        return Response("foveate", "1", "", tensors(patches=tokens.patches.numpy()[0]))

    shape, done = (240, 320, 3), threading.Event()
    with serving(tmp_path / "memory", infer) as server, Raw(server.path) as client:
        image, memory = client.memory(240 * 320 * 3)
        into, answer = client.memory(1 << 20, writable=True)
        random = np.random.default_rng(0)
        noise = [random.integers(0, 256, 240 * 320 * 3, np.uint8).tobytes() for _ in range(2)]

        def write():
            while not done.is_set():
                for one in noise:
                    memory[:] = one

        thread = threading.Thread(target=write)
        thread.start()
        try:
            for _ in range(30):
                entry = client.ask(client.infer(image, into, 1 << 20, shape))["outputs"][0]
                assert entry["shape"] == [64, 3, 16, 16]
                assert np.isfinite(np.frombuffer(answer, np.float32, entry["size"] // 4, entry["offset"])).all()
        finally:
            done.set()
            thread.join()
    engine.close()
