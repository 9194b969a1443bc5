# SPDX-License-Identifier: Apache-2.0
"""Encoded images to pixels, on threads of this process: for those who trust what they are sent."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from .. import decode


class DecodeThreads:
    """What a service asks of a decoder: `open`, `decode`, `close`, and whether it is `healthy`."""

    healthy = True

    def __init__(self, workers, limits):
        self._pixels, self._threads = limits.pixels, ThreadPoolExecutor(workers, "foveate-decode")

    async def open(self):
        return self

    async def decode(self, data: bytes) -> np.ndarray:
        """(H, W, 3) uint8. Raises DecodeError."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._decode, data)

    def _decode(self, data):
        return decode.decode(data, pixels=self._pixels)

    async def close(self):
        self._threads.shutdown(wait=False, cancel_futures=True)
