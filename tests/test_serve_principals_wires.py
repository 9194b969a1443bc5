# SPDX-License-Identifier: Apache-2.0
"""Limits of one principal are the same on every wire, and others do not notice that one is at its own."""

import asyncio
import contextlib
import json
from functools import partial

import grpc
import pytest
import serving
from calling import Clock, call, infer, listening, path_of, refused, tokens_of
from foveate.client.memory import ServiceError, connect
from foveate.serve import http as serve_http
from foveate.serve import metrics, server
from foveate.serve.auth import Keys
from foveate.serve.limits import Limits
from foveate.serve.shared import MemoryServer
from tritonclient.grpc import service_pb2 as pb

TOKENS = {"ann": "correct-horse-battery-staple", "bob": "another-token-of-bobs"}
KEYS = Keys(TOKENS)
INFER = "/v2/models/foveate/infer"


def bearer(name):
    return {"authorization": f"Bearer {TOKENS[name]}"}


# ---- the same on every wire --------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def clocked(**limits):
    """(service, its app, a channel, its clock, its metrics)."""
    async with listening(KEYS, limits=Limits(**limits)) as (service, server_, channel):
        service.principals._clock = clock = Clock()
        yield service, serve_http.app(service, KEYS), channel, clock, metrics.Metrics(service)
        assert service.gate.active == service.bodies.held == server_.door.streams == 0
        uses = service.principals._uses.values()
        assert not any(use.in_flight or use.pixels or use.streams for use in uses)


async def streamed(channel, name, requests):
    """Answers to requests of a stream, one after the other."""
    stream = channel.stream_stream(path_of("ModelStreamInfer"))(metadata=list(bearer(name).items()))
    try:
        for request in requests:
            await stream.write(request.SerializeToString())
            yield pb.ModelStreamInferResponse.FromString(await stream.read())
        await stream.done_writing()
        assert await stream.read() is grpc.aio.EOF
    finally:
        stream.cancel()


def test_a_rate_on_every_wire():
    """Four in the first instant, whatever they come by."""
    async def main():
        async with clocked(principal_rate=0.5, principal_burst=4) as (_, app, channel, clock, shown):
            body, headers = serving.infer_body(budget=12)
            ann = {"metadata": list(bearer("ann").items())}
            request = tokens_of(budget=12)

            async def over_http(name="ann"):
                return await serving.call(app, "POST", INFER, body, {**headers, **bearer(name)})

            assert (await over_http())[0] == 200                            # 1
            await infer(channel, request, **ann)                            # 2
            said = [one async for one in streamed(channel, "ann", [request] * 3)]
            assert [bool(one.error_message) for one in said] == [False, False, True]     # 3, 4
            text = "too many requests of one client: at most 0.5 a second"
            parameters = said[2].infer_response.parameters
            assert (said[2].error_message, parameters["code"].string_param, parameters["retry_ms"].int64_param) == (
                text, "principal_rate", 2000)
            status, answer, found = await over_http()
            assert (status, answer["retry-after"], json.loads(found)["error"]) == (429, "2", text)
            failed = await refused(channel, "ModelInfer", request, **ann)
            assert (failed.status, failed.code, failed.text, failed.trailing["grpc-retry-pushback-ms"]) == (
                8, "principal_rate", text, "2000")
            for name in ("ServerMetadata", "RepositoryIndex"):
                assert (await refused(channel, name, **ann)).code == "principal_rate"
            assert (await serving.call(app, "GET", "/v2", headers=bearer("ann")))[0] == 429
            for path, name in (("/v2/health/live", "ServerLive"), ("/v2/health/ready", "ServerReady")):
                assert (await serving.call(app, "GET", path))[0] == 200
                assert await call(channel, name, **ann) == b"\x08\x01"
            assert (await over_http("bob"))[0] == 200
            clock.now += 0.5
            status, answer, _ = await over_http()
            assert (status, answer["retry-after"]) == (429, "2")        # 1.5 s, and headers have whole ones
            failed = await refused(channel, "ModelInfer", request, **ann)
            assert failed.trailing["grpc-retry-pushback-ms"] == "1500"
            clock.now += 1.5
            await infer(channel, request, **ann)
            assert (await over_http())[0] == 429
            written = shown.text().decode()
            assert 'foveate_principal_refused_total{limit="rate"} 9.0' in written
            assert 'foveate_principal_refused_total{limit="pixels"} 0.0' in written
            assert "ann" not in written and "bob" not in written

    asyncio.run(main())


