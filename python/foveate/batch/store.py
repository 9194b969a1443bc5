# SPDX-License-Identifier: Apache-2.0
"""The output folder: a shard is there whole and once, or not at all, whenever the process is killed.

A shard is written under another name and synced; a record of what it is to become is synced in `pending`; the file
is renamed; the record moves to `done`. Whoever finds a record in `pending` removes what it names and does it again.
"""

import fcntl
import json
import os
import shutil
import uuid
from pathlib import Path

from ..error import InputError, require
from .container import digest_of

STATE = "_foveate"


class Store:
    """Of one run at a time: a second finds the folder locked."""

    def __init__(self, out, suffix):
        self.out, self._state, self._suffix = Path(out), Path(out) / STATE, suffix
        self._lock = None

    def open(self, config, resume):
        """Takes the lock, holds the configuration to the one that began, and clears what a killed run left."""
        self._state.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self._state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise InputError(f"batch: out: got {self.out}, which another run writes to, expected a folder of "
                             "this run's own.") from None
        try:
            self._settle(config, resume)
        except BaseException:
            self.close()
            raise

    def _settle(self, config, resume):
        began = self._state / "config.json"
        if began.exists():
            require(resume, "batch: out", f"{self.out}, where a run has begun", "a new folder",
                    "--resume goes on with it.")
            before = json.loads(began.read_text())
            for name in config:
                require(before.get(name) == config[name], f"batch: resume: {name}", _short(config[name]),
                        f"{_short(before.get(name))}, as the run began", "Choose another folder for another run.")
        else:
            strange = sorted(path.name for path in self.out.iterdir() if path.name != STATE)
            require(not strange, "batch: out", f"{self.out} with {strange[0] if strange else ''}", "an empty folder",
                    "Nothing is written over.")
        for name in ("tmp", "pending", "done"):
            (self._state / name).mkdir(exist_ok=True)
        for record in sorted((self._state / "pending").glob("*.json")):
            for file in json.loads(record.read_text())["files"]:
                (self.out / file["name"]).unlink(missing_ok=True)
            sync_folder(self.out)
            record.unlink()
        shutil.rmtree(self._state / "tmp")
        (self._state / "tmp").mkdir()
        if not began.exists():
            self._record(began, config)

    def close(self):
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def name(self, shard):
        return f"{shard:05d}"

    def done(self) -> dict[int, dict]:
        """Records of the shards that are there, each file as long as it was written."""
        found = {}
        for path in (self._state / "done").glob("*.json"):
            record = json.loads(path.read_text())
            for file in record["files"]:
                at = self.out / file["name"]
                size = at.stat().st_size if at.exists() else None
                if size != file["bytes"]:
                    raise InputError(f"batch: out: got {file['name']} of {size} bytes, expected {file['bytes']}, as "
                                     f"it was written. Delete {path} to have it made again.")
            found[int(path.stem)] = record
        return found

    def record(self, shard) -> dict | None:
        """Of one shard, if it is there."""
        path = self._state / "done" / f"{self.name(shard)}.json"
        return json.loads(path.read_text()) if path.exists() else None

    def temporary(self) -> Path:
        return self._state / "tmp" / uuid.uuid4().hex

    def commit(self, shard, temporary, fd, digest, record):
        """Makes a written file a shard. `record` is kept with it."""
        os.fsync(fd)
        name = self.name(shard)
        final = self.out / (name + self._suffix)
        files = [{"name": final.name, "bytes": os.fstat(fd).st_size, "xxh3_64": digest or digest_of(fd)}]
        record = {"shard": shard, "files": files, **record}
        pending, done = self._state / "pending" / f"{name}.json", self._state / "done" / f"{name}.json"
        self._record(pending, record)
        os.rename(temporary, final)
        sync_folder(self.out)
        os.rename(pending, done)
        sync_folder(done.parent)
        return record

    def clear(self):
        """What killed workers of a finished run left."""
        for name in ("tmp", "pending"):
            shutil.rmtree(self._state / name)
            (self._state / name).mkdir()

    def finish(self, name, text):
        """One file beside the shards that tells of all of them."""
        temporary = self.temporary()
        _write(temporary, text)
        os.rename(temporary, self.out / name)
        sync_folder(self.out)

    def _record(self, path, value):
        temporary = self.temporary()
        _write(temporary, json.dumps(value, indent=1, sort_keys=True) + "\n")
        os.rename(temporary, path)
        sync_folder(path.parent)


def _write(path, text):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        left = memoryview(text.encode())
        while left:
            left = left[os.write(fd, left):]
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_folder(path):
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _short(value):
    text = json.dumps(value, sort_keys=True)
    return text if len(text) <= 60 else text[:57] + "..."
