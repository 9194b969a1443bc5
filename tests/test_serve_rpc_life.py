# SPDX-License-Identifier: Apache-2.0
"""The service over gRPC: deadlines, cancelling, too much work, an orderly end, certificates."""

import asyncio
import random
import signal
import time

import grpc
import pytest
import tritonclient.grpc as triton
from calling import Failed, call, infer, listening, path_of, refused, tokens_of
from foveate.serve.fault import KINDS
from foveate.serve.limits import Limits
from serving import certificates, jpeg, running, said_by
from tritonclient.utils import InferenceServerException

SEED = 6

# ---- deadlines and cancelling ------------------------------------------------------------------------------


def slowed(service, seconds):
    """The engine takes this long from now on; how many works it had."""
    run, entered = service._batcher._execute, []

    def slow(works):
        entered.extend(works)
        time.sleep(seconds)
        return run(works)

    service._batcher._execute = slow
    return entered


async def settled(service, server):
    end = time.monotonic() + 5
    while service.gate.active or service.bodies.held or server.door.streams:
        assert time.monotonic() < end
        await asyncio.sleep(0.01)
    assert service.gate.pixels == service.gate.waiting == server.door.room.held == 0


def test_who_hangs_up_or_is_too_late_is_dropped():
    async def main():
        async with listening() as (service, server, channel):
            entered = slowed(service, 0.2)
            first = asyncio.create_task(infer(channel, tokens_of(budget=12)))
            await asyncio.sleep(0.1)
            late = await asyncio.gather(*(refused(channel, "ModelInfer", tokens_of(budget=12), timeout=0.05)
                                          for _ in range(4)))
            assert {failed.status for failed in late} == {4}
            await first
            await settled(service, server)
            assert len(entered) == 1

    asyncio.run(main())


def test_storm_of_cancelled_calls():
    random_ = random.Random(SEED)

    async def main():
        async with listening(limits=Limits(in_flight=8)) as (service, server, channel):
            entered = slowed(service, 0.02)
            request = tokens_of(jpeg(size=(64, 64)), budget=12, sequence_id=1, sequence_start=True).SerializeToString()
            alone = tokens_of(jpeg(size=(64, 64)), budget=12).SerializeToString()
            for _ in range(10):
                calls = [channel.unary_unary(path_of("ModelInfer"))(alone) for _ in range(30)]
                calls += [channel.stream_stream(path_of("ModelStreamInfer"))(iter([request] * 3)) for _ in range(5)]
                await asyncio.sleep(random_.uniform(0, 0.03))
                for one in random_.sample(calls, len(calls)):
                    one.cancel()
            await settled(service, server)
            assert len(entered) < 150
            for _ in range(3):
                await infer(channel, tokens_of(budget=12))

    asyncio.run(main())


# ---- a life ------------------------------------------------------------------------------------------------


def test_an_idle_stream_is_told_of_the_end():
    told = []
    with running("--grpc-port", 0) as (_, _, child):
        client = triton.InferenceServerClient(child.addresses["grpc"])
        client.start_stream(lambda result, error: told.append(error))
        assert client.is_server_ready()
        child.send_signal(signal.SIGTERM)
        assert child.wait(20) == 0
        client.stop_stream(cancel_requests=True)
        client.close()
    assert told[0].status() == "StatusCode.UNAVAILABLE" and told[0].message() == KINDS["draining"].text


def test_a_stop_does_not_wait_for_who_sends_nothing():
    async def main():
        async with listening() as (service, server, channel):
            calls = [channel.stream_stream(path_of(name))()
                     for name in ("ModelStreamInfer", "ModelInfer", "ServerReady")]
            await calls[0].write(tokens_of(budget=12).SerializeToString())
            await calls[0].read()
            begin = time.monotonic()
            await service.drain()
            await server.stop()
            assert time.monotonic() - begin < 1
            for one in calls:
                with pytest.raises(grpc.aio.AioRpcError) as error:
                    await one.read()
                assert Failed(error.value).code == "draining"

    asyncio.run(main())


def test_too_much_work_is_refused():
    image = jpeg(size=(240, 320))

    async def main():
        async with listening(limits=Limits(in_flight=2, queue=3)) as (service, server, channel):
            slowed(service, 0.05)
            found = await asyncio.gather(*(call(channel, "ModelInfer", tokens_of(image, budget=12)) for _ in range(30)),
                                         return_exceptions=True)
            refused_ = [one for one in found if isinstance(one, Failed)]
            assert 1 <= len(refused_) < 30 and {one.code for one in refused_} <= {"queue", "queue_time"}
            assert all(one.status == 14 and one.trailing["grpc-retry-pushback-ms"] == "1000" for one in refused_)
            await settled(service, server)

    asyncio.run(main())


def test_client_certificates(tmp_path):
    certificates(tmp_path)
    words = ["--tls-cert", tmp_path / "server.pem", "--tls-key", tmp_path / "server.key", "--tls-client-ca",
             tmp_path / "ca.pem", "--grpc-port", 0]
    with running(*words) as (_, _, child):
        for name, good in (("client", True), ("stranger", False), (None, False)):
            key, chain = (tmp_path / f"{name}.key", tmp_path / f"{name}.pem") if name else (None, None)
            client = triton.InferenceServerClient(child.addresses["grpc"], ssl=True, private_key=key,
                                                  root_certificates=tmp_path / "ca.pem", certificate_chain=chain)
            if good:
                assert client.is_server_ready() and client.get_server_metadata()
            else:
                with pytest.raises(InferenceServerException) as error:
                    client.is_server_live(client_timeout=5)
                assert error.value.status() in ("StatusCode.UNAVAILABLE", "StatusCode.DEADLINE_EXCEEDED")
            client.close()
        with pytest.raises(InferenceServerException):       # without TLS
            triton.InferenceServerClient(child.addresses["grpc"]).is_server_live(client_timeout=2)
        named = said_by(child)
        assert b'"principal": "client"' in named and b"anyone" not in named