def test_requests_at_once_on_every_wire():
    """Two of one principal are in: a third is refused before its body is read, and another's is not."""
    async def main():
        async with clocked(principal_in_flight=2) as (service, app, channel, _, _):
            body, headers = serving.infer_body(budget=12)
            go, run = asyncio.Event(), service._batcher.submit

            async def waits(*values):
                await go.wait()
                return await run(*values)

            service._batcher.submit = waits
            ann = {"metadata": list(bearer("ann").items())}
            first = [asyncio.create_task(serving.call(app, "POST", INFER, body, {**headers, **bearer("ann")})),
                     asyncio.create_task(infer(channel, tokens_of(budget=12), **ann))]
            while service.gate.active < 2:
                await asyncio.sleep(0.005)
            pieces = [b"x"] * 9
            held = service.bodies.held
            service.bodies.take = None      # whoever calls it fails
            status, answer, said = await serving.call(app, "POST", INFER, b"", bearer("ann"), pieces=pieces)
            assert (status, answer["retry-after"]) == (429, "1") and service.gate.active == 2
            text = "too many requests of one client at once: at most 2"
            assert json.loads(said)["error"] == text
            assert (await refused(channel, "ModelInfer", tokens_of(), **ann)).text == text
            said = [one async for one in streamed(channel, "ann", [tokens_of(budget=12)])]
            assert said[0].error_message == text and service.bodies.held == held
            del service.bodies.take
            others = [asyncio.create_task(infer(channel, tokens_of(budget=12), metadata=list(bearer("bob").items())))
                      for _ in range(2)]
            while service.gate.active < 4:
                await asyncio.sleep(0.005)
            go.set()
            done = await asyncio.gather(*first, *others)
            assert done[0][0] == 200
            for _ in range(3):      # places are free again
                await infer(channel, tokens_of(budget=12), **ann)

    asyncio.run(main())


def test_pixels_and_streams():
    async def main():
        limits = {"principal_pixels": 20_000, "principal_streams": 2}
        async with clocked(**limits) as (service, app, channel, _, shown):
            go, run = asyncio.Event(), service._batcher.submit

            async def waits(*values):
                await go.wait()
                return await run(*values)

            service._batcher.submit = waits
            request = tokens_of(serving.jpeg(size=(96, 128)), budget=12)        # 12 288 pixels, 3072 for patches
            ann, bob = ({"metadata": list(bearer(name).items())} for name in ("ann", "bob"))
            first = [asyncio.create_task(infer(channel, request, **one)) for one in (ann, bob)]
            while service.gate.active < 2:
                await asyncio.sleep(0.005)
            failed = await refused(channel, "ModelInfer", request, **ann)
            assert (failed.code, failed.text) == ("principal_pixels",
                                                  "too many pixels of one client at once: at most 20000")
            body, headers = serving.infer_body(budget=12)
            assert (await serving.call(app, "POST", INFER, body, {**headers, **bearer("ann")}))[0] == 429
            go.set()
            await asyncio.gather(*first)
            small = tokens_of(serving.jpeg(size=(16, 16)), budget=1)
            async with contextlib.AsyncExitStack() as streams:
                for name in ("ann", "ann", "bob"):
                    one = await streams.enter_async_context(contextlib.aclosing(streamed(channel, name, [small] * 2)))
                    assert not (await anext(one)).error_message
                with pytest.raises(grpc.aio.AioRpcError) as error:
                    await anext(streamed(channel, "ann", [small]))
                assert error.value.details() == "too many streams of one client: at most 2"
            text = shown.text().decode()
            assert 'refused_total{limit="streams"} 1.0' in text and 'refused_total{limit="pixels"} 2.0' in text
            assert 'foveate_requests_total{code="principal_pixels",model="foveate"} 2.0' in text
            while any(use.streams for use in service.principals._uses.values()):
                await asyncio.sleep(0.005)

    asyncio.run(main())


