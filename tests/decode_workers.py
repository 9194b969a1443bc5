# SPDX-License-Identifier: Apache-2.0
"""What tests of decode workers share: files, an open pool, and looks at processes."""

import asyncio
import contextlib
import io
import os
import time

import numpy as np
import pytest
from foveate.serve.worker import DecodePool, WorkerError
from images import random_image
from PIL import Image


def file_of(image, kind="PNG", **options):
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind, **options)
    return file.getvalue()


SMALL = random_image(1, 48, 64)
FILE = file_of(SMALL)
# decodes for a second and more
HEAVY = file_of(np.tile(random_image(2, 250, 250), (20, 20, 1)), "JPEG", progressive=True)


def run(test, **options):
    """A test with an open pool, in a loop of its own; no worker is left over."""
    async def whole():
        async with DecodePool(**options) as pool:
            result = await test(pool)
            pids = [one.process.pid for one in pool.ready]
        assert not any(os.path.exists(f"/proc/{pid}") for pid in pids)
        return result

    return asyncio.run(asyncio.wait_for(whole(), 120))


def process_of(pool):
    return next(iter(pool.ready)).process


async def until(condition, seconds=10.0):
    """Seconds until it holds."""
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < seconds, "not in time"
        await asyncio.sleep(0.005)
    return time.monotonic() - begin


def children(state=None):
    """Processes of this one, those in a state (as Z) where one is named."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as text:
            fields = text.read().rpartition(")")[2].split()
            if int(fields[1]) == os.getpid() and state in (None, fields[0]):
                found.append(int(pid))
    return found


async def busy(pool, data=HEAVY):
    """A request that a worker is at."""
    task = asyncio.create_task(pool.decode(data))
    await until(lambda: any(one.job is not None for one in pool.ready))
    return task


async def code_of(awaitable):
    with pytest.raises(WorkerError) as caught:
        await awaitable
    return caught.value.code
