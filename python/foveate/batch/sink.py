# SPDX-License-Identifier: Apache-2.0
"""Where a shard's rows go: each sink makes one file, whose bytes follow from the rows alone.

`digest` of a closed sink is of all its bytes, where it has written them in order, and else None.
"""

import json
import os
import tarfile

import numpy as np

from .container import digest, padded, safetensors, view, write_all
from .rows import NAMES
from .table import arrow

BLOCK = 512         # of a tar
GROUP = 16          # rows of a Parquet row group, whatever chunks they came in


class Tar:
    """WebDataset: `{key}.safetensors` with patches and positions, `{key}.json` with the rest."""

    suffix = ".tar"

    def __init__(self, fd, keys):
        self._fd, self._hash = fd, digest()

    def add(self, row):
        body = safetensors(row.tensors, {"key": row.key})
        about = json.dumps(row.about, sort_keys=True).encode() + b"\n"
        self._write([*self._member(row.key + ".safetensors", body), *self._member(row.key + ".json", [about])])

    def _write(self, buffers):
        for buffer in buffers:
            self._hash.update(buffer)     # while the caches have it
        write_all(self._fd, buffers)

    @staticmethod
    def _member(name, buffers):
        info = tarfile.TarInfo(name)
        info.size, info.mode = sum(map(len, buffers)), 0o644
        return [info.tobuf(tarfile.PAX_FORMAT), *buffers, bytes(-info.size % BLOCK)]

    def close(self):
        self._write([bytes(2 * BLOCK)])
        self.digest = self._hash.hexdigest()


class Safetensors:
    """One file of all: tensors of (images, ...), keys and the rest in the header, which is written last."""

    suffix, digest = ".safetensors", None

    def __init__(self, fd, keys):
        # room for the header: what is known of each image now, and generously what is not
        self._room = 8192 + sum(len(json.dumps(json.dumps(key))) + 512 for key in keys) & ~7
        self._fd, self._abouts, self._small, self._first = fd, [], {}, None
        os.lseek(fd, 8 + self._room, os.SEEK_SET)

    def add(self, row):
        dtype, patches = row.tensors["patches"]
        self._first = self._first or (dtype, patches.shape, patches.nbytes)
        write_all(self._fd, [view(patches)])
        self._abouts.append(row.about)
        for name, (kind, array) in row.tensors.items():
            if name != "patches":
                self._small.setdefault(name, (kind, []))[1].append(array)

    def close(self):
        count, entries, at = len(self._abouts), {}, 0
        if count:
            dtype, shape, size = self._first
            at = size * count
            entries["patches"] = {"dtype": NAMES[dtype], "shape": [count, *shape], "data_offsets": [0, at]}
        for name, (kind, arrays) in self._small.items():
            stacked = np.stack(arrays)
            write_all(self._fd, [view(stacked)])
            entries[name] = {"dtype": NAMES[kind], "shape": list(stacked.shape),
                             "data_offsets": [at, at + stacked.nbytes]}
            at += stacked.nbytes
        abouts = json.dumps(self._abouts, sort_keys=True, separators=(",", ":"))
        entries["__metadata__"] = {"images": abouts}
        head = padded(json.dumps(entries, separators=(",", ":")).encode(), self._room)
        os.lseek(self._fd, 0, os.SEEK_SET)
        write_all(self._fd, [len(head).to_bytes(8, "little"), head])


class Parquet:
    """A row an image, with columns of Arrow's fixed-shape tensors; bfloat16 as the bits in uint16."""

    suffix, digest = ".parquet", None

    def __init__(self, fd, keys):
        self._pa, self._parquet = arrow("pyarrow", "pyarrow.parquet")
        self._fd, self._rows, self._writer = fd, [], None
        self._file = os.fdopen(os.dup(fd), "wb", buffering=0)

    def add(self, row):
        # its memory goes on to the next images: the group keeps a copy
        self._rows.append(row._replace(tensors={n: (d, a.copy()) for n, (d, a) in row.tensors.items()}, owner=None))
        if len(self._rows) == GROUP:
            self._flush()

    def _column(self, name):
        pa, dtype = self._pa, self._rows[0].tensors[name][0]
        stacked = np.stack([row.tensors[name][1] for row in self._rows])
        if dtype == "bool":
            stacked = stacked.view(np.uint8)
        kind = pa.from_numpy_dtype(stacked.dtype)
        shape = stacked.shape[1:]
        flat = pa.FixedSizeListArray.from_arrays(pa.array(stacked.reshape(-1)), int(np.prod(shape)))
        column = pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(kind, shape), flat)
        return pa.field(name, column.type, False, {"dtype": dtype}), column

    def _flush(self):
        pa, rows = self._pa, self._rows
        columns = [(pa.field("key", pa.string(), False), pa.array([row.key for row in rows])),
                   (pa.field("about", pa.string(), False),
                    pa.array([json.dumps(row.about, sort_keys=True) for row in rows]))]
        columns += [self._column(name) for name in rows[0].tensors]
        table = pa.Table.from_arrays([column for _, column in columns], schema=pa.schema([f for f, _ in columns]))
        if self._writer is None:
            self._writer = self._parquet.ParquetWriter(self._file, table.schema, compression="none",
                                                       use_dictionary=False, write_statistics=["key"])
        self._writer.write_table(table, row_group_size=GROUP)
        self._rows = []

    def close(self):
        if self._rows:
            self._flush()
        if self._writer is None:    # a shard of failures
            pa = self._pa
            schema = pa.schema([pa.field("key", pa.string(), False), pa.field("about", pa.string(), False)])
            self._writer = self._parquet.ParquetWriter(self._file, schema)
        self._writer.close()
        self._file.close()


SINKS = {"webdataset": Tar, "parquet": Parquet, "safetensors": Safetensors}
