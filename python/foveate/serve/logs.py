# SPDX-License-Identifier: Apache-2.0
"""One line of JSON for each request, and for whatever goes wrong: ASCII, so that no terminal obeys what is in it."""

import json
import logging
import sys
import time

log = logging.getLogger("foveate.serve")


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


def set_up(level="info", stream=None):
    """Sends the service's log, and uvicorn's warnings, to a stream; None: stderr."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(Lines())
    for name, least in (("foveate.serve", level.upper()), ("uvicorn.error", "WARNING"), ("asyncio", "WARNING")):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(least)


def request(**fields):
    """One request's line."""
    log.info("request", extra={"fields": fields})
