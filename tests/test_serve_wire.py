# SPDX-License-Identifier: Apache-2.0
"""Bytes of requests and responses, and what is refused before anything is made of it."""

import json

import numpy as np
import pytest
from foveate.error import InputError
from foveate.serve import fault, limits, wire
from foveate.serve.fault import KINDS, Fault
from foveate.serve.limits import Limits
from foveate.serve.protocol import Request, Response, Tensor, Wanted, from_bytes, to_bytes

FEW = Limits(json=4096, header_json=2048, depth=32, keys=40, numbers=1000, numbers_out=1000)


def read(value, rest=b"", limits=FEW):
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return wire.read(text + rest, len(text) if rest else None, "foveate", "", limits)


def code(value, rest=b"", limits=FEW):
    with pytest.raises(Fault) as found:
        read(value, rest, limits)
    return found.value.code


def tensor(**more):
    return {"name": "x", "shape": [2], "datatype": "INT16", **more}


# ---- literals ----------------------------------------------------------------------------------------------


def test_a_binary_request_by_eye():
    head = (b'{"id":"7","parameters":{"budget":48},"inputs":[{"name":"image","shape":[2],"datatype":"BYTES",'
            b'"parameters":{"binary_data_size":13}},{"name":"gaze","shape":[1,2],"datatype":"FP32",'
            b'"parameters":{"binary_data_size":8}}],"outputs":[{"name":"patches","parameters":{"binary_data":true}},'
            b'{"name":"valid"}]}')
    rest = b"\x03\0\0\0abc" + b"\x02\0\0\0de" + b"\0\0\0\x3f" + b"\0\0\x80\x3f"
    found = wire.read(head + rest, len(head), "foveate", "1", Limits())
    assert (found.id, found.version, found.parameters) == ("7", "1", {"budget": 48})
    assert [bytes(one) for one in found.inputs["image"].data] == [b"abc", b"de"]
    assert found.inputs["gaze"].data.tolist() == [[0.5, 1.0]] and found.inputs["gaze"].data.dtype == np.float32
    assert found.outputs == [Wanted("patches", True), Wanted("valid", False)]


def test_a_json_request_by_eye():
    found = read({"parameters": {"binary_data_output": True}, "inputs": [
        tensor(shape=[2, 2], data=[[1, -2], [3, 4]]), {"name": "b", "shape": [2], "datatype": "BYTES",
                                                       "data": ["é", ""]},
        {"name": "c", "shape": [1], "datatype": "BOOL", "data": [True]},
        {"name": "d", "shape": [3], "datatype": "FP32", "data": [1, 2.5, -1e-3]}]})
    assert found.inputs["x"].data.tolist() == [[1, -2], [3, 4]] and found.inputs["x"].data.dtype == np.int16
    assert found.inputs["b"].data == ["é".encode(), b""] and found.inputs["c"].data.tolist() == [True]
    assert found.binary and found.outputs is None and found.parameters == {}


def test_a_binary_response_by_eye():
    made = Response("foveate", "1", "7", [Tensor("a", "INT16", (2,), np.array([1, -1], np.int16)),
                                          Tensor("b", "BYTES", (1,), [b"xy"])])
    head, buffers = wire.write(made, Request("foveate", binary=True), Limits())
    assert head == (b'{"id":"7","model_name":"foveate","model_version":"1","outputs":[{"name":"a","datatype":"INT16",'
                    b'"shape":[2],"parameters":{"binary_data_size":4}},{"name":"b","datatype":"BYTES","shape":[1],'
                    b'"parameters":{"binary_data_size":6}}]}')
    assert [bytes(one) for one in buffers] == [b"\1\0\xff\xff", b"\2\0\0\0xy"]


def test_a_json_response_by_eye():
    made = Response("foveate", "1", "", [Tensor("a", "FP32", (2, 1), np.array([[1.5], [2]], np.float32)),
                                         Tensor("v", "BOOL", (1,), np.array([True]))])
    head, buffers = wire.write(made, Request("foveate", binary=False), Limits())
    assert buffers == [] and json.loads(head) == {
        "model_name": "foveate", "model_version": "1",
        "outputs": [{"name": "a", "datatype": "FP32", "shape": [2, 1], "data": [1.5, 2.0]},
                    {"name": "v", "datatype": "BOOL", "shape": [1], "data": [True]}]}


