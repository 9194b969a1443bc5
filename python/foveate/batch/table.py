# SPDX-License-Identifier: Apache-2.0
"""Parquet and Arrow files in the parts that they are stored in, so that no whole file has to be in memory."""

from typing import Any, NamedTuple

from ..error import UnsupportedError


def arrow(*modules):
    """PyArrow's modules."""
    from importlib import import_module

    try:
        return [import_module(name) for name in modules]
    except ModuleNotFoundError:
        raise UnsupportedError(
            'batch: Parquet: got no pyarrow, expected it installed. pip install "foveate[batch]"') from None


class Table(NamedTuple):
    """`rows` of each part; `part(i)` is a dict of its columns, `column(name)` one column of all as a list."""

    names: list[str]
    rows: list[int]
    part: Any
    column: Any


def open_table(path):
    if path.endswith(".parquet"):
        parquet, = arrow("pyarrow.parquet")
        file = parquet.ParquetFile(path)
        rows = [file.metadata.row_group(part).num_rows for part in range(file.num_row_groups)]

        def part(number):
            read = file.read_row_group(number)
            return {name: read[name] for name in read.column_names}

        return Table(list(file.schema_arrow.names), rows, part, lambda name: file.read([name])[name].to_pylist())
    pa, ipc = arrow("pyarrow", "pyarrow.ipc")
    mapped = pa.memory_map(path)
    try:
        reader = ipc.open_file(mapped)
        batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
    except pa.ArrowInvalid:     # Hugging Face writes streams
        mapped.seek(0)
        batches = list(ipc.open_stream(mapped))
    names = batches[0].schema.names if batches else []
    return Table(names, [len(batch) for batch in batches],
                 lambda number: dict(zip(names, batches[number].columns, strict=True)),
                 lambda name: [value for batch in batches for value in batch[name].to_pylist()])
