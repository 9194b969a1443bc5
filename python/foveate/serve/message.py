# SPDX-License-Identifier: Apache-2.0
"""Requests and responses as gRPC carries them: protobuf messages, of Triton's own definitions.

Tensors' raw bytes are cut out of a message and put behind one here, so that protobuf never copies them.
"""

import asyncio
import math
from typing import Any, NamedTuple

import numpy as np
from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2 as pb

from . import protocol
from .fault import Fault, shown

INPUTS, OUTPUTS, RAW = 5, 6, 7      # numbers of fields of ModelInferRequest
RAW_OUT, ANSWER = b"\x32", b"\x12"  # fields of bytes: 6 of ModelInferResponse, 2 of ModelStreamInferResponse
LISTED = 64
SMALL = 1 << 16     # bytes beside the raw ones up to here are read where they arrive, more of them on a thread
CONTENTS = {"BOOL": "bool_contents", "INT8": "int_contents", "INT16": "int_contents", "INT32": "int_contents",
            "INT64": "int64_contents", "UINT8": "uint_contents", "UINT16": "uint_contents", "UINT32": "uint_contents",
            "UINT64": "uint64_contents", "FP32": "fp32_contents", "FP64": "fp64_contents", "BYTES": "bytes_contents"}


def parsed(kind, data, limits):
    """A message of a kind that carries no tensors."""
    if len(data) > limits.header_json:
        raise Fault("body", limit=limits.header_json)
    return _parsed(kind, data)


def _parsed(kind, data):
    try:
        return kind.FromString(data)
    except DecodeError:
        raise Fault("message") from None


class Opened(NamedTuple):
    """A ModelInferRequest without its raw bytes, how large it is, and those bytes."""

    head: Any
    size: int
    raw: list


async def opened(data, limits):
    """An Opened of a message's bytes. The loop goes on while a large one is read."""
    rest, raw = cut(data, limits)
    return Opened(await _apart(len(rest), _parsed, pb.ModelInferRequest, rest), len(rest), raw)


async def request_of(found, limits):
    """A Request of an Opened."""
    return await _apart(found.size, read, found.head, found.raw, limits)


async def _apart(size, call, *values):
    return call(*values) if size <= SMALL else await asyncio.to_thread(call, *values)


def cut(data, limits):
    """(a ModelInferRequest without its raw bytes, those as views of `data`); nothing is parsed before it is counted."""
    view, rest, raw, at, counts = memoryview(data), [], [], 0, {}
    while at < len(view):
        begin = at
        tag, at = _varint(view, at)
        number, kind = tag >> 3, tag & 7
        counts[number] = counts.get(number, 0) + 1
        if kind == 0:
            _, at = _varint(view, at)
        elif kind == 2:
            size, start = _varint(view, at)
            at = start + size
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            raise Fault("message")
        if at > len(view) or number == 0:
            raise Fault("message")
        if sum(counts.values()) > limits.keys:
            raise Fault("message_fields", limit=limits.keys)
        if number == RAW and kind == 2:
            raw.append(view[start:at])
        else:
            rest.append(view[begin:at])
    for field, number in (("inputs", INPUTS), ("outputs", OUTPUTS)):
        if counts.get(number, 0) > LISTED:
            raise Fault("field", field=field, expected=f"a list of at most {LISTED} objects")
    most = limits.header_json if raw else limits.json
    if sum(map(len, rest)) > most:
        raise Fault("body", limit=most)
    return b"".join(rest), raw


