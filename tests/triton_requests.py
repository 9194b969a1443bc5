# SPDX-License-Identifier: Apache-2.0
"""Requests for the model foveate that are put to a real Triton and to us, and what is compared of an answer."""

import json
import struct
import zlib

import numpy as np


def png(size):
    """A black picture, the same bytes wherever it is made: some answers say their number."""
    pieces = [(b"IHDR", struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)),
              (b"IDAT", zlib.compress(bytes(size * (1 + 3 * size)), 0)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(struct.pack(">I", len(data)) + name + data + struct.pack(
        ">I", zlib.crc32(name + data)) for name, data in pieces)


FILE = png(64)      # Triton's model does not look at it
GAZE = np.array([[0.5, 0.5]], "<f4").tobytes()


def image(raw=FILE, **more):
    data = struct.pack("<I", len(raw)) + raw
    return {"name": "image", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(data)},
            **more}, data


def gaze(raw=GAZE, **more):
    return {"name": "gaze", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": len(raw)},
            **more}, raw


def infer(*inputs, path="/v2/models/foveate/infer", tail=b"", length=None, headers=None, **head):
    """(method, path, headers, body); inputs: pairs of an entry and its raw bytes, None where it is all JSON."""
    text = json.dumps({"inputs": [entry for entry, _ in inputs], **head}).encode()
    body = text + b"".join(raw or b"" for _, raw in inputs) + tail
    given = {} if length is False else {"Inference-Header-Content-Length": str(len(text) if length is None else length)}
    return "POST", path, {**given, **(headers or {})}, body


def plain(name="gaze", datatype="FP32", shape=(1, 2), **more):
    """An input in JSON."""
    return {"name": name, "datatype": datatype, "shape": list(shape), **more}, b""


def post(body, path="/v2/models/foveate/infer", **headers):
    return "POST", path, headers, body


def get(path):
    return "GET", path, {}, b""


