# SPDX-License-Identifier: Apache-2.0
"""What the outputs of a batch depend on, and its hash: a run goes on only with the one it began with."""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property

from .. import __version__
from ..error import InputError, choice, require, whole

FORMATS = ("webdataset", "parquet", "safetensors")
DTYPES = ("float16", "bfloat16", "float32", "uint8")
# of Engine.tokens: what follows from an image, or has no meaning for one alone
NOT_OURS = {"gaze", "previous", "channels", "dtype", "background"}


@dataclass(frozen=True)
class Options:
    """Everything that an output's bytes follow from, beside the images."""

    tokens: dict            # of Engine.tokens
    dtype: str = "float16"
    format: str = "webdataset"
    shard_size: int = 256
    gaze: object = None
    scale: bool = True
    orient: bool = True
    background: tuple | None = None

    def __post_init__(self):
        choice("batch: dtype", self.dtype, dict.fromkeys(DTYPES))
        choice("batch: format", self.format, dict.fromkeys(FORMATS))
        whole("batch: shard_size", self.shard_size, 1, 1 << 20)
        for name in sorted(set(self.tokens) & NOT_OURS):
            raise InputError(f"batch: options: got {name}, expected options of Engine.tokens for one image.")
        require(self.dtype != "uint8" or not {"mean", "std"} & set(self.tokens), "batch: dtype",
                "uint8 with mean or std", "uint8 alone", "Bytes are pixels: they are not normalised.")
        self.digest     # noqa: B018 - says now what cannot be written as JSON

    def described(self) -> dict:
        return {"foveate": __version__, "tokens": self.tokens, "dtype": self.dtype, "format": self.format,
                "shard_size": self.shard_size, "gaze": self.gaze, "scale": self.scale, "orient": self.orient,
                "background": self.background}

    @cached_property
    def digest(self) -> str:
        try:
            text = json.dumps(self.described(), sort_keys=True, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise InputError(f"batch: options: got {error}, expected numbers, names and lists of them.") from None
        return hashlib.sha256(text.encode()).hexdigest()


def keys_digest(keys) -> str:
    """Of the list of images: which they are, and in what order."""
    found = hashlib.sha256()
    for key in keys:
        found.update(key.encode("utf-8", "surrogateescape") + b"\0")
    return found.hexdigest()


def shards_of(count, size):
    """(number, range of images) of each shard."""
    return [(number, range(first, min(first + size, count))) for number, first in enumerate(range(0, count, size))]
