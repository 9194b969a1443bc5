# SPDX-License-Identifier: Apache-2.0
"""What `make gpu-check` does with a CUDA device, by a torch that pretends to have one: hand-offs, rates, speed."""

import contextlib
import time
from types import SimpleNamespace

import numpy as np
import pytest
from foveate import gpu_check_sections, gpu_check_speed, sample_vrs
from foveate.error import LimitError

# Hand-offs, rates of the hardware: what they compare, without the device

def test_hand_offs(cpu):
    import torch

    images = np.random.default_rng(1).integers(0, 256, (gpu_check_sections.KINDS, 32, 32, 3), np.uint8)
    expected = [torch.from_numpy(cpu.tokens(image, budget=4, model="vit16").numpy().copy()) for image in images]
    contexts = [contextlib.nullcontext] * gpu_check_sections.STREAMS

    def count(make):
        def same(kind, taken):
            return int((taken.reshape(-1) != expected[kind].reshape(-1)).any())
        return gpu_check_sections.hand_offs(make, lambda t: torch.from_dlpack(t.patches), same, contexts, 40,
                                            time.monotonic() + 60)

    assert count(lambda kind: cpu.tokens(images[kind], budget=4, model="vit16")) == (0, 40)
    assert count(lambda kind: cpu.tokens(images[0], budget=4, model="vit16")) == (35, 40)
    late = gpu_check_sections.hand_offs(lambda kind: kind, lambda kind: kind, lambda *_: 0, contexts, 40,
                                        time.monotonic() - 1)
    assert late == (0, 0)


class Event:
    """Of torch.cuda, by the wall clock."""

    def __init__(self, enable_timing):
        assert enable_timing

    def record(self):
        self.at = time.perf_counter()

    def synchronize(self):
        pass

    def elapsed_time(self, end):
        return (end.at - self.at) * 1e3


@pytest.fixture
def pretended(monkeypatch):
    """torch with a CUDA device that is the processor."""
    import torch

    for name, value in {"is_available": lambda: True, "Stream": object, "stream": contextlib.nullcontext,
                        "synchronize": lambda: None, "_sleep": lambda cycles: None, "Event": Event}.items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(torch.Tensor, "cuda", lambda self: self)
    monkeypatch.setattr(gpu_check_sections, "cuda", lambda: True)
    monkeypatch.setattr(gpu_check_speed, "torch_copies", lambda quick: [{"gb_s": 100.0}])
    return torch


class OnDevice:
    """An engine whose tokens lie, by their own words, on a CUDA device; from `late` on they are another image's."""

    def __init__(self, cpu, late=None):
        self.cpu, self.late, self.calls, self.caps = cpu, late, 0, cpu.caps | {"backend": "cuda"}

    def __getattr__(self, name):
        return getattr(self.cpu, name)

    def tokens(self, images, **options):
        self.calls += 1
        if self.late is not None and self.calls > self.late:
            images = np.zeros_like(np.asarray(images))
        patches = self.cpu.tokens(np.asarray(images), **options).patches

        class Patches:
            shape, dtype = patches.shape, patches.dtype

            def __dlpack_device__(self):
                return 2, 0

            def __dlpack__(self, *, stream=None, **more):
                assert stream in (None, -1, 1)      # 1: the default stream, which torch names so
                return patches.__dlpack__()

        return SimpleNamespace(patches=Patches())


def test_interop(cpu, pretended, monkeypatch):
    monkeypatch.setattr(pretended, "from_dlpack",
                        lambda array: pretended.utils.dlpack.from_dlpack(array.__dlpack__()))
    assert gpu_check_sections.interop(cpu, cpu, quick=True)["note"].startswith("tokens are in cpu memory")
    found = gpu_check_sections.interop(OnDevice(cpu), cpu, quick=True)
    assert found["state"] == "ok" and [row["differ"] for row in found["rows"]] == [0, 0, 0]
    assert [row["hand_offs"] for row in found["rows"]] == [40, 4, 40]
    assert found["rows"][1]["note"].startswith("no difference seen")
    found = gpu_check_sections.interop(OnDevice(cpu, late=30), cpu, quick=True)
    assert found["state"] == "fail" and found["note"] == "to torch, from torch and back"
    assert found["rows"][0]["differ"] == 11 and found["rows"][1]["note"] == "seen"


