# SPDX-License-Identifier: Apache-2.0
"""The service over gRPC and hostile messages: every limit, and nothing said that should not be."""

import asyncio
import random
import signal
import time

import grpc
import numpy as np
import pytest
import serving
import tritonclient.grpc as triton
from calling import CODES, METHODS, Failed, call, infer, listening, path_of, refused, tokens_of
from foveate.serve.fault import KINDS
from foveate.serve.limits import Limits
from serving import jpeg, running
from tritonclient.grpc import service_pb2 as pb


def padded(data, size):
    """The message with an unknown field behind it, so that it has this many bytes."""
    more = size - len(data) - 5     # field 99 of bytes: two bytes, and three of a length
    assert 1 << 14 <= more < 1 << 21
    return data + b"\x9a\x06" + bytes([more & 127 | 128, more >> 7 & 127 | 128, more >> 14]) + bytes(more)


# ---- limits: one below, at, one above ----------------------------------------------------------------------


def test_limits_of_a_message():
    limits = Limits(body=300_000, json=60_000, header_json=40_000, keys=100, numbers=3000, images=2)

    async def main():
        async with listening(limits=limits) as (service, _, channel):
            async def code(data):
                return (await refused(channel, "ModelInfer", data)).code

            own = len(tokens_of(bytes(250_000)).SerializeToString()) - 250_000
            for size, found in ((299_999, "format"), (300_000, "format"), (300_001, None)):
                failed = await refused(channel, "ModelInfer", tokens_of(bytes(size - own)))
                assert failed.code == found and (found or failed.status == 8)
            request = tokens_of(b"x" * 100)     # behind its raw contents there is a head of this size
            raw = len(request.raw_input_contents[0]) + 2
            for size, found in ((39_999, "format"), (40_000, "format"), (40_001, "body")):
                assert await code(padded(request.SerializeToString(), size + raw)) == found
            empty = pb.ModelInferRequest(model_name="foveate").SerializeToString()
            for size, found in ((59_999, "missing_input"), (60_000, "missing_input"), (60_001, "body")):
                assert await code(padded(empty, size)) == found
            for count, found in ((99, "missing_input"), (100, "missing_input"), (101, "message_fields")):
                assert await code(empty + b"\x98\x06\x00" * (count - 1)) == found
            for size in (39_999, 40_000):
                await call(channel, "ServerMetadata", padded(b"", size))
            assert (await refused(channel, "ServerMetadata", padded(b"", 40_001))).code == "body"
            for count, found in ((2999, "elements"), (3000, "elements"), (3001, "contents")):
                typed = pb.ModelInferRequest(model_name="foveate")
                typed.inputs.add(name="image", datatype="UINT8", shape=[1]).contents.uint_contents.extend([1] * count)
                assert await code(typed) == found
            for count, found in ((1, "image"), (2, "image"), (3, "images")):
                request = tokens_of(b"\xff\xd8\xff")
                request.inputs[0].shape[:], request.raw_input_contents[0] = [count], b"\3\0\0\0\xff\xd8\xff" * count
                assert await code(request) == found
            assert service.bodies.held == 0

    asyncio.run(main())


def test_limits_of_metadata_and_bodies():
    async def main():
        limits = Limits(headers=12, header_bytes=1000, bodies=1 << 20)
        async with listening(limits=limits) as (service, server, channel):
            seen, checked = [], server.door._checked

            def noted(one, details):
                seen[:] = details.invocation_metadata
                return checked(one, details)

            server.door._checked = noted
            await call(channel, "ServerMetadata")
            own, size = len(seen), sum(len(name) + len(value) + 4 for name, value in seen)
            for extra, good in ((-1, True), (0, True), (1, False)):
                many = [(f"x-{n}", "1") for n in range(12 - own + extra)]
                long = [("x-a", "1" * (1000 - size - 7 + extra))]
                for metadata in (many, long):
                    if good:
                        await call(channel, "ServerMetadata", metadata=metadata)
                    else:
                        assert (await refused(channel, "ServerMetadata", metadata=metadata)).code == "headers"
            # far over, HTTP/2 itself refuses: no handler is asked
            assert (await refused(channel, "ServerMetadata", metadata=[("x-a", "1" * 60_000)])).status == 8
            request = tokens_of(budget=12).SerializeToString()
            service.bodies.held = service.limits.bodies - len(request)
            await call(channel, "ModelInfer", request)
            service.bodies.held += 1
            failed = await refused(channel, "ModelInfer", request)
            assert (failed.code, failed.trailing["grpc-retry-pushback-ms"]) == ("bodies", "1000")
            assert service.bodies.held == service.limits.bodies - len(request) + 1

    asyncio.run(main())


