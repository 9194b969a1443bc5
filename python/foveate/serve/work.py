# SPDX-License-Identifier: Apache-2.0
"""A request as work for the engine, and the checks that models share."""

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from .. import decode
from .fault import Fault, shown
from .protocol import DATATYPES, Request, Tensor, unknown

SIDE = decode.LIMITS["image_side"]


class Port(NamedTuple):
    """An input or output of a model: what its metadata say; more types than the first are taken too."""

    name: str
    datatypes: tuple[str, ...]
    dims: tuple[int, ...]
    optional: bool = False


class Parameter(NamedTuple):
    """A parameter of a request: what is expected in words, and whether a value is that."""

    expected: str
    fits: Any
    term: bool = False      # of relevance


@dataclass
class Work:
    """What the engine has to do for one request.

    sources: images as they came, encoded bytes or pixels (H, W, 3); images: all of them as pixels.
    gaze: a list of points for each image, or None. key: works of one key may be one batch.
    price: pixels in, and a third of the numbers out.
    """

    request: Request
    names: tuple[str, ...]
    options: dict
    key: tuple
    sources: list = field(default_factory=list)
    sizes: list = field(default_factory=list)
    gaze: list | None = None
    values: int = 0
    images: list = field(default_factory=list)

    @property
    def pixels(self) -> int:
        return sum(height * width for height, width in self.sizes)

    @property
    def price(self) -> int:
        return self.pixels + self.values // 3


def whole(low, high, term=False):
    return Parameter(f"a whole number, {low}..{high}", lambda v: type(v) is int and low <= v <= high, term)


def real(low, high, term=False):
    return Parameter(f"a number, {low:g}..{high:g}",
                     lambda v: type(v) in (int, float) and low <= v <= high, term)


def choice(names, term=False):
    known = tuple(names)
    return Parameter("one of " + ", ".join(map(str, known)), lambda v: v in known and type(v) is not bool, term)


def flag(term=False):
    return Parameter("true or false", lambda v: type(v) is bool, term)


SCHEDULE = {"timeout": whole(0, 1 << 62), "priority": whole(0, 1 << 32)}


def options_of(request, table):
    """(options, terms of relevance) of a request's parameters, each checked."""
    options, terms = {}, {}
    for name, value in request.parameters.items():
        known = table.get(name) or SCHEDULE.get(name)
        blanks = {"name": shown(name), "model": request.model}
        if known is None:
            raise Fault("unknown_parameter", **blanks)
        if not known.fits(value):
            raise Fault("parameter", expected=known.expected, **blanks)
        if name in table:
            (terms if known.term else options)[name] = value
    return options, terms


def check_ports(request, inputs, outputs):
    """The names of the outputs that are wanted; inputs are there and of a type that is taken."""
    known, model, asked = {port.name: port for port in inputs}, request.model, unknown(request.id)
    for name, tensor in request.inputs.items():
        port = known.get(name)
        if port is None:
            raise Fault("unknown_input", name=shown(name), model=model)
        if tensor.datatype not in port.datatypes:
            raise Fault("wrong_type", id=asked, name=name, got=tensor.datatype, model=model, expected=port.datatypes[0])
    needed = [port.name for port in inputs if not port.optional]
    for name in needed:
        if name not in request.inputs:
            raise missing(request, name, len(needed), len(inputs))
    names = tuple(port.name for port in outputs)
    if not request.outputs:
        return names
    for wanted in request.outputs:
        if wanted.name not in names:
            raise Fault("unknown_output", name=shown(wanted.name), model=model)
    return tuple(wanted.name for wanted in request.outputs)


def missing(request, name, least, most):
    """The fault of a request without an input that it needs."""
    return Fault("missing_input", id=unknown(request.id), name=name, model=request.model, got=len(request.inputs),
                 expected=f"number of inputs between {least} and {most}" if least < most else f"{least} inputs",
                 given=",".join(f"'{one}'" for one in request.inputs))


def sizes(shape):
    """A shape as errors say it."""
    return f"[{','.join(map(str, shape))}]"


