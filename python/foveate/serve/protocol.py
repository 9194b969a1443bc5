# SPDX-License-Identifier: Apache-2.0
"""Values of the Open Inference Protocol v2, whatever wire they came by, and tensors as bytes.

After the KServe project's Open Inference Protocol (v2, 2020) and Triton's binary tensor extension.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from .fault import Fault, shown

# BF16 is carried as its bits, which NumPy has no type for. BYTES are elements of any length.
DATATYPES = {"BOOL": np.bool_, "UINT8": np.uint8, "UINT16": np.uint16, "UINT32": np.uint32, "UINT64": np.uint64,
             "INT8": np.int8, "INT16": np.int16, "INT32": np.int32, "INT64": np.int64, "FP16": np.float16,
             "FP32": np.float32, "FP64": np.float64, "BF16": np.uint16, "BYTES": None}
BINARY_ONLY = ("FP16", "BF16")
RANK = 8
SIDE = 1 << 31      # no axis is as long


@dataclass(frozen=True, slots=True)
class Tensor:
    """data: a NumPy array of this shape; of BYTES a list of bytes or memoryviews, row by row."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: np.ndarray | list


@dataclass(frozen=True, slots=True)
class Wanted:
    """An output that the client asked for, and whether as binary data; gRPC has no other."""

    name: str
    binary: bool = True


@dataclass(frozen=True, slots=True)
class Request:
    """One inference request. outputs: None where the client left it to the model."""

    model: str
    version: str = ""
    id: str = ""
    parameters: dict = field(default_factory=dict)
    inputs: dict[str, Tensor] = field(default_factory=dict)
    outputs: list[Wanted] | None = None
    binary: bool = True     # of outputs that are not listed


@dataclass(frozen=True, slots=True)
class Response:
    """Its answer; outputs in the order they were asked for, as arrays."""

    model: str
    version: str
    id: str
    outputs: list[Tensor]


def shape_of(where, value):
    """A shape that came by a wire, as a tuple."""
    good = isinstance(value, list) and len(value) <= RANK and all(type(n) is int and 0 <= n < SIDE for n in value)
    if not good:
        raise Fault("field", field=where, expected=f"a list of at most {RANK} sizes")
    return tuple(value)


def identity(value):
    """The id of a request: it is said again in the answer and in logs."""
    if not isinstance(value, str) or len(value) > 128 or not value.isprintable():
        raise Fault("field", field="id", expected="at most 128 printable characters")
    return value


def unknown(request_id):
    """An id as errors say it."""
    return request_id or "<id_unknown>"


def parameters_of(where, value):
    """Parameters are numbers, words and yes or no; gRPC has no others."""
    good = isinstance(value, dict) and all(type(one) in (bool, int, float, str) for one in value.values())
    if not good:
        raise Fault("field", field=where, expected="an object of strings, numbers and booleans")
    for one in value.values():
        wide = type(one) is int and not -(1 << 63) <= one < 1 << 63
        if wide or (type(one) is float and not math.isfinite(one)):
            raise Fault("field", field=where, expected="finite numbers of 64 bits")
    return value


def known_datatype(name, datatype):
    if not isinstance(datatype, str) or datatype not in DATATYPES:
        raise Fault("datatype", name=shown(name))
    return datatype


def from_bytes(name, datatype, shape, raw, *, model, request_id=""):
    """A Tensor of raw bytes, which it shares; every size is checked before anything is made of it."""
    count, raw = math.prod(shape), memoryview(raw)
    blanks = {"id": unknown(request_id), "name": shown(name), "model": shown(model)}
    if datatype == "BYTES":
        return Tensor(name, datatype, shape, _elements(raw, count, blanks))
    dtype = np.dtype(DATATYPES[datatype])
    if count * dtype.itemsize != len(raw):
        raise Fault("byte_size", expected=count * dtype.itemsize, got=len(raw), **blanks)
    data = np.frombuffer(raw, dtype)
    if datatype == "BOOL" and data.view(np.uint8).max(initial=0) > 1:
        raise Fault("value", name=blanks["name"], datatype=datatype)
    return Tensor(name, datatype, shape, data.reshape(shape))


def _elements(raw, count, blanks):
    """Elements of BYTES: each after its length, a u32 of little end."""
    found, at = [], 0
    while at < len(raw) and len(found) < count:
        end = at + 4 + (int.from_bytes(raw[at:at + 4], "little") if at + 4 <= len(raw) else len(raw))
        if end > len(raw):
            raise Fault("elements", expected=count, got=f"{len(found)} and a part of one", **blanks)
        found.append(raw[at + 4:end])
        at = end
    if len(found) != count or at != len(raw):       # what is behind the last one is not counted: it may be long
        raise Fault("elements", expected=count, got=len(found) if at == len(raw) else "more", **blanks)
    return found


def to_bytes(tensor):
    """The raw bytes of a Tensor: of an array its own memory, where it lies in one piece."""
    if tensor.datatype != "BYTES":
        return memoryview(np.ascontiguousarray(tensor.data).reshape(-1).view(np.uint8))
    return b"".join(piece for one in tensor.data for piece in (len(one).to_bytes(4, "little"), one))