M = "/v2/models/foveate"
REQUESTS = {
    "server": get("/v2"),
    "live": get("/v2/health/live"),
    "ready": get("/v2/health/ready"),
    "model": get(M),
    "model, version": get(M + "/versions/1"),
    "model ready": get(M + "/ready"),
    "config": get(M + "/config"),
    # who is not there
    "unknown model": get("/v2/models/nope"),
    "unknown model, config": get("/v2/models/nope/config"),
    "unknown model, stats": get("/v2/models/nope/stats"),
    "unknown model, ready": get("/v2/models/nope/ready"),
    "unknown model, infer": infer(image(), path="/v2/models/nope/infer"),
    "unknown version": get(M + "/versions/7"),
    "unknown version, infer": infer(image(), path=M + "/versions/7/infer"),
    "version of letters": get(M + "/versions/one"),
    "unknown path": get("/v2/nope"),
    "wrong method": get(M + "/infer"),
    # answers
    "binary": infer(image(), gaze(), parameters={"binary_data_output": True, "model": "qwen2.5-vl"}, id="a1"),
    "patches of no preset": infer(image(), outputs=[{"name": "patches", "parameters": {"binary_data": True}}]),
    "one output, binary": infer(image(), outputs=[{"name": "valid", "parameters": {"binary_data": True}}]),
    "one output, JSON": infer(image(), outputs=[{"name": "image_size", "parameters": {"binary_data": False}}]),
    "two outputs, mixed": infer(image(), outputs=[{"name": "rate"}, {"name": "valid", "parameters": {
        "binary_data": True}}]),
    "outputs, the other order": infer(image(), outputs=[{"name": name, "parameters": {"binary_data": True}}
                                                        for name in ("valid", "rate", "center_px")]),
    "outputs, an empty list": infer(image(), outputs=[], parameters={"binary_data_output": True,
                                                                      "model": "qwen2.5-vl"}),
    "gaze in JSON": infer(image(), plain(data=[0.5, 0.5]), outputs=[{"name": "image_size"}]),
    "gaze in JSON, nested": infer(image(), plain(data=[[0.5, 0.5]]), outputs=[{"name": "image_size"}]),
    "inputs, the other order": infer(gaze(), image(), outputs=[{"name": "image_size"}]),
    "version 1": infer(image(), path=M + "/versions/1/infer", outputs=[{"name": "image_size"}]),
    "statistics": get(M + "/stats"),
    "statistics of all": get("/v2/models/stats"),
    # inputs that do not fit
    "no input": infer(),
    "no inputs at all": post(b"{}"),
    "missing input": infer(gaze()),
    "extra input": infer(image(), gaze(name="zz")),
    "input twice": infer(image(), gaze(), gaze()),
    "wrong size": infer(image(), gaze(GAZE * 2)),
    "wrong size, with id": infer(image(), gaze(GAZE * 2), id="a1"),
    "wrong type": infer(image(), gaze(datatype="INT32")),
    "unknown type": infer(image(), gaze(datatype="FP31")),
    "wrong rank": infer(image(), gaze(shape=[2])),
    "wrong shape": infer(image(), gaze(GAZE + GAZE[:4], shape=[1, 3])),
    "negative shape": infer(image(), gaze(shape=[-1, 2])),
    "huge shape": infer(image(), gaze(shape=[1 << 40, 1 << 40])),
    "shape of letters": infer(image(), gaze(shape="2")),
    "no shape": infer(image(), ({key: value for key, value in gaze()[0].items() if key != "shape"}, GAZE)),
    "no datatype": infer(image(), ({key: value for key, value in gaze()[0].items() if key != "datatype"}, GAZE)),
    "no name": infer(image(), ({key: value for key, value in gaze()[0].items() if key != "name"}, GAZE)),
    "no data": infer(image(), plain()),
    "data too short": infer(image(), plain(data=[0.5])),
    "data too long": infer(image(), plain(data=[0.5, 0.5, 0.5])),
    "data of letters": infer(image(), plain(data=["a", "b"])),
    "data is not a list": infer(image(), plain(data=0.5)),
    "NaN": post(b'{"inputs":[{"name":"gaze","datatype":"FP32","shape":[1,2],"data":[NaN,0.5]}]}'),
    "FP16 in JSON": infer(image(), plain(datatype="FP16", data=[0.5, 0.5])),
    "an element's length is too large": infer(({**image()[0], "parameters": {"binary_data_size": 8}},
                                               b"\xff\xff\xff\x7fabcd")),
    "two elements for one": infer(({**image()[0], "parameters": {"binary_data_size": 10}},
                                   b"\x01\0\0\0a\x01\0\0\0b")),
    "no element for one": infer(({**image()[0], "parameters": {"binary_data_size": 0}}, b"")),
    # outputs that do not fit
    "unknown output": infer(image(), outputs=[{"name": "nope"}]),
    "output twice": infer(image(), outputs=[{"name": "rate"}, {"name": "rate"}]),
    "output without a name": infer(image(), outputs=[{}]),
    # bodies and lengths
    "empty body": post(b""),
    "no JSON": post(b"{"),
    "JSON is a list": post(b"[]"),
    "a key twice": post(b'{"id":"a","id":"b","inputs":[]}'),
    "unknown key": infer(image(), zz=1),
    "too deep": post(b'{"inputs":' + b"[" * 4000 + b"]" * 4000 + b"}"),
    "header length of letters": infer(image(), length="abc"),
    "header length, negative": infer(image(), length=-1),
    "header length beyond the body": infer(image(), length=1 << 20),
    "header length cuts the JSON": infer(image(), length=9),
    "no header length": infer(image(), length=False),
    "sizes beyond the body": infer((image()[0], image()[1][:-1])),
    "bytes left over": infer(image(), tail=b"more"),
    "negative binary size": infer(image(), gaze(parameters={"binary_data_size": -8})),
    "binary size of letters": infer(image(), gaze(parameters={"binary_data_size": "8"})),
    # parameters
    "unknown parameter": infer(image(), parameters={"zz": 1}, outputs=[{"name": "image_size"}]),
    "parameter is an object": infer(image(), parameters={"zz": {}}, outputs=[{"name": "image_size"}]),
    "parameters are a list": infer(image(), parameters=[], outputs=[{"name": "image_size"}]),
    "timeout of letters": infer(image(), parameters={"timeout": "soon"}, outputs=[{"name": "image_size"}]),
    "binary_data_output is a number": infer(image(), parameters={"binary_data_output": 1},
                                            outputs=[{"name": "image_size"}]),
    "id is a number": infer(image(), id=7, outputs=[{"name": "image_size"}]),
    "id is long": infer(image(), id="a" * 129, outputs=[{"name": "image_size"}]),
    # extensions
    "system memory status": get("/v2/systemsharedmemory/status"),
    "system memory register": post(b'{"key":"/nope","offset":0,"byte_size":8}',
                                   "/v2/systemsharedmemory/region/in/register"),
    "input of a region": infer(image(), gaze(parameters={"shared_memory_region": "in", "shared_memory_byte_size": 8})),
    "output to a region": infer(image(), outputs=[{"name": "rate", "parameters": {
        "shared_memory_region": "out", "shared_memory_byte_size": 8}}]),
    "load": post(b"{}", "/v2/repository/models/foveate/load"),
    "unload of another": post(b"{}", "/v2/repository/models/nope/unload"),
    "classification": infer(image(), outputs=[{"name": "rate", "parameters": {"classification": 2}}]),
    "logging": get("/v2/logging"),
    "trace": get("/v2/trace/setting"),
    "generate": post(b"{}", M + "/generate"),
}


def facts(status, headers, body):
    """What is compared: an error's status and text; of an answer its keys, and where its tensors lie."""
    lower = {name.lower(): value for name, value in headers.items()}
    length = lower.get("inference-header-content-length")
    head = body if length is None else body[:int(length)]
    try:
        value = json.loads(head) if head else None
    except ValueError:
        return [status, "no JSON: " + head[:200].decode("latin-1")]
    if status != 200:
        return [status, value and value["error"].rstrip(". ")]
    if isinstance(value, dict) and "outputs" in value and "model_name" in value:
        return [status, layout(value, body[len(head):], lower)]
    return [status, keys(value)]


def layout(value, rest, headers):
    """Of an answer: its JSON without numbers, in order, and whether what is behind it is as long as it says."""
    sizes = [one.get("parameters", {}).get("binary_data_size", 0) for one in value["outputs"]]
    outputs = [[one["name"], one["datatype"], len(one["shape"]), sorted(one.keys() - {"name", "datatype", "shape"}),
                sorted(one.get("parameters", {}))] for one in value["outputs"]]
    return {"keys": [key for key in value if key != "outputs"], "id": value.get("id"),
            "version": value["model_version"],
            "outputs": outputs, "fits": sum(sizes) == len(rest), "type": headers["content-type"],
            "header length": "inference-header-content-length" in headers}


def keys(value):
    """An answer's shape: keys of objects, of lists the first element."""
    if isinstance(value, dict):
        return {key: keys(one) for key, one in sorted(value.items())}
    if isinstance(value, list):
        return [keys(one) for one in value[:1]]
    return type(value).__name__
