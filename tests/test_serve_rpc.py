# SPDX-License-Identifier: Apache-2.0
"""The service over gRPC: Triton's own clients unchanged, who may ask, and streams of gaze."""

import asyncio
import queue

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from calling import METHODS, call, infer, listening, path_of, raw_of, refused, tokens_of
from foveate.serve import rpc
from foveate.serve.auth import Keys
from foveate.serve.limits import Limits
from foveate.serve.models import MODELS
from serving import jpeg, running
from tritonclient.grpc import service_pb2 as pb
from tritonclient.utils import InferenceServerException

TOKEN = "correct-horse-battery-staple"
GAZE = np.array([[0.25, 0.75]], np.float32)
PIXELS = np.random.default_rng(1).integers(0, 256, (1, 48, 64, 3), np.uint8)


@pytest.fixture(scope="module")
def server():
    """The address of a child for the tests that only ask."""
    with running("--grpc-port", 0) as (_, _, child):
        yield child.addresses["grpc"]


def inputs(pixels=PIXELS, gaze=GAZE):
    image = triton.InferInput("image", pixels.shape, "UINT8").set_data_from_numpy(pixels)
    return [image, triton.InferInput("gaze", gaze.shape, "FP32").set_data_from_numpy(gaze)]


def file_input(data):
    return triton.InferInput("image", [1], "BYTES").set_data_from_numpy(np.array([data], object))


# ---- literals ----------------------------------------------------------------------------------------------


def test_bytes_on_the_wire(server):
    """ServerLive is an empty message; its answer is field 1, true. Health says SERVING, which is 1."""
    async def main():
        async with grpc.aio.insecure_channel(server) as channel:
            assert await call(channel, "ServerLive") == await call(channel, "ServerReady") == b"\x08\x01"
            service = b"inference.GRPCInferenceService"
            for asked in (b"", b"\x0a\x00", b"\x0a\x1e" + service):
                assert await call(channel, rpc.HEALTH, asked) == b"\x08\x01"
            assert (await refused(channel, rpc.HEALTH, b"\x0a\x01x")).code == "not_found"
            assert (await refused(channel, "/grpc.health.v1.Health/Watch")).status == 12

    asyncio.run(main())


# ---- Triton's clients, unchanged ---------------------------------------------------------------------------


def test_triton_grpc(server, cpu):
    client = triton.InferenceServerClient(server)
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("foveate", "1")
    assert client.get_server_metadata().name == "foveate"
    assert [port.name for port in client.get_model_metadata("foveate").inputs] == ["image", "gaze"]
    assert client.get_model_config("warp").config.dynamic_batching.max_queue_delay_microseconds == 0
    assert {one.name for one in client.get_model_repository_index().models} == set(MODELS)
    tokens = cpu.tokens(PIXELS, gaze=[[(0.25, 0.75)]], budget=12, model="qwen2.5-vl", layout="rate")
    for outputs in (None, [triton.InferRequestedOutput(name) for name in ("patches", "valid", "rate")]):
        found = client.infer("foveate", inputs(), outputs=outputs, request_id="r1",
                             parameters={"budget": 12, "model": "qwen2.5-vl"})
        assert found.get_response().id == "r1" and found.get_response().model_version == "1"
        assert len(found.get_response().outputs) == (7 if outputs is None else 3)
        assert found.as_numpy("valid").dtype == bool and found.as_numpy("rate").shape == (1, 12)
        assert found.as_numpy("patches").tobytes() == tokens.numpy().tobytes()
    statistics = client.get_inference_statistics("foveate").model_stats[0]
    assert statistics.inference_count >= 2 and statistics.inference_stats.success.count >= 2
    assert statistics.batch_stats[0].batch_size == 1
    client.close()


def test_triton_grpc_async_and_errors(server):
    client, answers = triton.InferenceServerClient(server), queue.Queue()
    image = file_input(jpeg())
    alone = client.infer("foveate", [image], parameters={"budget": 20}).as_numpy("patches").tobytes()
    for _ in range(8):
        client.async_infer("foveate", [image], lambda result, error: answers.put((result, error)),
                           parameters={"budget": 20})
    found = [answers.get(timeout=10) for _ in range(8)]
    assert all(error is None for _, error in found)
    assert {result.as_numpy("patches").tobytes() for result, _ in found} == {alone}
    with pytest.raises(InferenceServerException, match="Request for unknown model: 'nope' is not found") as error:
        client.infer("nope", [image])
    assert error.value.status() == "StatusCode.NOT_FOUND"
    with pytest.raises(InferenceServerException, match="unexpected inference parameter 'x'"):
        client.infer("foveate", [image], parameters={"x": 1})
    for refuses in (client.get_system_shared_memory_status, client.get_cuda_shared_memory_status,
                    client.get_log_settings, client.get_trace_settings,
                    lambda: client.register_system_shared_memory("a", "/a", 5), lambda: client.load_model("foveate"),
                    lambda: client.unload_model("foveate")):
        with pytest.raises(InferenceServerException, match="is not supported by this server") as error:
            refuses()
        assert error.value.status() == "StatusCode.UNIMPLEMENTED"
    with pytest.raises(InferenceServerException, match="Compression algorithm 'gzip' is disabled"):
        client.infer("foveate", [image], compression_algorithm="gzip")
    with pytest.raises(InferenceServerException, match="Request timeout expired"):
        client.infer("foveate", [image], timeout=1)
    client.close()


