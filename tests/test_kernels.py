# SPDX-License-Identifier: Apache-2.0
"""The shaders' texts for CUDA and OpenGL, one dispatch after the other, against the oracle: the same bytes."""

import numpy as np
import pytest
from kernels import CudaKernels, OpenGLKernels, fill, record
from oracle import layout as layout_truth
from oracle import pyramid as pyramid_truth
from oracle import rate as rate_truth
from oracle import rate_tiles as tiles_truth
from oracle import relevance as relevance_truth
from oracle import relevance_spectral as spectral_truth
from oracle import sample as sample_truth
from oracle import sample_vrs as vrs_truth

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
                "scale2*", "scale3*", "bias0*", "bias1*", "bias2*", "bias3*", "quantise*", "first_slot", "per_width*",
                "per_height*", "pad0", "pad1")

RELEVANCE_IMAGE = record("first", "columns", "rows", "filled_columns", "filled_rows", "level", "level_width",
                         "level_height", "luma_offset", "luma_pitch", "gaze_first", "gaze_count", "gaze_table",
                         "gaze_scale*", "pad0", "pad1")
RELEVANCE = record("image_count", "cell_count", "cell", "terms", "saliency", "combine", "knob_compress", "knob_exploit",
                   "knob_focus", "weight_gaze", "weight_information", "weight_saliency", "weight_query",
                   "weight_motion", "weight_roi", "floor_value", "keep", "band", "smooth_on", "motion_on", "shrink_on",
                   "roi_first", "source_element", "level_element", "channels", "pad0", "pad1", "pad2")
INFORMATION, SALIENCY, BOTH = 2, 4, 3
TILE_GRID = record("first", "columns", "rows", "pitch", "width", "height", "points", "point_count", "cuts", "pad0",
                   "pad1", "pad2")
TILES = record("image_count", "tile", "content", "cut_count", "cut_codes", "gaze", "velocity", "maps", "primitive",
               "terms", "fine", "coarse", "curves", "jnd", "final_codes", "words")
VRS = record("width", "height", "tile", "columns", "finals_low", "finals_high", "primitive", "channels")
HEAD, RUN = record("first", "count"), record("place", "weights01", "weights23")
WARP = record("image", "first_pixel", "element_count", "first_run", "channels", "source_element", "level_element",
              "output_element", "linear", "scale*", "quantise*", "pad0")


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


@pytest.mark.parametrize("shape, dtype, cell", [((130, 171), np.uint8, 16), ((97, 203), np.uint16, 32),
                                                ((64, 64), np.float32, 8)])
