# SPDX-License-Identifier: Apache-2.0
"""HTTP and gRPC say the same: one corpus of requests over both, tensors by their bytes and errors by their words."""

import asyncio
import json
import struct
from dataclasses import dataclass, field

import numpy as np
import pytest
from calling import call as call_rpc
from calling import infer, json_of, listening, raw_of, refused
from foveate.serve import http as serve_http
from foveate.serve.fault import KINDS
from foveate.serve.limits import Limits
from foveate.serve.models import MODELS
from google.protobuf.json_format import ParseDict
from serving import call, jpeg
from tritonclient.grpc import service_pb2 as pb

PIXELS = np.random.default_rng(2).integers(0, 256, (48, 64, 3), np.uint8)
GAZE = np.array([[0.25, 0.75]], np.float32)
LIMITS = Limits(images=4, fixations=3, tokens=64, pixels=100_000, encoded=40_000, numbers=20_000)
CONTENTS = {"FP32": "fp32_contents", "UINT8": "uint_contents", "INT8": "int_contents", "BOOL": "bool_contents",
            "INT64": "int64_contents", "BYTES": "bytes_contents"}


@dataclass
class Case:
    """A request, whatever the wire. inputs: (name, datatype, shape, raw bytes or a list of values)."""

    code: str | None = None
    model: str = "foveate"
    version: str = ""
    id: str = ""
    inputs: list = field(default_factory=list)
    parameters: dict = field(default_factory=dict)
    outputs: tuple = ()
    input_parameters: dict = field(default_factory=dict)
    output_parameters: dict = field(default_factory=dict)


def file(*images, name="image"):
    raw = b"".join(struct.pack("<I", len(one)) + one for one in images)
    return name, "BYTES", [len(images)], raw


def pixels(array=PIXELS):
    return "image", "UINT8", list(array.shape), array.tobytes()


def gaze(array=GAZE, kind="FP32"):
    return "gaze", kind, list(np.shape(array)), np.asarray(array, np.float32).tobytes()


def typed(entry):
    """The same input as values."""
    name, kind, shape, raw = entry
    return name, kind, shape, np.frombuffer(raw, {"FP32": np.float32, "UINT8": np.uint8}[kind]).tolist()


