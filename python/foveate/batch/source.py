# SPDX-License-Identifier: Apache-2.0
"""Where a batch's images come from: every source is a list of keys, and files that can be read in any order."""

import json
import os
import tarfile
import threading
from glob import glob, has_magic
from pathlib import Path, PurePosixPath

from ..error import InputError, require

IMAGES = (".jpg", ".jpeg", ".png", ".webp")
TABLES = (".parquet", ".arrow", ".feather")
KINDS = "a folder, a glob, a .tar, .parquet, .arrow or .txt file, or a Hugging Face dataset"


class Files:
    """Files of a folder; beside each there may be a .json of the same name."""

    def __init__(self, paths, root):
        self._paths = paths
        self.keys = unique([_key(os.path.relpath(path, root)) for path in paths])

    def read(self, index):
        return Path(self._paths[index]).read_bytes()

    def about(self, index):
        beside = Path(self._paths[index]).with_suffix(".json")
        return json.loads(beside.read_text()) if beside.exists() else {}


class Tars:
    """WebDataset's tars: what a name has before its first dot is the key, an image and a .json may share it."""

    def __init__(self, paths):
        self._places, names = [], []
        self._files = [open(path, "rb", buffering=0) for path in paths]
        for number, file in enumerate(self._files):
            found = {}
            try:
                with tarfile.open(fileobj=file, mode="r:") as tar:
                    for member in tar:
                        folder, name = os.path.split(member.name)
                        stem, dot, suffix = name.partition(".")
                        kind = "json" if suffix == "json" else "image" if f".{suffix.lower()}".endswith(IMAGES) else ""
                        if member.isreg() and dot and kind:
                            entry = found.setdefault(os.path.join(folder, stem), {})
                            entry.setdefault(kind, (member.offset_data, member.size))
            except tarfile.TarError:
                raise InputError(f"batch: source: got {paths[number]}, expected a tar without compression.") from None
            kept = {key: entry for key, entry in found.items() if "image" in entry}
            names += map(_key, kept)
            self._places += ((number, entry) for entry in kept.values())
        self.keys = unique(names)

    def _part(self, number, place):
        offset, size = place
        return os.pread(self._files[number].fileno(), size, offset)

    def read(self, index):
        number, entry = self._places[index]
        return self._part(number, entry["image"])

    def about(self, index):
        number, entry = self._places[index]
        return json.loads(self._part(number, entry["json"])) if "json" in entry else {}


class Tables:
    """Parquet and Arrow files with a column of encoded images, as bytes or as Hugging Face's {bytes, path}."""

    def __init__(self, paths, image, key):
        from .table import open_table

        self._image, self._lock, self._kept = image, threading.Lock(), {}
        self._tables, self._starts, names = [open_table(path) for path in paths], [], []
        for number, table in enumerate(self._tables):
            for column in filter(None, (image, key)):
                require(column in table.names, "batch: column", repr(column),
                        "one of " + ", ".join(map(repr, table.names)), f"{paths[number]} has no other.")
            for part, rows in enumerate(table.rows):
                self._starts += ((number, part, row) for row in range(rows))
            stem = _key(os.path.basename(paths[number]))
            names += (map(str, table.column(key)) if key else (f"{stem}-{row:08d}" for row in range(sum(table.rows))))
        self.keys = unique([_key(name, cut=False) for name in names])

    def _row(self, index):
        number, part, row = self._starts[index]
        with self._lock:    # neighbours share a row group: the last few stay
            columns = self._kept.get((number, part))
            if columns is None:
                columns = self._kept[number, part] = self._tables[number].part(part)
                while len(self._kept) > 3:
                    self._kept.pop(next(iter(self._kept)))
        return columns, row

    def read(self, index):
        columns, row = self._row(index)
        return _bytes_of(columns[self._image][row].as_py())

    def about(self, index):
        columns, row = self._row(index)
        return {name: column[row].as_py() for name, column in columns.items() if name != self._image}


