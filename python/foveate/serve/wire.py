# SPDX-License-Identifier: Apache-2.0
"""Requests and responses as HTTP carries them: JSON, and binary tensors behind it."""

import itertools
import json
import math
import re

import numpy as np
import orjson

from . import protocol
from .fault import Fault, shown

STRINGS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.S)   # an open one too: it never looks back
NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
REQUEST, INPUT, OUTPUT = {"id", "parameters", "inputs", "outputs"}, \
    {"name", "shape", "datatype", "parameters", "data"}, {"name", "parameters"}


def loads(data, limits):
    """An object of JSON. Depth and size are known before it is parsed; keys are counted while it is."""
    bare = STRINGS.sub(b"", data)
    if bare.count(b",") >= limits.numbers:
        raise Fault("json_numbers", limit=limits.numbers)
    brackets = bare.translate(None, NOT_BRACKETS)
    if len(brackets) > 2 * limits.numbers:
        raise Fault("json_numbers", limit=limits.numbers)
    if _depth(np.frombuffer(brackets, np.uint8)) > limits.depth:
        raise Fault("json_depth", limit=limits.depth)
    keys = 0

    def pairs(items):
        nonlocal keys
        keys += len(items)
        if keys > limits.keys:
            raise Fault("json_keys", limit=limits.keys)
        found = dict(items)
        if len(found) != len(items):
            raise Fault("json_twice")
        return found

    def constant(_):
        raise Fault("json")

    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=pairs, parse_constant=constant)
    except (ValueError, RecursionError):
        raise Fault("json") from None
    if not isinstance(value, dict):
        raise Fault("json")
    return value


def _depth(brackets):
    opens = (brackets == ord("[")) | (brackets == ord("{"))
    return int(np.cumsum(opens.astype(np.int8) * np.int8(2) - np.int8(1), dtype=np.int32).max(initial=0))


def read(body, header_length, model, version, limits):
    """A Request of a body.

    Args:
        body: bytes.
        header_length: of the JSON, where tensors are behind it; None: it is all JSON; 0: the body is one image.
    """
    if header_length is None:
        if len(body) > limits.json:
            raise Fault("body", limit=limits.json)
        return _request(loads(body, limits), memoryview(b""), model, version, limits)
    if header_length > len(body):
        raise Fault("header_length")
    if header_length == 0:
        image = protocol.Tensor("image", "BYTES", (1,), [memoryview(body)])
        return protocol.Request(model, version, inputs={"image": image})
    if header_length > limits.header_json:
        raise Fault("json_header", limit=limits.header_json)
    view = memoryview(body)
    return _request(loads(bytes(view[:header_length]), limits), view[header_length:], model, version, limits)


def _request(value, rest, model, version, limits):
    _keys("request", value, REQUEST)
    parameters = protocol.parameters_of("parameters", value.get("parameters", {}))
    binary = parameters.get("binary_data_output", False)
    if type(binary) is not bool:
        raise Fault("field", field="binary_data_output", expected="true or false")
    request_id, at, inputs = protocol.identity(value.get("id", "")), 0, {}
    for entry in _list("inputs", value.get("inputs", [])):
        tensor, size = _input(entry, rest[at:], model, request_id, limits)
        if tensor.name in inputs:
            raise Fault("input_twice", id=protocol.unknown(request_id), name=shown(tensor.name))
        inputs[tensor.name] = tensor
        at += size
    if at != len(rest):
        raise Fault("additional", model=shown(model))
    outputs = None
    if value.get("outputs"):
        outputs = [_output(entry, binary) for entry in _list("outputs", value["outputs"])]
        for index, one in enumerate(outputs):
            if any(one.name == other.name for other in outputs[:index]):
                raise Fault("output_twice", name=shown(one.name))
    others = {name: one for name, one in parameters.items() if name != "binary_data_output"}
    return protocol.Request(model, version, request_id, others, inputs, outputs, binary)


def _keys(where, value, known):
    if not isinstance(value, dict) or not value.keys() <= known:
        raise Fault("field", field=where, expected="an object with " + ", ".join(sorted(known)))


def _list(where, value):
    if not isinstance(value, list) or len(value) > 64:
        raise Fault("field", field=where, expected="a list of at most 64 objects")
    return value


def _name(where, value):
    name = value.get("name")
    if not isinstance(name, str):
        raise Fault("field", field=where, expected="a name")
    return name