def test_limits_of_streams_and_times():
    limits = Limits(streams=2, body_s=0.3, idle_s=0.6)

    async def main():
        async with listening(limits=limits) as (_, server, channel):
            def opened(name):
                return channel.stream_stream(path_of(name))()

            async def ended(stream):
                with pytest.raises(grpc.aio.AioRpcError) as error:
                    await stream.read()
                return Failed(error.value)

            begin = time.monotonic()
            first, second = opened("ModelStreamInfer"), opened("ModelStreamInfer")
            for one in (first, second):
                await one.write(tokens_of(budget=12).SerializeToString())
                assert not pb.ModelStreamInferResponse.FromString(await one.read()).error_message
            failed = await ended(opened("ModelStreamInfer"))
            assert (failed.code, failed.text) == ("streams", "too many streams: at most 2")
            failed = await ended(opened("ModelInfer"))
            assert (failed.code, failed.status) == ("slow", 4) and time.monotonic() - begin < 2
            for one in (first, second):
                failed = await ended(one)
                assert (failed.code, failed.text) == ("silent", "no request came for 0.6 s")
            assert server.door.streams == 0 and time.monotonic() - begin < 3
            third = opened("ModelStreamInfer")
            await third.done_writing()
            assert await third.read() is grpc.aio.EOF
            nothing = opened("ModelInfer")
            await nothing.done_writing()
            assert (await ended(nothing)).code == "cut"

    asyncio.run(main())


# ---- what is refused ---------------------------------------------------------------------------------------


def made_up(random_):
    """A ModelInferRequest that is one, and says anything."""
    one = random_.choice
    request = pb.ModelInferRequest(model_name=one(("foveate", "warp", "patchify", "shading_rate", "\0", "../x")),
                                   model_version=one(("", "1", "2")), id=one(("", "a", "\x1b[31m", "x" * 200)))
    for _ in range(one((0, 1, 2, 2))):
        shape = [one((0, 1, 1, 1, 1, 2, 3, -1, 1 << 40)) for _ in range(one((0, 1, 1, 2, 3, 9)))]
        datatype = one(("UINT8", "UINT8", "FP32", "BYTES", "BYTES", "BOOL", "BF16", "", "INT8"))
        tensor = request.inputs.add(name=one(("image", "image", "gaze", "")), shape=shape, datatype=datatype)
        kind = one(("fp32_contents", "uint_contents", "bytes_contents", "bool_contents", None, None))
        if kind:
            getattr(tensor.contents, kind).extend(one(([1], [0, 1])) if kind != "bytes_contents" else [b"x"])
        else:
            request.raw_input_contents.append(random_.randbytes(one((0, 1, 2, 3, 4, 8))))
    for _ in range(one((0, 0, 1, 2))):
        value = request.parameters[one(("budget", "timeout", "height", "width", "x", "sequence_id", "dtype"))]
        setattr(value, *one((("int64_param", -1), ("int64_param", 64), ("uint64_param", (1 << 64) - 1),
                             ("double_param", float("nan")), ("string_param", "\r\n"), ("bool_param", True))))
    if one((0, 0, 1)):
        request.outputs.add(name=one(("patches", "", "rate"))).parameters[one(("classification", "x"))].int64_param = 1
    return request.SerializeToString()


def hostile_messages(count, seed=6):
    """(method, bytes), the same ones each time."""
    random_ = random.Random(seed)
    good = [tokens_of(jpeg(size=(16, 16)), np.array([[0.5, 0.5]], np.float32), budget=12).SerializeToString(),
            pb.ModelConfigRequest(name="foveate").SerializeToString()]
    typed = pb.ModelInferRequest(model_name="foveate", id="a")
    typed.inputs.add(name="image", datatype="UINT8", shape=[1, 1, 3]).contents.uint_contents.extend([1, 2, 3])
    good.append(typed.SerializeToString())
    fixed = [b"\xff" * 20, b"\x0b", b"\x0c", b"\x03\x04", b"\x0a", b"\x0a\x05a", b"\x0a\xff\xff\xff\xff\x0f",
             b"\x0a" + b"\xff" * 10, b"\x0a\x02\xff\xfe", b"\x3a\x00", b"\x38\x05", b"\x00\x00", b"\x02\x00",
             b"\x0d\x01", b"\x09\x01\x02", b"\x2a\x00" * 64, b"\x2a\x00" * 65, b"\x2a\x00" * 5000, b"\x3a\x00" * 1025,
             b"\x22\x00" * 1024, b"\x0a\x07foveate\x3a\x00", b"\x0a\x07foveate\x2a\x00\x3a\x00" * 9,
             b"\x2a\x84\x01\x1a\x81\x01" + b"\x80" * 129, b"\x80" * 100_000, b"\x9a\x06\x80\x80\x80\x80\x10"]
    for data in fixed:
        yield "ModelInfer", data
    for _ in range(count - len(fixed)):
        data = bytearray(random_.choice(good))
        how = random_.randrange(8)
        if how > 4:
            data = made_up(random_)
        elif how == 0:
            data = bytearray(random_.randbytes(random_.randrange(1, 300)))
        elif how == 1:
            del data[random_.randrange(len(data)):]
        else:
            for _ in range(random_.randrange(1, 8)):
                at = random_.randrange(min(len(data), 120) if how < 4 else len(data))
                if how == 2:
                    data[at] = random_.randrange(256)
                elif how == 3:
                    data[at:at] = random_.randbytes(random_.randrange(1, 4))
                else:
                    data[at] ^= 1 << random_.randrange(8)
        yield random_.choice(["ModelInfer"] * 40 + ["ModelStreamInfer"] * 20 + METHODS), bytes(data)


