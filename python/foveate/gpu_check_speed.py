# SPDX-License-Identifier: Apache-2.0
"""The speed of `foveate.gpu_check`: latency and bandwidth at several batch sizes, against torch and CuPy doing the same
work on the same device, each round giving every contender its turn.

By CUDA events where torch has a CUDA device, which time both what it launches and what waits on the host; else by the
wall clock.
"""

import statistics
import time

import numpy as np

from .bench import copy_bandwidth
from .bench_cases import GRID, QWEN, photograph
from .error import Error, LimitError
from .gpu_check_sections import found, torch_copies

BATCHES, QUICK_BATCHES = (1, 16, 64, 256), (1, 2)
LEVELS, CHUNK, GAZE = 4, 64, (0.4, 0.6)
ROUNDS, WARM = 15, 3
COMPILE = 30.0                  # seconds that torch.compile may need: not begun with less left


def clock(torch):
    """run -> ms."""
    def wall(run):
        begin = time.perf_counter()
        run()
        return (time.perf_counter() - begin) * 1e3

    def events(run):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        begin.record()
        run()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end)

    return events if torch else wall


def race(contenders, timed, rounds, until):
    """{name: {ms, ratio, rounds} or {error}}: medians; ratios to the first of those that run, of the rounds' own."""
    rows, running = {}, {}
    for name, run in contenders.items():
        try:
            for _ in range(WARM):
                run()
            running[name] = run
        except Exception as error:  # of whatever kind: it is the report's
            rows[name] = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        if time.monotonic() > until:
            break
    times = {name: [] for name in running}
    for done in range(rounds):
        if done and time.monotonic() > until:
            break
        for name, run in running.items():
            times[name].append(timed(run))
    for name in contenders:
        if name in running:
            first = times[next(iter(running))]
            rows[name] = {"ms": statistics.median(times[name]), "rounds": len(times[name]),
                          "ratio": statistics.median(b / a for a, b in zip(first, times[name], strict=True))}
    return {name: rows.get(name, {"error": "no time left"}) for name in contenders}


class Ours:
    """An Engine and a batch of frames as near to it as it takes them: the device's own, else the engine's memory."""

    def __init__(self, engine, frames, torch, grid=GRID):
        self.engine, self.grid = engine, grid
        self.frames, self.where = None, ""
        if torch:
            try:
                engine.pyramid(torch.from_numpy(frames[:1]).cuda(), levels=2)
                self.frames, self.where = torch.from_numpy(frames).cuda(), "input on the device"
            except (Error, TypeError, ValueError, BufferError, RuntimeError):
                pass        # it takes none from there: where the input lies is said
        if self.frames is None:
            self.frames, self.where = frames, "input in the caller's memory"
            try:
                lent = engine.empty(frames.shape)
                lent.numpy()[:] = frames
                self.frames, self.where = lent.numpy(), "input in the engine's memory"
            except Error:
                pass
        self.torch = torch

    def parts(self, call, count):
        """The call for all, or in parts of CHUNK where all at once is over a limit."""
        def whole():
            return self.end(call(self.frames[:count]))

        try:
            whole()
            return whole, ""
        except LimitError:
            if count <= CHUNK:
                raise
        return lambda: [self.end(call(self.frames[at:at + CHUNK])) for at in range(0, count, CHUNK)], \
            f", in calls of {CHUNK}"

    def end(self, made):
        """What is on the device is waited for there, by the stream that is timed."""
        last = getattr(made, "patches", None)
        if self.torch and last is None and self.engine.caps["backend"] == "cuda":
            last = made.level(1)
        if self.torch and last is not None and last.__dlpack_device__()[0] == 2:
            self.torch.from_dlpack(last)
        return made

    def runs(self, work, count):
        if work == "pyramid":
            calls = {"": lambda frames: self.engine.pyramid(frames, levels=LEVELS)}
        else:
            grid = {"layout": "grid", "grid": self.grid, "model": "qwen2.5-vl", "dtype": "bfloat16"}
            fovea = {"gaze": GAZE, "budget": self.grid[0] * self.grid[1], "model": "qwen2.5-vl", "dtype": "bfloat16"}
            calls = {", grid": lambda frames: self.engine.tokens(frames, **grid),
                     ", rate and gaze": lambda frames: self.engine.tokens(frames, **fovea)}
        made = {}
        for name, call in calls.items():
            title = f"foveate {self.engine.caps['backend']}{name}"
            try:
                run, parts = self.parts(call, count)
                made[title + parts] = run
            except Error as error:
                made[title] = _raiser(error)
        return made


def _raiser(error):
    def run():
        raise error
    return run


def torch_works(torch, frames, grid=GRID):
    """The same by torch: frames of uint8 (N, H, W, 3) on its device."""
    functional = torch.nn.functional
    rows, columns = grid
    mean = torch.tensor(QWEN.mean, device=frames.device).view(1, 3, 1, 1)
    std = torch.tensor(QWEN.std, device=frames.device).view(1, 3, 1, 1)

    def pyramid(frames):
        level, made = frames.permute(0, 3, 1, 2).float(), []
        for _ in range(LEVELS - 1):
            level = functional.avg_pool2d(level, 2, ceil_mode=True)
            made.append(level)
        return made

    def tokens(frames):
        values = frames.permute(0, 3, 1, 2).float() / 255
        small = functional.interpolate(values, (rows * 28, columns * 28), mode="bilinear", antialias=True)
        blocks = ((small - mean) / std).to(torch.bfloat16).view(-1, 3, rows, 2, 14, columns, 2, 14)
        patches = blocks.permute(0, 2, 5, 3, 6, 1, 4, 7).unsqueeze(6).expand(-1, -1, -1, -1, -1, -1, 2, -1, -1)
        return patches.reshape(len(frames), rows * columns * 4, -1)

    return {"pyramid": pyramid, "tokens": tokens}


