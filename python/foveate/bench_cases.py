# SPDX-License-Identifier: Apache-2.0
"""What `foveate bench` measures: the work, who does it besides us, and what is asked of us."""

from dataclasses import dataclass, field

import numpy as np

from .engine import Engine
from .presets import presets

QWEN = presets["qwen2.5-vl"]
GRID = (13, 21)                 # what 273 tokens make of 1920 x 1080
RINGS = dict(strides=(1, 2, 4, 6, 8), grids=(4, 4, 6, 8, 10))
TILE, CONTRAST = 8, 0.05        # px; of white, the least that counts
POLAR, OVER = (256, 128), (16, 32)  # angles and radii; samples of each in one texel of the truth


@dataclass
class Case:
    """One work: who does it, ours first, and the bytes that it reads and writes at the least."""

    title: str
    runs: dict
    floor_bytes: int
    share: int = 1                              # the rounds that it gets: one in so many
    ratios: dict = field(default_factory=dict)  # row -> times ours that it has to take
    most_ms: float | None = None                # that ours may take
    db: object = None                           # {row: dB of the truth}, when called


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

    def cv2_tiles(self, gaze, frame):
        """Codes of 8 px tiles: contrast as AMD's FidelityFX Variable Shading, and rings around the gaze.

        As `rate_tiles(frame, tile=8, gaze=gaze, content="ffx")`, but the luma is OpenCV's.
        """
        cv2 = self.cv2

        def even(values):
            return [np.ascontiguousarray(values[y::2, x::2]) for y in (0, 1) for x in (0, 1)]

        def largest(values, side):
            while side > 1:
                values = cv2.max(values[0::2], values[1::2])
                values = cv2.max(np.ascontiguousarray(values[:, 0::2]), np.ascontiguousarray(values[:, 1::2]))
                side //= 2
            return values

        def fine(a, b, c, d, side, cut):
            dx, dy = cv2.max(cv2.absdiff(a, b), cv2.absdiff(c, d)), cv2.max(cv2.absdiff(a, c), cv2.absdiff(b, d))
            dz = cv2.subtract(cv2.max(cv2.max(a, b), cv2.max(c, d)), cv2.min(cv2.min(a, b), cv2.min(c, d)))
            dx, dy, dz = (largest(values, side) for values in (dx, dy, dz))
            return (dz >= cut) & ((dx >= dy) | (dx >= cut)), (dz >= cut) & ((dy >= dx) | (dy >= cut))

        quads = even(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY))
        sums = cv2.add(cv2.add(quads[0], quads[1], dtype=cv2.CV_16U), cv2.add(quads[2], quads[3], dtype=cv2.CV_16U))
        near, far = fine(*quads, TILE // 2, CONTRAST * 255), fine(*even(sums), TILE // 4, 4 * CONTRAST * 255)
        w, h = (np.where(n, 0, np.where(f, 1, 2)) for n, f in zip(near, far, strict=True))
        w, h = np.minimum(w, h + 1), np.minimum(h, w + 1)
        rows, columns = w.shape
        x, y = (np.arange(columns) + 0.5) / columns - gaze[0], (np.arange(rows)[:, None] + 0.5) / rows - gaze[1]
        distance = np.hypot(x * columns, y * rows)
        row = np.searchsorted((0.4, 0.6, 0.8), distance / distance.max(), side="right")
        w, h = np.maximum(w, np.array((0, 1, 1, 2))[row]), np.maximum(h, np.array((0, 1, 2, 2))[row])
        return (w << 2 | h).astype(np.uint8)

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


def pyramid_case(engine, peers):
    image = engine.image(peers.image)
    runs = {"foveate": lambda: engine.pyramid(image, levels=4)}
    if peers.cv2:
        runs["OpenCV INTER_AREA chain"] = lambda: peers.cv2_pyramid(4)
    if peers.torch:
        runs["torch avg_pool2d chain, float32"] = lambda: peers.torch_pyramid(4)
    pixels = peers.image.size
    return Case("aligned 4-level pyramid of RGB8", runs, pixels + 2 * sum(pixels // 4**i for i in (1, 2, 3)))


def grids(peers):
    """What turns the whole image into 273 tokens of one size, and what such tokens take."""
    runs = {}
    if peers.cv2:
        runs["OpenCV INTER_AREA, normalise, patchify"] = lambda: peers.cv2_grid(peers.cv2.INTER_AREA)
        runs["OpenCV INTER_LINEAR, normalise, patchify"] = lambda: peers.cv2_grid(peers.cv2.INTER_LINEAR)
    if peers.transformers:
        runs["Hugging Face Qwen2-VL processor (PIL)"] = peers.hf_grid
    return runs, peers.image.size + GRID[0] * GRID[1] * 4 * 3 * 2 * 14 * 14 * 4


def grid_case(engine, peers):
    others, size = grids(peers)
    runs = {"foveate": lambda: engine.tokens(peers.image, layout="grid", grid=GRID, model="qwen2.5-vl")}
    return Case("grid of 273 Qwen2.5-VL tokens", runs | others, size)


def gazes():
    """A gaze that is never twice the same."""
    points = np.random.default_rng(7).uniform(0.1, 0.9, (4096, 2))
    turn = iter(range(1 << 30))
    return lambda: tuple(points[next(turn) % len(points)])


def rate_case(engine, peers):
    """The whole chain by default options: what is anti-aliased, as ours is, is what we are held against."""
    gaze, (others, size) = gazes(), grids(peers)
    runs = {"foveate": lambda: engine.tokens(peers.image, gaze=gaze(), budget=273, model="qwen2.5-vl")}
    return Case("273 Qwen2.5-VL tokens by rate and gaze", runs | others, size,
                ratios={"OpenCV INTER_AREA, normalise, patchify": 3, "Hugging Face Qwen2-VL processor (PIL)": 10})


def terms_case(engine, peers):
    gaze, (others, size), theirs = gazes(), grids(peers), "OpenCV INTER_AREA, normalise, patchify"
    terms = {"information": True, "saliency": "both"}
    runs = {"foveate": lambda: engine.tokens(peers.image, gaze=gaze(), relevance=terms, budget=273,
                                             model="qwen2.5-vl")}
    return Case("the same by gaze, information and saliency",
                runs | {name: run for name, run in others.items() if name == theirs}, size, ratios={theirs: 2})


def tiles_case(engine, peers):
    gaze, frame = gazes(), photograph(3840, 2160)
    runs = {"foveate": lambda: engine.rate_tiles(frame, tile=TILE, gaze=gaze(), content="ffx").codes}
    if peers.cv2:
        runs["OpenCV and NumPy"] = lambda: peers.cv2_tiles(gaze(), frame)
    return Case("rate image of 3840 x 2160 px, 8 px tiles, gaze and contrast", runs,
                frame.size + frame.size // 3 // TILE**2, most_ms=2)


def rings_case(engine, peers):
    gaze = gazes()
    image = engine.image(peers.image)
    pyramid = engine.pyramid(image, levels=4)

    def sample_only():
        layout = engine.layout(image, kind="rings", cell=16, gaze=gaze(), **RINGS)
        return engine.sample(pyramid, layout, model="vit16")

    runs = {"foveate": lambda: engine.tokens(peers.image, layout="rings", gaze=gaze(), model="vit16", **RINGS),
            "foveate, pyramid at hand": sample_only}
    if peers.torch:
        runs["torch avg_pool2d + grid_sample"] = lambda: peers.torch_rings(gaze())
    return Case("rings of 172 tokens at a random gaze", runs, peers.image.size + 172 * 3 * 16 * 16 * 4)


def warp_case(engine, peers):
    """Log-polar about the middle, the same 256 angles and 128 radii; OpenCV's is alpha = 1 and not anti-aliased."""
    image = engine.image(peers.image)
    height, width = peers.image.shape[:2]
    radius = float(np.hypot(height, width) / 2)
    runs = {"foveate, anti-aliased": lambda: engine.warp(image, size=POLAR, alpha=1, radius=radius),
            "foveate, anti-aliased, acuity": lambda: engine.warp(image, size=POLAR)}
    case = Case("log-polar image of 256 x 128", runs, peers.image.size + POLAR[0] * POLAR[1] * 3)
    if peers.cv2:
        flags = peers.cv2.WARP_POLAR_LOG | peers.cv2.INTER_LINEAR
        center = (width / 2 - 0.5, height / 2 - 0.5)
        theirs = "OpenCV warpPolar, aliased"
        runs[theirs] = lambda: peers.cv2.warpPolar(peers.image, POLAR[::-1], center, radius + 1, flags)
        case.ratios = {theirs: 0.5}     # it reads four px a pixel, we read them all: twice its time is what is asked
        ours = "foveate, anti-aliased"
        case.db = lambda: {ours: polar_db(peers, runs[ours]().numpy()[0], radius, 0.5),
                           theirs: polar_db(peers, runs[theirs](), radius, 0.0)}
    return case


def polar_db(peers, got, radius, middle):
    """PSNR of a log-polar image, alpha = 1, against the mean of 16 x 32 samples of each texel that lies inside.

    middle: where a texel's index is, in texels from its first edge: ours 0.5; OpenCV's has its samples at whole
    numbers, so its texels reach half a texel to either side.
    """
    cv2, (angles, radii) = peers.cv2, POLAR
    height, width = peers.image.shape[:2]
    source = peers.image.astype(np.float32)
    k = (np.arange(radii * OVER[1]) + 0.5) / OVER[1] + middle - 0.5
    j = (np.arange(angles * OVER[0]) + 0.5) / OVER[0] + middle - 0.5
    r = np.expm1(np.maximum(k, 0) * np.log1p(radius) / radii)
    error, count = 0.0, 0
    for row in range(angles):
        theta = 2 * np.pi * j[row * OVER[0]:(row + 1) * OVER[0], None] / angles
        x, y = width / 2 + r * np.cos(theta), height / 2 + r * np.sin(theta)
        inside = ((x >= 0) & (x <= width) & (y >= 0) & (y <= height)).reshape(OVER[0], radii, OVER[1]).all((0, 2))
        samples = cv2.remap(source, (x - 0.5).astype(np.float32), (y - 0.5).astype(np.float32), cv2.INTER_LINEAR,
                            borderMode=cv2.BORDER_REPLICATE)
        truth = samples.reshape(OVER[0], radii, OVER[1], -1).mean((0, 2))
        error += float(((got[row] - truth)[inside] ** 2).sum())
        count += int(inside.sum()) * got.shape[-1]
    return float(10 * np.log10(255**2 * count / max(error, 1e-9)))


def batch_case(engine, peers):
    rng = np.random.default_rng(11)
    sizes = [(int(h), int(w)) for h, w in zip(rng.integers(360, 1100, 32), rng.integers(480, 1930, 32), strict=True)]
    images = [np.ascontiguousarray(peers.image[:h, :w]) for h, w in sizes]
    single = Engine(backend="cpu", threads=1)
    runs = {"foveate": lambda: engine.tokens(images, layout="grid", budget=273, model="qwen2.5-vl"),
            "foveate, one thread": lambda: single.tokens(images, layout="grid", budget=273, model="qwen2.5-vl")}
    outputs = len(images) * 273 * 4 * 1176 * 4
    return Case("32 images of mixed sizes in one call", runs, sum(i.size for i in images) + outputs, share=4)


def adapter_case(engine, peers):
    """What Qwen2.5-VL is told besides patches: where they are, for its tower and for its language model."""
    from .model.positions import positions

    tokens = engine.tokens([peers.image] * 8, budget=273, gaze=(0.4, 0.6), model="qwen2.5-vl")
    size = tokens.table.nbytes + 8 * 273 * (4 * 2 * 4 + 8 + 3 * 4)     # records; patches, windows and tokens
    if not (peers.torch and peers.transformers):
        return Case("positions of 8 x 273 tokens", {"foveate": lambda: positions(tokens)}, size, most_ms=1)
    from transformers import Qwen2_5_VLConfig

    from .model import qwen

    config = Qwen2_5_VLConfig()
    text = qwen.expand([[config.image_token_id]] * 8, tokens, config)

    def both():
        return qwen.vision(tokens, config), qwen.positions(tokens=tokens, model=config, **text)

    return Case("Qwen2.5-VL's positions of 8 x 273 tokens", {"foveate": both}, size, most_ms=1)


# by the word that --case takes
CASES = {"pyramid": pyramid_case, "grid": grid_case, "rate": rate_case, "terms": terms_case, "tiles": tiles_case,
         "rings": rings_case, "warp": warp_case, "batch": batch_case, "adapter": adapter_case}
ON_VULKAN = ("pyramid", "grid", "rate", "rings")
