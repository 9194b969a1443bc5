# SPDX-License-Identifier: Apache-2.0
"""uvicorn and h11, with the limits that they do not have: time, chunks, connections, and signals left to others."""

import contextlib

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from .auth import subject
from .fault import Fault
from .guard import body_of


class _Counted(h11.Connection):
    """A connection that takes so many chunks a body, and no more."""

    def __init__(self, limits):
        super().__init__(h11.SERVER, limits.header_bytes)
        self._most, self._chunks = limits.chunks, 0

    def next_event(self):
        event = super().next_event()
        if type(event) is h11.Data and event.chunk_start:
            self._chunks += 1
            if self._chunks > self._most:
                raise h11.RemoteProtocolError("too many chunks")
        elif type(event) is h11.Request:
            self._chunks = 0
        return event


class _Joined:
    """A transport that sends the small pieces of one turn of the loop together: each call of the kernel's costs."""

    def __init__(self, transport, loop):
        self._transport, self._loop, self._parts = transport, loop, []

    def __getattr__(self, name):
        return getattr(self._transport, name)

    def write(self, data):
        if self._transport.is_closing():    # asyncio would log a line for each piece that nobody takes
            return
        if len(data) < 4096:
            if not self._parts:
                self._loop.call_soon(self._flush)
            self._parts.append(data)
            return
        self._flush()
        self._transport.write(data)

    def close(self):
        self._flush()
        self._transport.close()

    def _flush(self):
        parts, self._parts = self._parts, []
        if parts and not self._transport.is_closing():
            self._transport.write(b"".join(parts))


def _certified(tls):
    """Who the client's certificate names; None: it has shown none."""
    if tls is None or not (said := tls.getpeercert()):
        return None
    names = [value for group in said["subject"] for name, value in group if name == "commonName"]
    return subject(names, tls.getpeercert(True))


def protocol(limits):
    """The class of a connection with these limits, as uvicorn wants it."""

    class Protocol(H11Protocol):
        def __init__(self, config, server_state, app_state, _loop=None):
            super().__init__(config, server_state, {**app_state, "abort": self._abort}, _loop)
            self.conn = _Counted(limits)
            self._timer, self._phase, self._bytes = None, None, 0

        def connection_made(self, transport):
            super().connection_made(_Joined(transport, self.loop))
            if len(self.connections) > limits.connections:
                return transport.abort()
            self.app_state["peer"] = _certified(transport.get_extra_info("ssl_object"))
            self._enter("header")

        def data_received(self, data):
            self._bytes += len(data)
            super().data_received(data)
            state = self.conn.their_state
            # behind the rest of a refused body nothing has begun
            begun = "header" if self.conn.trailing_data[0] else "idle"
            self._enter({h11.IDLE: begun, h11.SEND_BODY: "body"}.get(state))
            # what is left of a body that was refused is read, so that the answer arrives, but not for ever
            if state is h11.SEND_BODY and self._bytes > 2 * limits.body + (1 << 20):
                self._abort()

        def on_response_complete(self):
            super().on_response_complete()
            if self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]:
                self._enter("header")   # a next one has begun already

        def connection_lost(self, exc):
            self._enter(None)
            super().connection_lost(exc)

        def _enter(self, phase):
            if phase == self._phase:
                return
            self._phase = phase
            if phase != "body":
                self._bytes = 0
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            if phase is not None:
                # the app has its own time for a body, and an answer for whoever is too slow
                seconds = {"header": limits.header_s, "idle": limits.idle_s, "body": limits.body_s + 5}[phase]
                self._timer = self.loop.call_later(seconds, self._abort if phase != "idle" else self.transport.close)

        def _abort(self):
            if self.transport is not None:
                self.transport.abort()

        def _unsupported_upgrade_warning(self):
            """Nothing: it is answered as if nothing had been asked of the connection."""

        def send_400_response(self, msg):
            if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
                return self._abort()
            bare = self.conn.our_state is h11.SEND_RESPONSE and self.scope["method"] == "HEAD"
            if self.cycle is not None:      # an app that waits for the rest of a body has no say any more
                self.cycle.disconnected = True
                self.cycle.message_event.set()
            body = body_of(Fault("malformed"), "")
            headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)),
                       (b"connection", b"close")]
            for event in (h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
                          h11.Data(data=b"" if bare else body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
            self.transport.close()

    return Protocol


class Listener(uvicorn.Server):
    """Serves an ASGI app on sockets until `should_exit`. Signals are whoever's that runs it."""

    def __init__(self, app, limits, **options):
        super().__init__(uvicorn.Config(
            app, http=protocol(limits), ws="none", lifespan="off", log_config=None, access_log=False,
            server_header=False, proxy_headers=False, timeout_keep_alive=limits.idle_s,
            timeout_graceful_shutdown=limits.drain_s, backlog=1024, **options))

    @contextlib.contextmanager
    def capture_signals(self):
        yield
