# SPDX-License-Identifier: Apache-2.0
"""Nothing lost, nothing twice: a batch killed at any time and at every call that changes a file; calls that fail."""

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time

import foveate.batch as batch
import pytest
import xxhash
from batch_files import broken, fill, hashes
from foveate.error import InputError

LONG = os.environ.get("FOVEATE_LONG") == "1"
ASKED = {"budget": 12, "backend": "cpu", "shard_size": 3}
RUN = ("import sys, foveate.batch as b\n"
       "r = b.run(sys.argv[1], sys.argv[2], resume=sys.argv[3] == 'resume', format=sys.argv[4], workers=2,\n"
       f"          **{ASKED!r})\n"
       "print(r.resumed)")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found = fill(tmp_path_factory.mktemp("pictures"), 8)
    (found / "even/0003.jpg").write_bytes(broken("truncated"))
    return found


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    library = tmp_path_factory.mktemp("shim") / "fail_at.so"
    source = os.path.join(os.path.dirname(__file__), "fail_at.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return library


def start(folder, out, resume=False, form="webdataset", **environment):
    return subprocess.Popen([sys.executable, "-c", RUN, folder, out, "resume" if resume else "new", form],
                            env=os.environ | {name: str(value) for name, value in environment.items()},
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finished(process):
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def whole(folder, out, form="webdataset"):
    """What stands after a kill is goes on from, and comes out as without one."""
    began = (out / "_foveate/config.json").exists()
    return batch.run(folder, out, resume=began, format=form, **ASKED)


def test_killed_at_every_call_that_changes_a_file(folder, shim, tmp_path):
    """Before it and after it; of the first shard's way to the folder, and of the end. The rest is the same again."""
    start_of = {"LD_PRELOAD": shim}
    under = tmp_path / "count"
    tally = tmp_path / "calls"
    assert finished(start(folder, under, FAIL_UNDER=under, FAIL_COUNT=tally, **start_of))[0] == 0
    calls, wanted = int(tally.read_text()), hashes(under)
    assert calls > 40 and len(wanted) == 5
    steps = range(1, calls + 1) if LONG else [*range(1, 34), *range(calls - 11, calls + 1)]
    jobs = [(step, how) for step in steps for how in (("kill", "after") if LONG else ("kill",))]
    while jobs:
        running = []
        for step, how in [jobs.pop(0) for _ in range(min(3, len(jobs)))]:
            out = tmp_path / f"{how}{step}"
            running.append((out, start(folder, out, FAIL_UNDER=out, FAIL_AT=step, FAIL_HOW=how, **start_of)))
        for out, process in running:
            status, _, err = finished(process)
            assert status == -signal.SIGKILL, (out.name, err)
        for out, _ in running:
            left = hashes(out) if out.exists() else {}
            assert {name: wanted[name] for name in left} == left, f"torn after {out.name}"
            result = whole(folder, out)
            assert hashes(out) == wanted, out.name
            assert (result.images, len(result.failed)) == (8, 1)


@pytest.mark.parametrize("form", ["webdataset", "parquet", "safetensors"])
def test_killed_at_any_time(folder, tmp_path, form):
    batch.run(folder, tmp_path / "whole", format=form, **ASKED)
    wanted, chance = hashes(tmp_path / "whole"), random.Random(form)
    began = time.monotonic()
    assert finished(start(folder, tmp_path / "timed", form=form))[0] == 0
    seconds, killed = time.monotonic() - began, 0
    for number in range(70 if LONG else 5):
        out = tmp_path / str(number)
        for _ in range(20):
            process = start(folder, out, (out / "_foveate/config.json").exists(), form)
            try:
                process.wait(chance.uniform(0.2, 1.0) * seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                killed += 1
            if finished(process)[0] == 0:
                break
            assert process.returncode == -signal.SIGKILL
            assert {name: wanted[name] for name in hashes(out)} == hashes(out) if out.exists() else True
        else:
            whole(folder, out, form)
        assert hashes(out) == wanted
    assert killed > 0


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EIO])
def test_a_call_that_fails_is_an_error_that_resume_mends(folder, shim, tmp_path, fault):
    tally = tmp_path / "calls"
    assert finished(start(folder, tmp_path / "a", LD_PRELOAD=shim, FAIL_UNDER=tmp_path / "a", FAIL_COUNT=tally))[0] == 0
    wanted = hashes(tmp_path / "a")
    for step in range(1, int(tally.read_text()) + 1, 1 if LONG else 9):
        out = tmp_path / str(step)
        status, _, err = finished(start(folder, out, LD_PRELOAD=shim, FAIL_UNDER=out, FAIL_AT=step, FAIL_HOW=fault))
        assert status == 1 and os.strerror(fault) in err.splitlines()[-1], (step, err)
        whole(folder, out)
        assert hashes(out) == wanted, step


def test_a_second_runner_is_refused(folder, tmp_path):
    process = start(folder, tmp_path / "out")
    lock = tmp_path / "out/_foveate/lock"
    began = time.monotonic()
    while not lock.exists() and time.monotonic() - began < 60:
        time.sleep(0.005)
    process.send_signal(signal.SIGSTOP)
    try:
        if process.poll() is None and not (tmp_path / "out/manifest.json").exists():
            with pytest.raises(InputError, match=r"batch: out: got .*which another run writes to, expected a folder"):
                batch.run(folder, tmp_path / "out", resume=True, **ASKED)
    finally:
        process.send_signal(signal.SIGCONT)
    assert finished(process)[0] == 0


def test_an_interrupt_finishes_what_is_begun(tmp_path):
    folder = fill(tmp_path / "in", 120)     # more than is ahead of the writer
    code = ("import os, signal, sys, foveate.batch as b\n"
            "signal.signal(signal.SIGINT, signal.default_int_handler)\n"   # it may be ignored here
            "left = [signal.SIGINT]\n"
            "def said(images=0, **_):\n    images and left and os.kill(os.getpid(), left.pop())\n"
            f"r = b.run(*sys.argv[1:], said=said, workers=1, **{ASKED!r})\n"
            "assert r.interrupted and signal.getsignal(signal.SIGINT) is signal.default_int_handler\n"
            "print(r.shards, r.missing)")
    found = subprocess.run([sys.executable, "-c", code, folder, tmp_path / "out"], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    shards, missing = map(int, found.stdout.split())
    assert 1 <= shards < 40 and shards + missing == 40
    assert "manifest.json" not in hashes(tmp_path / "out")
    with pytest.raises(InputError, match=r"a run is not finished, expected .* --resume finishes it"):
        next(batch.read(tmp_path / "out"))
    on = batch.run(folder, tmp_path / "out", resume=True, **ASKED)
    assert (on.resumed, on.shards, on.interrupted) == (shards, 40, False)
    batch.run(folder, tmp_path / "whole", **ASKED)
    assert hashes(tmp_path / "out") == hashes(tmp_path / "whole")


def test_who_ignores_interrupts_goes_on(folder, tmp_path):
    code = ("import os, signal, sys, foveate.batch as b\n"
            "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
            "r = b.run(*sys.argv[1:], said=lambda **_: os.kill(os.getpid(), signal.SIGINT), "
            f"**{ASKED!r})\nassert not r.interrupted and signal.getsignal(signal.SIGINT) is signal.SIG_IGN")
    subprocess.run([sys.executable, "-c", code, folder, tmp_path / "out"], check=True)


def test_resume_is_for_the_same_run(folder, tmp_path):
    batch.run(folder, tmp_path / "out", **ASKED)
    with pytest.raises(InputError, match=r"batch: out: got .*where a run has begun, expected a new folder. --resume"):
        batch.run(folder, tmp_path / "out", **ASKED)
    for change in ({"budget": 13}, {"dtype": "float32"}, {"gaze": (0.5, 0.5)}, {"shard_size": 4}):
        with pytest.raises(InputError, match=r"batch: resume: options: got .* as the run began. Choose another folder"):
            batch.run(folder, tmp_path / "out", resume=True, **ASKED | change)
    fill(folder / "more", 1)
    try:
        with pytest.raises(InputError, match=r"batch: resume: images: got 10, expected 9, as the run began"):
            batch.run(folder, tmp_path / "out", resume=True, **ASKED)
    finally:
        (folder / "more/even/0000.jpg").unlink()
    assert batch.run(folder, tmp_path / "out", resume=True, workers=1, **ASKED).resumed == 3
    (tmp_path / "out/00001.tar").write_bytes(b"cut")
    with pytest.raises(InputError, match=r"batch: out: got 00001.tar of 3 bytes, expected [0-9]+, as it was written"):
        batch.run(folder, tmp_path / "out", resume=True, **ASKED)
    (tmp_path / "out/_foveate/done/00001.json").unlink()
    (tmp_path / "out/00001.tar").unlink()
    assert batch.run(folder, tmp_path / "out", resume=True, **ASKED).resumed == 2


def test_folders_that_cannot_be_written_to(folder, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thing").write_text("")
    with pytest.raises(InputError, match=r"batch: out: got .*full with thing, expected an empty folder. Nothing is wr"):
        batch.run(folder, tmp_path / "full", **ASKED)
    with pytest.raises(OSError):
        batch.run(folder, "/proc/foveate", **ASKED)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        batch.run(folder, tmp_path / "file", **ASKED)


def test_no_descriptor_is_left_open(folder, tmp_path):
    def count():
        return len(os.listdir("/proc/self/fd"))

    batch.run(folder, tmp_path / "warm", **ASKED)
    before = count()
    for number in range(3):
        batch.run(folder, tmp_path / str(number), **ASKED)
    with pytest.raises(batch.StoppedError):
        batch.run(folder, tmp_path / "failed", on_error="fail", **ASKED)
    assert count() == before


@pytest.mark.parametrize("format, suffix", [("webdataset", "tar"), ("parquet", "parquet"), ("safetensors",) * 2])
def test_the_record_of_a_shard(folder, tmp_path, format, suffix):
    batch.run(folder, tmp_path / "out", format=format, **ASKED)
    record = json.loads((tmp_path / "out/_foveate/done/00001.json").read_text())
    data = (tmp_path / f"out/00001.{suffix}").read_bytes()
    assert record["files"] == [{"name": f"00001.{suffix}", "bytes": len(data),
                                "xxh3_64": xxhash.xxh3_64_hexdigest(data)}]
    assert (record["shard"], record["images"] + len(record["failed"])) == (1, 3)