class Rows:
    """A Hugging Face dataset at hand: `len`, and rows as dicts."""

    def __init__(self, dataset, image, key):
        names = list(getattr(dataset, "column_names", None) or dataset[0])
        for column in filter(None, (image, key)):
            require(column in names, "batch: column", repr(column), "one of " + ", ".join(map(repr, names)))
        if hasattr(dataset, "cast_column"):     # the file's bytes: decoding is ours
            from datasets import Image

            dataset = dataset.cast_column(image, Image(decode=False))
        self._rows, self._image = dataset, image
        others = [str(name) for name in dataset[key]] if key else [f"{row:08d}" for row in range(len(dataset))]
        self.keys = unique([_key(name, cut=False) for name in others])

    def read(self, index):
        return _bytes_of(self._rows[index][self._image])

    def about(self, index):
        return {name: value for name, value in self._rows[index].items() if name != self._image}


def open_source(source, *, image="image", key=None):
    """Anything that `foveate.batch.run` takes as its source."""
    if hasattr(source, "__getitem__") and hasattr(source, "column_names"):
        return Rows(source, image, key)
    if isinstance(source, (list, tuple)):
        require(len(source) > 0, "batch: source", "an empty list", "files")
        paths = [os.fspath(path) for path in source]
        root = os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in paths])
        return _of_paths(paths, root, image, key)
    text = os.fspath(source)
    path = Path(text)
    if path.is_dir():
        if (path / "state.json").exists() and (path / "dataset_info.json").exists():
            from datasets import load_from_disk

            return Rows(load_from_disk(text), image, key)
        found = [str(file) for file in path.rglob("*") if file.suffix.lower() in (*IMAGES, ".tar", *TABLES)]
        pictures = [file for file in found if file.lower().endswith(IMAGES)]
        return _of_paths(sorted(pictures or found), text, image, key)
    if path.suffix == ".txt" and path.is_file():
        lines = [line.strip() for line in path.read_text().splitlines() if line.strip()]
        return _of_paths([os.path.join(path.parent, line) for line in lines], str(path.parent), image, key)
    if path.is_file():
        return _of_paths([text], str(path.parent), image, key)
    require(has_magic(text), "batch: source", text, KINDS, "There is no such file.")
    root = text[: min(text.index(mark) for mark in "*?[" if mark in text)].rpartition("/")[0] or "."
    return _of_paths(sorted(file for file in glob(text, recursive=True) if os.path.isfile(file)), root, image, key)


def _of_paths(paths, root, image, key):
    require(len(paths) > 0, "batch: source", "no file", KINDS + " with images")
    suffixes = {os.path.splitext(path)[1].lower() for path in paths}
    if suffixes == {".tar"}:
        return Tars(paths)
    if suffixes <= set(TABLES):
        return Tables(paths, image, key)
    strange = sorted(suffixes - set(IMAGES))
    require(not strange, "batch: source", "files ending in " + ", ".join(map(repr, strange)),
            "all of " + ", ".join(IMAGES) + ", or all .tar, or all .parquet and .arrow")
    return Files(paths, root)


def _key(name, cut=True):
    """A name that WebDataset takes as a key: no dot, nothing above the folder, none of a path's own marks."""
    path = PurePosixPath(str(name).replace("\\", "/"))
    path = path.with_suffix("") if cut and path.suffix.lower() in (*IMAGES, ".tar", *TABLES) else path
    parts = [part.replace(".", "_") for part in path.parts if part not in ("/", ".", "..")]
    return "".join(c if c.isprintable() else "_" for c in "/".join(parts)) or "image"


def unique(names):
    """The same names; the second `a` becomes `a-2`."""
    taken, found = set(names), set()
    result = []
    for name in names:
        number, tried = 1, name
        while tried in found or (number > 1 and tried in taken):
            number += 1
            tried = f"{name}-{number}"
        found.add(tried)
        result.append(tried)
    return result


def _bytes_of(value):
    if isinstance(value, dict):
        value = value.get("bytes") or Path(value["path"]).read_bytes()
    if not isinstance(value, bytes):
        raise InputError(f"batch: column: got a {type(value).__name__}, expected the bytes of an image file.")
    return value
