# SPDX-License-Identifier: Apache-2.0
"""`foveate bench`: our stages against what a user would use instead, in one process, one after another.

Times are medians over rounds in which every contender has its turn, a short burst of calls, so that a machine
whose speed drifts is the same machine for all of them; a ratio is the median of the rounds' own ratios.
"""

import argparse
import json
import os
import platform
import statistics
import time
from pathlib import Path

import numpy as np

from . import _core
from .engine import Engine
from .presets import presets

QWEN = presets["qwen2.5-vl"]
GRID = (13, 21)                 # what 273 tokens make of 1920 x 1080
BURST = 5                       # timed calls of one contender in a row, one more before them
SETTLE = 0.01                   # seconds before each run: other libraries' threads spin for a while after theirs
RINGS = dict(strides=(1, 2, 4, 6, 8), grids=(4, 4, 6, 8, 10))


def photograph(width, height):
    """A bundled photograph enlarged to the size, so that it is in memory and nothing is downloaded."""
    try:
        from PIL import Image
        from sklearn.datasets import load_sample_image
    except ImportError:
        y, x = np.mgrid[0:height, 0:width]
        return np.stack([(x * y >> 8) & 255, x & 255, y & 255], -1).astype(np.uint8)
    picture = Image.fromarray(load_sample_image("china.jpg"))
    return np.array(picture.resize((width, height), Image.BICUBIC))


def race(contenders, rounds, seconds=8.0):
    """Median milliseconds of each, and the median of each round's ratio to the first."""
    for run in contenders.values():
        run()
    times = {name: [] for name in contenders}
    end = time.perf_counter() + seconds
    while len(times[next(iter(times))]) < rounds and time.perf_counter() < end:
        for name, run in contenders.items():
            time.sleep(SETTLE)
            run()                               # caches as a loop over images would have them
            times[name].append(statistics.median(_timed(run) for _ in range(BURST)) * 1e3)
    first = times[next(iter(times))]
    return {name: {"ms": statistics.median(own), "best_ms": min(own), "rounds": len(own),
                   "ratio": statistics.median(b / a for a, b in zip(first, own, strict=True))}
            for name, own in times.items()}


def copy_bandwidth():
    """Bytes read and written each second by a copy that no cache holds."""
    source = np.ones(1 << 26, np.uint8)
    target = np.empty_like(source)
    best = min(_timed(lambda: np.copyto(target, source)) for _ in range(7))
    return 2 * source.nbytes / best


def _timed(run):
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


