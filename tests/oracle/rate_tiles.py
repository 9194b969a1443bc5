# SPDX-License-Identifier: Apache-2.0
"""rate, for hardware: one shading rate a tile, from gaze, content and velocity; and the arithmetic of rates.

Rates are (w, h) here, never codes. The clamp and the combiners follow the Vulkan specification, "Fragment Shading
Rates"; contrast follows AMD's FidelityFX Variable Shading; just noticeable differences and velocity follow VALAR
(Intel, 2022), which builds on Yang et al., "Visually Lossless Content and Motion Adaptive Shading in Games", 2019.
"""

import math

import numpy as np

RATES = tuple((w, h) for w in (1, 2, 4) for h in (1, 2, 4))


# Arithmetic

def code(rate):
    return int(math.log2(rate[0])) << 2 | int(math.log2(rate[1]))


def combine(op, a, b, strict=True):
    """Along each axis by itself."""
    def axis(a, b):
        if op == "mul":
            return 2 if a == b == 1 and not strict else a * b
        return {"keep": a, "replace": b, "min": min(a, b), "max": max(a, b)}[op]

    return axis(a[0], b[0]), axis(a[1], b[1])


def clamp(rate, supported, transpose=False, tall=False):
    """What a device that has `supported` shades for `rate`."""
    if rate in supported:
        return rate
    fits = [r for r in supported if (r[0] <= rate[0] and r[1] <= rate[1]) or
            (transpose and r[1] <= rate[0] and r[0] <= rate[1])]
    area = max(w * h for w, h in fits)
    fits = [r for r in fits if r[0] * r[1] == area]
    least = min(w + h for w, h in fits)
    fits = [r for r in fits if sum(r) == least]
    return min(fits) if tall else max(fits)     # of wide and tall, always the same one


def final(pipeline, primitive, attachment, ops, supported=RATES, strict=True, transpose=False, tall=False,
          clamp_inputs=False):
    def held(rate):
        return clamp(rate, supported, transpose, tall) if clamp_inputs else rate

    first = combine(ops[0], held(pipeline), held(primitive), strict)
    return clamp(combine(ops[1], held(first), held(attachment), strict), supported, transpose, tall)


def fix(w, h):
    """An aspect of 2 at most, from the longer side."""
    return min(w, 2 * h), min(h, 2 * w)


def invocations(rates, tile, width, height):
    """Fragments shaded over an image: those cut by its edge count whole."""
    total = 0
    for row, line in enumerate(rates):
        for column, (w, h) in enumerate(line):
            covered_w, covered_h = min(tile, width - column * tile), min(tile, height - row * tile)
            total += math.ceil(covered_w / w) * math.ceil(covered_h / h)
    return total


# Gaze: squared distances in half px against whole numbers

def distances(height, width, tile, points):
    """(rows, columns) squared distance, in half px, of each tile's middle to the nearest of the points (px)."""
    y = (2 * np.arange(math.ceil(height / tile))[:, None] + 1) * tile
    x = (2 * np.arange(math.ceil(width / tile)) + 1) * tile
    halves = [(math.floor(2 * px + 0.5), math.floor(2 * py + 0.5)) for px, py in points]
    return np.min([(x - px) ** 2 + (y - py) ** 2 for px, py in halves], 0)


def cuts(rows, falloff, farthest, height, width, tile, fov=None):
    """The least squared distance of each row but the first, which the gaze's own tile has in any case."""
    focal = width / math.tan(fov / 2 * (math.pi / 180)) if fov else 0
    result = []
    for limit, _ in rows[:-1]:
        last = rows[-2][0]
        if falloff == "bands":
            if fov:
                squared = (focal * math.tan(limit * (math.pi / 180)) if limit < 90 else 1e9) ** 2
            else:
                squared = limit * limit * (width * width + height * height)
        else:
            if falloff == "table":
                share = 1 - limit
            elif falloff == "polynomial":
                share = math.sqrt((1 / limit - 1) / (1 / last - 1))
            else:
                share = math.log(limit) / math.log(last)
            if fov:
                distance = focal * math.tan(math.atan(math.sqrt(farthest) / focal) * share)
                squared = min(distance * distance, farthest)
            else:
                squared = farthest * (share * share)
        result.append(min(max(math.ceil(squared), 2 * tile * tile + 1), 4294967295))
    return result


def gaze(height, width, tile, points, rows, falloff="table", fov=None):
    """(rows, columns) of rates."""
    far = distances(height, width, tile, points)
    index = np.zeros(far.shape, int)
    for k, cut in enumerate(cuts(rows, falloff, int(far.max()), height, width, tile, fov)):
        index[far >= cut] = k + 1
    return [[rows[k][1] for k in line] for line in index]


