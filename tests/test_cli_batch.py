# SPDX-License-Identifier: Apache-2.0
"""`foveate batch` as it is typed: what it prints, what it leaves, and its exit status."""

import json
import signal
import subprocess
import sys
import time

import foveate.batch as batch
import pytest
from batch_files import broken, fill, hashes
from commands import run
from foveate import bench_batch

ASKED = ("--model", "qwen2.5-vl", "--budget", 12, "--backend", "cpu", "--shard-size", 4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found = fill(tmp_path_factory.mktemp("pictures"), 9, gaze=True)
    (found / "even/0003.jpg").write_bytes(broken("truncated"))
    return found


def test_a_run_and_what_it_says(capsys, folder, tmp_path):
    status, out, err = run(capsys, "batch", folder, "--out", tmp_path / "out", *ASKED, "--gaze", "sidecar")
    assert (status, out) == (0, "")
    assert "9 images, " in err and "1 failed; " in err and "decode " in err
    assert "failed: 1 truncated; each with its reason in failures.jsonl" in err
    batch.run(folder, tmp_path / "same", model="qwen2.5-vl", budget=12, shard_size=4, gaze="sidecar", backend="cpu")
    assert hashes(tmp_path / "out") == hashes(tmp_path / "same")


def test_every_option_reaches_the_run(capsys, folder, tmp_path):
    assert run(capsys, "batch", folder, "--out", tmp_path / "out", *ASKED, "--layout", "grid", "--dtype", "uint8",
               "--full", "--format", "safetensors", "--workers", 1, "--gaze", "0.2,0.4")[0] == 0
    batch.run(folder, tmp_path / "same", model="qwen2.5-vl", budget=12, shard_size=4, layout="grid", dtype="uint8",
              scale=False, format="safetensors", gaze="0.2,0.4", backend="cpu")
    assert hashes(tmp_path / "out") == hashes(tmp_path / "same")


def test_progress_as_json(capsys, folder, tmp_path):
    status, out, _ = run(capsys, "batch", folder, "--out", tmp_path / "out", *ASKED, "--progress", "json")
    lines = [json.loads(line) for line in out.splitlines()]
    assert status == 0 and lines[-1]["done"] is True
    assert {name: lines[-1][name] for name in ("images", "failed", "total", "shards", "resumed")} == {
        "images": 9, "failed": 1, "total": 10, "shards": 3, "resumed": 0}
    assert set(lines[-1]["stages"]) == {"read", "decode", "foveate", "write", "commit"}
    assert sum(lines[-1]["stages"].values()) == pytest.approx(1, abs=0.01)
    again = run(capsys, "batch", folder, "--out", tmp_path / "out", *ASKED, "--progress", "json", "--resume")[1]
    assert json.loads(again.splitlines()[-1]) | {"seconds": 0} == lines[-1] | {
        "seconds": 0, "resumed": 3, "images_s": 0.0, "tokens_s": 0, "stages": {}}


def test_status_says_what_happened(capsys, folder, tmp_path):
    status, _, err = run(capsys, "batch", folder, "--out", tmp_path / "a", *ASKED, "--on-error", "fail")
    assert status == 1 and "batch: image: got even/0003 " in err and "--resume goes on" in err
    assert run(capsys, "batch", folder, "--out", tmp_path / "b", *ASKED, "--max-failures", 0)[0] == 1
    assert run(capsys, "batch", folder, "--out", tmp_path / "b", *ASKED, "--max-failures", 1, "--resume")[0] == 0
    status, _, err = run(capsys, "batch", folder, "--out", tmp_path / "b", *ASKED)
    assert status == 2 and "where a run has begun, expected a new folder. --resume goes on with it." in err
    assert run(capsys, "batch", tmp_path / "none", "--out", tmp_path / "c", *ASKED)[0] == 2
    assert run(capsys, "batch", folder, "--out", tmp_path / "c", *ASKED, "--gaze", "left")[0] == 2
    status, _, err = run(capsys, "batch", folder, "--out", "/proc/foveate", *ASKED)
    assert status == 1 and "/proc/foveate" in err and "Traceback" not in err


def test_ctrl_c_and_then_resume(folder, tmp_path):
    many = fill(tmp_path / "in", 60)
    command = [sys.executable, "-m", "foveate", "batch", many, "--out", tmp_path / "out", *map(str, ASKED)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True,     # it may be ignored here
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    done = tmp_path / "out/_foveate/done"
    began = time.monotonic()
    while not (done.exists() and any(done.iterdir())) and time.monotonic() - began < 60:
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    err = process.communicate(timeout=60)[1]
    if process.returncode:      # else it was done before the signal came
        assert process.returncode == 130, err
        assert "interrupted after" in err and "--resume makes them" in err
        subprocess.run([*command, "--resume"], check=True, capture_output=True)
    batch.run(many, tmp_path / "whole", model="qwen2.5-vl", budget=12, shard_size=4, backend="cpu")
    assert hashes(tmp_path / "out") == hashes(tmp_path / "whole")


def test_the_bench_has_its_rows(capsys, tmp_path):
    assert bench_batch.main(["--images", "2", "--rounds", "1", "--out", str(tmp_path)]) == 0
    result = json.loads((tmp_path / "batch.json").read_text())
    assert list(result["rows"])[:4] == ["foveate, rate and gaze", bench_batch.ONE, *bench_batch.GOALS]
    assert set(result["stages_ms"]) == {"read", "decode", "foveate", "write"} and "| by |" in capsys.readouterr().out
    for arguments, what in ((["--images", "0"], "images"), (["--rounds", "0"], "rounds")):
        with pytest.raises(ValueError, match=f"bench: {what}: got 0, expected 1 or more"):
            bench_batch.main(arguments)
