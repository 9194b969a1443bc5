# SPDX-License-Identifier: Apache-2.0
"""The service for programs on the same machine: pixels in and tokens out through memory that the client made.

Packets of JSON over a Unix socket (SOCK_SEQPACKET), a client's descriptors beside them. docs/guide/serve_memory.md has
the messages. Off unless asked for; only processes of the same user are heard.
"""

import asyncio
import contextlib
import json
import os
import socket
import stat
import struct
from dataclasses import replace
from pathlib import Path

from ..error import Error, InputError, LimitError, require
from . import wire
from .fault import Fault, let_go
from .limits import Limits
from .registered import Regions, WindowError, deliver, pixels_of, window

PROTOCOL = 1
MESSAGE = 65536     # bytes, either way
SEND_S = 10.0       # until a client that does not read is left


class MemoryServer:
    """The socket, and who is connected to it.

    Args:
        path: of the socket, in a folder that only this user may write to.
        infer: `async (protocol.Request) -> protocol.Response`.
        limits: of the service.
        regions, region_bytes: of a connection. in_flight: requests of a connection. peers: connections.
    """

    def __init__(self, path, infer, *, limits: Limits | None = None, regions: int = 64, region_bytes: int = 1 << 30,
                 in_flight: int = 8, peers: int = 16):
        self.path, self.infer, self.limits = Path(path), infer, limits or Limits()
        self.regions, self.region_bytes, self.in_flight, self.peers = regions, region_bytes, in_flight, peers
        self.connections = set()    # tasks

    async def open(self) -> "MemoryServer":
        """Binds the socket, for this user only."""
        self._listener = _bound(self.path)
        self._accepting = asyncio.create_task(self._accept())
        return self

    async def close(self) -> None:
        """Hears no one any more; requests under way are cancelled."""
        self._accepting.cancel()
        for task in self.connections:
            task.cancel()
        await asyncio.gather(self._accepting, *self.connections, return_exceptions=True)
        self._listener.close()
        self.path.unlink(missing_ok=True)

    async def __aenter__(self):
        return await self.open()

    async def __aexit__(self, *_):
        await self.close()

    async def _accept(self):
        loop = asyncio.get_running_loop()
        while True:
            try:
                port, _ = await loop.sock_accept(self._listener)
            except OSError:     # no descriptors left
                await asyncio.sleep(0.1)
                continue
            port.setblocking(False)
            task = asyncio.create_task(self._connected(port))
            self.connections.add(task)
            task.add_done_callback(self.connections.discard)

    async def _connected(self, port):
        """One client, from its first word to its last."""
        regions, requests = Regions(self.regions, self.region_bytes), set()
        sending = asyncio.Lock()

        async def say(message):
            async with sending, asyncio.timeout(SEND_S):
                await asyncio.get_running_loop().sock_sendall(port, json.dumps(message).encode())

        async def answer(number, message):
            try:
                await say({"id": number} | await self._answer(regions, message))
            except (OSError, TimeoutError):     # it is gone, or does not listen
                with contextlib.suppress(OSError):
                    port.shutdown(socket.SHUT_RDWR)

        with port, contextlib.suppress(OSError, TimeoutError):
            refusal = self._refusal(port)
            await say({"protocol": PROTOCOL} if refusal is None else {"error": refusal, "code": "refused"})
            try:
                while refusal is None:
                    message, fds, flags, _ = await _received(port)
                    try:
                        if not message:
                            break
                        number, message = self._read(message, flags)
                        if message.get("op") != "infer":
                            await say({"id": number} | self._table(regions, message, fds))
                        elif len(requests) >= self.in_flight:
                            await say({"id": number} | _error(Fault("queue")))
                        else:
                            requests.add(task := asyncio.create_task(answer(number, message)))
                            task.add_done_callback(requests.discard)
                    except (Error, Fault) as error:     # not a message: there is no telling what comes next
                        await say(_error(error))
                        break
                    finally:
                        for fd in fds:
                            os.close(fd)
            finally:
                for task in requests:
                    task.cancel()
                await asyncio.gather(*requests, return_exceptions=True)
                regions.clear()

    def _refusal(self, port):
        _, uid, _ = struct.unpack("3i", port.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if uid != os.geteuid():
            return "serve: memory client: got another user, expected the one that the service runs as."
        if len(self.connections) > self.peers:
            return f"serve: memory client: got one too many, expected at most {self.peers}."
        return None

    def _read(self, message, flags):
        require(not flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC), "serve: memory message", "one that is cut",
                f"at most {MESSAGE} bytes and 1 descriptor")
        message = wire.loads(message, self.limits)
        number = message.get("id")
        require(type(number) is int and 0 <= number < 1 << 53, "serve: memory message", "another id",
                "a whole number")
        return number, message

    def _table(self, regions, message, fds):
        """Answers "register" and "unregister"."""
        try:
            match message.get("op"):
                case "register":
                    require(len(fds) == 1, "serve: memory message", f"{len(fds)} descriptors", "1 beside register")
                    writable = message.get("writable", False)
                    require(type(writable) is bool, "serve: memory writable", "another value", "true or false")
                    region, size = regions.register(fds[0], writable)
                    return {"region": region, "size": size}
                case "unregister":
                    regions.unregister(message.get("region"))
                    return {}
            raise InputError("serve: memory message: got another op, expected register, unregister or infer.")
        except Error as error:
            return _error(error)

    async def _answer(self, regions, message):
        """Answers "infer"."""
        try:
            model, to = message.get("model"), message.get("to")
            request = wire.read(json.dumps(message.get("request", {})).encode(), None, model, "", self.limits)
            inputs = message.get("memory", [])
            good = isinstance(to, dict) and isinstance(inputs, list) and all(isinstance(one, dict) for one in inputs)
            require(good and isinstance(model, str), "serve: memory message", "one of another form",
                    "model, memory, to and request")
            target = regions.get(to.get("region"))
            offset, size = to.get("offset", 0), to.get("size")
            window(target, offset, size)
            require(target.writable, "serve: memory output", "a region to read", "one registered as writable")
            with contextlib.ExitStack() as held:
                held.enter_context(regions.using(target))
                for entry in inputs:
                    region = regions.get(entry.get("region"))
                    held.enter_context(regions.using(region))
                    tensor = pixels_of(region, entry)
                    request = replace(request, inputs=request.inputs | {tensor.name: tensor})
                response = await self.infer(request)
                return {"outputs": deliver(target, offset, size, response.outputs)}
        except (Error, Fault) as error:
            let_go(error)
            return _error(error)
        except Exception:       # nothing of it is the client's business
            return _error(Fault("internal"))


