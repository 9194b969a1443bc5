# SPDX-License-Identifier: Apache-2.0
"""Streams of requests over gRPC: answers in the order of the requests, and images that are sent once.

A request of a sequence, which is Triton's `sequence_id`, may leave its image out: it means the one that the sequence
had before. The pixels of that one are kept, until the sequence or its stream ends.
"""

import time
from dataclasses import dataclass, field, replace

import numpy as np

from . import message
from .fault import Fault, let_go
from .protocol import Tensor
from .service import Account

SEQUENCES = 16      # of a stream
ENDED = ("sequence_start", "sequence_end", "triton_enable_empty_final_response")


@dataclass
class Kept:
    """Images of a stream's sequences, and what all streams keep together."""

    room: object
    images: dict = field(default_factory=dict)      # None: it has none

    def start(self, sequence):
        self.drop(sequence)
        if len(self.images) >= SEQUENCES:
            raise Fault("sequences", limit=SEQUENCES)
        self.images[sequence] = None

    def put(self, sequence, pixels):
        self.drop(sequence)
        self.room.take(pixels.nbytes)       # where there is none, the sequence is over
        # a copy: the array lies in a message, or in memory of a decoder's, and would keep all of it
        self.images[sequence] = Tensor("image", "UINT8", (1, *pixels.shape), np.array(pixels)[None])

    def drop(self, sequence):
        image = self.images.pop(sequence, None)
        if image is not None:
            self.room.give(image.data.nbytes)

    def close(self):
        for sequence in list(self.images):
            self.drop(sequence)


class Room:
    """Bytes of pixels that streams keep."""

    def __init__(self, limit):
        self.held, self._limit = 0, limit

    def take(self, size):
        if self.held + size > self._limit:
            raise Fault("kept")
        self.held += size

    def give(self, size):
        self.held -= size


async def stream(service, call):
    """One request after the other, until the client has no more, is silent for too long, or the service stops."""
    with call.streaming() as room:
        kept = Kept(room)
        try:
            while (data := await call.read_next()) is not None:
                await _one(service, call, kept, data)
                data = None
        finally:
            kept.close()


async def _one(service, call, kept, data):
    """Answers one request; whatever goes wrong with it is its answer."""
    begin, fault, model, request_id, held = time.monotonic(), None, "", "", len(data)
    call.account = account = Account(principal=call.principal, traceparent=call.traceparent)
    try:
        with service.principals.request(call.principal):
            service.bodies.take(held)
            try:
                found = await message.opened(data, service.limits)
                model, request_id = found.head.model_name, found.head.id
                service.model(model, found.head.model_version)
                request = await message.request_of(found, service.limits)
                del data, found
                pieces = message.write_streamed(await _answered(service, request, kept, account))
            finally:
                service.bodies.give(held)
    except Exception as error:
        fault = call.fault_of(error)
        let_go(error)
        pieces = [message.write_fault(fault, model[:256], request_id[:256])]
    call.log(fault, time.monotonic() - begin)
    call.account = None
    await call.write(b"".join(pieces))


async def _answered(service, request, kept, account):
    sequence, start, end, request = _sequence_of(request)
    if not sequence:
        return await service.infer(request, account)
    if not start and sequence not in kept.images:
        raise Fault("sequence", sequence=sequence, model=request.model)
    if start:
        kept.start(sequence)
    image = kept.images[sequence]
    if "image" in request.inputs:
        account.kept = []
    elif image is not None:
        request = replace(request, inputs={"image": image, **request.inputs})
    try:
        response = await service.infer(request, account)
        if account.kept and not end:
            if len(account.kept) > 1:
                raise Fault("images", limit=1)
            kept.put(sequence, account.kept[0])
        return response
    except Fault:
        end = end or image is None      # it has not begun
        raise
    finally:
        account.kept = None
        if end:
            kept.drop(sequence)


def _sequence_of(request):
    """(sequence or None, whether it starts, whether it ends, the request without words about it)."""
    rest = dict(request.parameters)
    flags = {name: rest.pop(name, False) for name in ENDED}
    for name, value in flags.items():
        if type(value) is not bool:
            raise Fault("parameter", name=name, model=request.model, expected="true or false")
    sequence = rest.pop("sequence_id", None)
    if sequence is not None and (type(sequence) not in (int, str) or len(str(sequence)) > 128):
        raise Fault("parameter", name="sequence_id", model=request.model,
                    expected="a whole number, or at most 128 characters")
    return sequence, flags["sequence_start"], flags["sequence_end"], replace(request, parameters=rest)