def take_images(work, limits, most=None):
    """Sets sources and sizes of a work: of its input "image", of whatever form, nothing of it decoded yet."""
    tensor, model = work.request.inputs["image"], work.request.model
    blanks = {"id": unknown(work.request.id), "name": "image", "model": model, "got": sizes(tensor.shape)}
    most = most or limits.images
    if tensor.datatype == "BYTES":
        if len(tensor.shape) not in (1, 2) or math.prod(tensor.shape[1:]) != 1 or tensor.shape[0] < 1:
            raise Fault("wrong_shape", expected="[-1]", **blanks)
        sources = [bytes(one) for one in tensor.data]
    else:
        shape = tensor.shape if len(tensor.shape) == 4 else (1, *tensor.shape)
        if len(shape) != 4 or shape[3] != 3 or min(shape) < 1:
            raise Fault("wrong_shape", expected="[-1,-1,-1,3]", **blanks)
        sources = list(tensor.data.reshape(shape))
    if len(sources) > most:
        raise Fault("images", limit=most)
    work.sources = sources
    work.sizes = [_size(index, source, limits) for index, source in enumerate(sources)]


def _size(index, source, limits):
    if isinstance(source, np.ndarray):
        height, width = source.shape[:2]
    else:
        if len(source) > limits.encoded:
            raise Fault("encoded", index=index, limit=limits.encoded)
        try:
            found = decode.header(source, pixels=limits.pixels)
        except decode.DecodeError as error:
            raise image_fault(index, error.code, limits) from None
        return (found.width, found.height) if found.orientation >= 5 else (found.height, found.width)
    if height * width > limits.pixels:
        raise Fault("pixels", index=index, limit=limits.pixels)
    if max(height, width) > SIDE:
        raise image_fault(index, "size", limits)
    return height, width


WORDS = {"empty": "there is nothing in it", "header": "its header is damaged", "size": "a side is out of range",
         "frames": "it is animated", "scans": "it has too many scans", "truncated": "it is cut",
         "corrupt": "it is damaged"}


def image_fault(index, code, limits):
    """What an image's failure is to its client."""
    if code == "format":
        return Fault("format", index=index)
    if code == "pixels":
        return Fault("pixels", index=index, limit=limits.pixels)
    return Fault("image", index=index, what=WORDS.get(code, WORDS["corrupt"]))


def worker_fault(index, code):
    """The same for a decode worker that gave no pixels."""
    words = {"time": "it takes too long", "memory": "it takes too much memory",
             "quarantine": "decoders ended in it before"}
    if code in words:
        return Fault("image", index=index, what=words[code])
    return Fault("queue_time" if code == "busy" else "decoder")


def take_gaze(work, limits, unit="uv", clamp=False):
    """Sets the gaze of a work: [B, 2], or [B, G, 2] for several points an image."""
    tensor = work.request.inputs.get("gaze")
    if tensor is None:
        return
    count, shape = len(work.sizes), tensor.shape
    if len(shape) not in (2, 3) or shape[0] != count or shape[-1] != 2 or min(shape) < 1:
        raise Fault("wrong_shape", id=unknown(work.request.id), name="gaze", model=work.request.model,
                    expected=f"[{count},2]", got=sizes(shape))
    points = tensor.data.reshape(count, -1, 2).astype(np.float64)
    if points.shape[1] > limits.fixations:
        raise Fault("fixations", limit=limits.fixations)
    ends = np.array([(width, height) for height, width in work.sizes])[:, None] if unit == "px" else 1.0
    if not np.isfinite(points).all() or (not clamp and ((points < 0) | (points > ends)).any()):
        raise Fault("gaze")
    work.gaze = [[tuple(point) for point in one] for one in points.tolist()]


def array_tensor(name, datatype, array):
    """An output. It keeps the shape; a type that the array does not have is converted to."""
    return Tensor(name, datatype, tuple(array.shape), np.asarray(array, DATATYPES[datatype]))
