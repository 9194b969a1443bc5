# SPDX-License-Identifier: Apache-2.0
"""Requests of HTTP that were good until something was done to them: the same ones each time."""

import copy
import json
import random
import struct
from dataclasses import dataclass, field

import numpy as np
from serving import jpeg

HUGE = "9" * 400
VALUES = [None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(2**63) - 1, 0.5, 1e308, "", "a", "1", "x" * 3000, "\0",
          "\ud800", "\u202e\u0661", "../../etc/passwd", "image", "gaze", "BYTES", "FP16", [], {}, [[]], [1], [-1],
          [2**62] * 8, [0], {"a": {}}, {"shared_memory_region": "r"}, [None] * 70]
NAMES = ["", "name", "shape", "datatype", "parameters", "data", "inputs", "outputs", "id", "\u0000", "__class__",
         "binary_data_size", "binary_data_output", "classification", "shared_memory_region", "timeout", "é" * 90]
PATHS = ["/v2/models/foveate/versions/1/infer", "/v2/models/foveate/versions/%31/infer", "/v2/models/%66oveate/infer",
         "/v2/models/foveate/infer/", "/v2/models//infer", "/v2/models/../models/foveate/infer", "//v2/models/foveate",
         "/v2/models/foveate%00/infer", "/v2/models/" + "a" * 300 + "/infer", "/v2/models/foveate/infer?" + "q&" * 400,
         "/v2/models/foveate/infer#x", "http://other:1/v2/models/foveate/infer", "*", "/v2/models/foveate;x=1/infer",
         "/v2/models/foveate/infer%0d%0aX:1", "/v2/models/\xff\xfe/infer", "/v2/models/warp/infer",
         "/v2/models/embed/infer", "/v2/systemsharedmemory/region/x/register", "/v2/repository/models/foveate/load",
         "/v2/models/foveate/generate"]
METHODS = ["GET", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "CONNECT", "HEAD", "post", "P\xd6ST", "POST" * 20,
           "PRI"]
LENGTHS = ["-1", "+5", "0x10", "1e3", " 7 ", "", "00", "\u0665", "5, 5", HUGE, "18446744073709551617", "1.0", "٥"]


@dataclass
class Message:
    """A request in its parts; `chunks` is how its body is sent, None: by its length."""

    path: str
    head: object = None         # of JSON
    tail: bytes = b""
    method: str = "POST"
    version: str = "HTTP/1.1"
    headers: list = field(default_factory=lambda: [("Host", "a")])
    text: bytes | None = None   # of the JSON, where it is no longer what json makes
    length: str | None = None   # that is told of the JSON, where it is another
    told: list | None = None    # lengths of the body that are told
    chunks: str | None = None
    raw: bytes = b""            # behind it

    def bytes(self, random_):
        text = self.text if self.text is not None else b"" if self.head is None else json.dumps(self.head).encode()
        body, headers = text + self.tail, list(self.headers)
        if self.tail or self.length is not None:
            headers.append(("Inference-Header-Content-Length", len(text) if self.length is None else self.length))
        if self.chunks is not None:
            headers.append(("Transfer-Encoding", "chunked"))
            body = chunked(body, self.chunks, random_)
        if self.chunks is None or self.told is not None:
            headers += [("Content-Length", one) for one in (self.told if self.told is not None else [len(body)])]
        lines = [f"{self.method} {self.path} {self.version}", *(f"{name}: {value}" for name, value in headers)]
        return "\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n" + body + self.raw


