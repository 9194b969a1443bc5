# SPDX-License-Identifier: Apache-2.0
"""Files of bytes: safetensors (a length, a JSON header, then the tensors where they lie in memory), and their digest.

The format of github.com/huggingface/safetensors, README "Format"; written here so that patches are not copied.
"""

import json
import os

from ..error import UnsupportedError
from .rows import NAMES


def safetensors(tensors, metadata):
    """Buffers of one file: `tensors` are (dtype, array) by name."""
    entries, at = {"__metadata__": metadata}, 0
    for name, (dtype, array) in tensors.items():
        entries[name] = {"dtype": NAMES[dtype], "shape": list(array.shape), "data_offsets": [at, at + array.nbytes]}
        at += array.nbytes
    head = padded(json.dumps(entries, separators=(",", ":")).encode())
    return [len(head).to_bytes(8, "little") + head, *(view(array) for _, array in tensors.values())]


def padded(head, size=0):
    """A header of `size` bytes or, if that is 0, of a multiple of 8: readers skip spaces at its end."""
    return head.ljust(size or -len(head) % 8 + len(head))


def view(array):
    """An array's bytes. One of a size 0 has none."""
    return memoryview(array).cast("B") if array.size else memoryview(b"")


def write_all(fd, buffers):
    """Every byte of every buffer, in few calls; the number of bytes."""
    left = [memoryview(buffer) for buffer in buffers]
    total = sum(map(len, left))
    while left:
        done = os.writev(fd, left[:64])
        while left and done >= len(left[0]):
            done -= len(left.pop(0))
        if done:
            left[0] = left[0][done:]
    return total


def digest():
    """XXH3 of 64 bits. Against damage, not against malice: SHA-256 would take as long as the engine does."""
    try:
        from xxhash import xxh3_64
    except ModuleNotFoundError:
        raise UnsupportedError(
            'batch: digest: got no xxhash, expected it installed. pip install "foveate[batch]"') from None
    return xxh3_64()


def digest_of(fd):
    found, block, at = digest(), bytearray(256 << 10), 0     # a block that stays in the caches
    while count := os.preadv(fd, [block], at):
        found.update(memoryview(block)[:count])
        at += count
    return found.hexdigest()
