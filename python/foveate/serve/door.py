# SPDX-License-Identifier: Apache-2.0
"""What stands in front of every call of gRPC: who asks, how much, for how long, and what they get if it goes wrong.

Every call, of one message or of many, comes in as a stream: so it begins before its first message is read, and whoever
may not ask sends nothing.
"""

import asyncio
import contextlib
import math
import secrets
import ssl
import time
from pathlib import Path

import grpc

from . import logs, rpc
from .auth import subject
from .fault import Fault, let_go
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
        parents = [value for name, value in details.invocation_metadata or () if name == "traceparent"]
        self.traceparent = parents[0] if parents else ""

    def certified(self):
        """Who the client's certificate names."""
        said = self._context.auth_context()
        names = [one.decode(errors="replace") for one in said.get("x509_common_name", ())]
        return subject(names, ssl.PEM_cert_to_DER_cert(next(iter(said["x509_pem_cert"])).decode()))

    async def read(self, most, check=lambda: None):
        """The one message of a call. check: called when it is its turn to come in."""
        limit = self._limits.body_s
        try:
            async with asyncio.timeout(limit), self._door.reading:
                check()
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
        with door.principals.stream(self.principal):
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

    def end(self, fault):
        """The last word of it, which goes out when its coroutine returns; `abort` would leave a cycle behind."""
        trailing = [("x-request-id", self.id)]
        if fault is not None:
            trailing.append(("x-error-code", fault.code))
            if fault.retry_s:
                trailing.append(("grpc-retry-pushback-ms", str(math.ceil(fault.retry_s * 1000))))
            self._context.set_code(CODES[fault.grpc])
            self._context.set_details(fault.text)
        self._context.set_trailing_metadata(tuple(trailing))


class Door(grpc.GenericRpcHandler):
    """Chooses what answers a call, once it is known who asks. keys: None lets everyone in."""

    def __init__(self, service, keys=None):
        self.limits, self._service, self._keys = service.limits, service, keys
        self._methods, self.principals = rpc.methods(), service.principals
        self.certificates = False       # clients have one
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
            with self._checked(call, details):
                method = self._methods.get(details.method)
                if method is None:
                    raise Fault("method")
                await method(self._service, call)
        except asyncio.CancelledError:
            call.log(Fault("cancelled"), time.monotonic() - begin)
            raise
        except Exception as error:
            fault = call.fault_of(error)
            let_go(error)
        call.log(fault, time.monotonic() - begin)
        call.end(fault)

    def _checked(self, call, details):
        """The place of its principal, for a call that may come in; requests of a stream have theirs one by one."""
        headers = [(_bytes(name), _bytes(value)) for name, value in details.invocation_metadata or ()]
        call.principal, public = call.certified() if self.certificates else "anyone", details.method in rpc.PUBLIC
        if self._keys is not None and not public:
            call.principal = self._keys.principal([value for name, value in headers if name == b"authorization"])
            if call.principal is None:
                raise Fault("unauthenticated")
        size = sum(len(name) + len(value) + 4 for name, value in headers)
        if len(headers) > self.limits.headers or size > self.limits.header_bytes:
            raise Fault("headers", count=self.limits.headers, size=self.limits.header_bytes)
        if public or details.method == rpc.STREAM:
            return contextlib.nullcontext()
        return self.principals.request(call.principal)


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
            self.door.certificates = client_ca is not None
        except RuntimeError:
            raise OSError("in use, or not this machine's") from None

    async def start(self):
        await self._server.start()

    async def stop(self):
        """Nothing new is taken, streams end between two requests, and answers that are under way arrive."""
        if not self.door.ending.done():
            self.door.ending.set_result(None)
        await self._server.stop(self.door.limits.drain_s)
