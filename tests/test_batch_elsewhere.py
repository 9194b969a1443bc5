# SPDX-License-Identifier: Apache-2.0
"""The batch in other libraries' hands: Ray, Hugging Face's datasets, WebDataset."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import foveate
import foveate.batch as batch
import numpy as np
import pytest
from batch_files import broken, encoded, fill, hashes, picture
from foveate.batch import mappers
from foveate.batch.options import Options
from foveate.batch.pipeline import Pipeline
from foveate.batch.ray import Failures, Shards
from foveate.batch.store import Store
from foveate.decode import DecodeError, decode
from foveate.error import InputError, UnsupportedError

ASKED = {"budget": 12, "model": "qwen2.5-vl", "shard_size": 2}
MAPPED = {"budget": 12, "model": "qwen2.5-vl", "backend": "cpu"}
# Lines of JSON in, (source, out, options, what is done to it meanwhile); of each run one out. Ray starts once.
ON_RAY = """
import json, os, pathlib, shutil, sys, threading
import psutil
import foveate.batch as b
from foveate import bench_batch

def reads(process, pipe):
    try:
        return any(os.readlink(fd) == pipe for fd in pathlib.Path(f"/proc/{process.pid}/fd").iterdir())
    except OSError:
        return False

def kill(pipe, data, killed):
    with open(pipe, "wb"):      # from when a worker, who has this shard in its hands, waits for the rest
        for child in psutil.Process().children(recursive=True):
            if reads(child, pipe):
                child.kill()
                child.wait(20)
                killed.append(child.pid)
    pathlib.Path(pipe).write_bytes(data)

def run(source, out, options, what):
    def said(total=0, **_):
        if total and what == "no room":
            shutil.rmtree(out + "/_foveate/tmp")

    killed = []
    if what == "bench":
        os.mkdir(out)
        return bench_batch.on_ray(bench_batch.folder_of(pathlib.Path(source), 2), pathlib.Path(out), 2, 1, 1)
    if what and what != "no room":
        data = pathlib.Path(what).read_bytes()
        os.unlink(what)
        os.mkfifo(what)
        threading.Thread(target=kill, args=(what, data, killed), daemon=True).start()
    try:
        found = b.run(source, out, distributor="ray", workers=2, said=said, backend="cpu", **options)
        return [found.images, len(found.failed), found.resumed, found.missing, len(killed)]
    except Exception as error:
        return [type(error).__name__, str(error)]

for line in sys.stdin:
    print("RESULT", json.dumps(run(*json.loads(line))), flush=True)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found = fill(tmp_path_factory.mktemp("pictures"), 15)
    (found / "even/0003.jpg").write_bytes(broken("truncated"))
    return found


@pytest.fixture(scope="module")
def on_ray(tmp_path_factory):
    """A call of `batch.run` on Ray, in a process of its own: what it gives, or the name and text of its error."""
    log = tmp_path_factory.mktemp("ray") / "log"
    with open(log, "wb") as file:
        child = subprocess.Popen([sys.executable, "-c", ON_RAY], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                 stderr=file, text=True, env=os.environ | {"RAY_AUTH_MODE": "disabled",
                                                                           "RAY_USAGE_STATS_ENABLED": "0"})

    def run(source, out, what=None, **options):
        print(json.dumps([str(source), str(out), ASKED | options, what]), file=child.stdin, flush=True)
        for line in child.stdout:
            if line.startswith("RESULT"):
                return json.loads(line.removeprefix("RESULT"))
        raise AssertionError(log.read_text()[-3000:])

    yield run
    child.stdin.close()
    assert child.wait(60) == 0, log.read_text()[-3000:]
    child.stdout.close()


@pytest.fixture(params=["local", "ray"])
def run(request):
    """The same call, here and there; an error as its name and text."""
    if request.param == "ray":
        return request.getfixturevalue("on_ray")

    def here(source, out, what=None, **options):
        def said(total=0, **_):
            if total and what == "no room":
                shutil.rmtree(out / "_foveate/tmp")

        try:
            found = batch.run(source, out, backend="cpu", said=said, **ASKED | options)
            return [found.images, len(found.failed), found.resumed, found.missing, 0]
        except Exception as error:
            return [type(error).__name__, str(error)]

    return here


def test_ray_makes_the_same_even_when_a_worker_is_killed(on_ray, tmp_path):
    fill(tmp_path / "in", 15)
    batch.run(tmp_path / "in", tmp_path / "here", backend="cpu", **ASKED)
    pipe = str(tmp_path / "in/even/0008.webp")
    assert on_ray(tmp_path / "in", tmp_path / "ray", pipe) == [15, 0, 0, 0, 1]
    assert hashes(tmp_path / "ray") == hashes(tmp_path / "here")
    assert not any((tmp_path / "ray/_foveate/tmp").iterdir())


