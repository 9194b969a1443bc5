# SPDX-License-Identifier: Apache-2.0
"""The service on the same machine without copies of pixels: arrays in memory that it reads, answers where it wrote.

>>> with connect("/run/user/1000/foveate/memory") as shared:        # doctest: +SKIP
...     pixels = shared.empty((1080, 1920, 3))
...     tokens = shared.infer("foveate", pixels, gaze=(0.4, 0.6), budget=273)
"""

import collections
import json
import math
import os
import socket
import threading
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

from .. import sealed
from ..error import Error, InputError, WaitTimeoutError, require

PROTOCOL = 1
MESSAGE = 65536
WINDOW = 8 << 20    # bytes for an answer, until one was larger
FREE = 4            # regions of each kind that are kept for the next array
DTYPES = {"UINT8": "u1", "UINT16": "u2", "UINT32": "u4", "UINT64": "u8", "INT8": "i1", "INT16": "i2", "INT32": "i4",
          "INT64": "i8", "FP16": "f2", "FP32": "f4", "FP64": "f8", "BOOL": "?", "BF16": "u2"}


class ServiceError(Error, RuntimeError):
    """The service refused. `code` is its word for why, as "queue", which may pass, or "input"."""

    def __init__(self, text, *, code):
        super().__init__(text)
        self.code = code


@dataclass(eq=False)
class Region:
    """Memory that the service has mapped too."""

    handle: int
    memory: object
    size: int
    start: int      # its address here


def connect(path, *, timeout_s: float = 30.0) -> "Shared":
    """A connection to `foveate serve --memory PATH`, which has to run as the same user.

    Raises:
        ServiceError: it refuses, or nobody listens there.
    """
    port = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        port.settimeout(timeout_s)
        port.connect(os.fspath(path))
        return Shared(port, timeout_s)
    except OSError:
        port.close()
        raise ServiceError("client: memory: got no answer there, expected a service that listens. "
                           "Run: foveate serve --memory PATH", code="absent") from None
    except BaseException:
        port.close()
        raise