@pytest.mark.parametrize("count,seed", [(500, 6), pytest.param(10_000, 7, marks=pytest.mark.long)])
def test_hostile_messages(count, seed):
    """Nothing but words of the catalogue comes back, and never that something of ours went wrong."""
    counts = {}

    async def one(channel, name, data):
        try:
            found = await call(channel, name, data, timeout=10)
        except Failed as failed:
            assert failed.code in KINDS and failed.status in CODES, (name, data, failed)
            return failed.code
        if name != "ModelStreamInfer":
            return "ok"
        said = pb.ModelStreamInferResponse.FromString(found)
        assert not serving.LEAKS.search(said.error_message.encode())
        return said.infer_response.parameters["code"].string_param if said.error_message else "ok"

    async def main():
        async with listening() as (service, server, channel):
            for name, data in hostile_messages(count, seed):
                code = await one(channel, name, data)
                assert code not in ("internal", "cancelled", "device"), (name, data)
                counts[code] = counts.get(code, 0) + 1
            await infer(channel, tokens_of(budget=12))
            assert service.bodies.held == service.gate.active == server.door.room.held == server.door.streams == 0

    asyncio.run(main())
    assert sum(counts.values()) == count and len(counts) > 11 and counts["message"] > 100, counts


def test_hostile_bytes_on_the_port():
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    ping, settings = b"\0\0\x08\x06\0\0\0\0\0" + bytes(8), b"\0\0\0\x04\0\0\0\0\0"
    reset = b"\0\0\x04\x03\0\0\0\0\x01\0\0\0\x08"
    with running("--grpc-port", 0, "--limit", "header_s=1") as (_, _, child):
        address = child.addresses["grpc"]
        client = triton.InferenceServerClient(address)
        for data in (b"", b"GET /v2 HTTP/1.1\r\nHost: a\r\n\r\n", b"\x16\x03\x01\x02\0\x01\0", preface, preface[:10],
                     preface + settings + ping * 2000, preface + settings + reset * 2000, preface + b"\xff" * 4000,
                     preface + settings + b"\0\0\x05\x01\x04\0\0\0\x01\xff\xff\xff\xff\xff",
                     preface + settings + b"\xff\xff\xff\0\0\0\0\0\x01" + bytes(100)):
            serving.raw(address, data, wait=0.1)
            assert client.is_server_live()
        client.close()
        child.send_signal(signal.SIGTERM)
        assert child.wait(10) == 0
        said = serving.said_by(child)
    assert all(line.startswith(b"{") for line in said.splitlines()), said      # gRPC writes nothing between our lines


def test_a_mistake_of_ours_says_nothing():
    async def main():
        async with listening() as (service, _, channel):
            def broken(*_):
                raise RuntimeError("secret of 0xdeadbeef in /opt/somewhere")

            service._batcher._execute = broken
            failed = await refused(channel, "ModelInfer", tokens_of())
            assert (failed.status, failed.code, failed.text) == (13, "internal", "internal error")
            service.model_config = broken
            assert (await refused(channel, "ModelConfig")).text == "internal error"
            service.infer = broken
            stream = channel.stream_stream(path_of("ModelStreamInfer"))(
                one.SerializeToString() for one in [tokens_of(), tokens_of(model="nope")])
            said = [pb.ModelStreamInferResponse.FromString(one).error_message async for one in stream]
            assert said == ["internal error", "Request for unknown model: 'nope' is not found"]

    asyncio.run(main())
