# SPDX-License-Identifier: Apache-2.0
"""What one request, one connection and all of them together may take. Every number can be set on the command line."""

from dataclasses import dataclass, field, fields, replace

from .. import _core
from ..error import require

MIB = 1 << 20
MPX = 1_000_000
_ENGINE = _core.limits()


def _of(value, what, none=False):
    """none: 0 stands for no limit."""
    return field(default=value, metadata={"what": what, "none": none})


@dataclass(frozen=True)
class Limits:
    """Limits of the service: `Limits()` has the defaults; sizes are in bytes, times in seconds."""

    body: int = _of(64 * MIB, "bytes of a request with tensors behind its JSON")
    json: int = _of(16 * MIB, "bytes of a request that is all JSON")
    header_json: int = _of(1 * MIB, "bytes of the JSON in front of tensors")
    encoded: int = _of(16 * MIB, "bytes of one encoded image")
    bodies: int = _of(512 * MIB, "bytes of request bodies held at once")
    depth: int = _of(32, "levels of brackets in JSON")
    keys: int = _of(1024, "keys in JSON, of all objects together")
    numbers: int = _of(1 * MIB, "elements in JSON of a request")
    numbers_out: int = _of(4 * MIB, "elements in JSON of an answer")
    chunks: int = _of(4096, "chunks of a request body")
    header_bytes: int = _of(16384, "bytes of names and values of a request's headers")
    headers: int = _of(64, "headers of a request")
    images: int = _of(32, "images a request")
    fixations: int = _of(64, "gaze points an image")
    tokens: int = _of(4096, "tokens an image")
    pixels: int = _of(_ENGINE["image_pixels"], "pixels an image")
    values: int = _of(64 * MIB, "numbers of an answer's tensors")
    pixels_in_flight: int = _of(256 * MPX, "pixels of all requests that are worked on; three numbers out count as one")
    in_flight: int = _of(32, "requests that are worked on")
    streams: int = _of(64, "streams of gRPC at once")
    kept: int = _of(512 * MIB, "bytes of pixels that streams keep for their next requests, of all together")
    queue: int = _of(128, "requests that wait for their turn")
    queue_s: float = _of(0.5, "seconds that a request waits for its turn")
    request_s: float = _of(30.0, "seconds a request, from its last byte to its answer")
    header_s: float = _of(10.0, "seconds until a request's headers are there")
    body_s: float = _of(30.0, "seconds until a request's body is there")
    idle_s: float = _of(60.0, "seconds that a connection may be silent between requests")
    drain_s: float = _of(30.0, "seconds to end what is begun, once told to stop")
    connections: int = _of(4096, "connections at once")
    principal_rate: float = _of(0.0, "requests a second of one principal; 0: no limit", none=True)
    principal_burst: int = _of(0, "requests of one that may come at once; 0: those of one second", none=True)
    principal_in_flight: int = _of(0, "requests of one at once, from their headers to their answers; 0: no limit",
                                   none=True)
    principal_pixels: int = _of(0, "pixels of one at once, as `pixels_in_flight` counts them; 0: no limit", none=True)
    principal_streams: int = _of(0, "streams of gRPC of one at once; 0: no limit", none=True)

    def __post_init__(self):
        most = {"tokens": _ENGINE["image_tokens"], "fixations": _ENGINE["fixations"],
                "pixels": _ENGINE["image_pixels"], "images": _ENGINE["batch_images"]}
        for entry in fields(self):
            value, top = getattr(self, entry.name), most.get(entry.name, 1 << 40)
            good = isinstance(value, int if entry.type is int else (int, float)) and not isinstance(value, bool)
            least = "0 or more" if entry.metadata["none"] else "above 0"
            require(good and (value > 0 or (value == 0 and entry.metadata["none"])) and value <= top,
                    f"serve: limit {entry.name}", repr(value), f"{least}, at most {top}")


def rows():
    """(name, default, what) of every limit, in order."""
    return [(entry.name, entry.default, entry.metadata["what"]) for entry in fields(Limits)]


def parsed(words, limits=None):
    """Limits with some of them set, each "name=number", as on the command line."""
    kinds = {entry.name: entry.type for entry in fields(Limits)}
    values = {}
    for word in words:
        name, _, text = word.partition("=")
        require(name in kinds, "serve: limit", repr(name), "one of " + ", ".join(kinds))
        try:
            values[name] = int(text) if kinds[name] is int else float(text)
        except ValueError:
            require(False, f"serve: limit {name}", repr(text), "a number")
    return replace(limits or Limits(), **values)