BUDGET, PHOTO = {"budget": 12}, jpeg()
SMALL = np.ascontiguousarray(PIXELS[:16, :16])
CASES = [
    # answers
    Case(None, inputs=[file(PHOTO)], parameters=BUDGET, id="r1"),
    Case(None, inputs=[file(PHOTO, jpeg(size=(40, 72), form="PNG"))], parameters=BUDGET, version="1"),
    Case(None, inputs=[pixels(), gaze()], parameters={**BUDGET, "model": "qwen2.5-vl", "floor": 0.5, "clamp": True}),
    Case(None, inputs=[pixels()], parameters={**BUDGET, "timeout": 10_000_000, "priority": 1}),
    Case(None, inputs=[typed(pixels(SMALL)), typed(gaze())], parameters=BUDGET, outputs=("rate", "patches")),
    Case(None, model="patchify", inputs=[pixels()], parameters={"model": "qwen2-vl"}),
    Case(None, model="patchify", inputs=[pixels()], parameters={**BUDGET, "dtype": "bfloat16"}),
    Case(None, model="shading_rate", inputs=[gaze()], parameters={"height": 480, "width": 640}),
    Case(None, model="warp", inputs=[pixels(), gaze()], parameters={"height": 32, "width": 32}),
    # what is asked for
    Case("unknown_model", model="nope"), Case("unknown_version", version="7"),
    Case("missing_input", inputs=[]), Case("missing_input", inputs=[gaze()]),
    Case("unknown_input", inputs=[file(PHOTO), file(PHOTO, name="other")]),
    Case("unknown_output", inputs=[file(PHOTO)], outputs=("nope",)),
    Case("input_twice", inputs=[file(PHOTO), file(PHOTO)]),
    Case("output_twice", inputs=[file(PHOTO)], outputs=("rate", "rate")),
    Case("unknown_parameter", inputs=[file(PHOTO)], parameters={"nope": 1}),
    Case("unknown_parameter", inputs=[file(PHOTO)], parameters={"sequence_id": 1}),
    Case("parameter", inputs=[file(PHOTO)], parameters={"budget": 0}),
    Case("parameter", inputs=[file(PHOTO)], parameters={"budget": "12"}),
    Case("parameter", inputs=[file(PHOTO)], parameters={"budget": True}),
    Case("parameter", inputs=[file(PHOTO)], parameters={"budget": 65}),
    Case("field", inputs=[file(PHOTO)], id="x" * 129), Case("field", inputs=[file(PHOTO)], id="a\nb"),
    Case("unsupported", inputs=[file(PHOTO)], outputs=("rate",), output_parameters={"classification": 1}),
    Case("unsupported", inputs=[pixels()], input_parameters={"shared_memory_region": "r"}),
    Case("unsupported", inputs=[file(PHOTO)], outputs=("rate",), output_parameters={"shared_memory_region": "r"}),
    Case("engine", inputs=[file(PHOTO)], parameters={"alpha": 2.0}),
    # tensors
    Case("datatype", inputs=[("image", "FP8", [1], b"x")]), Case("datatype", inputs=[("image", "", [1], b"x")]),
    Case("wrong_type", inputs=[pixels(), ("gaze", "FP64", [1, 2], bytes(16))]),
    Case("byte_size", inputs=[("image", "UINT8", [48, 64, 3], PIXELS.tobytes()[1:])]),
    Case("byte_size", inputs=[pixels(), ("gaze", "FP32", [1, 2], bytes(12))], id="r9"),
    Case("byte_size", inputs=[("image", "UINT8", [2**20, 2**20, 3], b"abc")]),
    Case("elements", inputs=[("image", "BYTES", [2], file(PHOTO)[3])]),
    Case("elements", inputs=[("image", "BYTES", [1], b"\xff\xff\xff\xff")]),
    Case("elements", inputs=[("image", "BYTES", [1], b"\0\0")]),
    Case("elements", inputs=[pixels(), ("gaze", "FP32", [1, 2], [0.5])]),
    Case("value", inputs=[pixels(), ("gaze", "BOOL", [2], b"\0\2")]),
    Case("value", inputs=[("image", "UINT8", [1, 1, 3], [0, 0, 256])]),
    Case("value", inputs=[("image", "INT8", [1], [-129])]),
    Case("binary_only", inputs=[pixels(), ("gaze", "FP16", [1, 2], [0.5, 0.5])]),
    Case("field", inputs=[("image", "UINT8", [-1], b"")]), Case("field", inputs=[("image", "UINT8", [1] * 9, b"a")]),
    Case("field", inputs=[("image", "UINT8", [1 << 31], b"a")]),
    Case("field", inputs=[file(PHOTO, name=f"i{n}") for n in range(65)]),
    Case("wrong_shape", inputs=[("image", "UINT8", [48, 64], PIXELS.tobytes()[:48 * 64])]),
    Case("wrong_shape", inputs=[pixels(), gaze([0.5, 0.5])]), Case("wrong_shape", inputs=[pixels(), gaze(GAZE[:, :1])]),
    Case("wrong_shape", inputs=[pixels(), gaze([[0.5, 0.5]] * 2)]),
    # images and gaze
    Case("format", inputs=[file(b"GIF89a" + bytes(40))]), Case("image", inputs=[file(PHOTO[:60])]),
    Case("image", inputs=[file(PHOTO[:-200])]), Case("image", inputs=[file(b"")]),
    Case("images", inputs=[file(*[jpeg(size=(16, 16))] * 5)]),
    Case("pixels", inputs=[pixels(np.zeros((250, 401, 3), np.uint8))]),
    Case("encoded", inputs=[file(PHOTO + bytes(40_000))]),
    Case("gaze", inputs=[pixels(), gaze([[np.nan, 0]])]), Case("gaze", inputs=[pixels(), gaze([[0.5, 1.5]])]),
    Case("fixations", inputs=[pixels(), gaze([[[0.5, 0.5]] * 4])]),
    Case("deadline", inputs=[file(PHOTO)], parameters={"timeout": 1}),
]


def over_http(case):
    """(path, body, headers)."""
    inputs, rest = [], b""
    for name, kind, shape, data in case.inputs:
        entry = {"name": name, "datatype": kind, "shape": shape}
        if isinstance(data, bytes):
            entry["parameters"], rest = {"binary_data_size": len(data)}, rest + data
        else:
            entry["data"] = data
        if case.input_parameters:
            entry["parameters"] = case.input_parameters
        inputs.append(entry)
    head = {"inputs": inputs, "parameters": {**case.parameters, "binary_data_output": True}}
    head |= {"id": case.id} if case.id else {}
    if case.outputs:
        head["outputs"] = [{"name": name, "parameters": case.output_parameters} for name in case.outputs]
    head = json.dumps(head).encode()
    version = f"/versions/{case.version}" if case.version else ""
    return (f"/v2/models/{case.model}{version}/infer", head + rest,
            {"inference-header-content-length": str(len(head))})


def set_parameters(where, values):
    for name, value in values.items():
        kind = {bool: "bool_param", int: "int64_param", str: "string_param", float: "double_param"}[type(value)]
        setattr(where[name], kind, value)


def over_rpc(case):
    """A ModelInferRequest: tensors raw if all of them are given so, else all as contents."""
    request = pb.ModelInferRequest(model_name=case.model, model_version=case.version, id=case.id)
    set_parameters(request.parameters, case.parameters)
    raw = all(isinstance(data, bytes) for _, _, _, data in case.inputs)
    for entry in case.inputs:
        name, kind, shape, data = entry
        tensor = request.inputs.add(name=name, datatype=kind, shape=shape)
        set_parameters(tensor.parameters, case.input_parameters)
        if raw:
            request.raw_input_contents.append(data)
        else:
            data = typed(entry)[3] if isinstance(data, bytes) else data
            getattr(tensor.contents, CONTENTS.get(kind, "fp32_contents")).extend(data)
    for name in case.outputs:
        set_parameters(request.outputs.add(name=name).parameters, case.output_parameters)
    return request


