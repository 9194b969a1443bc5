# SPDX-License-Identifier: Apache-2.0
"""A process that decodes for the service: how it is started, asked and ended. Nothing that it says is believed."""

import asyncio
import collections
import json
import os
import socket
import subprocess
import sys
import weakref

from .. import sealed
from .worker_main import KEEP, MESSAGE


class Slab:
    """Memory for one file and its pixels, sealed: the worker fills it and can do nothing else to it."""

    def __init__(self, size):
        self.fd = sealed.create(size)
        weakref.finalize(self, os.close, self.fd)
        self.memory = sealed.mapped(self.fd, size)
        self.used = 0   # most bytes that were ever in it


class Worker:
    """One process, and the socket to it.

    Args:
        room: bytes for pixels; file: bytes for an encoded image. options: what `worker_main` reads.
    """

    def __init__(self, room, file, options):
        self.room, self.size = room, room + file
        self.slabs = collections.deque()    # only this worker's: what it can reach, no other uses
        self.loop = asyncio.get_running_loop()
        self.job = None     # what it is at
        self.confined = False   # its system calls are filtered
        self.gone = asyncio.Event()
        self.reply = self.loop.create_future()
        self.socket, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with there:
            try:
                self.process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "foveate.serve.worker_main", json.dumps(options)],
                    stdin=there, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/", env=environment(),
                    start_new_session=True)
            except BaseException:
                self.socket.close()
                raise
        self.socket.setblocking(False)
        self.loop.add_reader(self.socket, self._read)

    def _read(self):
        try:
            message = self.socket.recv(MESSAGE)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        asked = not self.reply.done()
        if asked:
            self.reply.set_result(message)
        if not asked or not message:    # words that nobody asked for are the end of it too
            self.loop.remove_reader(self.socket)
            self.gone.set()

    async def heard(self, seconds):
        """Its next message; b"" where it ended, None where it took too long."""
        done, _ = await asyncio.wait({self.reply}, timeout=seconds)
        return self.reply.result() if done else None

    async def ask(self, data, options, seconds):
        """(slab, message): the pixels lie in the slab if the message says so. OSError where there is no memory."""
        slab = self.slabs.popleft() if self.slabs else Slab(self.size)
        sealed.write(slab.fd, data, self.room)
        slab.used = max(slab.used, len(data))
        self.reply = self.loop.create_future()
        request = {"size": len(data), "at": self.room, "options": options}
        try:
            socket.send_fds(self.socket, [json.dumps(request).encode()], [slab.fd])
        except OSError:     # it has just ended, and the reader will hear of it
            return slab, b""
        return slab, await self.heard(seconds)

    def lend(self, slab, height, width):
        """The pixels, where they lie. Their memory is taken again when no view of them is left."""
        slab.used = max(slab.used, height * width * 3)
        return sealed.lent(slab.memory, (height, width, 3), self.take, slab)

    def take(self, slab):
        """Called from any thread."""
        if slab.used <= KEEP and len(self.slabs) < 4:
            self.slabs.append(slab)

    async def end(self):
        """Ends it; the number of the signal that did, or 0. Nothing of it is left, not even its entry in the system."""
        self.loop.remove_reader(self.socket)
        self.socket.close()
        self.process.kill()     # nothing where it has ended
        return max(0, -await asyncio.to_thread(self.process.wait))


def environment():
    """A worker finds the same packages, and nothing else that this process was told."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "PYTHONHOME", "TZ") if name in os.environ}
    folders = os.pathsep.join(folder for folder in sys.path if os.path.isabs(folder))
    return kept | {"PYTHONPATH": folders, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "LC_ALL": "C.UTF-8"}
