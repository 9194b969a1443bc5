# SPDX-License-Identifier: Apache-2.0
"""The service over HTTP: every route of the Open Inference Protocol, as an ASGI app."""

import asyncio
import re
from functools import partial

import orjson
from starlette.responses import Response
from starlette.routing import Route, Router

from . import wire
from .fault import Fault
from .guard import Guard
from .service import Account

PIECE = 1 << 20     # bytes that are handed to the socket at once
SMALL = 1 << 16     # JSON up to here is read where it arrives, more of it on a thread
LENGTH = b"inference-header-content-length"


class _Route(Route):
    async def handle(self, scope, receive, send):
        if scope["method"] not in self.methods:
            raise Fault("method")
        await self.app(scope, receive, send)


def app(service, keys=None):
    """The ASGI app of a service. keys: see auth.Keys; None: everyone may ask.

    The service is started and ended with the app, where the server has a lifespan; else whoever runs it does that.
    """
    router = Router(routes(service), redirect_slashes=False, default=_nowhere)
    return Guard(router, service.limits, keys, lifespan=partial(_lifespan, service), busy=partial(_busy, service),
                 principals=service.principals)


def _busy(service):
    if service.gate.full and not service.draining:
        raise Fault("queue")


async def _nowhere(scope, receive, send):
    raise Fault("not_found")


async def _lifespan(service, receive, send):
    await receive()
    await service.start()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await service.drain()
    await service.close()
    await send({"type": "lifespan.shutdown.complete"})


def routes(service):
    """Every route there is."""
    def route(path, call, method="GET"):
        return _Route(path, partial(call, service), methods=[method], name=path)

    listed = [route("/v2", _metadata), route("/v2/health/live", _live), route("/v2/health/ready", _ready),
              route("/v2/models/stats", _statistics), route("/v2/repository/index", _index, "POST")]
    for path in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
        listed += [route(path, _model), route(path + "/ready", _model_ready), route(path + "/config", _config),
                   route(path + "/stats", _statistics), route(path + "/infer", _infer, "POST")]
    for what, paths in UNSUPPORTED.items():
        refuse = partial(_refuse, what)
        listed += [_Route(path, refuse, methods=methods, name=path) for path, methods in paths]
    return listed


def _memory(kind):
    region = f"/v2/{kind}sharedmemory/region/{{region}}/"
    return [(f"/v2/{kind}sharedmemory/status", ["GET"]), (region + "status", ["GET"]), (region + "register", ["POST"]),
            (f"/v2/{kind}sharedmemory/unregister", ["POST"]), (region + "unregister", ["POST"])]


UNSUPPORTED = {
    "shared memory by name": _memory("system") + _memory("cuda"),
    "loading and unloading of models": [("/v2/repository/models/{model}/load", ["POST"]),
                                        ("/v2/repository/models/{model}/unload", ["POST"])],
    "changing of logs": [("/v2/logging", ["GET", "POST"])],
    "tracing by request": [("/v2/trace/setting", ["GET", "POST"]),
                           ("/v2/models/{model}/trace/setting", ["GET", "POST"])],
    "generation": [("/v2/models/{model}/generate", ["POST"]), ("/v2/models/{model}/generate_stream", ["POST"])],
}


def _json(value, status=200):
    return Response(orjson.dumps(value), status, media_type="application/json")


def _named(request):
    return request.path_params.get("model", ""), request.path_params.get("version", "")


async def _refuse(what, request):
    raise Fault("unsupported", what=what)


async def _live(service, request):
    return _json({"live": True})


async def _ready(service, request):
    if not service.ready:
        raise Fault("not_ready")
    return _json({"ready": True})


async def _metadata(service, request):
    return _json(service.metadata())


async def _model(service, request):
    return _json(service.model_metadata(*_named(request)))


async def _model_ready(service, request):
    name, version = _named(request)
    service.model(name, version)
    if not service.ready:
        raise Fault("not_ready")
    return _json({"name": name, "ready": True})


async def _config(service, request):
    return _json(service.model_config(*_named(request)))