def test_shared_memory(tmp_path):
    """All who share memory are one principal, of another name than tokens'."""
    tmp_path.chmod(0o700)
    def ask(path, count):
        with connect(path) as shared:
            pixels = shared.empty((32, 32, 3))
            pixels[...] = 0
            return [shared.infer("foveate", pixels, budget=4).patches.shape for _ in range(count)]

    async def main():
        async with clocked(principal_rate=0.5, principal_burst=2) as (service, _, _, clock, _):
            path = tmp_path / "socket"
            async with MemoryServer(path, partial(server._in_memory, service), limits=service.limits):
                assert await asyncio.to_thread(ask, path, 2) == [(4, 768)] * 2
                with pytest.raises(ServiceError, match="too many requests of one client: at most") as error:
                    await asyncio.to_thread(ask, path, 1)
                assert error.value.code == "principal_rate"
                clock.now += 2
                assert len(await asyncio.to_thread(ask, path, 1)) == 1

    asyncio.run(main())


# ---- others ------------------------------------------------------------------------------------------------


def test_one_that_is_slow_does_not_keep_another_from_being_read():
    """Bodies come in for as many calls at once as may be worked on: without a limit, two of ann's would be all."""
    async def main():
        async with clocked(in_flight=2, principal_in_flight=1) as (service, _, channel, _, _):
            slow = [channel.stream_stream(path_of("ModelInfer"))(metadata=list(bearer("ann").items()))
                    for _ in range(9)]
            try:
                ends = [asyncio.ensure_future(one.code()) for one in slow]
                while sum(end.done() for end in ends) < 8:
                    await asyncio.sleep(0.005)
                assert {end.result() for end in ends if end.done()} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
                for _ in range(5):
                    await infer(channel, tokens_of(budget=12), metadata=list(bearer("bob").items()), timeout=10)
            finally:
                for one in slow:
                    one.cancel()
                await asyncio.gather(*ends)
            while any(use.in_flight for use in service.principals._uses.values()):
                await asyncio.sleep(0.005)

    asyncio.run(main())


def test_one_that_floods_does_not_slow_another():
    """Twenty of ann's are always there, by both wires; every one of bob's is answered, and never behind more than two
    of hers.
    """
    async def main():
        async with clocked(principal_in_flight=2, in_flight=4, queue=4) as (service, app, channel, _, _):
            body, headers = serving.infer_body(serving.jpeg(size=(64, 64)), budget=12)
            request, counts, over = tokens_of(serving.jpeg(size=(64, 64)), budget=12), {}, False
            waiting = []

            async def floods(number):
                while not over:
                    if number % 2:
                        found = (await serving.call(app, "POST", INFER, body, {**headers, **bearer("ann")}))[0]
                    else:
                        try:
                            await infer(channel, request, metadata=list(bearer("ann").items()))
                            found = 200
                        except Exception as failed:
                            found = failed.code
                            assert found == "principal_in_flight"
                    counts[found] = counts.get(found, 0) + 1
                    waiting.append(service.gate.active + service.gate.waiting)
                    await asyncio.sleep(0.001)

            tasks = [asyncio.create_task(floods(number)) for number in range(20)]
            await asyncio.sleep(0.05)
            for number in range(20):
                if number % 2:
                    await infer(channel, request, metadata=list(bearer("bob").items()))
                else:
                    assert (await serving.call(app, "POST", INFER, body, {**headers, **bearer("bob")}))[0] == 200
            over = True
            await asyncio.gather(*tasks)
            assert counts[429] > 20 and counts["principal_in_flight"] > 20 and counts[200] > 0, counts
            assert max(waiting) <= 3        # two of ann's, and bob's

    asyncio.run(main())
