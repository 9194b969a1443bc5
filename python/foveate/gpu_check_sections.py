# SPDX-License-Identifier: Apache-2.0
"""What `foveate.gpu_check` looks at, one function a section; each takes an Engine and returns what it found.

A section returns {"state": ..., "note": ..., "rows": [...]}: "ok", "fail" (something is wrong), "none" (the machine or
the build does not have it, and the note says what). What it raises is the driver's to report.
"""

import contextlib
import ctypes
import hashlib
import time

import numpy as np

from . import profile as profiling
from .bench import copy_bandwidth
from .bench_cases import photograph
from .error import LimitError, UnsupportedError
from .sample_vrs import compare

HAND_OFFS, QUICK_HAND_OFFS, STREAMS, KINDS = 10_000, 40, 4, 8
GIB = 1 << 30


def found(state, note="", rows=()):
    return {"state": state, "note": note, "rows": list(rows)}


def pictures(quick, seed=0):
    """Noise over a gradient, so that levels, rates and terms have something to tell apart; odd sizes too."""
    random = np.random.default_rng(seed)
    sizes = [(61, 83), (96, 128)] if quick else [(97, 131), (480, 640), (1080, 1920)]
    for height, width in sizes:
        y, x = np.mgrid[0:height, 0:width]
        base = np.stack([x * 255 // width, y * 255 // height, (x + y) & 255], -1)
        noise = random.integers(0, 64, (height, width, 3)) * (x > width // 2)[..., None]
        yield np.minimum(base + noise, 255).astype(np.uint8)


def cuda() -> bool:
    """Whether there is a CUDA driver: torch, which is slow to load, need not be asked where there is none."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def host(array):
    """The bytes of an Array as NumPy takes them: bfloat16 as its bits."""
    here = array.__dlpack_device__()[0] == 1
    if array.dtype != "bfloat16":
        return array.numpy() if here else array.torch().cpu().numpy()
    if here:
        return np.frombuffer(ctypes.string_at(array.pointer, 2 * int(np.prod(array.shape))), np.uint16)
    return array.torch().cpu().reshape(-1).view(_torch().uint16).numpy()


def _torch():
    import torch

    return torch


# Parity: stages of the EXACT class give the cpu's bytes.

def levels(engine, pixels, **options):
    pyramid = engine.pyramid(pixels, levels=4, **options)
    return [host(pyramid.level(level)) for level in range(1, pyramid.levels)]


def laid(engine, pixels, **options):
    tokens = engine.tokens(pixels, **options)
    return [host(tokens.patches), tokens.center_px, tokens.size_px, tokens.valid]


def rated(engine, pixels, **options):
    weights = engine.relevance(pixels, gaze=(0.4, 0.6), information=True, saliency="both", cell=16)
    rates = engine.rate(pixels, relevance=weights, budget=60, cell=16, **options)
    return [weights.cells, rates.codes, engine.layout(pixels, kind="rate", rates=rates, gaze=(0.4, 0.6)).table]


def filmed(engine, pixels):
    before = engine.tokens(pixels, gaze=(0.4, 0.6), budget=60, relevance={"motion": True}, model="vit16")
    return laid(engine, pixels[::-1].copy(), gaze=(0.5, 0.6), budget=60, relevance={"motion": True}, model="vit16",
                previous=before)


CASES = {
    "pyramid of 8 bits": levels,
    "pyramid, edge exact": lambda e, p: levels(e, p, edge="exact"),
    "pyramid, color linear": lambda e, p: levels(e, p, color="linear"),
    "pyramid of float32": lambda e, p: levels(e, np.moveaxis(p, -1, 0).astype(np.float32) / 255),
    "relevance, rate, layout": rated,
    "square rates": lambda e, p: rated(e, p, rates="square"),
    "tokens by rate and gaze": lambda e, p: laid(e, p, gaze=(0.4, 0.6), budget=60, model="qwen2.5-vl"),
    "tokens on a grid, bfloat16": lambda e, p: laid(e, p, layout="grid", budget=40, model="siglip2", dtype="bfloat16"),
    "tokens in rings, float16": lambda e, p: laid(e, p, layout="rings", gaze=(0.3, 0.7), model="vit16",
                                                  dtype="float16"),
    "tokens, logpolar": lambda e, p: laid(e, p, layout="logpolar", gaze=(0.3, 0.7), budget=64, model="vit16"),
    "tokens, cortical": lambda e, p: laid(e, p, layout="cortical", gaze=(0.3, 0.7), budget=64, model="vit16"),
    "tokens of a video": filmed,
    "tokens of a batch": lambda e, p: laid(e, [p, p[:40, :56].copy(), p[7:].copy()], gaze=(0.5, 0.5), budget=24,
                                           model="vit16"),
    "warp": lambda e, p: [e.warp(p, size=(64, 128), gaze=(0.4, 0.6)).numpy()],
    "rates of tiles": lambda e, p: [e.rate_tiles(p, tile=8, gaze=(0.4, 0.6), content="ffx").codes],
}


def digest(arrays):
    total = hashlib.sha256()
    for array in arrays:
        array = np.ascontiguousarray(array)
        total.update(f"{array.shape} {array.dtype} ".encode() + array.tobytes())
    return total.hexdigest()[:16]


def damaged(arrays):
    """The same with one bit the other way: what parity must see."""
    first = np.ascontiguousarray(arrays[0]).copy()
    first.reshape(-1).view(np.uint8)[0] ^= 1
    return [first, *arrays[1:]]


def parity(engine, cpu, *, seconds=60.0, quick=False, plant=False):
    """Hashes of every case against the cpu's. With `plant` the first result is damaged, and the section fails."""
    end, rows, seen, seed = time.monotonic() + seconds, [], False, 0
    while seed == 0 or (not quick and time.monotonic() < end):
        for pixels in pictures(quick, seed):
            for name, case in CASES.items():
                row = {"case": name, "image": "x".join(map(str, pixels.shape[:2])), "seed": seed}
                if seed and time.monotonic() > end:
                    break
                try:
                    expected = case(cpu, pixels)
                    got = case(engine, pixels)
                    row |= {"cpu": digest(expected), "got": digest(damaged(got) if plant and not rows else got)}
                    row["state"] = "ok" if row["got"] == row["cpu"] else "fail"
                    seen = seen or digest(damaged(got)) != digest(got)
                except (UnsupportedError, LimitError) as error:
                    row |= {"state": "none", "error": str(error)}
                except Exception as error:  # of whatever kind: it is the report's, and the next case may work
                    row |= {"state": "fail", "error": f"{type(error).__name__}: {error}"}
                rows.append(row)
        seed += 1
    wrong, done = [row for row in rows if row["state"] == "fail"], [row for row in rows if row["state"] == "ok"]
    note = f"{len(done)} of {len(rows)} comparisons the same, {len(wrong)} not"
    if not seen:
        note += "; a planted difference was not seen"
    # what was the same every time is said once
    kept = wrong + [row for row in rows if row["state"] == "none" or (row["state"] == "ok" and row["seed"] == 0)]
    return found("fail" if wrong or not done or not seen else "ok", note, kept)


# Interop: tokens that are handed to torch on streams of its own.

def hand_offs(make, take, same, contexts, count, until):
    """make(k) -> value, take(value) -> the other side's, same(k, taken) -> 1 where it differs; added up on its side."""
    wrong, done = None, 0
    while done < count and time.monotonic() < until:
        kind = done % KINDS
        with contexts[done % len(contexts)]():
            differs = same(kind, take(make(kind)))
        wrong = differs if wrong is None else wrong + differs
        done += 1
    return int(wrong or 0), done


def interop(engine, cpu, *, seconds=60.0, quick=False):
    """Tokens on the device through DLPack, with the wait that its contract asks for, and without it to see that the
    comparison sees."""
    if not cuda():
        return found("none", "no CUDA driver")
    try:
        torch = _torch()
    except ImportError:
        return found("none", "no torch")
    if not torch.cuda.is_available():
        return found("none", "torch has no CUDA device")
    random = np.random.default_rng(5)
    images = random.integers(0, 256, (KINDS, 128, 128, 3), np.uint8)
    options = {"gaze": (0.4, 0.6), "budget": 24, "model": "vit16"}
    first = engine.tokens(images[0], **options).patches
    if first.__dlpack_device__()[0] != 2:
        return found("none", f"tokens are in {first.device} memory: nothing is handed over on CUDA")
    expected = [torch.from_numpy(cpu.tokens(image, **options).numpy()).cuda() for image in images]
    device = [torch.from_numpy(image).cuda() for image in images]
    streams = [torch.cuda.Stream() for _ in range(STREAMS)]
    contexts = [lambda stream=stream: torch.cuda.stream(stream) for stream in streams]
    torch.cuda.synchronize()
    none = expected[0].new_zeros((), dtype=torch.int64)

    def same(kind, taken):
        return none + (taken.reshape(-1) != expected[kind].reshape(-1)).any()

    def unordered(tokens):
        return torch.utils.dlpack.from_dlpack(tokens.patches.__dlpack__(stream=-1))

    def written(kind):
        """An image that its stream is still writing when it is given away."""
        torch.cuda._sleep(200_000)
        return engine.tokens(device[kind].clone(), **options)

    count, rows = QUICK_HAND_OFFS if quick else HAND_OFFS, []
    ways = {"to torch": (lambda kind: engine.tokens(images[kind], **options), lambda t: torch.from_dlpack(t.patches)),
            "to torch, without the wait": (lambda kind: engine.tokens(images[kind], **options), unordered),
            "from torch and back": (written, lambda t: torch.from_dlpack(t.patches))}
    for name, (make, take) in ways.items():
        control = "without" in name
        try:
            until = time.monotonic() + seconds / len(ways)
            wrong, done = hand_offs(make, take, same, contexts, count // 10 if control else count, until)
            state = "ok" if control or (wrong == 0 and done) else "fail"
            row = {"way": name, "state": state, "hand_offs": done, "differ": wrong}
            if control:
                row["note"] = "seen" if wrong else "no difference seen: the producer had ended before it was read"
        except (UnsupportedError, LimitError) as error:
            row = {"way": name, "state": "none", "error": str(error)}
        except Exception as error:
            row = {"way": name, "state": "fail", "error": f"{type(error).__name__}: {error}"}
        rows.append(row)
        with contextlib.suppress(Exception):
            torch.cuda.synchronize()
    failed = [row["way"] for row in rows if row["state"] == "fail"]
    return found("fail" if failed else "ok", ", ".join(failed) or f"{STREAMS} streams, bit for bit", rows)


# Shading rates of the hardware

def vrs(engine, cpu, *, seconds=20.0, quick=False):
    """The rasteriser's own rates and counts of fragments against the software model of the same rules."""
    device = engine.caps["shading_rate"]
    if not device["usable"]:
        return found("none", "; ".join(device["reasons"]))
    rows = [{"tile": row["tile"], "combiners": " ".join(row["combiners"]), "fragments": row["invocations"],
             "by the model": row["model_invocations"], "by the driver's query": row["statistic"],
             "of 1x1": round(row["fraction"], 3),
             "state": "ok" if row["agrees"] and row["rates"] == 1 and row["image"] else "fail"}
            for row in compare(size=(128, 128) if quick else (1024, 1024), engine=engine)]
    bad = sum(row["state"] == "fail" for row in rows)
    note = f"{bad} of {len(rows)} draws differ" if bad else "hardware as the model"
    return found("fail" if bad else "ok", note, rows)


# Bandwidth, and what each stage makes of it

def copies(engine, cpu, *, seconds=20.0, quick=False):
    """Bytes read and written each second by copies: what everything else is held against."""
    rows = [{"copy": "host, NumPy, 64 MiB", "gb_s": copy_bandwidth() / 1e9}]
    on_device = profiling.device_copy(engine)
    if on_device:
        rows.append({"copy": f"{engine.caps['device']}, by {engine.caps['backend']}, 64 MiB", "gb_s": on_device / 1e9})
    with contextlib.suppress(ImportError):
        rows += torch_copies(quick) if cuda() else []
    return found("ok", "medians" if on_device else "the backend tells no time of its own", rows)


def torch_copies(quick):
    torch = _torch()
    if not torch.cuda.is_available():
        return []
    size = GIB >> (6 if quick else 0)
    device = torch.ones(size, dtype=torch.uint8, device="cuda")
    pinned = torch.ones(size // 4, dtype=torch.uint8, pin_memory=True)
    ways = {"torch, on the device": (torch.empty_like(device), device, 2),
            "torch, host to device": (torch.empty_like(device[:size // 4]), pinned, 1),
            "torch, device to host": (torch.empty_like(pinned), device[:size // 4], 1)}
    rows = []
    for name, (to, source, times) in ways.items():
        best = []
        for _ in range(8):
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            to.copy_(source, non_blocking=True)
            end.record()
            end.synchronize()
            best.append(begin.elapsed_time(end))
        rows.append({"copy": name, "gb_s": times * source.numel() / np.median(best[2:]) / 1e6})
    return rows


def stages(engine, cpu, *, seconds=20.0, quick=False):
    """`foveate profile` of a 1080p photograph, and what the driver says of the kernels."""
    pixels = photograph(128, 96) if quick else photograph(1920, 1080)
    caps = engine.caps
    options = {"backend": caps["backend"], "device": caps["uuid"] or None, "budget": 20 if quick else 273}
    begin = time.monotonic()
    result = profiling.profile(pixels, **options, rounds=1)
    rounds = int(seconds / 2 / (time.monotonic() - begin) * profiling.WARM)
    if rounds > 1 and not quick:
        result = profiling.profile(pixels, **options, rounds=min(rounds, 100))
    kernels = result["kernels"]
    note = f"{result['rounds']} rounds; statistics of "
    note += "kernels: not offered by this driver" if kernels is None else f"{len(kernels)} kernels"
    return found("ok", note, result["rows"]) | {"kernels": kernels}