def _varint(view, at):
    """(a number, where it ends)."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(view):
            break
        byte, at = view[at], at + 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise Fault("message")


def read(head, raw, limits):
    """A Request of a ModelInferRequest and the raw bytes that were cut out of it."""
    parameters, inputs = _parameters("parameters", head.parameters), {}
    request_id = protocol.identity(head.id)
    numbers = sum(len(values) for entry in head.inputs for _, values in entry.contents.ListFields())
    if numbers > limits.numbers:
        raise Fault("contents", limit=limits.numbers)
    if raw and len(raw) != len(head.inputs):
        raise Fault("field", field="raw_input_contents", expected="one for each input, or none at all")
    for index, entry in enumerate(head.inputs):
        tensor = _input(entry, raw[index] if raw else None, head.model_name, request_id)
        if tensor.name in inputs:
            raise Fault("input_twice", id=protocol.unknown(request_id), name=shown(tensor.name))
        inputs[tensor.name] = tensor
    outputs = [_output(entry) for entry in head.outputs]
    for index, one in enumerate(outputs):
        if any(one.name == other.name for other in outputs[:index]):
            raise Fault("output_twice", name=shown(one.name))
    return protocol.Request(head.model_name, head.model_version, request_id, parameters, inputs, outputs or None)


def _parameters(where, entries):
    found = {}
    for name, entry in entries.items():
        kind = entry.WhichOneof("parameter_choice")
        found[name] = getattr(entry, kind) if kind else None
    return protocol.parameters_of(where, found)


def _no_memory(parameters):
    if any(key.startswith("shared_memory") for key in parameters):
        raise Fault("unsupported", what="shared memory by name")


def _input(entry, raw, model, request_id):
    name, datatype = entry.name, protocol.known_datatype(entry.name, entry.datatype)
    shape = protocol.shape_of("shape", list(entry.shape))
    parameters = _parameters("input parameters", entry.parameters)
    _no_memory(parameters)
    if parameters:
        raise Fault("field", field="input parameters", expected="none")
    given = [field.name for field, _ in entry.contents.ListFields()]
    if raw is not None:
        if given:
            raise Fault("field", field="contents", expected="none beside raw_input_contents")
        return protocol.from_bytes(name, datatype, shape, raw, model=model, request_id=request_id)
    if datatype in protocol.BINARY_ONLY:
        raise Fault("binary_only", way="receiving", by="typed contents", datatype=datatype, what="input",
                    name=shown(name))
    if set(given) - {CONTENTS[datatype]}:
        raise Fault("field", field="contents", expected=CONTENTS[datatype])
    values, count = getattr(entry.contents, CONTENTS[datatype]), math.prod(shape)
    if len(values) != count:
        raise Fault("elements", id=protocol.unknown(request_id), name=shown(name), model=shown(model), expected=count,
                    got=len(values))
    if datatype == "BYTES":
        return protocol.Tensor(name, datatype, shape, list(values))
    try:
        array = np.array(values, protocol.DATATYPES[datatype]).reshape(shape)
    except OverflowError:
        raise Fault("value", name=shown(name), datatype=datatype) from None
    if datatype in ("FP32", "FP64") and not np.isfinite(array).all():
        raise Fault("value", name=shown(name), datatype=datatype)
    return protocol.Tensor(name, datatype, shape, array)


def _output(entry):
    parameters = _parameters("output parameters", entry.parameters)
    _no_memory(parameters)
    if "classification" in parameters:
        raise Fault("unsupported", what="classification")
    if parameters:
        raise Fault("field", field="output parameters", expected="none")
    return protocol.Wanted(entry.name)


def write(response):
    """Pieces of a ModelInferResponse, the tensors' bytes among them."""
    head = _head(response)
    pieces = [head.SerializeToString()]
    for tensor in response.outputs:
        raw = protocol.to_bytes(tensor)
        pieces += RAW_OUT, _size(len(raw)), raw
    return pieces


def write_streamed(response):
    """Pieces of a ModelStreamInferResponse: one answer, which is the last one to its request."""
    final = pb.ModelInferResponse(parameters={"triton_final_response": pb.InferParameter(bool_param=True)})
    pieces = [final.SerializeToString(), *write(response)]
    return [ANSWER, _size(sum(map(len, pieces))), *pieces]


def write_fault(fault, model, request_id):
    """The same of a request that failed; the stream goes on."""
    head = pb.ModelInferResponse(model_name=model, id=request_id)
    head.parameters["triton_final_response"].bool_param = True
    head.parameters["code"].string_param = fault.code
    if fault.retry_s:
        head.parameters["retry_ms"].int64_param = math.ceil(fault.retry_s * 1000)
    return pb.ModelStreamInferResponse(error_message=fault.text, infer_response=head).SerializeToString()


def _head(response):
    outputs = [pb.ModelInferResponse.InferOutputTensor(name=one.name, datatype=one.datatype, shape=one.shape)
               for one in response.outputs]
    return pb.ModelInferResponse(model_name=response.model, model_version=response.version, id=response.id,
                                 outputs=outputs)


def _size(value):
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    found.append(value)
    return bytes(found)
