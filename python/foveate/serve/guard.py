# SPDX-License-Identifier: Apache-2.0
"""What stands in front of every route: who asks, what their headers are, and what they get if anything goes wrong."""

import contextlib
import math
import secrets
import time

import orjson

from . import logs
from .fault import Fault, let_go

PUBLIC = ("/v2/health/live", "/v2/health/ready")
PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-/")


class Guard:
    """An ASGI app around another.

    Args:
        keys: None lets everyone in.
        public: paths that need nobody's name, and count as nobody's.
        principals: who may take how much; None: all of it.
    """

    def __init__(self, app, limits, keys=None, public=PUBLIC, lifespan=None, busy=None, principals=None):
        self._app, self._limits, self._keys, self._public = app, limits, keys, public
        self._lifespan, self._busy, self._principals = lifespan, busy, principals

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan" and self._lifespan:
            return await self._lifespan(receive, send)
        if scope["type"] != "http":
            raise RuntimeError("HTTP only")     # which makes the server close a web socket
        start, state = time.monotonic(), scope.setdefault("state", {})
        state["id"] = secrets.token_hex(8)
        status = 0

        async def sent(message):
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", state["id"].encode())]
            await send(message)

        try:
            with self._checked(scope, state):
                if self._busy is not None and scope["path"].endswith("/infer"):
                    self._busy()        # before anything is spent on it
                await self._app(scope, receive, sent)
        except Fault as fault:
            state["fault"] = fault
            let_go(fault)
            if not status:
                await answer(sent, fault, state["id"])
        except Exception as error:
            state["fault"] = Fault("internal")
            logs.log.exception("request failed", extra={"fields": {"id": state["id"]}})
            if status:
                raise
            let_go(error)
            await answer(sent, state["fault"], state["id"])
        finally:
            self._log(scope, state, status, time.monotonic() - start)

    def _checked(self, scope, state):
        """The place of its principal, for a request that may come in."""
        limits, headers = self._limits, scope["headers"]
        path = scope.get("raw_path") or scope["path"].encode()
        state["principal"] = state.get("peer") or "anyone"
        public = path.decode("latin-1") in self._public and scope["method"] in ("GET", "HEAD")
        if self._keys is not None and not public:
            state["principal"] = self._keys.principal([value for name, value in headers if name == b"authorization"])
            if state["principal"] is None:
                raise Fault("unauthenticated")
        size = sum(len(name) + len(value) + 4 for name, value in headers)
        if len(headers) > limits.headers or size > limits.header_bytes:
            raise Fault("headers", count=limits.headers, size=limits.header_bytes)
        if not PLAIN.issuperset(path) or len(path) > 512:
            raise Fault("not_found")
        lengths = [value for name, value in headers if name == b"content-length"]
        if len(lengths) > 1 or (lengths and (not lengths[0].isdigit() or len(lengths[0]) > 18)):
            raise Fault("length")
        if any(name == b"transfer-encoding" for name, _ in headers) and lengths:
            raise Fault("length")
        if any(name == b"content-encoding" and value.strip().lower() != b"identity" for name, value in headers):
            raise Fault("encoding")
        if public or self._principals is None:
            return contextlib.nullcontext()
        return self._principals.request(state["principal"])

    def _log(self, scope, state, status, seconds):
        if scope["path"] in self._public and status < 500 and "fault" not in state:
            return      # probes come every second
        account, fault = state.get("account"), state.get("fault")
        fields = {"id": state["id"], "principal": state.get("principal"), "method": scope["method"],
                  "path": scope["path"][:200], "status": status, "ms": round(seconds * 1e3, 3)}
        if fault is not None:
            fields["code"] = fault.code
        logs.request(account, **fields)


def body_of(fault, request_id):
    return orjson.dumps({"error": fault.text, "code": fault.code, "id": request_id})


async def answer(send, fault, request_id):
    """Sends a fault."""
    body = body_of(fault, request_id)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    if fault.retry_s:
        headers.append((b"retry-after", b"%d" % math.ceil(fault.retry_s)))
    if fault.code == "unauthenticated":
        headers.append((b"www-authenticate", b"Bearer"))
    if fault.code == "draining":
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": fault.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