def test_speed_by_events(cpu, pretended, monkeypatch):
    monkeypatch.setattr(pretended, "from_dlpack",
                        lambda array: pretended.utils.dlpack.from_dlpack(array.__dlpack__()))
    found = gpu_check_speed.speed(OnDevice(cpu), cpu, quick=True)
    assert found["state"] == "ok" and found["note"].startswith("input on the device, times by CUDA events")
    rows = {(row["work"], row["batch"], row["by"]): row for row in found["rows"]}
    assert all("error" not in row and row["of_copy"] == pytest.approx(row["gb_s"] / 100) for row in rows.values())
    assert {by for _, _, by in rows} == {"foveate cuda", "foveate cuda, grid", "foveate cuda, rate and gaze",
                                         "torch, eager"}


def test_rates_of_the_hardware(cpu, monkeypatch):
    found = gpu_check_sections.vrs(cpu, cpu, quick=True)
    assert found["state"] == "none" and found["note"] and found["rows"] == []

    has_rates = SimpleNamespace(caps={"shading_rate": {"usable": True}})
    drawn = sample_vrs.compare(size=(64, 96), path="software", engine=cpu)
    monkeypatch.setattr(gpu_check_sections, "compare", lambda size, engine: drawn)
    found = gpu_check_sections.vrs(has_rates, cpu, quick=True)
    assert found["state"] == "ok" and len(found["rows"]) == len(drawn)
    assert all(row["fragments"] == row["by the model"] > 0 for row in found["rows"])
    drawn[1] |= {"rates": 0.99}
    found = gpu_check_sections.vrs(has_rates, cpu, quick=True)
    assert (found["state"], found["note"]) == ("fail", f"1 of {len(drawn)} draws differ")


# Speed

def test_a_contender_that_fails_is_a_row():
    def fails():
        raise MemoryError("no room")

    rows = gpu_check_speed.race({"bad": fails, "ours": lambda: time.sleep(0.001), "theirs": lambda: time.sleep(0.004)},
                                gpu_check_speed.clock(None), 5, time.monotonic() + 60)
    assert rows["bad"] == {"error": "MemoryError: no room"}
    assert rows["ours"]["ratio"] == 1 and 2 < rows["theirs"]["ratio"] < 8 and rows["ours"]["rounds"] == 5
    late = gpu_check_speed.race({"a": fails, "b": fails}, gpu_check_speed.clock(None), 5, time.monotonic() - 1)
    assert late == {"a": {"error": "MemoryError: no room"}, "b": {"error": "no time left"}}


def test_over_a_limit_the_batch_is_cut(cpu, monkeypatch):
    monkeypatch.setattr(gpu_check_speed, "CHUNK", 2)
    ours, asked = gpu_check_speed.Ours(cpu, np.zeros((5, 16, 16, 3), np.uint8), None), []

    def call(frames):
        asked.append(len(frames))
        if len(frames) > 2:
            raise LimitError("too many")

    run, said = ours.parts(call, 5)
    run()
    assert said == ", in calls of 2" and asked == [5, 2, 2, 1]
    with pytest.raises(LimitError):
        ours.parts(lambda frames: call([0] * 3), 2)
    assert ours.where == "input in the engine's memory"


def test_peers_do_the_same_work(cpu):
    """torch's and CuPy's, here with NumPy in its place: CuPy's mean is the area's, as ours; torch's a triangle's."""
    import torch

    frames = gpu_check_speed.photograph(168, 96)[None]
    theirs = {"torch": (gpu_check_speed.torch_works(torch, torch.from_numpy(frames), (3, 5)), torch.from_numpy(frames)),
              "cupy": (gpu_check_speed.cupy_works(np, frames.shape, (3, 5)), frames)}
    pyramid = cpu.pyramid(frames, levels=4)
    tokens = cpu.tokens(frames, layout="grid", grid=(3, 5), model="qwen2.5-vl").numpy()
    for works, given in theirs.values():
        for level, made in enumerate(works["pyramid"](given), 1):
            assert (np.asarray(made[0]) * 256 == pyramid.level(level).numpy()).all()
        made = np.asarray(works["tokens"](given).astype(np.float32) if given is frames
                          else works["tokens"](given).float())
        assert made.reshape(tokens.shape).shape == tokens.shape
        assert np.abs(made.reshape(tokens.shape) - tokens).mean() < (0.001 if given is frames else 0.02)