def test_triton_grpc_aio(server):
    async def main():
        async with triton_aio.InferenceServerClient(server) as client:
            found = await asyncio.gather(*(client.infer("foveate", inputs(), parameters={"budget": 12})
                                           for _ in range(16)))
            assert len({one.as_numpy("patches").tobytes() for one in found}) == 1
            with pytest.raises(InferenceServerException, match=r"missing required input\(s\) \['image'\]"):
                await client.infer("foveate", inputs()[1:])

            async def requests():
                for k in range(4):
                    yield {"model_name": "foveate", "inputs": inputs(), "request_id": f"r{k}",
                           "parameters": {"budget": 12}}

            said = [one async for one in client.stream_infer(requests())]
            assert [result.get_response().id for result, error in said if error is None] == ["r0", "r1", "r2", "r3"]

    asyncio.run(main())


# ---- one image, many gazes ---------------------------------------------------------------------------------


def test_triton_stream(server):
    """Only the first request of the sequence has the image; each answer is that of a request with everything."""
    client, answers, file = triton.InferenceServerClient(server), queue.Queue(), jpeg()
    gazes = [np.array([[k / 4, 0.5]], np.float32) for k in range(5)]
    client.start_stream(lambda result, error: answers.put((result, error)))

    def ask(given, **options):
        client.async_stream_infer("foveate", given, parameters={"budget": 20}, **options)
        return answers.get(timeout=10)

    for k, gaze in enumerate(gazes):
        position = inputs(gaze=gaze)[1]
        result, error = ask([file_input(file), position] if k == 0 else [position], sequence_id=7,
                            sequence_start=k == 0, sequence_end=k == 4, request_id=f"g{k}")
        alone = client.infer("foveate", [file_input(file), position], parameters={"budget": 20})
        assert error is None and result.get_response().id == f"g{k}"
        for name in ("patches", "center_px", "image_size"):
            assert result.as_numpy(name).tobytes() == alone.as_numpy(name).tobytes()
        assert result.get_response().parameters["triton_final_response"].bool_param
    result, error = ask([inputs()[1]], sequence_id=7)
    assert result is None and error.message() == ("inference request for sequence 7 to model 'foveate' must specify "
                                                  "the START flag on the first request of the sequence")
    assert ask([inputs()[1]])[1].message().endswith(
        "missing required input(s) ['image']. Please provide all required input(s)")
    assert ask(inputs(), enable_empty_final_response=True)[1] is None      # the stream lives on
    assert ask(inputs(), sequence_id="words", sequence_start=True)[1] is None
    client.stop_stream()
    client.close()


async def streamed(channel, *requests):
    """Answers of a stream of these requests."""
    stream = channel.stream_stream(path_of("ModelStreamInfer"))(request.SerializeToString() for request in requests)
    return [pb.ModelStreamInferResponse.FromString(one) async for one in stream]


def sequence(number, start=False, end=False, image=b"", **more):
    return tokens_of(image, GAZE, sequence_id=number, sequence_start=start, sequence_end=end, budget=12, **more)


def test_what_a_stream_keeps_is_bounded():
    small, large = jpeg(size=(40, 40)), jpeg(size=(48, 48))

    async def main():
        async with listening(limits=Limits(kept=2 * 40 * 40 * 3)) as (service, server, channel):
            first, second, third = sequence(1, True, image=small), sequence(2, True, image=small), \
                sequence(3, True, image=small)
            said = await streamed(channel, first, second, third, sequence(1, end=True), third, sequence(3),
                                  sequence(2, image=large), sequence(2))
            faults = [one.infer_response.parameters["code"].string_param for one in said if one.error_message]
            assert [bool(one.error_message) for one in said] == [False, False, True, False, False, False, True, True]
            assert faults == ["kept", "kept", "sequence"] and server.door.room.held == 0
            assert said[2].error_message == "too many pixels are kept for sequences"
            assert server.door.streams == 0 and service.bodies.held == 0

    asyncio.run(main())


