# SPDX-License-Identifier: Apache-2.0
"""Calls of gRPC for tests: as bytes, so that nothing of a client's is between a test and the service."""

import contextlib
import json

import grpc
import serving
from foveate.serve.door import RpcServer
from foveate.serve.fault import KINDS
from foveate.serve.rpc import SERVICE
from foveate.serve.service import Service
from google.protobuf.message import Message
from tritonclient.grpc import service_pb2 as pb

METHODS = [method.name for method in pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods]
CODES = {kind.grpc for kind in KINDS.values()}
BIG = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1),
       ("grpc.max_metadata_size", 1 << 20), ("grpc.use_local_subchannel_pool", 1)]


class Clock:
    """Time that stands until it is told to go."""

    def __init__(self, now=1e6):
        self.now = now

    def __call__(self):
        return self.now


class Failed(Exception):
    """A call that was refused: its status, words, and code of the catalogue where one is said."""

    def __init__(self, error):
        self.status, self.text = error.code().value[0], error.details() or ""
        trailing = {name: value for name, value in error.trailing_metadata() or ()}
        self.code, self.trailing = trailing.get("x-error-code"), trailing
        assert not serving.LEAKS.search(self.text.encode()), self.text
        if self.code:
            assert KINDS[self.code].grpc == self.status and len(trailing["x-request-id"]) == 16
        super().__init__(f"{self.status} {self.code}: {self.text}")


def path_of(name):
    return name if name.startswith("/") else f"/{SERVICE}/{name}"


async def call(channel, name, data=b"", **options):
    """The bytes that a call of one message answers with. Raises Failed."""
    data = data.SerializeToString() if isinstance(data, Message) else data
    try:
        return await channel.unary_unary(path_of(name))(data, timeout=options.pop("timeout", 20), **options)
    except grpc.aio.AioRpcError as error:
        raise Failed(error) from None


async def refused(channel, name, data=b"", **options):
    """The Failed of a call that is refused."""
    try:
        await call(channel, name, data, **options)
    except Failed as failed:
        return failed
    raise AssertionError(f"{name} was answered")


async def infer(channel, request, **options):
    return pb.ModelInferResponse.FromString(await call(channel, "ModelInfer", request, **options))


@contextlib.asynccontextmanager
async def listening(keys=None, **options):
    """(service, server, a channel to it) in the loop that runs."""
    service = Service({"backend": "cpu"}, **options)
    await service.start()
    server = RpcServer(service, keys)
    server.bind("127.0.0.1", 0)
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.address[1]}", options=BIG) as channel:
            yield service, server, channel
    finally:
        await server.stop()
        await service.close()


def tokens_of(image=None, gaze=None, model="foveate", **parameters):
    """A ModelInferRequest of one picture, with raw contents; image b"": none."""
    request = pb.ModelInferRequest(model_name=model)
    image = serving.jpeg() if image is None else image
    if image:
        request.inputs.add(name="image", datatype="BYTES", shape=[1])
        request.raw_input_contents.append(len(image).to_bytes(4, "little") + image)
    if gaze is not None:
        request.inputs.add(name="gaze", datatype="FP32", shape=gaze.shape)
        request.raw_input_contents.append(gaze.tobytes())
    for name, value in parameters.items():
        kind = {bool: "bool_param", int: "int64_param", str: "string_param", float: "double_param"}[type(value)]
        setattr(request.parameters[name], kind, value)
    return request


def raw_of(answer):
    """{name: (datatype, shape, bytes)} of a ModelInferResponse."""
    return {one.name: (one.datatype, tuple(one.shape), raw)
            for one, raw in zip(answer.outputs, answer.raw_output_contents, strict=True)}


def json_of(body, headers):
    """The same of HTTP's answer."""
    size = int(headers["inference-header-content-length"])
    head, at, found = json.loads(body[:size]), size, {}
    for one in head["outputs"]:
        end = at + one["parameters"]["binary_data_size"]
        found[one["name"]] = one["datatype"], tuple(one["shape"]), body[at:end]
        at = end
    assert at == len(body)
    return found