class Shared:
    """A connection. Threads may share it; requests go one after the other."""

    def __init__(self, port, timeout_s):
        self._port, self._timeout_s = port, timeout_s
        self._lock, self._number, self._window = threading.Lock(), 0, WINDOW
        self._regions = []
        self._free = {False: collections.deque(), True: collections.deque()}    # by whether the service writes to it
        greeting = _check(self._heard(), "memory")
        require(greeting.get("protocol") == PROTOCOL, "client: memory", "another protocol", f"{PROTOCOL}",
                "Use the same release on both sides.")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self) -> None:
        """Ends the connection. Arrays stay, in memory that is this program's alone then."""
        self._port.close()
        self._regions = []
        for free in self._free.values():
            free.clear()

    def empty(self, shape) -> np.ndarray:
        """An array of pixels to write to, uint8, which the service reads where it lies.

        Its memory is used again when the array and every view of it are gone.
        """
        with self._lock:
            region = self._region(math.prod(shape), False)
        return sealed.lent(region.memory, shape, self._free[False].append, region)

    def infer(self, model: str, pixels: np.ndarray, /, *, gaze=None, outputs=None, **parameters) -> SimpleNamespace:
        """One request.

        Args:
            model: as "foveate".
            pixels: (H, W, 3) or (B, H, W, 3) uint8, an array of `empty` or a part of one in one piece.
            gaze: (x, y), for each image; or of an image a list of points; or of a batch one list of them an image.
            outputs: names of those wanted; None: all.
            parameters: of the model, as budget=273 or model="qwen2.5-vl".

        Returns:
            An attribute for each output, as `patches`: arrays where the service wrote them. bfloat16 comes as its bits.

        Raises:
            ServiceError: the service refused; InputError: the pixels lie elsewhere.
        """
        with self._lock:
            region, offset = self._found(pixels)
            request = {"parameters": parameters}
            if gaze is not None:
                points = _points(gaze, pixels.shape[0] if pixels.ndim == 4 else 1)
                request["inputs"] = [{"name": "gaze", "datatype": "FP32", "shape": list(points.shape),
                                      "data": points.ravel().tolist()}]
            if outputs is not None:
                request["outputs"] = [{"name": name} for name in outputs]
            image = {"name": "image", "datatype": "UINT8", "shape": list(pixels.shape), "region": region.handle,
                     "offset": offset}
            while True:
                into = self._region(self._window, True)
                reply = self._said({"op": "infer", "model": model, "request": request, "memory": [image],
                                    "to": {"region": into.handle, "offset": 0, "size": into.size}})
                if reply.get("code") != "window" or reply["need"] <= into.size:
                    break
                self._free[True].append(into)
                self._window = reply["need"]
            whole = sealed.lent(into.memory, (into.size,), self._free[True].append, into)
            _check(reply, "infer")
        return SimpleNamespace(**{entry["name"]: _array(whole, entry) for entry in reply["outputs"]})

    def _found(self, pixels):
        """(region, offset) of an array."""
        if self._port.fileno() < 0:
            raise _gone()
        good = isinstance(pixels, np.ndarray) and pixels.dtype == np.uint8 and pixels.flags.c_contiguous
        address = pixels.__array_interface__["data"][0] if good else 0
        for region in self._regions:
            if good and region.start <= address and pixels.nbytes <= region.start + region.size - address:
                return region, address - region.start
        raise InputError("client: pixels: got an array elsewhere, or of another type, expected uint8 of empty() in one "
                         "piece. Write them into one of those.")

    def _region(self, size, writable):
        """A region of at least so many bytes: one that is free, or a new one."""
        free = self._free[writable]
        for _ in range(len(free)):
            region = free.popleft()
            if size <= region.size <= max(4 * size, 1 << 20):
                return region
            free.append(region)
        while len(free) >= FREE:
            self._forget(free.popleft())
        size = -(-max(size, 1) // 65536) * 65536
        fd = sealed.create(size)
        try:
            memory = sealed.mapped(fd, size, writable=True)
            handle = _check(self._said({"op": "register", "writable": writable}, fd), "register")["region"]
        finally:
            os.close(fd)
        start = np.frombuffer(memory, np.uint8).__array_interface__["data"][0]
        self._regions.append(Region(handle, memory, size, start))
        return self._regions[-1]

    def _forget(self, region):
        self._regions.remove(region)
        self._said({"op": "unregister", "region": region.handle})

    def _said(self, message, fd=None):
        """The answer to a message."""
        self._number += 1
        data = json.dumps({"id": self._number, **message}).encode()
        require(len(data) <= MESSAGE, "client: request", f"{len(data)} bytes", f"at most {MESSAGE}")
        try:
            socket.send_fds(self._port, [data], [fd] if fd is not None else [])
        except OSError:
            raise _gone() from None
        reply = self._heard()
        if reply.get("id") != self._number:
            _check(reply, "memory")
            self.close()
            raise _gone()
        return reply

    def _heard(self):
        try:
            data = self._port.recv(MESSAGE)
        except TimeoutError:
            self.close()    # an answer that comes later would be taken for that of the next request
            raise WaitTimeoutError(f"client: memory: got no answer in {self._timeout_s:g} s, expected one in time. "
                                   "Connect again.") from None
        except OSError:
            data = b""
        if not data:
            raise _gone()
        return json.loads(data)


def _points(gaze, images):
    """(images, points, 2)"""
    points = np.asarray(gaze, np.float64)
    if points.shape == (2,):
        return np.tile(points, (images, 1, 1))
    points = points[None] if points.ndim == 2 and images == 1 else points
    require(points.ndim == 3 and points.shape[0] == images and points.shape[2] == 2, "client: gaze",
            f"numbers of shape {points.shape} for {images} images", "(x, y), or a list of points for each image")
    return points


def _array(whole, entry):
    part = whole[entry["offset"]:entry["offset"] + entry["size"]]
    return part.view(DTYPES[entry["datatype"]]).reshape(entry["shape"])


def _check(reply, what):
    """The reply, unless it is a refusal."""
    if "error" in reply:
        raise ServiceError(f"client: {what}: got \"{reply['error']}\", expected an answer.", code=reply["code"])
    return reply


def _gone():
    return ServiceError("client: memory: got the end of the connection, expected an answer. Connect again.",
                        code="gone")