# Content

def luma(planes):
    """(H, W) bytes of planes (C, H, W)."""
    if planes.dtype == np.uint16:
        planes = planes >> 8
    elif planes.dtype == np.float32:
        planes = np.floor(np.clip(planes, np.float32(0), np.float32(1)) * np.float32(255) + np.float32(0.5))
    planes = planes.astype(np.int64)
    return planes[0] if len(planes) == 1 else (38 * planes[0] + 75 * planes[1] + 15 * planes[2] + 64) >> 7


def weights(velocity, content):
    """(half, quarter) in 1/256 at a velocity in 1/16 px a frame: VALAR's curves."""
    v, more = velocity / 16, 1 if content == "ffx" else 2.13
    half = math.pow(1 / (1 + math.pow(1.05 * v, 3.10)), 0.35)
    quarter = more * math.pow(1 / (1 + math.pow(0.55 * v, 2.41)), 0.49)
    if content == "jnd":
        half, quarter = half * half, quarter * quarter
    return math.floor(256 * half + 0.5), math.floor(256 * quarter + 0.5)


def detail(quads, weight, cut):
    """(the width must be fine, the height must be fine) of quads (2, 2, ...): rows, columns."""
    (a, b), (c, d) = quads
    dx = int(np.maximum(abs(a - b), abs(c - d)).max())
    dy = int(np.maximum(abs(a - c), abs(b - d)).max())
    dz = int((quads.max((0, 1)) - quads.min((0, 1))).max())
    if dz * weight < cut:
        return False, False
    return dx >= dy or dx * weight >= cut, dy >= dx or dy * weight >= cut


def ffx(tile, half, quarter, contrast):
    """The rate of one tile of luma, (side, side): quads of px, then quads of 2 x 2 blocks' sums."""
    def quads(values):
        return np.array([[values[0::2, 0::2], values[0::2, 1::2]], [values[1::2, 0::2], values[1::2, 1::2]]])

    px = quads(tile)
    fine = detail(px, half, math.ceil(contrast * 65280))
    coarse = detail(quads(px.sum((0, 1))), quarter, math.ceil(4 * contrast * 65280))
    return fix(*(1 if near else 2 if far else 4 for near, far in zip(fine, coarse, strict=True)))


def jnd(tile, half, quarter, share, ambient):
    """The rate of one tile of luma, as much of it as the image covers."""
    light = (tile * tile + 128 + ((tile * tile + 128) >> 8)) >> 8
    just = share * (int(light.sum()) // light.size + ambient * 255)
    just = max(1, math.ceil(just * just * 4096))

    def side(differences):
        mean = int((differences * differences).sum()) * 16 // differences.size if differences.size else 0
        return 1 if mean * half >= just else 4 if mean * quarter < just else 2

    return fix(side(np.diff(light, axis=1)), side(np.diff(light, axis=0)))


def moving(half, quarter):
    side = 1 if half >= 128 else 2 if quarter >= 128 else 4
    return side, side


# The stage

def rate_tiles(planes, tile, points=None, rows=(), falloff="table", fov=None, content=None, contrast=0.05,
               ambient=0.05, velocity=None, terms="max", pipeline=(1, 1), primitive=None, ops=("keep", "replace"),
               **profile):
    """(rows, columns) uint8 of codes. velocity: (rows, columns) in 1/16 px; primitive: rates, like them."""
    height, width = planes.shape[1:]
    shape = math.ceil(height / tile), math.ceil(width / tile)
    values = luma(planes)
    padded = np.pad(values, ((0, shape[0] * tile - height), (0, shape[1] * tile - width)), mode="edge")
    seen = gaze(height, width, tile, points, rows, falloff, fov) if points is not None else None
    codes = np.zeros(shape, np.uint8)
    for y, x in np.ndindex(shape):
        found = []
        half, quarter = weights(0 if velocity is None else int(velocity[y, x]), content)
        at = np.s_[y * tile:(y + 1) * tile, x * tile:(x + 1) * tile]
        if content == "ffx":
            found.append(ffx(padded[at], half, quarter, contrast))
        elif content == "jnd":
            found.append(jnd(values[at], half, quarter, contrast, ambient))
        elif velocity is not None:
            found.append(moving(half, quarter))
        if seen is not None:
            found.append(seen[y][x])
        attachment = found[0] if len(found) == 1 else combine(terms, *found)
        drawn = (1, 1) if primitive is None else primitive[y][x]
        codes[y, x] = code(final(pipeline, drawn, attachment, ops, **profile))
    return codes
