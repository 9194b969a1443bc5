# SPDX-License-Identifier: Apache-2.0
"""What stands in front of every call of gRPC: who asks, how much, for how long, and what they get if it goes wrong.

Every call, of one message or of many, comes in as a stream: so it begins before its first message is read, and whoever
may not ask sends nothing.
"""

import asyncio
import contextlib
import secrets
import time
from pathlib import Path

import grpc

from . import logs, rpc
from .fault import Fault
from .stream import Room

CODES = {code.value[0]: code for code in grpc.StatusCode}


def options(limits):
    """Of gRPC's own, most of which is HTTP/2."""
    outer = 2 * limits.header_bytes + 4096      # what `Door` measures is refused in words; here is the end
    idle_ms, header_ms = (max(1, int(seconds * 1000)) for seconds in (limits.idle_s, limits.header_s))
    return {
        "grpc.max_receive_message_length": limits.body, "grpc.max_send_message_length": -1,
        "grpc.max_metadata_size": outer, "grpc.absolute_max_metadata_size": outer,
        "grpc.max_concurrent_streams": limits.in_flight + limits.queue + limits.streams,
        "grpc.max_allowed_incoming_connections": limits.connections,
        "grpc.server_handshake_timeout_ms": header_ms, "grpc.max_connection_idle_ms": idle_ms,
        "grpc.keepalive_time_ms": idle_ms, "grpc.keepalive_timeout_ms": header_ms,
        "grpc.keepalive_permit_without_calls": 1, "grpc.http2.min_ping_interval_without_data_ms": 10_000,
        "grpc.http2.max_ping_strikes": 2, "grpc.http2.ping_on_rst_stream_percent": 1,
        "grpc.compression_enabled_algorithms_bitset": 1,    # none: what is compressed has no size before it is undone
        "grpc.so_reuseport": 0,     # a port is one server's
    }


