# SPDX-License-Identifier: Apache-2.0
"""`foveate bench select`: every method has its row, and top-k is what they are compared with. No time is asserted."""

import json

import pytest
import torch
from commands import run
from foveate import bench, bench_select
from foveate.error import InputError
from foveate.model import select


@pytest.fixture(autouse=True)
def short(monkeypatch):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for name, value in (("WARM", 0), ("BURST", (1, 0)), ("SETTLE", 0)):
        monkeypatch.setattr(bench, name, value)
    yield
    torch.set_num_threads(threads)


SMALL = ("--tokens", "96", "--keep", "20", "--dim", "32", "--rounds", "2")


def test_every_method(capsys, tmp_path):
    status, out, _ = run(capsys, "bench", "select", *SMALL, "--batch", "2", "--json", "--out", tmp_path)
    found = json.loads(out)
    assert status == 0 and json.loads((tmp_path / "select.json").read_text()) == found
    assert list(found["rows"]) == [*select.METHODS, "(received attention)"]
    assert found["rows"]["topk"]["ratio"] == 1 and all(row["ms"] > 0 for row in found["rows"].values())
    assert (found["tokens"], found["keep"], found["dim"], found["batch"], found["torch"]) == (96, 20, 32, 2,
                                                                                             torch.__version__)
    page = (tmp_path / "select.md").read_text()
    assert "20 of 96 tokens of 32 float32, 2 images a call" in page and "| topk |" in page and "| 1.00 |" in page


def test_some_methods(capsys):
    status, out, _ = run(capsys, "bench", "select", *SMALL, "--method", "tome", "--method", "hybrid")
    lines = [line.split("|")[1].strip() for line in out.splitlines() if line.startswith("|")]
    assert status == 0 and lines == ["method", "---", "topk", "tome", "hybrid"] and "1 image a call" in out


def test_what_is_timed_is_the_method():
    for tokens, keep in ((96, 20), (13, 2), (64, 64)):
        for name, method in bench_select.runs((), tokens, keep, 16, 2).items():
            found = method()
            assert name == bench_select.ATTENTION or found.indices.shape == (2, keep)


@pytest.mark.parametrize("total, grid", [(4096, (64, 64)), (96, (8, 12)), (13, (1, 13)), (729, (27, 27))])
def test_grid(total, grid):
    assert bench_select.grid_of(total) == grid


@pytest.mark.parametrize("arguments, text", [
    (("--method", "best"), "bench: method: got 'best', expected one of 'topk', 'logpolar', 'hybrid', "),
    (("--tokens", "1"), "bench: tokens: got 1, expected 2..65536."),
    (("--tokens", "9", "--keep", "10"), "bench: keep: got 10, expected 2..9."),
    (("--batch", "0"), "bench: batch: got 0, expected 1..4096."),
    (("--rounds", "0"), "bench: rounds: got 0, expected 1..1000000."),
    (("--dim", "33"), "bench: dim: got 33, expected a multiple of 16.")])
def test_refused(arguments, text):
    with pytest.raises(InputError) as error:
        bench_select.main(arguments)
    assert str(error.value).startswith(text)
