# SPDX-License-Identifier: Apache-2.0
"""What a request held is free when it is over, however it ended: no frame of it waits for the garbage collector."""

import asyncio
import contextlib
import gc
import time
import types

import grpc
from calling import listening, path_of, tokens_of
from foveate.serve import http
from foveate.serve.fault import Fault, let_go
from foveate.serve.limits import Limits
from serving import call, infer_body, jpeg

IMAGE = jpeg(size=(240, 320))
HEAVY = types.FrameType, types.TracebackType, types.CoroutineType, BaseException, bytes, memoryview
LIMITS = {"in_flight": 1, "queue": 2, "queue_s": 0.05}


@contextlib.contextmanager
def without_collector():
    """A list of what only the collector would have found, filled at the end."""
    found = []
    gc.disable()
    gc.freeze()     # what there is already is no concern of it, and takes long to look through
    try:
        yield found
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        found += [f"{type(one).__name__} {one!r:.200}" for one in gc.garbage if isinstance(one, HEAVY)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.unfreeze()
        gc.enable()


def slowed(service, seconds=0.12):
    run = service._batcher._execute

    def slow(works):
        time.sleep(seconds)
        return run(works)

    service._batcher._execute = slow


def test_the_check_sees_a_cycle():
    def kept():
        try:
            raise Fault("queue")
        except Fault as error:
            fault = error   # which knows this frame
            return fault.code

    def freed():
        try:
            try:
                raise Fault("queue") from OSError("a cause")
            except Fault as error:
                raise ExceptionGroup("several", [error, ValueError()]) from None
        except ExceptionGroup as error:
            fault = error
            let_go(error)
            return fault.message

    with without_collector() as found:
        kept()
    assert {one.split()[0] for one in found} >= {"Fault", "frame", "traceback"}
    with without_collector() as found:
        freed()
    assert not found


def test_over_grpc():
    ends = {
        "answered": (tokens_of(IMAGE, budget=12), 1, {}), "refused": (tokens_of(IMAGE, budget=12), 6, {}),
        "too late": (tokens_of(IMAGE, budget=12), 1, {"timeout": 0.05}), "cut": (tokens_of(IMAGE[:3000]), 1, {}),
        "no image": (tokens_of(b"GIF89a" + IMAGE), 1, {}), "a parameter": (tokens_of(IMAGE, nothing=1), 1, {}),
        "no message": (b"\xff" * 20_000, 1, {}), "another model": (tokens_of(IMAGE, model="nope"), 1, {}),
    }

    async def main():
        async with listening(limits=Limits(**LIMITS)) as (service, _, channel):
            slowed(service)

            async def one(name, request, **options):
                data = request if isinstance(request, bytes) else request.SerializeToString()
                with contextlib.suppress(grpc.aio.AioRpcError):
                    await channel.unary_unary(path_of(name))(data, **options)
                    return True

            async def streamed(request):
                calls = channel.stream_stream(path_of("ModelStreamInfer"))(iter([request.SerializeToString()] * 2))
                return len([answer async for answer in calls])

            await one("ModelInfer", tokens_of(IMAGE, budget=12))
            for what, (request, count, options) in ends.items():
                with without_collector() as found:
                    good = await asyncio.gather(*(one("ModelInfer", request, **options) for _ in range(count)))
                    await asyncio.sleep(0.15 if options else 0.02)
                assert not found and (True in good) == (what in ("answered", "refused")), (what, good, found)
            for request in (tokens_of(IMAGE, budget=12), tokens_of(IMAGE[:3000], budget=12)):
                with without_collector() as found:
                    assert await streamed(request) == 2
                    await asyncio.sleep(0.02)
                assert not found

    asyncio.run(main())


def test_over_http():
    body, headers = infer_body(IMAGE, budget=12)
    wrong = {
        "cut": infer_body(IMAGE[:3000]), "no image": infer_body(b"GIF89a" + IMAGE),
        "a parameter": infer_body(nothing=1), "no JSON": (body, {"inference-header-content-length": "5"}),
    }

    async def main():
        async with listening(limits=Limits(**LIMITS)) as (service, _, _):
            slowed(service)
            app = http.app(service)

            async def one(body, headers, path="/v2/models/foveate/infer", **options):
                return (await call(app, "POST", path, body, headers, **options))[0]

            await one(body, headers)
            with without_collector() as found:
                assert 503 in await asyncio.gather(*(one(body, headers) for _ in range(6)))
            assert not found
            with without_collector() as found:
                assert await one(body, headers, leaves=0.03) == 499
                await asyncio.sleep(0.15)
            assert not found
            for what, (data, named) in wrong.items():
                with without_collector() as found:
                    assert await one(data, named) == (415 if what == "no image" else 400)
                assert not found, what
            with without_collector() as found:
                assert await one(body, headers, "/v2/models/nope/infer") == 404
            assert not found

    asyncio.run(main())