def test_corpus_covers_the_catalogue():
    """Every fault that a request can be at, whatever the wire."""
    wire = {code for code, kind in KINDS.items() if kind.status < 429}
    own = {"unauthenticated", "not_found", "method", "length", "encoding", "header_length", "headers", "body", "cut",
           "malformed", "slow", "json", "json_depth", "json_keys", "json_numbers", "json_twice", "json_header",
           "short", "additional", "message", "message_fields", "contents", "silent", "sequence",
           "sequences"}     # of one wire, or of no request
    elsewhere = {"tokens", "values", "limit"}      # by models: tests/test_serve_models.py
    assert wire - own - elsewhere <= {case.code for case in CASES}


@pytest.fixture(scope="module")
def both():
    """What each case gives over both: [(case, HTTP's status, headers and body, gRPC's answer or Failed)]."""
    async def main():
        found = []
        async with listening(limits=LIMITS) as (service, _, channel):
            app = serve_http.app(service)
            for case in CASES:
                path, body, headers = over_http(case)
                answer = await call(app, "POST", path, body, headers)
                if case.code is None:
                    found.append((case, *answer, await infer(channel, over_rpc(case))))
                else:
                    found.append((case, *answer, await refused(channel, "ModelInfer", over_rpc(case))))
            assert service.bodies.held == service.gate.active == 0
        return found

    return asyncio.run(main())


def test_tensors(both):
    said = [one for one in both if one[0].code is None]
    assert len(said) == 9
    for case, status, headers, body, answer in said:
        head = json.loads(body[:int(headers["inference-header-content-length"])])
        assert status == 200 and raw_of(answer) == json_of(body, headers)
        assert (answer.model_name, answer.model_version, answer.id) == (
            head["model_name"], head["model_version"], head.get("id", "")) == (case.model, "1", case.id)
        assert not case.outputs or tuple(raw_of(answer)) == case.outputs


def test_errors(both):
    said = [one for one in both if one[0].code is not None]
    assert len(said) > 50
    for case, status, headers, body, failed in said:
        value = json.loads(body)
        assert (value["code"], status) == (case.code, KINDS[case.code].status), (case, value)
        text = value["error"].replace("via JSON", "via typed contents")
        assert (failed.code, failed.status, failed.text) == (case.code, KINDS[case.code].grpc, text), case
        pushed = failed.trailing.get("grpc-retry-pushback-ms")
        assert ("retry-after" in headers) == (pushed is not None)


def test_descriptions():
    """Metadata, configuration, statistics and the index are one value on both wires."""
    async def main():
        async with listening() as (service, _, channel):
            app = serve_http.app(service)
            await infer(channel, over_rpc(CASES[0]))

            async def same(path, name, request, kind, wrap=None, method="GET"):
                value = json.loads((await call(app, method, path))[2])
                expected = ParseDict({wrap: value} if wrap else value, kind())
                assert kind.FromString(await call_rpc(channel, name, request)) == expected and expected.ByteSize()

            await same("/v2", "ServerMetadata", b"", pb.ServerMetadataResponse)
            await same("/v2/repository/index", "RepositoryIndex", b"", pb.RepositoryIndexResponse, "models", "POST")
            await same("/v2/models/stats", "ModelStatistics", b"", pb.ModelStatisticsResponse)
            for name in MODELS:
                path = f"/v2/models/{name}/versions/1"
                await same(path, "ModelMetadata", pb.ModelMetadataRequest(name=name), pb.ModelMetadataResponse)
                await same(f"{path}/config", "ModelConfig", pb.ModelConfigRequest(name=name, version="1"),
                           pb.ModelConfigResponse, "config")
                await same(f"{path}/stats", "ModelStatistics", pb.ModelStatisticsRequest(name=name),
                           pb.ModelStatisticsResponse)
            for name in ("ModelMetadata", "ModelConfig", "ModelStatistics", "ModelReady"):
                failed = await refused(channel, name, pb.ModelReadyRequest(name="nope"))
                assert (failed.code, failed.text) == ("unknown_model", "Request for unknown model: 'nope' is not found")
            assert await call_rpc(channel, "ModelReady", pb.ModelReadyRequest(name="warp")) == b"\x08\x01"
            service.draining = True
            for name, request in (("ServerReady", b""), ("ModelReady", pb.ModelReadyRequest(name="warp"))):
                assert await call_rpc(channel, name, request) == b""
            assert (await refused(channel, "ModelInfer", over_rpc(CASES[0]))).code == "draining"

    asyncio.run(main())