def _input(value, rest, model, request_id, limits):
    """(Tensor, bytes of binary data that it took)."""
    _keys("input", value, INPUT)
    name = _name("input", value)
    datatype = protocol.known_datatype(name, value.get("datatype"))
    shape = protocol.shape_of("shape", value.get("shape"))
    parameters = protocol.parameters_of("input parameters", value.get("parameters", {}))
    if any(key.startswith("shared_memory") for key in parameters):
        raise Fault("unsupported", what="shared memory by name")
    if parameters.keys() - {"binary_data_size"} or ("data" in value) == ("binary_data_size" in parameters):
        raise Fault("field", field="input", expected="either data or the parameter binary_data_size, and no other")
    if "data" in value:
        return _from_json(name, datatype, shape, value["data"], model, request_id, limits), 0
    size = parameters["binary_data_size"]
    if type(size) is not int or size < 0:
        raise Fault("field", field="binary_data_size", expected="a number of bytes")
    if size > len(rest):
        raise Fault("short", name=shown(name), missing=size - len(rest), model=shown(model))
    return protocol.from_bytes(name, datatype, shape, rest[:size], model=model, request_id=request_id), size


def _output(value, binary):
    _keys("output", value, OUTPUT)
    parameters = protocol.parameters_of("output parameters", value.get("parameters", {}))
    if any(key.startswith("shared_memory") for key in parameters):
        raise Fault("unsupported", what="shared memory by name")
    if "classification" in parameters:
        raise Fault("unsupported", what="classification")
    binary = parameters.get("binary_data", binary)
    if parameters.keys() - {"binary_data"} or type(binary) is not bool:
        raise Fault("field", field="output parameters", expected="binary_data, true or false")
    return protocol.Wanted(_name("output", value), binary)


def _from_json(name, datatype, shape, data, model, request_id, limits):
    if datatype in protocol.BINARY_ONLY:
        raise Fault("binary_only", way="receiving", by="JSON", datatype=datatype, what="input", name=shown(name))
    count = math.prod(shape)
    blanks = {"id": protocol.unknown(request_id), "name": shown(name), "model": shown(model), "expected": count}
    flat = _flat(data, shape)
    if flat is None or len(flat) != count or count > limits.numbers:
        raise Fault("elements", got=len(flat) if flat is not None else "another shape", **blanks)
    kinds = set(map(type, flat))
    wanted = {"BOOL": {bool}, "BYTES": {str}, "FP32": {int, float}, "FP64": {int, float}}.get(datatype, {int})
    try:
        if not kinds <= wanted:
            raise ValueError
        if datatype == "BYTES":
            return protocol.Tensor(name, datatype, shape, [one.encode() for one in flat])
        with np.errstate(over="ignore"):
            array = np.array(flat, protocol.DATATYPES[datatype]).reshape(shape)
        if datatype in ("FP32", "FP64") and not np.isfinite(array).all():
            raise ValueError
    except (ValueError, OverflowError):
        raise Fault("value", name=shown(name), datatype=datatype) from None
    return protocol.Tensor(name, datatype, shape, array)


def _flat(data, shape):
    """The elements, row by row: of one flat list, or of lists nested as the shape says; None: neither."""
    if not isinstance(data, list):
        return None
    if not data or not isinstance(data[0], list):
        return None if any(isinstance(one, list) for one in data) else data
    for depth in range(len(shape)):
        if len(data) != math.prod(shape[:depth + 1]):
            return None
        if depth + 1 < len(shape):
            if not all(isinstance(one, list) and len(one) == shape[depth + 1] for one in data):
                return None
            data = list(itertools.chain.from_iterable(data))
    return None if any(isinstance(one, list) for one in data) else data


def write(response, request, limits):
    """(JSON, raw bytes of the tensors behind it, each a buffer)."""
    asked = {one.name: one.binary for one in request.outputs or ()}
    outputs, buffers = [], []
    for tensor in response.outputs:
        entry = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
        if asked.get(tensor.name, request.binary):
            buffers.append(protocol.to_bytes(tensor))
            entry["parameters"] = {"binary_data_size": len(buffers[-1])}
        else:
            entry["data"] = _to_json(tensor, limits)
        outputs.append(entry)
    head = {"model_name": response.model, "model_version": response.version, "outputs": outputs}
    if response.id:
        head = {"id": response.id, **head}
    return orjson.dumps(head, option=orjson.OPT_SERIALIZE_NUMPY), buffers


def _to_json(tensor, limits):
    if tensor.datatype in (*protocol.BINARY_ONLY, "BYTES"):
        raise Fault("binary_only", way="sending", by="JSON", datatype=tensor.datatype, what="output",
                    name=tensor.name)
    if tensor.data.size > limits.numbers_out:
        raise Fault("json_numbers", limit=limits.numbers_out)
    return np.ascontiguousarray(tensor.data).reshape(-1)