class Call:
    """One call, for what answers it."""

    def __init__(self, door, details, context):
        self._door, self._context, self._limits = door, context, door.limits
        self.path, self.id, self.account = details.method, secrets.token_hex(8), None
        self.principal = None

    async def read(self, most):
        """The one message of a call."""
        limit = self._limits.body_s
        try:
            async with asyncio.timeout(limit), self._door.reading:
                data = await self._next(None)
        except TimeoutError:
            raise Fault("slow", seconds=limit) from None
        if data is None:
            raise Fault("cut")
        if len(data) > most:
            raise Fault("body", limit=most)
        return data

    async def read_next(self):
        """The next message of many; None: there are no more."""
        try:
            return await self._next(self._limits.idle_s)
        except TimeoutError:
            raise Fault("silent", seconds=self._limits.idle_s) from None

    async def _next(self, seconds):
        """A message, or None where there is none; whoever has sent none when the service ends is told so."""
        reading, ending = asyncio.ensure_future(self._context.read()), self._door.ending
        try:
            await asyncio.wait((reading, ending), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                data = reading.result()
                return None if data is grpc.aio.EOF else data
        finally:
            reading.cancel()
        if ending.done():
            raise Fault("draining")
        raise TimeoutError

    async def write(self, data):
        try:
            async with asyncio.timeout(self._limits.request_s):
                await self._context.write(data)
        except TimeoutError:
            raise Fault("deadline") from None       # nobody takes it

    @contextlib.contextmanager
    def streaming(self):
        """The room for what streams keep, while this one is."""
        door = self._door
        if door.streams >= self._limits.streams:
            raise Fault("streams", limit=self._limits.streams)
        door.streams += 1
        try:
            yield door.room
        finally:
            door.streams -= 1

    def fault_of(self, error):
        """What an exception is to the client. The log has the rest."""
        if isinstance(error, Fault):
            return error
        logs.log.error("request failed", extra={"fields": {"id": self.id}}, exc_info=error)
        return Fault("internal")

    def log(self, fault, seconds):
        if fault is None and self.path in rpc.PUBLIC:
            return      # probes come every second
        fields = {"id": self.id, "principal": self.principal, "method": "gRPC", "path": self.path[:200],
                  "status": fault.grpc if fault else 0, "ms": round(seconds * 1e3, 3)}
        if fault is not None:
            fields["code"] = fault.code
        logs.request(self.account, **fields)

    async def end(self, fault):
        """The last word of it, where the client is still there to hear it."""
        trailing = [("x-request-id", self.id)]
        if fault is None:
            return self._context.set_trailing_metadata(tuple(trailing))
        trailing.append(("x-error-code", fault.code))
        if fault.retry_s:
            trailing.append(("grpc-retry-pushback-ms", str(fault.retry_s * 1000)))
        await self._context.abort(CODES[fault.grpc], fault.text, tuple(trailing))


class Door(grpc.GenericRpcHandler):
    """Chooses what answers a call, once it is known who asks. keys: None lets everyone in."""

    def __init__(self, service, keys=None):
        self.limits, self._service, self._keys = service.limits, service, keys
        self._methods = rpc.methods()
        self.room, self.streams = Room(self.limits.kept), 0
        # gRPC tells no message's size before it is there, so that they are counted while they come
        self.reading = asyncio.Semaphore(self.limits.in_flight)
        self.ending = asyncio.get_running_loop().create_future()

    def service(self, details):
        async def answer(_, context):
            await self._answer(Call(self, details, context), details)

        return grpc.stream_stream_rpc_method_handler(answer)

    async def _answer(self, call, details):
        begin, fault = time.monotonic(), None
        try:
            self._check(call, details)
            method = self._methods.get(details.method)
            if method is None:
                raise Fault("method")
            await method(self._service, call)
        except asyncio.CancelledError:
            call.log(Fault("cancelled"), time.monotonic() - begin)
            raise
        except Exception as error:
            fault = call.fault_of(error)
        call.log(fault, time.monotonic() - begin)
        await call.end(fault)

    def _check(self, call, details):
        headers = [(_bytes(name), _bytes(value)) for name, value in details.invocation_metadata or ()]
        call.principal = "anyone"
        if self._keys is not None and details.method not in rpc.PUBLIC:
            call.principal = self._keys.principal([value for name, value in headers if name == b"authorization"])
            if call.principal is None:
                raise Fault("unauthenticated")
        size = sum(len(name) + len(value) + 4 for name, value in headers)
        if len(headers) > self.limits.headers or size > self.limits.header_bytes:
            raise Fault("headers", count=self.limits.headers, size=self.limits.header_bytes)


def _bytes(value):
    return value if isinstance(value, bytes) else value.encode()


class RpcServer:
    """The service on a port of gRPC, in the loop that runs."""

    def __init__(self, service, keys=None):
        limits = service.limits
        self.door = Door(service, keys)
        self._server = grpc.aio.server(handlers=(self.door,), options=list(options(limits).items()),
                                       maximum_concurrent_rpcs=limits.connections)

    def bind(self, host, port, cert=None, key=None, client_ca=None):
        """Takes a port, and says which at `address`. Raises OSError."""
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            if cert is None:
                self.address = host, self._server.add_insecure_port(where)
                return
            pair = Path(key).read_bytes(), Path(cert).read_bytes()
            known = Path(client_ca).read_bytes() if client_ca else None
            credentials = grpc.ssl_server_credentials([pair], known, client_ca is not None)
            self.address = host, self._server.add_secure_port(where, credentials)
        except RuntimeError:
            raise OSError("in use, or not this machine's") from None

    async def start(self):
        await self._server.start()

    async def stop(self):
        """Nothing new is taken, streams end between two requests, and answers that are under way arrive."""
        if not self.door.ending.done():
            self.door.ending.set_result(None)
        await self._server.stop(self.door.limits.drain_s)