def chunked(body, how, random_):
    """A body in chunks that are what they say, or not."""
    if how == "ones":
        body = body[:300]
    step = 1 if how == "ones" else max(1, len(body) // 3)
    found = b""
    for at in range(0, len(body), step):
        piece = body[at:at + step]
        size = {"less": len(piece) - 1, "more": len(piece) + 3}.get(how, len(piece))
        said = {"huge": b"f" * 30, "negative": b"-5", "words": b"zz", "blank": b"", "prefixed": b"0x%x" % size}.get(
            how, b"%x" % max(0, size))
        found += said + (b";" + b"x" * 9000 if how == "extended" else b"") + b"\r\n" + piece
        found += random_.choice([b"\n", b"", b"\r\n\r\n"]) if how == "ends" else b"\r\n"
    return found + (b"" if how == "open" else b"0\r\n" + (b"X: 1\r\n" * 80 if how == "trailers" else b"") + b"\r\n")


CHUNKS = ["good", "ones", "less", "more", "huge", "negative", "words", "blank", "prefixed", "extended", "ends", "open",
          "trailers"]


def good():
    """Requests that are answered."""
    file = jpeg(size=(32, 48))
    element, pixels = struct.pack("<I", len(file)) + file, bytes(8 * 8 * 3)
    image = {"name": "image", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": len(element)}}
    gaze = {"name": "gaze", "shape": [1, 2], "datatype": "FP32", "parameters": {"binary_data_size": 8}}
    point = np.array([0.25, 0.75], np.float32).tobytes()
    binary = {"binary_data_output": True}
    at = "/v2/models/{}/infer".format
    yield Message(at("foveate"), {"inputs": [image, gaze], "parameters": {"budget": 12, **binary}}, element + point)
    yield Message(at("foveate"), {"id": "r", "inputs": [image], "outputs": [{"name": "rate"}, {"name": "patches"}],
                                  "parameters": {"budget": 9, "model": "qwen2.5-vl", **binary}}, element)
    values = [{"name": "image", "shape": [1, 2, 2, 3], "datatype": "UINT8", "data": [7] * 12},
              {"name": "gaze", "shape": [1, 2], "datatype": "FP32", "data": [[0.5, 1]]}]
    yield Message(at("foveate"), {"inputs": values, "parameters": {"budget": 4}, "outputs": [{"name": "valid"}]})
    yield Message(at("patchify"), {"inputs": [{"name": "image", "shape": [8, 8, 3], "datatype": "UINT8",
                                               "parameters": {"binary_data_size": 192}}], "parameters": binary}, pixels)
    yield Message(at("shading_rate"), {"inputs": values[1:], "parameters": {"height": 48, "width": 64}})
    yield Message(at("warp"), {"inputs": [image], "parameters": {"height": 16, "width": 16, **binary}}, element)
    yield Message(at("foveate"), tail=file, length="0")
    yield Message("/v2/repository/index", {"ready": True})
    yield Message("/v2/models/foveate/config", method="GET")


# ---- what is done to them ----------------------------------------------------------------------------------


def node(message, random_):
    """One value of the JSON becomes another, goes, or comes twice."""
    if not isinstance(message.head, dict) or not message.head:
        message.head = random_.choice(VALUES)
        return
    where, key = message.head, random_.choice(list(message.head))
    while isinstance(where[key], (dict, list)) and where[key] and random_.random() < 0.8:
        where = where[key]
        key = random_.choice(list(where)) if isinstance(where, dict) else random_.randrange(len(where))
    how = random_.randrange(6)
    if how == 0:
        del where[key]
    elif how == 1 and isinstance(where, list):
        where.insert(key, copy.deepcopy(where[key]))
    elif how == 1:
        where[random_.choice(NAMES)] = where.pop(key)
    elif how == 2:
        where[key] = [where[key]]
    elif how == 3 and type(where[key]) is int:
        where[key] += random_.choice([-1, 1, 2, 100, -where[key] - 1])
    else:
        where[key] = copy.deepcopy(random_.choice(VALUES))


def words(message, random_):
    """The text of the JSON is no longer one, or says a thing twice."""
    text = json.dumps(message.head).encode()
    at = random_.randrange(len(text))
    message.text = random_.choice([
        lambda: text[:at], lambda: text[at:], lambda: text + text, lambda: b"\xef\xbb\xbf" + text,
        lambda: text[:at] + random_.randbytes(3) + text[at:],
        lambda: text[:at] + bytes([random_.randrange(256)]) + text[at + 1:],
        lambda: text.replace(b"{", b'{"id":"a","id":"b",', 1), lambda: text.replace(b"1", b"NaN"),
        lambda: text.replace(b"1", b"1e999"), lambda: text.replace(b"1", HUGE.encode()),
        lambda: text.replace(b"1", b"01"), lambda: text.replace(b'"', b"'"), lambda: text.replace(b"}", b",}", 1),
        lambda: text.replace(b"[", b"[" * random_.choice([30, 33, 2000])), lambda: b"[" * 20_000,
        lambda: b'{"a":' * 20_000, lambda: b"{" + b",".join(b'"k%d":0' % n for n in range(1030)) + b"}",
        lambda: text.replace(b":", b"\0:", 1), lambda: text.decode().encode("utf-16"), lambda: b"",
        lambda: text.replace(b"}", b"/**/}", 1), lambda: b'"' + b"\\" * 999, lambda: b" " * 3000 + text,
        lambda: text.replace(b"image", b"\\ud800image")])()


def tensors(message, random_):
    """The bytes behind the JSON are others than it says."""
    data = bytearray(message.tail or random_.randbytes(40))
    at = random_.randrange(len(data))
    how = random_.randrange(6)
    if how == 0:
        del data[at:]
    elif how == 1:
        data += random_.randbytes(random_.choice([1, 4, 4000]))
    elif how == 2:
        data[:4] = random_.choice([b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f",
                                   struct.pack("<I", max(0, len(data) - 5))])
    elif how == 3:      # past the start of a file, so that something begins to decode it
        for _ in range(random_.randrange(1, 30)):
            data[random_.randrange(len(data))] ^= 1 << random_.randrange(8)
    elif how == 4:
        data[4:] = random_.choice([b"GIF89a", b"\x89PNG\r\n\x1a\n", b"RIFF\xff\xff\xff\xffWEBPVP8X", b"%PDF-1.7",
                                   b"II*\0", b"<svg/>"]) + data[16:]
    else:
        data[at:at] = data[:at]
    message.tail = bytes(data)


def json_length(message, random_):
    text = len(json.dumps(message.head)) if message.text is None else len(message.text)
    message.length = random_.choice([str(text + n) for n in (-1, 1, 5, -text, 4000)] + LENGTHS)
    if random_.random() < 0.2:
        message.headers.append(("inference-header-content-length", str(text)))


def body_length(message, random_):
    size = len(message.bytes(random_).partition(b"\r\n\r\n")[2])
    message.told = random_.choice([[size - 1], [size + 1], [size, size], [size, size + 1], [], [0], [size * 2 + 9],
                                   *([one] for one in LENGTHS)])
    message.chunks = message.chunks if random_.random() < 0.9 else "good"


def chunks(message, random_):
    message.chunks = random_.choice(CHUNKS)


def headers(message, random_):
    """Some more, some twice, some that are none."""
    message.headers += random_.choice([
        [("Host", "b")], [("Content-Encoding", random_.choice(["gzip", "br", "identity", "gzip, gzip", ""]))],
        [("Expect", "100-continue")], [("Connection", random_.choice(["close", "keep-alive, upgrade", "x" * 300]))],
        [("Transfer-Encoding", random_.choice(["gzip", "identity", "chunked, chunked", "xchunked"]))], [("X", "\0")],
        [("Upgrade", "websocket"), ("Connection", "Upgrade")], [("x" * 5000, "1")], [("X", "1\r\n continued")],
        [("", "1")], [("X Y", "1")], [("X", "é\r\nZ")], [(f"X{n}", "1") for n in range(70)], [("X", "1" * 20_000)],
        [("X", "\udcff")], [("Authorization", "Bearer " + "x" * 100)], [("Range", "bytes=0-")],
        [("Content-Type", "application/x-python-pickle")],
        [("traceparent", random_.choice(["00-" + "0" * 32 + "-" + "0" * 16 + "-01", "x" * 900, "\x1b[31m"]))],
        [("X-HTTP-Method-Override", "GET")], [("X-Forwarded-For", "127.0.0.1")], [("Accept", "\"" * 500)]])


def line(message, random_):
    how = random_.randrange(4)
    if how == 0:
        message.method = random_.choice(METHODS)
    elif how == 1:
        message.version = random_.choice(["HTTP/1.0", "HTTP/2.0", "HTTP/9.9", "HTTP/1.1 ", "ICY", "", "http/1.1"])
    else:
        message.path = random_.choice(PATHS)


def cut(message, random_):
    """Another request, or none, comes right behind it."""
    message.raw = random_.choice([b"GARBAGE\r\n\r\n", b"\0" * 50, b"GET /v2 HTTP/1.1\r\nHost: a\r\n\r\n" * 20,
                                  b"POST /v2/models/foveate/infer HTTP/1.1\r\nCont", random_.randbytes(200)])


OFTEN = {node: 8, words: 5, tensors: 5, json_length: 2, body_length: 2, chunks: 2, headers: 3, line: 1, cut: 1}


def hostile_requests(count, seed=6):
    """(what was done, bytes)."""
    random_, seeds = random.Random(seed), list(good())
    for number in range(count):
        message = copy.deepcopy(seeds[number % len(seeds)])
        done = random_.choices(list(OFTEN), OFTEN.values(), k=random_.choice([1, 1, 1, 2, 3]))
        for way in done:
            way(message, random_)
        data = message.bytes(random_)
        if random_.random() < 0.03:
            data = data[:random_.randrange(1, len(data))]
        yield " ".join(way.__name__ for way in done), data
