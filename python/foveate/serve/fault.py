# SPDX-License-Identifier: Apache-2.0
"""Every error that leaves the service. A text is fixed but for names and numbers of the request it answers: nothing
of a library's, of the machine's or of another request is ever in it.
"""

import re
from typing import NamedTuple

# Numbers of gRPC's own.
INVALID, DEADLINE, NOT_FOUND, EXHAUSTED, UNIMPLEMENTED = 3, 4, 5, 8, 12
INTERNAL, UNAVAILABLE, UNAUTHENTICATED, CANCELLED = 13, 14, 16, 1
NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class Kind(NamedTuple):
    """An entry of the catalogue: HTTP's status, gRPC's, the text, and seconds after which to try again."""

    status: int
    grpc: int
    text: str
    retry_s: int = 0


KINDS = {
    # who asks, and for what
    "unauthenticated": Kind(401, UNAUTHENTICATED, "missing or wrong credentials"),
    "not_found": Kind(404, NOT_FOUND, "no such path"),
    "method": Kind(405, UNIMPLEMENTED, "no such method on this path"),
    "unknown_model": Kind(404, NOT_FOUND, "Request for unknown model: '{name}' is not found"),
    "unknown_version": Kind(404, NOT_FOUND,
                            "Request for unknown model: '{name}' version {version} is not found"),
    "unsupported": Kind(501, UNIMPLEMENTED, "{what} is not supported by this server"),
    # HTTP
    "length": Kind(400, INVALID, "malformed length: expected one Content-Length of digits, or chunks"),
    "encoding": Kind(415, INVALID, "content encoding is not supported: send the body as it is"),
    "header_length": Kind(400, INVALID,
                          "malformed Inference-Header-Content-Length: expected digits, at most the body's size"),
    "headers": Kind(431, INVALID, "too many headers, or too large: at most {count}, of {size} bytes together"),
    "body": Kind(413, INVALID, "request body is too large: at most {limit} bytes"),
    "cut": Kind(400, INVALID, "request body ended early"),
    "malformed": Kind(400, INVALID, "malformed HTTP request"),
    "slow": Kind(408, DEADLINE, "request body did not arrive within {seconds} s"),
    # JSON
    "json": Kind(400, INVALID, "malformed JSON: expected one object in UTF-8, without NaN or infinity"),
    "json_depth": Kind(400, INVALID, "JSON is too deep: at most {limit} levels"),
    "json_keys": Kind(400, INVALID, "JSON has too many keys: at most {limit}"),
    "json_numbers": Kind(400, INVALID, "too many elements in JSON: at most {limit}. Send or ask for binary data"),
    "json_twice": Kind(400, INVALID, "JSON names a key twice in one object"),
    "json_header": Kind(400, INVALID, "JSON in front of binary data is too large: at most {limit} bytes"),
    # gRPC
    "message": Kind(400, INVALID, "malformed message: expected one of protobuf"),
    "message_fields": Kind(400, INVALID, "message has too many fields: at most {limit}"),
    "contents": Kind(400, INVALID, "too many elements in contents: at most {limit}. Send raw_input_contents"),
    "silent": Kind(408, DEADLINE, "no request came for {seconds} s"),
    "streams": Kind(429, EXHAUSTED, "too many streams: at most {limit}", 1),
    "sequence": Kind(400, INVALID, "inference request for sequence {sequence} to model '{model}' must specify the "
                                   "START flag on the first request of the sequence"),
    "sequences": Kind(400, INVALID, "too many sequences: at most {limit} a stream"),
    "kept": Kind(429, EXHAUSTED, "too many pixels are kept for sequences", 1),
    # the request
    "field": Kind(400, INVALID, "malformed request: {field}: expected {expected}"),
    "input_twice": Kind(400, INVALID, "[request id: {id}] input '{name}' already exists in request"),
    "output_twice": Kind(400, INVALID, "request names output '{name}' twice"),
    "short": Kind(400, INVALID, "unexpected size for input '{name}', expecting {missing} additional bytes for model "
                                "'{model}'"),
    "additional": Kind(400, INVALID, "unexpected additional input data for model '{model}'"),
    "datatype": Kind(400, INVALID, "inference input '{name}' has an unknown data-type"),
    "binary_only": Kind(400, INVALID, "{way} {datatype} data via {by} is not supported. Please use the binary data "
                                      "format for {what} {name}"),
    "value": Kind(400, INVALID, "inference input '{name}' has a value outside of {datatype}"),
    "byte_size": Kind(400, INVALID, "[request id: {id}] input byte size mismatch for input '{name}' for model "
                                    "'{model}'. Expected {expected}, got {got}"),
    "elements": Kind(400, INVALID, "[request id: {id}] input '{name}' for model '{model}' has another number of "
                                   "elements than its shape. Expected {expected}, got {got}"),
    "wrong_type": Kind(400, INVALID,
                       "[request id: {id}] inference input '{name}' data-type is '{got}', but model '{model}' expects "
                       "'{expected}'"),
    "wrong_shape": Kind(400, INVALID, "[request id: {id}] unexpected shape for input '{name}' for model '{model}'. "
                                      "Expected {expected}, got {got}"),
    "missing_input": Kind(400, INVALID, "[request id: {id}] expected {expected} but got {got} inputs for model "
                                        "'{model}'. Got input(s) [{given}], but missing required input(s) ['{name}']. "
                                        "Please provide all required input(s)"),
    "unknown_input": Kind(400, INVALID, "unexpected inference input '{name}' for model '{model}'"),
    "unknown_output": Kind(400, INVALID, "unexpected inference output '{name}' for model '{model}'"),
    "unknown_parameter": Kind(400, INVALID, "unexpected inference parameter '{name}' for model '{model}'"),
    "parameter": Kind(400, INVALID, "inference parameter '{name}' for model '{model}': expected {expected}"),
    "images": Kind(400, INVALID, "too many images: at most {limit} a request"),
    "tokens": Kind(400, INVALID, "too many tokens: at most {limit} an image"),
    "values": Kind(400, INVALID, "answer is too large: at most {limit} numbers"),
    "limit": Kind(400, INVALID, "request is over a limit of the engine"),
    "fixations": Kind(400, INVALID, "too many gaze points: at most {limit} an image"),
    "pixels": Kind(400, INVALID, "image {index} is too large: at most {limit} pixels"),
    "encoded": Kind(413, INVALID, "image {index} is too large: at most {limit} bytes"),
    "format": Kind(415, INVALID, "image {index} is not a JPEG, PNG or WebP image"),
    "image": Kind(400, INVALID, "image {index} cannot be decoded: {what}"),
    "gaze": Kind(400, INVALID, "inference input 'gaze' has a value that is not finite, or outside of the image"),
    "engine": Kind(400, INVALID, "{text}"),
    # now is not the time
    "queue": Kind(503, UNAVAILABLE, "Exceeds maximum queue size", 1),
    "queue_time": Kind(503, UNAVAILABLE, "Request timeout expired in the queue", 1),
    "busy": Kind(429, EXHAUSTED, "too many pixels in flight", 1),
    "bodies": Kind(429, EXHAUSTED, "too many request bodies in flight", 1),
    "principal_rate": Kind(429, EXHAUSTED, "too many requests of one client: at most {limit} a second", 1),
    "principal_in_flight": Kind(429, EXHAUSTED, "too many requests of one client at once: at most {limit}", 1),
    "principal_pixels": Kind(429, EXHAUSTED, "too many pixels of one client at once: at most {limit}", 1),
    "principal_streams": Kind(429, EXHAUSTED, "too many streams of one client: at most {limit}", 1),
    "draining": Kind(503, UNAVAILABLE, "Server is stopping, scheduler has stopped accepting new inference requests", 5),
    "decoder": Kind(503, UNAVAILABLE, "decode worker failed", 1),
    "device": Kind(503, UNAVAILABLE, "device failed", 5),
    "memory": Kind(503, UNAVAILABLE, "out of memory", 1),
    "not_ready": Kind(503, UNAVAILABLE, "Server is not ready", 1),
    "deadline": Kind(504, DEADLINE, "Request timeout expired"),
    "cancelled": Kind(499, CANCELLED, "request was cancelled"),
    "internal": Kind(500, INTERNAL, "internal error"),
}


class Fault(Exception):
    """An entry of the catalogue, with its blanks filled in. after: seconds to wait, where they are known."""

    def __init__(self, code, after=0.0, **values):
        self.code, self.kind = code, KINDS[code]
        self.retry_s = after or self.kind.retry_s       # 0: it is not worth to try again
        self.text = self.kind.text.format(**{name: _plain(value) for name, value in values.items()})
        super().__init__(self.text)

    @property
    def status(self) -> int:
        return self.kind.status

    @property
    def grpc(self) -> int:
        return self.kind.grpc


def let_go(error):
    """Takes from an exception, which is logged by now, the frames that it came through.

    They hold a request's body and pixels, and the exception lies in a cycle with some of them: all of it would stay
    until a full round of the collector, which comes the more seldom the more there is.
    """
    left, seen = [error], set()
    while left:
        one = left.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            left += [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]
            one.__traceback__ = one.__cause__ = one.__context__ = None


def _plain(value):
    """One printable line of ASCII, of an end."""
    return "".join(c if " " <= c <= "~" else "?" for c in str(value)[:400])


def shown(name):
    """A name of the request's, where it can be one at all."""
    return name if isinstance(name, str) and NAME.fullmatch(name) else "?"