async def _statistics(service, request):
    return _json(service.model_statistics(*_named(request)))


async def _index(service, request):
    limits = service.limits
    try:
        body = await _body(service, request, limits.header_json)
        asked = wire.loads(body, limits) if body else {}
    finally:
        service.bodies.give(request.scope["state"].pop("held", 0))
    if not asked.keys() <= {"ready"} or type(asked.get("ready", False)) is not bool:
        raise Fault("field", field="request", expected="an object with ready, true or false")
    return _json(service.index(asked.get("ready", False)))


async def _infer(service, request):
    limits, state = service.limits, request.scope["state"]
    name, version = _named(request)
    service.model(name, version)
    length = _header_length(request)
    state["account"] = account = Account(principal=state["principal"],
                                         traceparent=request.headers.get("traceparent", ""))
    try:
        body = await _body(service, request, limits.json if length is None else limits.body)
        if service.draining:
            raise Fault("draining")     # its body is read to the end: the connection closes without a reset
        parsed = await _read(body, length, name, version, limits)
        del body
        response = await _unless_gone(request.receive, service.infer(parsed, account))
    finally:
        service.bodies.give(state.pop("held", 0))
    if parsed.binary if parsed.outputs is None else all(one.binary for one in parsed.outputs):
        head, buffers = wire.write(response, parsed, limits)
    else:
        head, buffers = await asyncio.to_thread(wire.write, response, parsed, limits)
    return Tensors(head, buffers, limits.request_s)


async def _read(body, length, name, version, limits):
    if (len(body) if length is None else length) <= SMALL:
        return wire.read(body, length, name, version, limits)
    return await asyncio.to_thread(wire.read, body, length, name, version, limits)


def _header_length(request):
    values = [value for name, value in request.scope["headers"] if name == LENGTH]
    if not values:
        return None
    if len(values) > 1 or not re.fullmatch(rb"[0-9]{1,12}", values[0]):
        raise Fault("header_length")
    return int(values[0])


async def _body(service, request, most):
    """The whole body, refused as soon as it is known to be too large."""
    limits, state = service.limits, request.scope["state"]
    said = next((int(value) for name, value in request.scope["headers"] if name == b"content-length"), 0)
    if said > most:
        raise Fault("body", limit=most)
    pieces, size, more = [], 0, True
    try:
        async with asyncio.timeout(limits.body_s):
            while more:
                message = await request.receive()
                if message["type"] != "http.request":
                    raise Fault("cut")
                piece, more = message.get("body", b""), message.get("more_body", False)
                size += len(piece)
                if size > most:
                    raise Fault("body", limit=most)
                service.bodies.take(len(piece))
                state["held"] = state.get("held", 0) + len(piece)
                pieces.append(piece)
    except TimeoutError:
        raise Fault("slow", seconds=limits.body_s) from None
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


async def _unless_gone(receive, work):
    """The result of `work`, which is cancelled when its client goes away."""
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(receive())
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise Fault("cancelled")
        return task.result()
    finally:
        gone.cancel()
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


class Tensors(Response):
    """JSON and the tensors behind it, sent piece by piece as the client takes them."""

    def __init__(self, head, buffers, seconds):
        self._head, self._buffers, self._seconds = head, buffers, seconds
        size = len(head) + sum(len(one) for one in buffers)
        headers = {"content-length": str(size)}
        if buffers:
            headers["inference-header-content-length"] = str(len(head))
        kind = "application/octet-stream" if buffers else "application/json"
        super().__init__(b"", 200, headers, kind)

    async def __call__(self, scope, receive, send):
        try:
            async with asyncio.timeout(self._seconds):
                await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                await send({"type": "http.response.body", "body": self._head, "more_body": True})
                for buffer in self._buffers:
                    for start in range(0, len(buffer), PIECE):
                        piece = buffer[start:start + PIECE]
                        await send({"type": "http.response.body", "body": piece, "more_body": True})
                await send({"type": "http.response.body", "body": b""})
        except TimeoutError:
            scope["state"].get("abort", lambda: None)()     # nobody takes it