def test_a_run_begun_here_goes_on_there(folder, on_ray, tmp_path):
    batch.run(folder, tmp_path / "here", backend="cpu", **ASKED)
    code = ("import os, signal, sys, foveate.batch as b\n"
            f"b.run(*sys.argv[1:], workers=1, backend='cpu', **{ASKED!r},\n"
            "      said=lambda images=0, **_: images and os.kill(os.getpid(), signal.SIGKILL))")
    killed = subprocess.run([sys.executable, "-c", code, folder, tmp_path / "ray"])
    assert killed.returncode == -signal.SIGKILL
    images, failed, _, missing, _ = on_ray(folder, tmp_path / "ray", resume=True)
    assert (images, failed, missing) == (15, 1, 0)
    assert hashes(tmp_path / "ray") == hashes(tmp_path / "here")


def test_a_failure_ends_it_before_its_shard(folder, run, tmp_path):
    name, text = run(folder, tmp_path / "out", on_error="fail")
    assert name == "StoppedError" and text.startswith(
        "batch: image: got even/0003 (decode: truncated: got a file that ends early, expected a whole one.), expected")
    assert "00001.tar" not in hashes(tmp_path / "out")      # where it would be
    batch.run(folder, tmp_path / "out", backend="cpu", resume=True, **ASKED)
    batch.run(folder, tmp_path / "whole", backend="cpu", **ASKED)
    assert hashes(tmp_path / "out") == hashes(tmp_path / "whole")


def test_too_many_failures_end_it_before_their_shard(run, tmp_path):
    fill(tmp_path, 15)
    for number in (0, 5, 9, 14):
        next(tmp_path.glob(f"*/{number:04d}.*")).write_bytes(broken("empty"))
    assert run(tmp_path, tmp_path / "out", max_failures=2) == [
        "StoppedError", "batch: failures: got 3, expected at most 2. The last: decode: empty: got 0 bytes, expected an "
                        "image file."]
    found = [json.loads(path.read_text()) for path in (tmp_path / "out/_foveate/done").iterdir()]
    assert sum(len(record["failed"]) for record in found) <= 2
    result = batch.run(tmp_path, tmp_path / "out", backend="cpu", max_failures=4, resume=True, **ASKED)
    assert (result.images, len(result.failed)) == (11, 4)


def test_failures_of_all_workers_are_counted_to_the_one_that_ends_it():
    count = Failures(1, 2).add
    assert [count([5]), count([5]), count([5, 9]), count([14])] == [2, 2, 3, 3]


def test_a_folder_that_cannot_be_written_to(folder, run, tmp_path):
    name, text = run(folder, tmp_path / "out", "no room")
    assert name == "FileNotFoundError" and "_foveate/tmp" in text


@pytest.mark.long
def test_the_bench_on_ray(on_ray, tmp_path):
    found = on_ray(tmp_path, tmp_path / "out", "bench")
    assert found["shard"] == 1 and found["ratio"] > 0
    assert all(found[name]["cpu_ms"] > 0 for name in ("local", "ray")), found


def shards_of(folder, out, **limits):
    """What an actor of Ray holds, without Ray."""
    options = Options({name: ASKED[name] for name in ("budget", "model")}, shard_size=2)
    Store(out, ".tar").open({}, False)
    return Shards(folder, {"image": "image", "key": None}, options, out, {"backend": "cpu"},
                  (limits.get("on_error", "skip"), None), None)


def test_an_actor_goes_on_from_shard_to_shard(folder, tmp_path, monkeypatch):
    """One run of the pipeline makes all that are at hand, and calls have each its own."""
    runs, go = [], threading.Event()
    pipeline_run = Pipeline.run

    def counted(self, shards, **said):
        runs.append(go.wait(20))
        return pipeline_run(self, shards, **said)

    monkeypatch.setattr(Pipeline, "run", counted)
    actor = shards_of(folder, tmp_path)
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(actor, {"shard": [number]}) for number in range(8)]
        while actor._given.qsize() < 7:
            time.sleep(0.001)
        go.set()
        records = [json.loads(one.result(20)["record"][0]) for one in asked]
    assert [record["shard"] for record in records] == list(range(8)) and runs == [True]
    # those that are there are not made again
    assert json.loads(actor({"shard": [3]})["record"][0]) == records[3] and runs == [True]