def test_relevance(kernels, shape, dtype, cell):
    """Luma, what each cell's texels say, saliency and the terms as one; then the spectrum of the same luma."""
    planes, pixels = picture(shape, dtype)
    table, levels, _ = build(kernels, planes, pixels)
    level, y = relevance_truth.luma(planes, cell)
    (height, width), (rows, columns) = y.shape, rate_truth.grid_shape(shape, cell)
    cells = relevance_truth.cells_of(y, level, cell, (rows, columns))
    filled = np.array([[v.size > 0 for v in line] for line in cells])
    pitch, count = width + width % 2, rows * columns
    cut = fill(RELEVANCE_IMAGE, 1, columns=columns, rows=rows, filled_columns=filled[0].sum(),
               filled_rows=filled[:, 0].sum(), level=level, level_width=width, level_height=height, luma_pitch=pitch)
    element = described(planes)["element"][0]
    params = fill(RELEVANCE, image_count=1, cell_count=count, cell=cell, terms=INFORMATION | SALIENCY, saliency=BOTH,
                  knob_compress=20000, source_element=element, level_element=F32 if element == F32 else U16, channels=3)
    luma, stats = np.zeros(pitch * height // 2, np.uint32), np.zeros((5, rows, columns), np.uint32)
    largest, output = np.zeros(2, np.uint32), np.zeros((rows, columns), np.uint32)
    kernels.run("relevance_luma", kernels.cover("relevance_luma", pitch // 2, height, 1), params, Pixels0=pixels,
                Levels0=levels.view(np.uint32), Images=described(planes), LevelTable=table, Cuts=cut, Luma=luma)
    assert np.array_equal(luma.view(np.uint16).reshape(height, pitch)[:, :width], y)
    kernels.run("relevance_cells", kernels.cover("relevance_cells", count, 1, 1), params, Cuts=cut, Luma=luma,
                Entropy=relevance_truth.LOGS.astype(np.uint32), Stats=stats, Largest=largest)
    information = np.array([[relevance_truth.entropy(v) for v in line] for line in cells])
    assert np.array_equal(stats[0], information)
    assert np.array_equal(stats[2], relevance_truth.mean(cells))
    kernels.run("relevance_surround", kernels.cover("relevance_surround", count, 1, 1), params, Cuts=cut, Stats=stats,
                Largest=largest)
    assert np.array_equal(stats[4], relevance_truth.surround(cells))
    kernels.run("relevance", kernels.cover("relevance", count, 1, 1), params, Cuts=cut, Stats=stats, Largest=largest,
                Output=output)
    saliency = relevance_truth.saliency(y, level, cell, (rows, columns))
    tension = information * (65536 - 20000) + saliency * 20000 >> 16
    assert np.array_equal(output, (tension + information + saliency) // 3)

    spectral = np.concatenate([spectral_truth.COS, spectral_truth.SIN, spectral_truth.LOG, spectral_truth.EXP,
                               spectral_truth.GAUSS, [0]]).astype(np.float32)
    found = np.zeros((64, 64), np.uint32)
    kernels.run("relevance_spectral", (1, 1, 1), params, Cuts=cut, Luma=luma, SpectralTable=spectral,
                Spectrum=np.zeros(3 * 64 * 64, np.float32), SpectralMap=found)
    assert np.array_equal(found, spectral_truth.residual(y))


@pytest.mark.parametrize("content", ["ffx", "jnd"])
@pytest.mark.parametrize("shape, tile, dtype, share", [((67, 131), 16, np.uint8, 0.05), ((80, 64), 8, np.uint16, 0.05),
                                                       ((70, 99), 32, np.float32, 0.2)])
def test_rate_tiles(kernels, shape, tile, dtype, share, content):
    planes, pixels = picture(shape, dtype)
    rows, columns = -(-shape[0] // tile), -(-shape[1] // tile)
    pitch = -(-columns // 4) * 4
    just = [share * (light + share * 255) for light in range(256)]
    tables = np.concatenate([np.full(2048, 256), [max(1, np.ceil(j * j * 4096)) for j in just],
                             np.arange(16)]).astype(np.uint32)
    params = fill(TILES, image_count=1, tile=tile, content=1 if content == "ffx" else 2,
                  fine=np.ceil(share * 65280), coarse=np.ceil(4 * share * 65280), jnd=2048, final_codes=2304,
                  words=pitch // 4)
    if content == "jnd":        # weights are squares, and a quarter's is 2.13 at rest
        half, quarter = tiles_truth.weights(0, "jnd")
        tables[:1024], tables[1024:2048] = half, quarter
    grids = fill(TILE_GRID, 1, columns=columns, rows=rows, pitch=pitch, width=shape[1], height=shape[0])
    codes = np.zeros((rows, pitch // 4), np.uint32)
    tiles = 64 // min(tile * tile // 16, 16)                # of a block
    kernels.run("rate_tiles", (-(-pitch // tiles), rows, 1), params, Pixels0=pixels, Images=described(planes),
                Grids=grids, Tables=tables, Codes=codes)
    expected = tiles_truth.rate_tiles(planes, tile, content=content, contrast=share, ambient=share)
    assert np.array_equal(codes.view(np.uint8)[:, :columns], expected)
    assert len(np.unique(expected)) > 1


@pytest.mark.parametrize("shape, tile", [((37, 53), 8), ((64, 48), 16), ((33, 70), 32)])
def test_sample_vrs(kernels, shape, tile):
    planes, pixels = picture(shape, np.uint8)
    rows, columns, pitch = -(-shape[0] // tile), -(-shape[1] // tile), -(-shape[1] // 4) * 4
    codes = np.random.default_rng(3).choice([0, 1, 2, 4, 5, 6, 8, 9, 10], (rows, columns)).astype(np.uint8)
    words = np.frombuffer(codes.tobytes() + b"\0" * (-codes.size % 4), np.uint32)
    output, counter = np.zeros(shape, np.uint32), np.zeros(1, np.uint32)
    finals = np.full((shape[0], pitch // 4), 0xffffffff, np.uint32)
    params = fill(VRS, width=shape[1], height=shape[0], tile=tile, columns=columns, finals_low=0x76543210,
                  finals_high=0xfedcba98, channels=3)
    blocks = pitch // 4 * -(-shape[0] // 4)
    kernels.run("sample_vrs", kernels.cover("sample_vrs", blocks, 1, 1), params, Pixels0=pixels,
                Images=described(planes), Codes=words, Output=output, Finals=finals, Counter=counter)
    sizes = [[(1 << (code >> 2), 1 << (code & 3)) for code in row] for row in codes.tolist()]
    image, rates, count = vrs_truth.shade(planes, sizes, tile)
    assert np.array_equal(output.view(np.uint8).reshape(*shape, 4)[..., :3], image)
    assert np.array_equal(finals.view(np.uint8)[:, :shape[1]], rates)
    assert counter[0] == count


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_warp(kernels, dtype):
    """Each px a sum over two runs of four texels, in the image and in level 1, with weights that sum to 2^14."""
    planes, pixels = picture((40, 56), dtype)
    table, levels, truth = build(kernels, planes, pixels)
    random, count, wide = np.random.default_rng(5), 50, dtype == np.float32
    weights = random.multinomial(1 << 14, np.full(8, 1 / 8), count)
    x, y = random.integers(0, [24, 16], (count, 2)).T
    runs = np.zeros((count, 2), RUN)
    runs["place"] = np.stack([2 * x | 2 * y << 14, 1 << 28 | y * int(table[1]["pitch"]) + x], 1)
    runs["weights01"] = weights[:, 0::4] | weights[:, 1::4] << 16
    runs["weights23"] = weights[:, 2::4] | weights[:, 3::4] << 16
    heads = fill(HEAD, count, first=2 * np.arange(count), count=2 | 1 << 16 | 1 << 24)
    output = np.zeros(count * 3 // (1 if wide else 2) + 1, np.uint32)
    element = F32 if wide else U16
    params = fill(WARP, element_count=count * 3, channels=3, source_element=described(planes)["element"][0],
                  level_element=element, output_element=element)
    kernels.run("warp", kernels.cover("warp", len(output), 1, 1), params, Pixels0=pixels, Images=described(planes),
                Levels0=levels.view(np.uint32), LevelTable=table, Heads=heads, Runs=runs, Output=output)
    for i in range(count):
        texels = np.concatenate([truth[0][:, 2 * y[i], 2 * x[i]:2 * x[i] + 4], truth[1][:, y[i], x[i]:x[i] + 4]], 1)
        made = output.view(truth[0].dtype)[3 * i:3 * i + 3]
        if not wide:
            expected = (texels.astype(np.int64) @ weights[i] + (1 << 13)) >> 14
        else:
            expected = texels[:, np.flatnonzero(weights[i])[0]].copy()
            base = expected.copy()
            for k in np.flatnonzero(weights[i]):
                expected += (np.float32(weights[i][k]) * np.float32(1 / 16384)) * (texels[:, k] - base)
        assert np.array_equal(made, expected)