def test_a_body_that_is_one_image():
    found = wire.read(b"\xff\xd8 and so on", 0, "foveate", "", Limits())
    assert bytes(found.inputs["image"].data[0]) == b"\xff\xd8 and so on" and found.binary


# ---- analytic facts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("datatype", ["BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64",
                                      "FP16", "FP32", "FP64", "BF16"])
def test_bytes_come_back(datatype):
    from foveate.serve.protocol import DATATYPES

    data = np.arange(6).reshape(2, 3).astype(DATATYPES[datatype]) if datatype != "BOOL" else np.eye(2, 3, dtype=bool)
    made = Tensor("x", datatype, (2, 3), data)
    back = from_bytes("x", datatype, (2, 3), bytes(to_bytes(made)), model="m")
    assert back.data.dtype == data.dtype and np.array_equal(back.data, data)


def test_binary_data_are_not_copied():
    body = bytes(range(64))
    found = from_bytes("x", "UINT8", (64,), memoryview(body)[0:], model="m")
    assert found.data.ctypes.data == np.frombuffer(body, np.uint8).ctypes.data


# ---- limits: one below, at, one above ----------------------------------------------------------------------


def test_limit_of_depth():
    def nested(depth):
        return b'{"parameters":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"

    assert [code(nested(depth)) for depth in (31, 32, 33)] == ["field", "field", "json_depth"]
    assert code(b'{"x":' + b"[" * 100_000) in ("json_numbers", "json_depth", "body")
    assert code(nested(500_000), limits=Limits()) == "json_depth"
    strings = b'{"id":"' + b"[" * 60 + b'\\"{"}'
    assert read(strings).id == "[" * 60 + '"{'


def test_limit_of_keys():
    def keys(count):
        return {"parameters": {f"k{n}": n for n in range(count - 1)}}

    assert len(read(keys(39)).parameters) == 38 and len(read(keys(40)).parameters) == 39
    assert code(keys(41)) == "json_keys"


def test_limit_of_elements():
    def data(count):
        return {"inputs": [tensor(shape=[count], data=[1] * count)]}

    # ten commas and two are those of the request itself
    commas = json.dumps(data(1)).count(",")
    for count, good in ((999 - commas, True), (1000 - commas, True), (1001 - commas, False)):
        if good:
            assert read(data(count)).inputs["x"].data.size == count
        else:
            assert code(data(count)) == "json_numbers"


def test_limit_of_json():
    for size, good in ((4095, True), (4096, True), (4097, False)):
        text = b'{"id":"a"' + b" " * (size - 10) + b"}"
        assert (read(text).id == "a") if good else code(text) == "body"


def test_limit_of_json_in_front():
    for size, good in ((2047, True), (2048, True), (2049, False)):
        text = b'{"inputs":[{"name":"x","shape":[1],"datatype":"UINT8","parameters":{"binary_data_size":1}}]'
        text += b" " * (size - len(text) - 1) + b"}"
        assert (read(text, b"\1").inputs["x"].data.tolist() == [1]) if good else code(text, b"\1") == "json_header"


def test_limit_of_elements_out():
    for count, good in ((999, True), (1000, True), (1001, False)):
        made = Response("m", "1", "", [Tensor("a", "UINT8", (count,), np.zeros(count, np.uint8))])
        if good:
            assert len(json.loads(wire.write(made, Request("m", binary=False), FEW)[0])["outputs"][0]["data"]) == count
        else:
            with pytest.raises(Fault, match="too many elements"):
                wire.write(made, Request("m", binary=False), FEW)


# ---- what is refused ---------------------------------------------------------------------------------------