def test_an_actor_begins_nothing_after_a_failure(folder, tmp_path):
    actor = shards_of(folder, tmp_path, on_error="fail")
    for number in (1, 5):
        assert json.loads(actor({"shard": [number]})["record"][0])["stopped"].startswith("batch: image: got even/0003")
    assert hashes(tmp_path) == {}


def test_without_ray(folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UnsupportedError, match="batch: Ray: got no ray, expected it installed"):
        batch.run(folder, tmp_path / "out", distributor="ray", **MAPPED)


def test_datasets_map(tmp_path):
    import datasets

    rows = datasets.Dataset.from_dict({"image": [encoded(number) for number in range(5)], "label": list(range(5)),
                                       "look": [[0.1 * number, 0.5] for number in range(5)]})
    rows = rows.cast_column("image", datasets.Image())
    found = rows.map(mappers.Mapper(gaze="look", **MAPPED), batched=True, batch_size=2, remove_columns=["image"])
    with foveate.Engine(backend="cpu") as engine:
        for number in range(5):
            tokens = engine.tokens(decode(encoded(number)), budget=12, model="qwen2.5-vl", dtype="float16",
                                   gaze=(0.1 * number, 0.5))
            row = found.with_format("numpy")[number]
            assert np.array_equal(row["patches"], tokens.numpy()) and row["label"] == number
            assert np.array_equal(row["center_px"], tokens.center_px[0])


def test_a_dataset_is_a_source(tmp_path):
    import datasets

    rows = datasets.Dataset.from_dict({"image": [encoded(number) for number in range(4)], "id": list("abcd")})
    rows = rows.cast_column("image", datasets.Image())
    rows.save_to_disk(tmp_path / "saved")
    for number, source in enumerate((rows, tmp_path / "saved")):
        batch.run(source, tmp_path / str(number), key="id", **MAPPED)
    assert hashes(tmp_path / "0") == hashes(tmp_path / "1")
    assert [sample.key for sample in batch.read(tmp_path / "0")] == list("abcd")


def test_webdataset(folder, tmp_path):
    import webdataset as wds

    batch.run(folder, tmp_path / "out", shard_size=8, **MAPPED)
    ours = {sample.key: sample for sample in batch.read(tmp_path / "out")}
    # theirs reads what we write
    theirs = wds.WebDataset(sorted(map(str, (tmp_path / "out").glob("*.tar"))), shardshuffle=False, empty_check=False)
    from safetensors.numpy import load
    found = {sample["__key__"]: load(sample["safetensors"]) for sample in theirs}
    assert found.keys() == ours.keys()
    assert all(np.array_equal(found[key]["patches"], ours[key].arrays["patches"]) for key in ours)
    # and foveates on the way
    with wds.TarWriter(str(tmp_path / "pictures.tar")) as writer:
        for number in range(3):
            writer.write({"__key__": str(number), "png": encoded(number, "PNG"), "cls": number})
        writer.write({"__key__": "x", "png": broken("format"), "cls": 9})
    heard = []
    stage = mappers.webdataset(handler=lambda error: heard.append(error) or True, gaze=(0.5, 0.5), **MAPPED)
    rows = list(wds.WebDataset(str(tmp_path / "pictures.tar"), shardshuffle=False, empty_check=False).compose(stage))
    assert [(row["__key__"], row["cls"], row["patches"].shape) for row in rows] == [
        (str(number), str(number).encode(), (48, 1176)) for number in range(3)]
    assert [type(error) for error in heard] == [DecodeError]


def test_map_batches_on_arrays_and_after_pickling():
    import pickle

    columns = {"image": np.stack([picture(0), picture(0)[::-1]]), "n": np.arange(2)}
    mapper = mappers.Mapper(keep=True, **MAPPED)
    first = mapper(columns)
    again = pickle.loads(pickle.dumps(mapper))(columns)
    assert first["patches"].shape == (2, 48, 1176) and first["n"].tolist() == [0, 1] and "image" in first
    assert np.array_equal(first["patches"], again["patches"])


def test_what_mappers_refuse():
    mapper = mappers.Mapper(gaze="look", **MAPPED)
    with pytest.raises(InputError, match="batch: gaze column: got 'look', expected one of 'image'"):
        mapper({"image": [picture(0)]})
    with pytest.raises(InputError, match=r"batch: image array: got float64 \(4, 4\), expected uint8"):
        mappers.Mapper(**MAPPED)({"image": [np.zeros((4, 4))]})
    with pytest.raises(InputError, match="batch: sample: got __key__, txt, expected one of jpg, jpeg, png, webp"):
        list(mappers.webdataset(**MAPPED)([{"__key__": "a", "txt": b""}]))
    with pytest.raises(DecodeError):
        mappers.Mapper(**MAPPED)({"image": [broken("corrupt")]})