def area(cupy, size, to):
    """Weights of the mean over the share of `size` that each of `to` covers."""
    step = size / to
    edges = np.arange(to + 1) * step
    at = np.arange(size)
    over = np.minimum(edges[1:, None], at + 1) - np.maximum(edges[:-1, None], at)
    return cupy.asarray(np.clip(over, 0, None) / step, dtype=cupy.float32)


def cupy_works(cupy, shape, grid=GRID):
    """The same by CuPy; float16, since it has no bfloat16."""
    rows, columns = grid
    height, width = shape[1:3]
    down, right = area(cupy, height, rows * 28), area(cupy, width, columns * 28)
    mean, std = (cupy.asarray(values, dtype=cupy.float32)[:, None, None] for values in (QWEN.mean, QWEN.std))

    def pyramid(frames):
        level, made = frames.transpose(0, 3, 1, 2).astype(cupy.float32), []
        for _ in range(LEVELS - 1):
            odd = ((0, 0), (0, 0), (0, level.shape[2] & 1), (0, level.shape[3] & 1))
            level = cupy.pad(level, odd, mode="edge") if any(b for _, b in odd) else level
            n, c, h, w = level.shape
            level = level.reshape(n, c, h // 2, 2, w // 2, 2).mean((3, 5))
            made.append(level)
        return made

    def tokens(frames):
        values = frames.transpose(0, 3, 1, 2).astype(cupy.float32) * np.float32(1 / 255)
        small = ((down @ values @ right.T - mean) / std).astype(cupy.float16)
        blocks = small.reshape(-1, 3, rows, 2, 14, columns, 2, 14).transpose(0, 2, 5, 3, 6, 1, 4, 7)
        return cupy.repeat(blocks[:, :, :, :, :, :, None], 2, axis=6).reshape(len(frames), rows * columns * 4, -1)

    return {"pyramid": pyramid, "tokens": tokens}


class Peers:
    """torch, eager and compiled, and CuPy on the device; on a machine without one, torch on the processor."""

    def __init__(self, frames, quick, grid=GRID):
        self.torch = self.cuda = self.cupy = None
        self.missing, self.works, self.compiled = [], {}, {}
        try:
            import torch
            self.torch = torch
            self.cuda = torch if torch.cuda.is_available() else None
            given = torch.from_numpy(frames)
            self.given = given.cuda() if self.cuda else given
            self.works["torch, eager"] = torch_works(torch, self.given, grid), self.given
            if not self.cuda:
                self.missing.append("torch has no CUDA device: it runs on the processor")
        except ImportError as error:
            self.missing.append(str(error))
        try:
            import cupy
            held = cupy.asarray(frames)
            self.works["CuPy"] = cupy_works(cupy, frames.shape, grid), held
        except Exception as error:  # not installed, or no driver for it
            self.missing.append(f"CuPy: {error}".splitlines()[0])
        self.quick = quick

    def runs(self, work, count, end):
        made = {}
        for name, (works, held) in self.works.items():
            made[name] = lambda call=works[work], part=held[:count]: call(part)
        if self.cuda and not self.quick:
            if work not in self.compiled and time.monotonic() + COMPILE < end:
                self.compiled[work] = self.torch.compile(self.works["torch, eager"][0][work], dynamic=True)
            if work in self.compiled:
                made["torch.compile"] = lambda: self.compiled[work](self.given[:count])
        return made


def floor_bytes(work, shape, count, grid=GRID):
    pixels = count * shape[1] * shape[2] * 3
    if work == "pyramid":
        return pixels + 2 * sum(pixels // 4**level for level in range(1, LEVELS))
    return pixels + count * grid[0] * grid[1] * 4 * 3 * 2 * 14 * 14 * 2


def speed(engine, cpu, *, seconds=90.0, quick=False):
    """Latency and bandwidth by batch size; `gb_s` is what the work must move at the least, over its time."""
    end = time.monotonic() + seconds
    picture = photograph(168, 96) if quick else photograph(1920, 1080)
    batches = QUICK_BATCHES if quick else BATCHES
    frames = np.repeat(picture[None], batches[-1], axis=0)
    grid = (3, 5) if quick else GRID
    peers = Peers(frames, quick, grid)
    ours = Ours(engine, frames, peers.cuda, grid)
    timed, rows = clock(peers.cuda), []
    held = torch_copies(quick)[0]["gb_s"] if peers.cuda else copy_bandwidth() / 1e9
    parts = [(work, count) for count in batches for work in ("pyramid", "tokens")]
    for index, (work, count) in enumerate(parts):
        until = time.monotonic() + (end - time.monotonic()) / (len(parts) - index)
        if time.monotonic() > end:
            rows.append({"work": work, "batch": count, "by": "all", "error": "no time left"})
            continue
        contenders = ours.runs(work, count) | peers.runs(work, count, end)
        for name, row in race(contenders, timed, 3 if quick else ROUNDS, until).items():
            if "ms" in row:
                moved = floor_bytes(work, frames.shape, count, grid)
                rate = moved / row["ms"] / 1e6
                row |= {"ms_image": row["ms"] / count, "gb_s": rate, "of_copy": rate / held}
            rows.append({"work": work, "batch": count, "by": name} | row)
    by = "CUDA events" if peers.cuda else "the wall clock"
    note = ", ".join([ours.where, f"times by {by}", *peers.missing])
    mine = [row for row in rows if row["by"].startswith("foveate")]
    return found("ok" if any("ms" in row for row in mine) else "fail", note, rows)