class Peers:
    """OpenCV, torch and the Hugging Face processor doing the same work; what is not installed is left out."""

    def __init__(self, image, threads):
        self.image = image
        self.missing = []
        for name, load in (("cv2", self._load_cv2), ("torch", self._load_torch), ("transformers", self._load_hf)):
            try:
                load(threads)
            except ImportError as error:
                setattr(self, name, None)
                self.missing.append(f"{name}: {error}")

    def _load_cv2(self, threads):
        import cv2
        cv2.setNumThreads(threads)
        self.cv2 = cv2

    def _load_torch(self, threads):
        import torch
        torch.set_num_threads(threads)
        self.torch = torch
        self.chw = torch.from_numpy(self.image).permute(2, 0, 1)[None].float().contiguous()

    def _load_hf(self, threads):
        from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
        self.transformers = Qwen2VLImageProcessorPil(min_pixels=GRID[0] * GRID[1] * 28 * 28,
                                                     max_pixels=GRID[0] * GRID[1] * 28 * 28)

    def cv2_pyramid(self, levels):
        level = self.image
        for _ in range(levels - 1):
            height, width = level.shape[:2]
            level = self.cv2.resize(level, ((width + 1) // 2, (height + 1) // 2), interpolation=self.cv2.INTER_AREA)
        return level

    def torch_pyramid(self, levels):
        level = self.chw
        for _ in range(levels - 1):
            level = self.torch.nn.functional.avg_pool2d(level, 2, ceil_mode=True)
        return level

    def cv2_grid(self, interpolation):
        rows, columns = GRID
        small = self.cv2.resize(self.image, (columns * 28, rows * 28), interpolation=interpolation)
        values = (small.astype(np.float32) * np.float32(1 / 255) - np.float32(QWEN.mean)) / np.float32(QWEN.std)
        blocks = values.reshape(rows, 2, 14, columns, 2, 14, 3).transpose(0, 3, 1, 4, 6, 2, 5)
        return np.repeat(blocks[:, :, :, :, :, None], 2, axis=5).reshape(-1, 3 * 2 * 14 * 14)

    def hf_grid(self):
        return self.transformers(images=[self.image], return_tensors="np")["pixel_values"]

    def torch_rings(self, gaze, token_px=16):
        """avg_pool2d for every stride that is a power of two, grid_sample of the level nearest to each ring."""
        torch = self.torch
        levels = [self.chw]
        for _ in range(3):
            levels.append(torch.nn.functional.avg_pool2d(levels[-1], 2, ceil_mode=True))
        height, width = self.image.shape[:2]
        whole = RINGS["strides"][-1] * RINGS["grids"][-1] * token_px
        out = []
        for index, (stride, grid) in enumerate(zip(*RINGS.values(), strict=True)):
            inner = RINGS["strides"][index - 1] * RINGS["grids"][index - 1] // stride if index else 0
            level = levels[min(stride.bit_length() - 1, 3)]
            n = grid * token_px
            steps = (torch.arange(n, dtype=torch.float32) + 0.5) * stride + (whole - grid * stride * token_px) / 2
            x = 2 * (gaze[0] * width - whole / 2 + steps) / width - 1
            y = 2 * (gaze[1] * height - whole / 2 + steps) / height - 1
            points = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)[None]
            view = torch.nn.functional.grid_sample(level, points, padding_mode="border", align_corners=False)
            tokens = view.reshape(3, grid, token_px, grid, token_px).permute(1, 3, 0, 2, 4)
            keep = torch.ones(grid, grid, dtype=torch.bool)
            border = (grid - inner) // 2
            if inner:
                keep[border:border + inner, border:border + inner] = False
            out.append(tokens[keep] / 127.5 - 1)
        return torch.cat(out)


def bench_pyramid(engine, peers, rounds):
    image = engine.image(peers.image)
    runs = {"foveate": lambda: engine.pyramid(image, levels=4)}
    if peers.cv2:
        runs["OpenCV INTER_AREA chain"] = lambda: peers.cv2_pyramid(4)
    if peers.torch:
        runs["torch avg_pool2d chain, float32"] = lambda: peers.torch_pyramid(4)
    pixels = peers.image.size
    return "aligned 4-level pyramid of RGB8", runs, rounds, pixels + 2 * sum(pixels // 4**i for i in (1, 2, 3))


def bench_grid(engine, peers, rounds):
    runs = {"foveate": lambda: engine.tokens(peers.image, layout="grid", grid=GRID, model="qwen2.5-vl")}
    if peers.cv2:
        runs["OpenCV INTER_AREA, normalise, patchify"] = lambda: peers.cv2_grid(peers.cv2.INTER_AREA)
        runs["OpenCV INTER_LINEAR, normalise, patchify"] = lambda: peers.cv2_grid(peers.cv2.INTER_LINEAR)
    if peers.transformers:
        runs["Hugging Face Qwen2-VL processor (PIL)"] = peers.hf_grid
    outputs = GRID[0] * GRID[1] * 4 * 3 * 2 * 14 * 14 * 4
    return "grid of 273 Qwen2.5-VL tokens", runs, rounds, peers.image.size + outputs


def bench_rings(engine, peers, rounds):
    gazes = np.random.default_rng(7).uniform(0.1, 0.9, (4096, 2))
    turn = iter(range(1 << 30))

    def gaze():
        return tuple(gazes[next(turn) % len(gazes)])

    image = engine.image(peers.image)
    pyramid = engine.pyramid(image, levels=4)

    def sample_only():
        layout = engine.layout(image, kind="rings", cell=16, gaze=gaze(), **RINGS)
        return engine.sample(pyramid, layout, model="vit16")

    runs = {"foveate": lambda: engine.tokens(peers.image, layout="rings", gaze=gaze(), model="vit16", **RINGS),
            "foveate, pyramid at hand": sample_only}
    if peers.torch:
        runs["torch avg_pool2d + grid_sample"] = lambda: peers.torch_rings(gaze())
    return "rings of 172 tokens at a random gaze", runs, rounds, peers.image.size + 172 * 3 * 16 * 16 * 4


def bench_batch(engine, peers, rounds):
    rng = np.random.default_rng(11)
    sizes = [(int(h), int(w)) for h, w in zip(rng.integers(360, 1100, 32), rng.integers(480, 1930, 32), strict=True)]
    images = [np.ascontiguousarray(peers.image[:h, :w]) for h, w in sizes]
    single = Engine(backend="cpu", threads=1)
    runs = {"foveate": lambda: engine.tokens(images, layout="grid", budget=273, model="qwen2.5-vl"),
            "foveate, one thread": lambda: single.tokens(images, layout="grid", budget=273, model="qwen2.5-vl")}
    outputs = len(images) * 273 * 4 * 1176 * 4
    return "32 images of mixed sizes in one call", runs, max(8, rounds // 4), sum(i.size for i in images) + outputs


def bench_warp(engine, peers, rounds):
    """Log-polar about the middle, the same 256 angles and 128 radii; OpenCV's is alpha = 1 and not anti-aliased."""
    image = engine.image(peers.image)
    height, width = peers.image.shape[:2]
    radius = float(np.hypot(height, width) / 2)
    runs = {"foveate, anti-aliased": lambda: engine.warp(image, size=(256, 128), alpha=1, radius=radius),
            "foveate, anti-aliased, acuity": lambda: engine.warp(image, size=(256, 128))}
    if peers.cv2:
        flags = peers.cv2.WARP_POLAR_LOG | peers.cv2.INTER_LINEAR
        center = (width / 2 - 0.5, height / 2 - 0.5)
        runs["OpenCV warpPolar, aliased"] = lambda: peers.cv2.warpPolar(peers.image, (128, 256), center, radius + 1,
                                                                         flags)
    return "log-polar image of 256 x 128", runs, rounds, peers.image.size + 256 * 128 * 3


def batch_memory(peers):
    """Peak resident memory of the mixed batch over what its inputs and outputs take."""
    images = [np.ascontiguousarray(peers.image[:h, :1920 - h]) for h in range(400, 1040, 20)]
    engine = Engine(backend="cpu")
    engine.tokens(peers.image[:64, :64], budget=4, model="qwen2.5-vl")
    Path("/proc/self/clear_refs").write_text("5")
    before = _resident("VmRSS")
    tokens = engine.tokens(images, layout="grid", budget=273, model="qwen2.5-vl")
    outputs = tokens.numpy().nbytes
    return {"over_inputs_and_outputs_mib": (_resident("VmHWM") - before - outputs) / 2**20,
            "outputs_mib": outputs / 2**20, "inputs_mib": sum(i.nbytes for i in images) / 2**20}


def _resident(field):
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    return 0


def vulkan_engines():
    for index, candidate in enumerate(c for c in _core.candidates() if c["backend"] == "vulkan"):
        if candidate["usable"]:
            yield candidate["device"], Engine(backend="vulkan", device=str(index))


def machine():
    model = platform.processor()
    for line in Path("/proc/cpuinfo").read_text().splitlines() if os.path.exists("/proc/cpuinfo") else ():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    return f"{model}, {len(os.sched_getaffinity(0))} threads, {platform.system()}, Python {platform.python_version()}"


def measure(rounds):
    image = photograph(1920, 1080)
    engine = Engine(backend="cpu")
    threads = len(os.sched_getaffinity(0))
    peers = Peers(image, threads)
    bandwidth = copy_bandwidth()
    result = {"machine": machine(), "isa": engine.caps["isa"], "threads": threads,
              "copy_gb_s": bandwidth / 1e9, "missing": peers.missing, "cases": []}
    for case in (bench_pyramid, bench_grid, bench_rings, bench_warp, bench_batch):
        title, runs, count, floor_bytes = case(engine, peers, rounds)
        result["cases"].append({"title": title, "floor_bytes": floor_bytes,
                                "floor_ms": floor_bytes / bandwidth * 1e3, "rows": race(runs, count)})
    result["batch_memory"] = batch_memory(peers)
    result["vulkan"] = []
    for device, vulkan in vulkan_engines():
        rows = {}
        for case in (bench_pyramid, bench_grid, bench_rings):
            title, runs, _, _ = case(vulkan, peers, rounds)
            rows[title] = race({"foveate": runs["foveate"]}, 5)["foveate"]["ms"]
        result["vulkan"].append({"device": device, "ms": rows})
    return result


def markdown(result):
    lines = [f"Machine: {result['machine']}; instruction set {result['isa']}; copy bandwidth "
             f"{result['copy_gb_s']:.1f} GB/s (read and write). 1920 x 1080 RGB8 photograph in memory. Medians; "
             "ratios are of the same rounds.", "", "| work | by | ms | ratio |", "|---|---|---:|---:|"]
    for case in result["cases"]:
        for index, (name, row) in enumerate(case["rows"].items()):
            title = case["title"] if index == 0 else ""
            lines.append(f"| {title} | {name} | {row['ms']:.3f} | {row['ratio']:.2f} |")
        lines.append(f"| | memory floor: {case['floor_bytes'] / 1e6:.1f} MB at copy bandwidth | "
                     f"{case['floor_ms']:.3f} | |")
    for vulkan in result["vulkan"]:
        for title, ms in vulkan["ms"].items():
            lines.append(f"| {title} | foveate, Vulkan on {vulkan['device']} | {ms:.2f} | |")
    memory = result["batch_memory"]
    lines += ["", f"Peak memory of the mixed batch over its inputs ({memory['inputs_mib']:.0f} MiB) and outputs "
              f"({memory['outputs_mib']:.0f} MiB): {memory['over_inputs_and_outputs_mib']:.1f} MiB."]
    lines += [f"Not installed here, so not measured: {text}." for text in result["missing"]]
    return "\n".join(lines) + "\n"


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="foveate bench", description="Ratios against OpenCV, torch and the "
                                     "Hugging Face processor, in one process.")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--out", type=Path, help="folder for cpu.json and cpu.md")
    options = parser.parse_args(arguments)
    result = measure(options.rounds)
    text = markdown(result)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "cpu.json").write_text(json.dumps(result, indent=1) + "\n")
        (options.out / "cpu.md").write_text("# Measured on a CPU\n\nWritten by `make bench`.\n\n" + text)
    print(json.dumps(result, indent=1) if options.json else text)
    return 0
