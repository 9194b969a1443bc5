# SPDX-License-Identifier: Apache-2.0
"""The shaders' texts for CUDA and OpenGL, one dispatch after the other, against the oracle: the same bytes."""

import numpy as np
import pytest
from kernels import CudaKernels, OpenGLKernels, fill, record
from oracle import layout as layout_truth
from oracle import pyramid as pyramid_truth
from oracle import rate as rate_truth
from oracle import sample as sample_truth

MAX_LEVELS = 16
U8, U16, F32 = 0, 1, 2
IMAGE = record("offset_word", "width", "height", "channels", "row_stride", "pixel_stride", "channel_stride", "element",
               "offset_byte", "pad0", "pad1", "pad2")
LEVEL = record("offset", "width", "height", "pitch")
TAP = record("first", "w0*", "w1*", "w2*")
PYRAMID = record("image_count", "level", "source_element", "level_element", "linear", "exact", "taps_offset",
                 "width_max", "height_max", "channels", "taps_stride", "taps_rows")
GRID = record("first", "columns", "rows", "width", "height", "pad0", "pad1", "pad2")
RATE = record("image_count", "cell_count", "cell", "max_log2", "square", "shift", "drop", "weighted", "steady", "hold",
              "hysteresis", "element", "channels", "width_max", "height_max", "blocks_max", "noise_slope*",
              "noise_rest*", "pad0", "pad1")
RATE_IMAGE = record("luma", "pitch", "need", "block_columns", "block_rows", "pad0", "pad1", "pad2")
LAYOUT_GRID = record("first", "columns", "rows", "gaze", "gaze_count", "pad0", "pad1", "pad2")
LAYOUT = record("token_count", "span_count", "cell", "scale_log2")
SAMPLE = record("first_token", "token_count", "cell", "patch_size", "merge", "frames", "channels", "image_channels",
                "channels_last", "dtype", "level_element", "linear", "level_max", "taps", "scale0*", "scale1*",
                "scale2*", "scale3*", "bias0*", "bias1*", "bias2*", "bias3*", "quantise*", "pad0")


@pytest.fixture(scope="module", params=[CudaKernels, OpenGLKernels])
def kernels(request):
    kernels = request.param()
    yield kernels
    kernels.close()


