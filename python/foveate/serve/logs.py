# SPDX-License-Identifier: Apache-2.0
"""One line of JSON for each request, and for whatever goes wrong: ASCII, so that no terminal obeys what is in it."""

import atexit
import json
import logging
import os
import queue
import sys
import threading
import time

WAITING = 10_000    # lines; where nobody reads them, those that come then are lost, and the service goes on
log = logging.getLogger("foveate.serve")
os.environ.setdefault("GRPC_VERBOSITY", "NONE")     # read when grpc is imported; it would write between our lines


class Lines(logging.Formatter):
    """A record as JSON; `fields` of it beside time, level and event."""

    def format(self, record):
        value = {"time": _stamp(record.created), "level": record.levelname.lower(), "event": record.getMessage()}
        value |= getattr(record, "fields", {})
        if record.exc_info:
            value["error"] = self.formatException(record.exc_info)
        return json.dumps(value, default=str)


def _stamp(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds * 1000) % 1000:03d}Z"


class Written(logging.Handler):
    """Writes lines on a thread of its own: a pipe that nobody reads must not stop the loop."""

    def __init__(self, stream):
        super().__init__()
        self.setFormatter(Lines())
        self._lines, self._stream, self.lost = queue.Queue(WAITING), stream, 0
        self._thread = threading.Thread(target=self._write, name="foveate-log", daemon=True)
        self._thread.start()

    def emit(self, record):
        try:
            self._lines.put_nowait(self.format(record) + "\n")
        except queue.Full:
            self.lost += 1

    def _write(self):
        while (line := self._lines.get()) is not None:
            try:
                self._stream.write(line)
                if self._lines.empty():
                    self._stream.flush()
            except (OSError, ValueError):       # a closed pipe or stream
                self.lost += 1

    def close(self):
        super().close()
        try:
            self._lines.put_nowait(None)
        except queue.Full:
            return
        self._thread.join(1)


def set_up(level="info", stream=None):
    """Sends the service's log, and uvicorn's warnings, to a stream; None: stderr. The handler: close it in the end."""
    handler = Written(stream or sys.stderr)
    atexit.register(handler.close)
    for name, least in (("foveate.serve", level.upper()), ("uvicorn.error", "WARNING"), ("asyncio", "WARNING"),
                        ("grpc", "WARNING")):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(least)
    return handler


def request(account=None, **fields):
    """One request's line, with what its account says."""
    if account is not None and account.model:
        fields |= {"model": account.model, "images": account.images, "pixels": account.pixels,
                   "decode_ms": round(account.decode_ns / 1e6, 3), "queue_ms": round(account.queue_ns / 1e6, 3),
                   "engine_ms": round(account.run_ns / 1e6, 3), "batch": account.batch}
    log.info("request", extra={"fields": fields})