def _error(error):
    if isinstance(error, Fault):
        return {"error": error.text, "code": error.code} | ({"retry_s": error.retry_s} if error.retry_s else {})
    if isinstance(error, WindowError):
        return {"error": str(error), "code": "window", "need": error.need}
    return {"error": str(error), "code": "limit" if isinstance(error, LimitError) else "input"}


async def _received(port):
    """The next packet: (bytes, descriptors, flags, address); no bytes at the end."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            return socket.recv_fds(port, MESSAGE, 1, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            pass
        ready = loop.create_future()
        loop.add_reader(port, lambda ready=ready: ready.done() or ready.set_result(None))
        try:
            await ready
        finally:
            loop.remove_reader(port)


def _bound(path):
    """A listening socket that only this user can reach."""
    folder = path.parent.stat() if path.parent.is_dir() else None
    require(folder is not None and folder.st_uid == os.geteuid() and not folder.st_mode & 0o022,
            "serve: memory socket", "a folder that others may write to, or none", "one of this user's own",
            "Make one: mkdir -m 700")
    require(len(os.fsencode(path)) < 108, "serve: memory socket", "a long path", "at most 107 bytes")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        if path.exists():
            require(stat.S_ISSOCK(path.lstat().st_mode) and not _answers(path), "serve: memory socket",
                    "a file, or a service that listens there", "a free path")
            path.unlink()
        listener.bind(str(path))
        path.chmod(0o600)       # nobody is let in before it listens
        listener.listen(16)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def _answers(path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
        return probe.connect_ex(str(path)) == 0