def test_sequences_of_a_stream():
    image = jpeg(size=(16, 16))

    async def main():
        async with listening() as (_, server, channel):
            said = await streamed(channel, *(sequence(n, True, image=image) for n in range(1, 18)))
            assert [one.error_message for one in said] == [""] * 16 + ["too many sequences: at most 16 a stream"]
            pair = tokens_of(gaze=np.zeros((2, 2), np.float32), sequence_id=1, sequence_start=True)
            pair.inputs[0].shape[:] = [2]
            pair.raw_input_contents[0] *= 2
            words = tokens_of(sequence_id=1.5), tokens_of(sequence_id=1, sequence_start="yes"), \
                tokens_of(sequence_id="x" * 129)
            said = [one.error_message for one in await streamed(channel, pair, *words)]
            assert said == ["too many images: at most 1 a request"] + [
                f"inference parameter '{name}' for model 'foveate': expected {what}" for name, what in (
                    ("sequence_id", "a whole number, or at most 128 characters"), ("sequence_start", "true or false"),
                    ("sequence_id", "a whole number, or at most 128 characters"))]
            size = {"height": 48, "width": 64}
            rates = [tokens_of(b"", GAZE, "shading_rate", sequence_id=1, sequence_start=k == 0, **size) for k in (0, 1)]
            assert not any(one.error_message for one in await streamed(channel, *rates))     # of no image at all
            alone = tokens_of(sequence_id=1)
            assert (await refused(channel, "ModelInfer", alone)).code == "unknown_parameter"
            assert server.door.room.held == 0

    asyncio.run(main())


def test_a_file_is_decoded_once_a_sequence():
    async def main():
        async with listening() as (service, _, channel):
            decode, count = service._decoder.decode, []

            async def counted(data):
                count.append(len(data))
                return await decode(data)

            service._decoder.decode = counted
            said = await streamed(channel, sequence(1, True, image=jpeg()), *[sequence(1)] * 5)
            assert not any(one.error_message for one in said) and len(count) == 1
            assert len({str(raw_of(one.infer_response)) for one in said}) == 1

    asyncio.run(main())


# ---- who may ask -------------------------------------------------------------------------------------------

KEYS = Keys({"ann": TOKEN, "bob": "another-token-of-bobs"})


def test_every_call_denies():
    """Those of the service's descriptor, those that are answered beside it, and those that there are not."""
    wrong = [(), [("authorization", "Bearer wrong")], [("authorization", f"Basic {TOKEN}")], [("authorization", TOKEN)],
             [("authorization", f"Bearer {TOKEN} {TOKEN}")], [("authorization", f"Bearer {TOKEN.upper()}")],
             [("authorization", "Bearer ")], [("x-authorization", f"Bearer {TOKEN}")],
             [("authorization", f"Bearer {TOKEN}")] * 2, [("authorization-bin", f"Bearer {TOKEN}".encode())]]
    right = [("authorization", f"bearer {TOKEN}")]

    async def main():
        async with listening(KEYS) as (_, _, channel):
            answered = {path.rpartition("/")[2] for path in rpc.methods() if rpc.SERVICE in path}
            assert len(METHODS) == 20 and answered == set(METHODS)
            others = ["/inference.GRPCInferenceService/Nope", "/inference.GRPCInferenceService/serverlive",
                      "/inference.GRPCInferenceService/ServerLive/", "//inference.GRPCInferenceService/ServerLive",
                      "/nope.Service/ServerLive", "/grpc.health.v1.Health/Watch", "/grpc.health.v1.Health/List",
                      "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", "/x"]
            for path in [*map(path_of, METHODS), rpc.HEALTH, *others]:
                for metadata in wrong:
                    if path in rpc.PUBLIC:
                        assert await call(channel, path, metadata=metadata) == b"\x08\x01"
                    else:
                        failed = await refused(channel, path, metadata=metadata)
                        assert (failed.code, failed.status) == ("unauthenticated", 16), path
                if path in others:
                    assert (await refused(channel, path, metadata=right)).status == 12
                elif path not in rpc.PUBLIC:
                    answer, = await asyncio.gather(call(channel, path, metadata=right), return_exceptions=True)
                    assert isinstance(answer, bytes) or answer.status != 16, path
            assert rpc.PUBLIC == tuple(map(path_of, ("ServerLive", "ServerReady", rpc.HEALTH)))
            found = await infer(channel, tokens_of(budget=12), metadata=right)
            assert raw_of(found)["center_px"][1] == (1, 12, 2)

    asyncio.run(main())


def test_who_may_not_ask_sends_nothing():
    """The answer is there before the message is."""
    async def main():
        async with listening(KEYS) as (service, _, channel):
            stream = channel.stream_stream(path_of("ModelInfer"))(timeout=5)    # nothing is ever sent on it
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await stream.read()
            assert error.value.code() is grpc.StatusCode.UNAUTHENTICATED and service.bodies.held == 0

    asyncio.run(main())
