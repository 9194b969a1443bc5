# SPDX-License-Identifier: Apache-2.0
"""The batch in other libraries' hands: Ray, Hugging Face's datasets, WebDataset."""

import os
import signal
import subprocess
import sys

import foveate
import foveate.batch as batch
import numpy as np
import pytest
from batch_files import broken, encoded, fill, hashes, picture
from foveate.batch import mappers
from foveate.decode import DecodeError, decode
from foveate.error import InputError, UnsupportedError

ASKED = {"budget": 12, "model": "qwen2.5-vl", "backend": "cpu"}
# a worker is killed when the first shard is there; Ray starts another
ON_RAY = """
import os, signal, sys, foveate.batch as b
import psutil

def said(images=0, earlier=False, **_):
    if images and sys.argv[3] == "kill" and not killed:
        for child in psutil.Process().children(recursive=True):
            line = " ".join(child.cmdline())
            if "MapWorker" in line:
                killed.append(child.pid)
                os.kill(child.pid, signal.SIGKILL)
                break

killed = []
r = b.run(sys.argv[1], sys.argv[2], distributor="ray", workers=2, said=said, shard_size=2,
          resume=sys.argv[3] == "resume", budget=12, model="qwen2.5-vl", backend="cpu")
print("RESULT", r.images, len(r.failed), r.resumed, r.missing, len(killed))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found = fill(tmp_path_factory.mktemp("pictures"), 15)
    (found / "even/0003.jpg").write_bytes(broken("truncated"))
    return found


def on_ray(folder, out, how):
    found = subprocess.run([sys.executable, "-c", ON_RAY, folder, out, how], capture_output=True, text=True,
                           timeout=240, env=os.environ | {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"})
    lines = [line for line in found.stdout.splitlines() if line.startswith("RESULT")]
    assert lines, found.stderr[-3000:]
    return list(map(int, lines[0].split()[1:]))


def test_ray_makes_the_same_even_when_a_worker_is_killed(folder, tmp_path):
    batch.run(folder, tmp_path / "here", shard_size=2, **ASKED)
    assert on_ray(folder, tmp_path / "ray", "kill") == [15, 1, 0, 0, 1]
    assert hashes(tmp_path / "ray") == hashes(tmp_path / "here")
    assert not any((tmp_path / "ray/_foveate/tmp").iterdir())


def test_a_run_begun_here_goes_on_there(folder, tmp_path):
    batch.run(folder, tmp_path / "here", shard_size=2, **ASKED)
    code = ("import os, signal, sys, foveate.batch as b\n"
            "b.run(*sys.argv[1:], shard_size=2, workers=1, budget=12, model='qwen2.5-vl', backend='cpu',\n"
            "      said=lambda images=0, **_: images and os.kill(os.getpid(), signal.SIGKILL))")
    killed = subprocess.run([sys.executable, "-c", code, folder, tmp_path / "ray"])
    assert killed.returncode == -signal.SIGKILL
    images, failed, _, missing, _ = on_ray(folder, tmp_path / "ray", "resume")
    assert (images, failed, missing) == (15, 1, 0)
    assert hashes(tmp_path / "ray") == hashes(tmp_path / "here")


def test_without_ray(folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UnsupportedError, match="batch: Ray: got no ray, expected it installed"):
        batch.run(folder, tmp_path / "out", distributor="ray", **ASKED)


def test_datasets_map(tmp_path):
    import datasets

    rows = datasets.Dataset.from_dict({"image": [encoded(number) for number in range(5)], "label": list(range(5)),
                                       "look": [[0.1 * number, 0.5] for number in range(5)]})
    rows = rows.cast_column("image", datasets.Image())
    found = rows.map(mappers.Mapper(gaze="look", **ASKED), batched=True, batch_size=2, remove_columns=["image"])
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
        batch.run(source, tmp_path / str(number), key="id", **ASKED)
    assert hashes(tmp_path / "0") == hashes(tmp_path / "1")
    assert [sample.key for sample in batch.read(tmp_path / "0")] == list("abcd")


def test_webdataset(folder, tmp_path):
    import webdataset as wds

    batch.run(folder, tmp_path / "out", shard_size=8, **ASKED)
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
    stage = mappers.webdataset(handler=lambda error: heard.append(error) or True, gaze=(0.5, 0.5), **ASKED)
    rows = list(wds.WebDataset(str(tmp_path / "pictures.tar"), shardshuffle=False, empty_check=False).compose(stage))
    assert [(row["__key__"], row["cls"], row["patches"].shape) for row in rows] == [
        (str(number), str(number).encode(), (48, 1176)) for number in range(3)]
    assert [type(error) for error in heard] == [DecodeError]


def test_map_batches_on_arrays_and_after_pickling():
    import pickle

    columns = {"image": np.stack([picture(0), picture(0)[::-1]]), "n": np.arange(2)}
    mapper = mappers.Mapper(keep=True, **ASKED)
    first = mapper(columns)
    again = pickle.loads(pickle.dumps(mapper))(columns)
    assert first["patches"].shape == (2, 48, 1176) and first["n"].tolist() == [0, 1] and "image" in first
    assert np.array_equal(first["patches"], again["patches"])


def test_what_mappers_refuse():
    mapper = mappers.Mapper(gaze="look", **ASKED)
    with pytest.raises(InputError, match="batch: gaze column: got 'look', expected one of 'image'"):
        mapper({"image": [picture(0)]})
    with pytest.raises(InputError, match=r"batch: image array: got float64 \(4, 4\), expected uint8"):
        mappers.Mapper(**ASKED)({"image": [np.zeros((4, 4))]})
    with pytest.raises(InputError, match="batch: sample: got __key__, txt, expected one of jpg, jpeg, png, webp"):
        list(mappers.webdataset(**ASKED)([{"__key__": "a", "txt": b""}]))
    with pytest.raises(DecodeError):
        mappers.Mapper(**ASKED)({"image": [broken("corrupt")]})