BAD = [
    (b"", "json"), (b"null", "json"), (b"[]", "json"), (b'{"id":"a"', "json"), (b'{"id":"a"} x', "json"),
    (b"\xff\xfe{\0}\0", "json"), (b'{"id":"\xff"}', "json"), (b"\xef\xbb\xbf{}", "json"), (b'{"id":NaN}', "json"),
    (b'{"id":Infinity}', "json"), (b'{"id":-Infinity}', "json"), (b"{'id':1}", "json"), (b'{"a":01}', "json"),
    (b'{"parameters":{"a":' + b"9" * 3900 + b"}}", "field"), (b'{"id":"a","id":"b"}', "json_twice"),
    (b'{"parameters":{"a":1,"a":2}}', "json_twice"), ({"id": 5}, "field"), ({"id": "a\nb"}, "field"),
    ({"id": "a" * 129}, "field"), (b'{"id":"\\ud800"}', "field"), ({"inputz": []}, "field"),
    ({"parameters": []}, "field"), ({"parameters": {"a": None}}, "field"), ({"parameters": {"a": [1]}}, "field"),
    (b'{"parameters":{"a":1e999}}', "field"), ({"parameters": {"a": 2**63}}, "field"),
    ({"parameters": {"a": -2**63 - 1}}, "field"), ({"parameters": {"binary_data_output": 1}}, "field"),
    ({"inputs": {}}, "field"), ({"inputs": [5]}, "field"), ({"inputs": [{}]}, "field"),
    ({"inputs": [{}] * 65}, "field"),
    ({"inputs": [tensor(datatype="STRING", data=[])]}, "datatype"),
    ({"inputs": [tensor(datatype=["FP32"], data=[])]}, "datatype"),
    ({"inputs": [tensor(shape=2, data=[])]}, "field"), ({"inputs": [tensor(shape=[-1], data=[])]}, "field"),
    ({"inputs": [tensor(shape=[True], data=[1])]}, "field"), ({"inputs": [tensor(shape=[2.0], data=[1])]}, "field"),
    ({"inputs": [tensor(shape=[1] * 9, data=[1])]}, "field"), ({"inputs": [tensor(shape=[2**31], data=[])]}, "field"),
    ({"inputs": [tensor(shape=[2**30] * 8, data=[1])]}, "elements"), ({"inputs": [tensor()]}, "field"),
    ({"inputs": [tensor(data=[1])]}, "elements"), ({"inputs": [tensor(data=[1, 2, 3])]}, "elements"),
    ({"inputs": [tensor(data=5)]}, "elements"), ({"inputs": [tensor(data=[[1, 2]])]}, "elements"),
    ({"inputs": [tensor(data=[1, [2]])]}, "elements"),
    ({"inputs": [tensor(shape=[1, 2], data=[[1], [2]])]}, "elements"),
    ({"inputs": [tensor(shape=[2, 2], data=[[1, 2], [3]])]}, "elements"),
    ({"inputs": [tensor(data=[1, 40000])]}, "value"), ({"inputs": [tensor(data=[1, 1.5])]}, "value"),
    ({"inputs": [tensor(data=[1, True])]}, "value"), ({"inputs": [tensor(data=[1, "2"])]}, "value"),
    ({"inputs": [tensor(data=[1, None])]}, "value"), ({"inputs": [tensor(datatype="UINT8", data=[1, -1])]}, "value"),
    ({"inputs": [tensor(datatype="UINT64", data=[1, 2**64])]}, "value"),
    ({"inputs": [tensor(datatype="FP32", data=[1, 1e39])]}, "value"),
    ({"inputs": [tensor(datatype="FP32", data=[1, 10**400])]}, "value"),
    (b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP64","data":[1e999]}]}', "value"),
    (b'{"inputs":[{"name":"x","shape":[1],"datatype":"BYTES","data":["\\ud800"]}]}', "value"),
    ({"inputs": [tensor(datatype="FP16", data=[1, 2])]}, "binary_only"),
    ({"inputs": [tensor(datatype="BF16", data=[1, 2])]}, "binary_only"),
    ({"inputs": [tensor(data=[1, 2]), tensor(data=[1, 2])]}, "input_twice"),
    ({"inputs": [tensor(data=[1, 2], parameters={"binary_data_size": 4})]}, "field"),
    ({"inputs": [tensor(parameters={"shared_memory_region": "r"})]}, "unsupported"),
    ({"inputs": [tensor(data=[1, 2], parameters={"x": 4})]}, "field"), ({"outputs": 5}, "field"),
    ({"outputs": [{"name": "a"}, {"name": "a"}]}, "output_twice"), ({"outputs": [{"nam": "a"}]}, "field"),
    ({"outputs": [{"name": "a", "parameters": {"classification": 3}}]}, "unsupported"),
    ({"outputs": [{"name": "a", "parameters": {"shared_memory_region": "r"}}]}, "unsupported"),
    ({"outputs": [{"name": "a", "parameters": {"binary_data": "yes"}}]}, "field"),
]


@pytest.mark.parametrize("value,expected", BAD, ids=range(len(BAD)))
def test_json_is_strict(value, expected):
    assert code(value) == expected


SIZES = [(4, b"\1\0\2", "short"), (4, b"\1\0\2\0\0", "additional"), (3, b"\1\0\2", "byte_size"),
         (-1, b"\1\0\2\0", "field"),
         (2**63 - 1, b"\1\0\2\0", "short"), (4.0, b"\1\0\2\0", "field"), (True, b"\1\0\2\0", "field"),
         ("4", b"\1\0\2\0", "field")]


@pytest.mark.parametrize("size,rest,expected", SIZES)
def test_binary_sizes_are_held(size, rest, expected):
    assert code({"inputs": [tensor(parameters={"binary_data_size": size})]}, rest) == expected


ELEMENTS = [(1, b"", 0), (0, b"\0", "more"), (1, b"\1\0\0", "0 and a part of one"),
            (1, b"\2\0\0\0a", "0 and a part of one"), (1, b"\xff\xff\xff\xffa", "0 and a part of one"),
            (2, b"\0\0\0\0", 1), (2, b"\0\0\0\0\1", "1 and a part of one"), (1, b"\0\0\0\0" * 2, "more"),
            (2**31 - 1, b"\0\0\0\0", 1), (1, b"\1\0\0\0ab", "more")]


@pytest.mark.parametrize("count,raw,got", ELEMENTS)
def test_elements_of_bytes_are_held(count, raw, got):
    with pytest.raises(Fault) as found:
        from_bytes("x", "BYTES", (count,), raw, model="m")
    assert found.value.code == "elements" and found.value.text.endswith(f"Expected {count}, got {got}")


def test_a_bool_is_0_or_1():
    with pytest.raises(Fault, match="outside of BOOL"):
        from_bytes("x", "BOOL", (2,), b"\1\2", model="m")


def test_texts_of_triton():
    """As a Triton server said them."""
    with pytest.raises(Fault) as found:
        from_bytes("x", "FP32", (4, 3), b"\0" * 96, model="echo")
    assert str(found.value) == ("[request id: <id_unknown>] input byte size mismatch for input 'x' for model 'echo'. "
                                "Expected 48, got 96")
    assert Fault("unknown_model", name="nope").text == "Request for unknown model: 'nope' is not found"


# ---- the catalogue and the limits --------------------------------------------------------------------------


def test_a_fault_is_one_line_of_ascii():
    name = "a\r\n\x1b[31m\u202eb" + "x" * 1000
    made = Fault("unknown_input", name=name, model="m")
    assert made.text.isascii() and made.text.isprintable() and len(made.text) < 500
    assert fault.shown(name) == "?" and fault.shown("a.b-C_1") == "a.b-C_1"


def test_every_kind_is_whole():
    for one in KINDS.values():
        assert 400 <= one.status <= 504 and 1 <= one.grpc <= 16 and one.text
        assert bool(one.retry_s) == (one.status in (429, 503))


def test_limits_of_the_command_line():
    made = limits.parsed(["pixels=1000", "queue_s=0.25"])
    assert (made.pixels, made.queue_s, made.body) == (1000, 0.25, 64 << 20)
    for words, text in ((["pixel=5"], "serve: limit: got 'pixel', expected one of"),
                        (["pixels=many"], "serve: limit pixels: got 'many', expected a number"),
                        (["pixels=0"], "serve: limit pixels: got 0, expected above 0, at most 67108864"),
                        (["principal_rate=-1"], "serve: limit principal_rate: got -1.0, expected 0 or more, at most "),
                        (["principal_rate=nan"], "serve: limit principal_rate: got nan, expected 0 or more, at most "),
                        (["tokens=65537"], "serve: limit tokens: got 65537, expected above 0, at most 65536")):
        with pytest.raises(InputError, match=text):
            limits.parsed(words)