def picture(shape, dtype, seed=1):
    """Planes, smooth enough for tokens of every rate, and the same pixels as they are stored: rows of RGB."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:shape[0], :shape[1]]
    waves = [np.sin(x * f / 9.0 + k) * np.cos(y * f / 13.0) for k, f in enumerate((1, 2, 5))]
    value = np.clip(0.5 + 0.4 * np.array(waves) + 0.1 * random.standard_normal((3, *shape)) * (x > shape[1] // 2), 0, 1)
    planes = value.astype(np.float32) if dtype == np.float32 else (value * np.iinfo(dtype).max).astype(dtype)
    stored = np.ascontiguousarray(planes.transpose(1, 2, 0)).tobytes()
    return planes, np.frombuffer(stored + b"\0" * (-len(stored) % 4), np.uint32)


def described(planes):
    size, element = planes.dtype.itemsize, {1: U8, 2: U16, 4: F32}[planes.dtype.itemsize]
    channels, height, width = planes.shape
    return fill(IMAGE, 1, width=width, height=height, channels=channels, row_stride=channels * size * width,
                pixel_stride=channels * size, channel_stride=size, element=element)


def table_of(shape, exact=False):
    """LevelDesc of each level but the first, and how many elements they are."""
    table, used, (height, width) = np.zeros(MAX_LEVELS, LEVEL), 0, shape
    table[0] = (0, width, height, 0)
    for level in range(1, MAX_LEVELS):
        if width == height == 1:
            break
        width, height = (max(1, side // 2 if exact else -(-side // 2)) for side in (width, height))
        pitch = width + width % 2
        table[level] = (used, width, height, pitch)
        used += 3 * pitch * height
    return table, used


def build(kernels, planes, pixels, exact=False):
    """(level table, level elements, the oracle's levels) of one image."""
    truth = pyramid_truth.pyramid(planes, "exact" if exact else "aligned")
    table, used = table_of(planes.shape[1:], exact)
    element = F32 if truth[-1].dtype == np.float32 else U16
    levels = np.zeros(used + used % 2, np.float32 if element == F32 else np.uint16)
    words = levels.view(np.uint32)
    for level in range(1, len(truth)):
        above, width, height = truth[level - 1].shape, int(table[level]["width"]), int(table[level]["height"])
        axes = [pyramid_truth.taps(above[2]), pyramid_truth.taps(above[1])] if exact else []
        taps = np.array([(first, *weights) for axis in axes for first, weights in axis] or [(0, 0, 0, 0)], TAP)
        params = fill(PYRAMID, image_count=1, level=level, source_element=described(planes)["element"][0],
                      level_element=element, exact=exact, width_max=width, height_max=height, channels=3,
                      taps_stride=len(taps), taps_rows=width)
        items = (width + 1) // 2 if element == U16 else width
        kernels.run("pyramid", kernels.cover("pyramid", items, 3 * height, 1), params, Pixels0=pixels, Levels0=words,
                    Images=described(planes), LevelTable=table, Taps=taps)
    return table, levels, truth


@pytest.mark.parametrize("dtype, exact", [(np.uint8, False), (np.uint16, False), (np.float32, False), (np.uint8, True)])
@pytest.mark.parametrize("shape", [(37, 53), (64, 96), (1, 7)])
def test_pyramid(kernels, shape, dtype, exact):
    planes, pixels = picture(shape, dtype)
    table, levels, truth = build(kernels, planes, pixels, exact)
    for level, expected in enumerate(truth[1:], 1):
        offset, width, height, pitch = (int(v) for v in table[level])
        made = levels[offset:offset + 3 * pitch * height].reshape(3, height, pitch)[:, :, :width]
        assert made.tobytes() == expected.astype(levels.dtype).tobytes(), level


class Chain:
    """luma, detail, tree, select and codes of one image, each from what the kernel before it made."""

    def __init__(self, kernels, planes, pixels, cell, max_rate, budget, rates):
        height, width = planes.shape[1:]
        rows, columns = rate_truth.grid_shape((height, width), cell)
        count, levels = rows * columns, rate_truth.log2(max_rate)
        blocks = -(-rows // max_rate), -(-columns // max_rate)
        pitch = -(-width // 4)
        self.luma = np.zeros(pitch * height, np.uint32)
        self.detail = np.zeros((4 * levels, rows, columns), np.uint32)
        self.slopes = np.full((2 * levels, rows, columns), 77, np.uint32)
        self.codes = np.zeros((rows, columns), np.uint32)
        cuts = np.zeros(4, np.uint32)
        grids = fill(GRID, 1, columns=columns, rows=rows, width=width, height=height)
        images = fill(RATE_IMAGE, 1, pitch=pitch, need=budget - blocks[0] * blocks[1], block_columns=blocks[1],
                      block_rows=blocks[0])
        params = fill(RATE, image_count=1, cell_count=count, cell=cell, max_log2=levels, square=rates == "square",
                      shift=rate_truth.shift(cell), drop=rate_truth.drop(max_rate, cell),
                      element=described(planes)["element"][0], channels=3)
        inverse = (1.0 / np.maximum(1, np.arange(257))).astype(np.float32)
        common = {"Grids": grids, "RateImages": images}
        kernels.run("rate_luma", kernels.cover("rate_luma", pitch, height, 1), params, Pixels0=pixels,
                    Images=described(planes), Luma=self.luma, **common)
        kernels.run("rate_detail", (columns, rows, 1), params, Luma=self.luma, Detail=self.detail, Slopes=self.slopes,
                    **common)
        kernels.run("rate_tree", (blocks[1], blocks[0], 1), params, Detail=self.detail, Inverse=inverse,
                    Slopes=self.slopes, **common)
        kernels.run("rate_select", (1, 1, 1), params, Slopes=self.slopes, Cuts=cuts, **common)
        kernels.run("rate", kernels.cover("rate", columns, rows, 1), params, Grids=grids, Slopes=self.slopes, Cuts=cuts,
                    Codes=self.codes)


def slopes_of(planes, cell, max_rate, rates, shape):
    """What rate_tree leaves: the float's bits + 1 at each split, by depth; without the axis."""
    result = np.zeros(shape, np.uint32)
    for root in rate_truth.grown(planes, cell, max_rate, rates):
        for split in root.splits():
            result[split.depth, split.y, split.x] = np.float32(split.slope).view(np.uint32) + 1
    return result


@pytest.mark.parametrize("rates", ["vrs", "square"])
@pytest.mark.parametrize("shape, max_rate, dtype", [((130, 171), 4, np.uint8), ((64, 64), 16, np.uint16),
                                                    ((45, 83), 8, np.float32)])
def test_rate(kernels, shape, max_rate, dtype, rates):
    cell, (planes, pixels) = 8, picture(shape, dtype)
    least = rate_truth.blocks(shape, cell, max_rate)
    budget = least + (np.prod(rate_truth.grid_shape(shape, cell)) - least) // 3
    chain = Chain(kernels, planes, pixels, cell, max_rate, int(budget), rates)
    width = shape[1]
    assert np.array_equal(chain.luma.view(np.uint8).reshape(shape[0], -1)[:, :width], rate_truth.luma(planes))
    assert np.array_equal(chain.detail, rate_truth.detail(planes, cell, max_rate))
    slopes = slopes_of(planes, cell, max_rate, rates, chain.slopes.shape)
    assert np.array_equal(chain.slopes & 0x7FFFFFFF, slopes)
    assert np.array_equal(chain.codes, rate_truth.rate(planes, int(budget), cell, max_rate, rates=rates))
    assert len(np.unique(chain.codes)) > 1


@pytest.mark.parametrize("dtype, kind", [(np.uint8, "float32"), (np.uint16, "float16"), (np.float32, "bfloat16")])
def test_layout_and_sample(kernels, dtype, kind):
    """Rates -> tokens -> patches, each kernel from the bytes of the one before."""
    shape, cell, max_rate, budget = (130, 171), 16, 4, 40
    planes, pixels = picture(shape, dtype)
    codes = Chain(kernels, planes, pixels, cell, max_rate, budget, "vrs").codes
    gaze = np.array([[101, 40], [300, 200]], np.int32)      # half px
    grid = fill(LAYOUT_GRID, 1, columns=codes.shape[1], rows=codes.shape[0], gaze_count=2)
    tokens = np.zeros(budget, layout_truth.TOKEN)
    kernels.run("layout_rate", (1, 1, 1), fill(LAYOUT, token_count=budget, span_count=1, cell=cell, scale_log2=0),
                Grids=grid, Gaze=gaze, Codes=codes, Tokens=tokens)
    expected = rate_truth.rows(codes, shape, cell, budget, gaze / 2)
    assert tokens.tobytes() == expected.tobytes()

    table, levels, truth = build(kernels, planes, pixels)
    unit = pyramid_truth.unit(planes)
    mean, std = (np.float32(v).astype(float) for v in ([0.5, 0.4, 0.3], [0.2, 0.3, 0.25]))
    scale, bias = 1.0 / (unit * std), -mean / std
    output = np.zeros(budget * 3 * cell * cell // (1 if kind == "float32" else 2), np.uint32)
    params = fill(SAMPLE, token_count=budget, cell=cell, patch_size=cell, merge=1, frames=1, channels=3,
                  image_channels=3, dtype=("float32", "float16", "bfloat16").index(kind),
                  level_element=F32 if dtype == np.float32 else U16, level_max=len(truth) - 1, taps=3 << 16,
                  **{f"scale{c}": scale[c] for c in range(3)}, **{f"bias{c}": bias[c] for c in range(3)})
    kernels.run("sample", kernels.cover("sample", len(output), 1, 1), params, Pixels0=pixels,
                Levels0=levels.view(np.uint32), Images=described(planes), LevelTable=table, Tokens=tokens,
                Output=output)
    patches, _ = sample_truth.sample(planes, tokens, cell, mean=mean, std=std, dtype=kind)
    assert output.tobytes() == patches.tobytes()


def test_grid(kernels):
    """layout: a grid of cells whose edges are no whole px."""
    span = np.zeros(20, np.uint32)
    span[1:4], span[6:8], span[12:14] = (12, 4, 3), (101 << 16, 67 << 16), (101, 67)
    tokens = np.zeros(13, layout_truth.TOKEN)
    spans = np.concatenate([span, np.zeros(20, np.uint32)])
    spans[20:22] = 12, 1                                    # padding
    kernels.run("layout", (1, 1, 1), fill(LAYOUT, token_count=13, span_count=2), Spans=spans,
                Cells=np.zeros(8, np.uint32), Tokens=tokens)
    columns = [layout_truth.edge(101 << 16, 4, k) for k in range(5)]
    rows = [layout_truth.edge(67 << 16, 3, k) for k in range(4)]
    assert tokens["x"][:12].tolist() == columns[:4] * 3
    assert tokens["y"][:12].tolist() == [y for y in rows[:3] for _ in range(4)]
    assert tokens["w"][:12].tolist() == np.diff(columns).tolist() * 3
    assert tokens["valid"].tolist() == [1] * 12 + [0]

