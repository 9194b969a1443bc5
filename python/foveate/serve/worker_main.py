# SPDX-License-Identifier: Apache-2.0
"""The process that decodes what strangers send. It has a socket, and nothing that would be worth having.

Started by `foveate.serve.worker` as `python -m foveate.serve.worker_main OPTIONS`. Messages are single packets of JSON;
beside each request comes a descriptor of memory, in which the file lies and into which the pixels go.
"""

import ctypes
import io
import json
import math
import os
import resource
import signal
import socket
import sys
import time

from .. import sealed
from ..decode import DecodeError, decode

PR_SET_NO_NEW_PRIVS = 38
MESSAGE = 4096      # bytes, either way


def warm() -> None:
    """Each codec once: files that are imported on first use cannot be opened later."""
    from PIL import Image, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

    for plugin in (JpegImagePlugin.JpegImageFile, PngImagePlugin.PngImageFile, WebPImagePlugin.WebPImageFile):
        file = io.BytesIO()
        Image.new("RGBA" if plugin.format == "PNG" else "RGB", (8, 8)).save(file, plugin.format)
        decode(file.getvalue(), background=(0, 0, 0))


def confine(memory: int, file: int) -> None:
    """No more memory than this beyond what there is, no file larger, no process, no dump, and no way back."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    for name in (signal.SIGINT, signal.SIGTERM):    # for the service, which ends its workers itself when it is done
        signal.signal(name, signal.SIG_IGN)
    with open("/proc/self/statm") as text:
        held = int(text.read().split()[0]) * resource.getpagesize()
    for what, least in ((resource.RLIMIT_AS, held + memory), (resource.RLIMIT_FSIZE, file), (resource.RLIMIT_NOFILE, 8),
                        (resource.RLIMIT_NPROC, 0), (resource.RLIMIT_CORE, 0), (resource.RLIMIT_MEMLOCK, 0)):
        resource.setrlimit(what, (least, least))


def answer(request: dict, fd: int, cpu_s: int) -> dict:
    """What becomes of one file."""
    # the limit counts from the process's start; of the system's two only the softer moves
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(time.process_time()) + cpu_s, resource.RLIM_INFINITY))
    data = os.pread(fd, request["size"], request["at"])
    try:
        pixels = decode(data, **request["options"])
        sealed.write(fd, pixels)
    except DecodeError as error:
        return {"error": error.args}
    except MemoryError:
        return {"memory": True}
    return {"height": pixels.shape[0], "width": pixels.shape[1]}


def main() -> None:
    options = json.loads(sys.argv[1])
    port = socket.socket(fileno=0)
    warm()
    confine(options["memory"], options["file"])
    port.send(b"{}")
    while True:
        message, fds, _, _ = socket.recv_fds(port, MESSAGE, 1, socket.MSG_CMSG_CLOEXEC)
        if not message:
            return
        said = answer(json.loads(message), fds[0], options["cpu_s"])
        os.close(fds[0])
        port.send(json.dumps(said).encode())


if __name__ == "__main__":
    main()
