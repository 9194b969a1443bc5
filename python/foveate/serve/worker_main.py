# SPDX-License-Identifier: Apache-2.0
"""The process that decodes what strangers send. It has a socket, and nothing that would be worth having.

Started by `foveate.serve.worker` as `python -m foveate.serve.worker_main OPTIONS`. Messages are single packets of JSON;
beside each request comes a descriptor of memory, in which the file lies and into which the pixels go.
"""

import collections
import io
import json
import math
import mmap
import os
import resource
import socket
import sys
import time

import numpy as np

from .. import sealed
from ..decode import DecodeError, decode
from .confine import confine

MESSAGE = 4096      # bytes, either way
KEEP = 32 << 20     # bytes: memory that held more is let go of on both sides
WINDOWS = 4         # mappings that are kept


def warm() -> None:
    """Each codec once, and what else they import on first use: no file can be opened later."""
    from PIL import Image, ImageOps, JpegImagePlugin, MpoImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin

    loaded = JpegImagePlugin, PngImagePlugin, WebPImagePlugin, ImageOps, MpoImagePlugin, TiffImagePlugin
    for kind, mode in zip(("JPEG", "PNG", "WEBP"), ("RGB", "RGBA", "RGB"), strict=True):
        file = io.BytesIO()
        Image.new(mode, (8, 8)).save(file, kind)
        decode(file.getvalue(), background=(0, 0, 0))
    del loaded


class Windows(collections.OrderedDict):
    """Memory behind descriptors, mapped once however often it comes: page faults take as long as a copy."""

    def of(self, fd: int, room: int) -> mmap.mmap:
        key = os.fstat(fd).st_ino       # no other has it while this is mapped
        if key not in self:
            self[key] = sealed.mapped(fd, room, writable=True)
            if len(self) > WINDOWS:
                self.popitem(last=False)
        return self[key]

    def forget(self, fd: int) -> None:
        self.pop(os.fstat(fd).st_ino, None)


def answer(request: dict, fd: int, cpu_s: int, windows: Windows) -> dict:
    """What becomes of one file."""
    # the limit counts from the process's start; of the system's two only the softer moves
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(time.process_time()) + cpu_s, resource.RLIM_INFINITY))
    data = os.pread(fd, request["size"], request["at"])
    into = np.frombuffer(windows.of(fd, request["at"]), np.uint8)
    try:
        pixels = decode(data, **request["options"], into=into)
        if pixels.ctypes.data != into.ctypes.data:
            sealed.write(fd, pixels)
    except (DecodeError, MemoryError) as error:
        windows.forget(fd)      # there may be anything in it, of any size
        return {"error": error.args} if isinstance(error, DecodeError) else {"memory": True}
    if max(pixels.nbytes, len(data)) > KEEP:
        windows.forget(fd)
    return {"height": pixels.shape[0], "width": pixels.shape[1]}


def main() -> None:
    options = json.loads(sys.argv[1])
    port, windows = socket.socket(fileno=0), Windows()
    warm()
    confined = confine(options["memory"], options["file"], (WINDOWS + 1) * options["room"])
    port.send(json.dumps({"confined": confined}).encode())
    while True:
        message, fds, _, _ = socket.recv_fds(port, MESSAGE, 1, socket.MSG_CMSG_CLOEXEC)
        if not message:
            return
        said = answer(json.loads(message), fds[0], options["cpu_s"], windows)
        os.close(fds[0])
        port.send(json.dumps(said).encode())


if __name__ == "__main__":
    main()
