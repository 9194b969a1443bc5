# SPDX-License-Identifier: Apache-2.0
"""A service behind the shared-memory socket, on a thread of its own, and a client that can break the rules."""

import asyncio
import contextlib
import fcntl
import gc
import json
import os
import socket
import threading
import time

import numpy as np
from foveate import sealed
from foveate.serve.protocol import Response, Tensor
from foveate.serve.shared import MESSAGE, MemoryServer

SIZE = 1 << 16
SHAPE = (8, 16, 3)
BYTES = 8 * 16 * 3


def tensors(**arrays):
    kinds = {"float32": "FP32", "uint8": "UINT8", "int32": "INT32", "float16": "FP16"}
    return [Tensor(name, kinds[array.dtype.name], array.shape, array) for name, array in arrays.items()]


class Echo:
    """Answers with the sum over each image and the image itself; waits while `hold` is set."""

    def __init__(self):
        self.hold, self.begun, self.seen, self.kept = None, threading.Event(), [], []

    async def __call__(self, request):
        pixels = request.inputs["image"].data
        self.seen.append(request)
        self.begun.set()
        if self.hold is not None:
            await self.hold.wait()
            self.kept.append(int(pixels.sum(dtype=np.int64)))       # read when the client has long unregistered it
        total = pixels.reshape(-1, *pixels.shape[-3:]).sum((1, 2, 3), dtype=np.int64).astype(np.float32)
        return Response(request.model, "1", request.id, tensors(total=total, echo=np.array(pixels)))


@contextlib.contextmanager
def serving(path, infer, **options):
    """The server, with `loop` to call into."""
    loop, ready = asyncio.new_event_loop(), threading.Event()
    server = MemoryServer(path, infer, **options)
    failed = []

    async def whole():
        server.stop = asyncio.Event()
        try:
            async with server:
                ready.set()
                await server.stop.wait()
        except Exception as error:
            failed.append(error)
            ready.set()

    thread = threading.Thread(target=loop.run_until_complete, args=(whole(),))
    thread.start()
    ready.wait(10)
    if failed:
        thread.join(10)
        loop.close()
        raise failed[0]
    server.loop = loop
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(server.stop.set)
        thread.join(10)
        assert not thread.is_alive()
        loop.close()


class Raw:
    """One connection, packet by packet."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(20)
        self.socket.connect(str(path))
        self.greeting = self.heard()
        self.number = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def heard(self):
        data = self.socket.recv(MESSAGE)
        return json.loads(data) if data else None

    def send(self, message, *fds):
        if isinstance(message, dict):
            self.number += 1
            message = json.dumps({"id": self.number} | message).encode()
        socket.send_fds(self.socket, [message], fds)

    def ask(self, message, *fds):
        self.send(message, *fds)
        return self.heard()

    def register(self, fd, **options):
        return self.ask({"op": "register", **options}, fd)

    def memory(self, size, writable=False, fill=None):
        """(number, mapping) of new memory."""
        fd = sealed.create(size)
        try:
            memory = sealed.mapped(fd, size, writable=True)
            if fill is not None:
                memory[:] = bytes([fill]) * size
            return self.register(fd, writable=writable)["region"], memory
        finally:
            os.close(fd)

    def infer(self, image, into, size, shape, offset=0, **more):
        return {"op": "infer", "model": "echo", "to": {"region": into, "offset": 0, "size": size}, **more,
                "memory": [{"name": "image", "datatype": "UINT8", "shape": list(shape), "region": image,
                            "offset": offset}]}


def memfd(size, seals=sealed.SEALS, flags=0):
    """A descriptor with these seals."""
    fd = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING | flags)
    os.ftruncate(fd, size)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


def steady(call, seconds=5.0):
    """Waits until it holds."""
    end = time.monotonic() + seconds
    while not call():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.01)


def descriptors():
    gc.collect()    # a request that was cancelled is a cycle
    return len(os.listdir("/proc/self/fd"))


@contextlib.contextmanager
def small(folder):
    """A server of little room that echoes."""
    with serving(folder / "memory", Echo(), regions=8, region_bytes=1 << 20, in_flight=2, peers=4) as server:
        yield server


def refused(reply, text, code="input"):
    assert reply["error"].startswith(text) and reply["code"] == code, reply


def works(client):
    """A whole request on new memory, which is taken back."""
    image, memory = client.memory(4096, fill=3)
    into, answer = client.memory(SIZE, writable=True)
    reply = client.ask(client.infer(image, into, SIZE, SHAPE))
    total, echo = reply["outputs"]
    assert np.frombuffer(answer, np.float32, 1, total["offset"])[0] == 3 * BYTES
    assert bytes(answer[echo["offset"]:echo["offset"] + echo["size"]]) == b"\3" * BYTES
    for region in (image, into):
        assert "error" not in client.ask({"op": "unregister", "region": region})
    del memory
