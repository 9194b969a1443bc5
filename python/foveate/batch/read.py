# SPDX-License-Identifier: Apache-2.0
"""What a batch has written, image by image."""

import json
import tarfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..error import InputError, require
from .rows import NAMES
from .store import STATE
from .table import arrow

DTYPES = {name: np.dtype(np.uint16 if dtype == "bfloat16" else dtype) for dtype, name in NAMES.items()}


class Sample(NamedTuple):
    """One image's tokens. `arrays` are NumPy's: patches, center_px, size_px, level, rate, fixation and valid; bfloat16
    is uint16 there, and `dtype` says which it is. `torch()` gives tensors.
    """

    key: str
    about: dict
    dtype: str
    arrays: dict[str, np.ndarray]

    def torch(self):
        """{name: torch.Tensor} in the same memory."""
        import torch

        found = {name: torch.from_numpy(array) for name, array in self.arrays.items()}
        if self.dtype == "bfloat16":
            found["patches"] = found["patches"].view(torch.bfloat16)
        return found


def shards(out) -> list[Path]:
    """The files of a finished run, in order.

    Raises:
        InputError: not the folder of a run, or of one that is not finished.
    """
    manifest = Path(out) / "manifest.json"
    if not manifest.exists():
        begun = (Path(out) / STATE / "config.json").exists()
        require(False, "batch: read", f"{out}, where " + ("a run is not finished" if begun else "no run has been"),
                "the folder of a finished run", "foveate batch ... --resume finishes it." if begun else "")
    told = json.loads(manifest.read_text())
    return [Path(out) / file["name"] for shard in told["shards"] for file in shard["files"]]


def read(out):
    """Yields a Sample for each image that a run made, in the order of its source.

    Args:
        out: the folder of a finished run, or one of its shards.

    Raises:
        InputError: no such folder or file, or one that no run has written.

    >>> import foveate.batch
    >>> list(foveate.batch.read("nowhere"))
    Traceback (most recent call last):
    foveate.error.InputError: batch: read: got nowhere, where no run has been, expected the folder of a finished run.
    """
    path = Path(out)
    readers = {".tar": _tar, ".safetensors": _safetensors, ".parquet": _parquet}
    for file in [path] if path.suffix in readers and path.is_file() else shards(path):
        yield from readers[file.suffix](file)


def torch_dataset(out, *, shuffle: bool = False, seed: int = 0):
    """The same as a torch IterableDataset of (key, {name: tensor}); workers of a DataLoader share out the shards.

    Args:
        out: the folder of a finished run.
        shuffle: shards in another order, which `seed` decides; images inside a shard stay in order.
    """
    from torch.utils.data import IterableDataset, get_worker_info

    files = shards(out)
    if shuffle:
        files = [files[place] for place in np.random.default_rng(seed).permutation(len(files))]

    class Tokens(IterableDataset):
        def __iter__(self):
            worker = get_worker_info()
            mine = files[worker.id::worker.num_workers] if worker else files
            for file in mine:
                for sample in read(file):
                    yield sample.key, sample.torch()

    return Tokens()


def parse(data):
    """(metadata, {name: (dtype, array)}) of the bytes of a safetensors file; arrays share a copy of their own."""
    try:
        length = int.from_bytes(data[:8], "little")
        head = json.loads(bytes(data[8:8 + length]))
        body = np.frombuffer(bytearray(data[8 + length:]), np.uint8)
        about = head.pop("__metadata__", {})
        return about, {name: (entry["dtype"], body[slice(*entry["data_offsets"])].view(DTYPES[entry["dtype"]])
                              .reshape(entry["shape"])) for name, entry in head.items()}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError("batch: read: got a shard that cannot be read, expected safetensors.") from error


def _named(entries):
    dtype = next((dtype for dtype, name in NAMES.items() if name == entries["patches"][0]), "")
    return dtype, {name: array for name, (_, array) in entries.items()}


def _tar(path):
    with tarfile.open(path, "r:") as tar:
        tensors = None
        for member in tar:
            data = tar.extractfile(member).read()
            if member.name.endswith(".safetensors"):
                tensors = parse(data)[1]
            else:
                about = json.loads(data)
                yield Sample(about["key"], about, *_named(tensors))


def _safetensors(path):
    about, entries = parse(path.read_bytes())
    for place, image in enumerate(json.loads(about["images"])):
        dtype, arrays = _named(entries)
        yield Sample(image["key"], image, dtype, {name: array[place] for name, array in arrays.items()})


def _parquet(path):
    parquet, = arrow("pyarrow.parquet")
    file = parquet.ParquetFile(path)
    for number in range(file.num_row_groups):
        group = file.read_row_group(number)
        dtypes, arrays = {}, {}
        for field in group.schema:
            if b"dtype" in (field.metadata or {}):
                dtypes[field.name] = field.metadata[b"dtype"].decode()
                array = group[field.name].combine_chunks().to_numpy_ndarray().copy()
                arrays[field.name] = array.view(bool) if dtypes[field.name] == "bool" else array
        for place, (key, about) in enumerate(zip(group["key"].to_pylist(), group["about"].to_pylist(), strict=True)):
            yield Sample(key, json.loads(about), dtypes["patches"],
                         {name: array[place] for name, array in arrays.items()})
