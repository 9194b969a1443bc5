# SPDX-License-Identifier: Apache-2.0
"""rate: how many cells one token covers, so that exactly `budget` tokens err least.

Each block's tree of halvings is pruned by its weakest link: Breiman, Friedman, Olshen and Stone,
"Classification and Regression Trees", 1984, section 3.3. Sums are u32 and wrap; slopes are float32.
"""

from dataclasses import dataclass, field

import numpy as np

from oracle.layout import ONE, TOKEN, table

WRAP = 1 << 32
RELEVANCE_ONE = 65535


def grid_shape(size, cell):
    """(rows, columns) of the cells; the last ones may overhang the image."""
    return -(-size[0] // cell), -(-size[1] // cell)


def blocks(size, cell, max_rate):
    """How many blocks of max_rate x max_rate cells lie on an image: its fewest tokens."""
    rows, columns = grid_shape(size, cell)
    return -(-rows // max_rate) * -(-columns // max_rate)


def auto_max_rate(sizes, cell, budget):
    """The smallest block that leaves a quarter of the budget, or less, to whole blocks."""
    return next((m for m in (4, 8) if all(4 * blocks(s, cell, m) <= budget for s in sizes)), 16)


def log2(value):
    return value.bit_length() - 1


def code(w, h):
    """Two bits of log2 w, two of log2 h as Vulkan has them; their third bits above, for 16."""
    a, b = log2(w), log2(h)
    return (a & 3) << 2 | b & 3 | (a >> 2) << 5 | (b >> 2) << 4


def extent(code):
    """(w, h) in cells."""
    code = int(code)
    return 1 << (code >> 2 & 3 | (code >> 5 & 1) << 2), 1 << (code & 3 | (code >> 4 & 1) << 2)


# What a split gains

def luma(planes):
    """Bytes, (height, width)."""
    if planes.dtype == np.float32:
        planes = np.floor(np.clip(planes, np.float32(0), np.float32(1)) * np.float32(255) + np.float32(0.5))
    byte = planes.astype(np.int64) >> 8 if planes.dtype == np.uint16 else planes.astype(np.int64)
    return byte[0] if len(byte) == 1 else (38 * byte[0] + 75 * byte[1] + 15 * byte[2] + 64) >> 7


def shift(cell):
    """Bits of fraction of a cell's gains."""
    return 4 if cell <= 128 else 2 if cell <= 256 else 0


def drop(max_rate, cell, hysteresis=False):
    """Bits that a node's gain loses so that a whole block still fits u32, and twice as much with hysteresis."""
    most = ((max_rate * cell) ** 2 * 16256 << shift(cell)) * (2 if hysteresis else 1)
    return next(d for d in range(32) if most >> d < WRAP)


def slot(axis, w, h):
    """Where the gain of halving (w, h) along `axis` is kept."""
    return 4 * (log2(max(w, h)) - 1) + 2 * (w == h) + (axis == "y")


def slots(max_rate):
    """(axis, w, h) in the order of `slot`."""
    sides = [2**k for k in range(1, log2(max_rate) + 1)]
    return [split for s in sides for split in (("x", s, s // 2), ("y", s // 2, s), ("x", s, s), ("y", s, s))]


def box_gains(y, axis, w, h, shift):
    """Squared error that halving each box of w x h px along `axis` saves: d^2 / n, in 2^-shift."""
    boxes = y.reshape(y.shape[0] // h, h, y.shape[1] // w, w)
    if axis == "x":
        d = boxes[..., : w // 2].sum((1, 3)) - boxes[..., w // 2:].sum((1, 3))
    else:
        d = boxes[:, : h // 2].sum((1, 3)) - boxes[:, h // 2:].sum((1, 3))
    n = log2(w * h)
    return d * d << shift - n if shift >= n else d * d >> n - shift


def overlap(cell_index, cell, box, size):
    """(first box, px of each box that lie in the cell and in the image) along one axis."""
    begin, end = cell_index * cell, min((cell_index + 1) * cell, size)
    first, last = begin // box, (end - 1) // box
    edges = np.arange(first, last + 2) * box
    return first, np.minimum(edges[1:], end) - np.maximum(edges[:-1], begin)


def detail(planes, cell, max_rate):
    """Gains (slots, rows, columns): each box gives a cell the share of its px that lie there."""
    height, width = planes.shape[1:]
    rows, columns = grid_shape((height, width), cell)
    room = -(-max(height, width) // max_rate) * max_rate
    y = np.pad(luma(planes), ((0, room - height), (0, room - width)), mode="edge")
    result = np.zeros((4 * log2(max_rate), rows, columns), np.int64)
    for axis, w, h in slots(max_rate):
        gain, bits = box_gains(y, axis, w, h, shift(cell)), log2(w * h)
        for r in range(rows):
            top, down = overlap(r, cell, h, height)
            for c in range(columns):
                left, across = overlap(c, cell, w, width)
                count = down[:, None] * across
                share = gain[top:top + len(down), left:left + len(across)] * count >> bits
                result[slot(axis, w, h), r, c] = share.sum() % WRAP
    return result


def smoothed(now, before, cell, max_rate):
    """Held within an eighth, or within what noise of sigma 2 does to a sum of squares (float32); else an eighth of
    the way from the previous detail, and all of it after a jump."""
    slack, apart, variance = 16 << shift(cell), abs(now - before), 4 << shift(cell)
    n = np.array([w * h for _, w, h in slots(max_rate)], np.float32)[:, None, None]
    slope, rest = np.float32(256 * variance), np.float32(128 * variance**2 * cell**2)
    square = apart.astype(np.float32) * apart.astype(np.float32) * n
    held = (apart <= before // 8) | (square <= slope * before.astype(np.float32) * n + rest)
    jump = (now > 4 * before + slack) | (before > 4 * now + slack)
    step = np.sign(now - before) * (apart // 8)
    return np.where(held, before, np.where(jump, now, before + step))


# The tree of a block

@dataclass(eq=False)
class Node:
    x: int
    y: int
    w: int
    h: int
    gain: int = 0
    added: int = 0                                  # tokens more once it is split; 0: a leaf
    depth: int = 0
    slope: float = 0.0                              # g*
    children: list = field(default_factory=list)

    def splits(self):
        """Itself and the splits below."""
        return [self] * (self.added > 0) + [s for child in self.children for s in child.splits()]


class Trees:
    """What a tree of one image is grown from."""

    def __init__(self, gains, weights, bits, max_rate, rates, before, keep):
        self.gains, self.weights, self.bits = gains, weights, bits      # bits: what weighting drops
        self.max_rate, self.rates = max_rate, rates
        self.rows, self.columns = weights.shape
        self.before, self.keep = before, keep       # previous extents (rows, columns, 2); hysteresis in 1/256

    def weighted(self, gains, x, y, w, h, finer):
        """The node's gain; a split that the previous frame had too counts for more."""
        part = slice(y, min(y + h, self.rows)), slice(x, min(x + w, self.columns))
        total = int((gains[part] * self.weights[part] >> self.bits).sum()) % WRAP
        if self.before is not None and (self.before[part] <= finer).all():
            total = (total + (total >> 8) * self.keep + ((total & 255) * self.keep >> 8)) % WRAP
        return total

    def grow(self, x, y, w, h):
        return self.grow_square(x, y, w) if self.rates == "square" else self.grow_vrs(x, y, w, h)

    def grow_vrs(self, x, y, w, h):
        while True:                                 # halves outside the grid cost nothing
            if w > 1 and w >= h and x + w // 2 >= self.columns:
                w //= 2
            elif h > 1 and h >= w and y + h // 2 >= self.rows:
                h //= 2
            else:
                break
        node = Node(x, y, w, h, depth=log2(self.max_rate**2 // (w * h)))
        best = None
        for axis in "xy":
            halved, other = (w, h) if axis == "x" else (h, w)
            if halved == 1 or halved < other:       # aspect 2 at most
                continue
            finer = (w // 2, WRAP) if axis == "x" else (WRAP, h // 2)
            gain = self.weighted(self.gains[slot(axis, w, h)], x, y, w, h, finer)
            if best is None or gain > best[0]:
                best = gain, axis
        if best:
            node.gain, node.added = best[0], 1
            node.children = ([self.grow(x, y, w // 2, h), self.grow(x + w // 2, y, w // 2, h)] if best[1] == "x"
                             else [self.grow(x, y, w, h // 2), self.grow(x, y + h // 2, w, h // 2)])
        return node

    def grow_square(self, x, y, side):
        half, inside = side // 2, []
        while side > 1:
            half = side // 2
            inside = [(a, b) for b in (y, y + half) for a in (x, x + half) if a < self.columns and b < self.rows]
            if len(inside) > 1:
                break
            side = half
        node = Node(x, y, side, side, depth=log2(self.max_rate // side))
        if side > 1:
            gains = (self.gains[slot("x", side, side)] + self.gains[slot("y", half, side)]) % WRAP
            node.gain = self.weighted(gains, x, y, side, side, (half, half))
            node.added = len(inside) - 1
            node.children = [self.grow(a, b, half, half) for a, b in inside]
        return node


def weakest_links(root):
    """g* of every split of a block, in place: the split whose subtree saves least per token goes first."""
    below = {node: node.splits() for node in root.splits()}
    alive, last = set(below), np.float32(0)
    while alive:
        links = []
        for node in alive:
            splits = [s for s in below[node] if s in alive]
            total = sum(s.gain for s in splits) % WRAP
            slope = np.float32(total) * np.float32(1.0 / sum(s.added for s in splits))
            links.append((slope, node.depth, node.y, node.x, splits))
        slope, *_, splits = min(links, key=lambda link: link[:4])
        last = max(slope, last)
        for split in splits:
            split.slope = last
        alive.difference_update(splits)


def take(splits, need):
    """The splits that `need` tokens pay for: steepest first, then coarse first, then raster order."""
    taken = set()
    for node in sorted(splits, key=lambda s: (-s.slope, s.depth, s.y, s.x)):
        if node.added > need:
            break
        need -= node.added
        taken.add(node)
    return taken


def hull(roots):
    """Budgets where the choice is optimal for its tree: those with a strict step of g* between the last split taken
    and the first left out."""
    splits = sorted((s for root in roots for s in root.splits()), key=lambda s: -s.slope)
    total, found = len(roots), [len(roots)]
    for split, after in zip(splits, [*splits[1:], None], strict=True):
        total += split.added
        if after is None or after.slope < split.slope:
            found.append(total)
    return found


def leaves(node, taken):
    return [leaf for child in node.children for leaf in leaves(child, taken)] if node in taken else [node]


def grown(planes, cell, max_rate, rates="vrs", relevance=None, before=None, hysteresis=0.25, gains=None):
    """The blocks of one image with their g*; `before`: codes of the previous frame."""
    shape = grid_shape(planes.shape[1:], cell)
    keep = int(np.floor(256 * hysteresis + 0.5)) if before is not None else 0
    if gains is None:
        gains = detail(planes, cell, max_rate)
    weights = np.full(shape, RELEVANCE_ONE) if relevance is None else np.asarray(relevance, np.int64)
    extents = np.array([[extent(c) for c in row] for row in before]) if keep else None
    trees = Trees(gains, weights, 16 + drop(max_rate, cell, keep > 0), max_rate, rates, extents, keep)
    roots = [trees.grow(x, y, max_rate, max_rate)
             for y in range(0, shape[0], max_rate) for x in range(0, shape[1], max_rate)]
    for root in roots:
        weakest_links(root)
    return roots


def rate(planes, budget=273, cell=16, max_rate=4, **options):
    """Codes (rows, columns) of one image: the code of the token that covers each cell."""
    roots = grown(planes, cell, max_rate, **options)
    taken = take([s for root in roots for s in root.splits()], budget - len(roots))
    codes = np.zeros(grid_shape(planes.shape[1:], cell), np.uint32)
    for root in roots:
        for leaf in leaves(root, taken):
            codes[leaf.y:leaf.y + leaf.h, leaf.x:leaf.x + leaf.w] = code(leaf.w, leaf.h)
    return codes


def auto_scale(sizes, cell, budget):
    """By how much cells are enlarged so that blocks of 16 x 16 fit the budget."""
    return next(s for s in (1, 2, 4, 8) if s == 8 or 2 * s * cell > 512 or
                all(blocks(size, s * cell, 16) <= budget for size in sizes))


def rows(codes, size, cell, budget, gazes_px=(), image=0, scale=1):
    """layout kind "rate": a token for each cell that is the top left one of its footprint, in raster order."""
    result = []
    points = [[int(np.floor(2 * v + 0.5)) for v in point] for point in gazes_px]
    for y, line in enumerate(codes):
        for x, value in enumerate(line):
            w, h = extent(value)
            if x % w or y % h:
                continue
            row = np.zeros((), TOKEN)
            row["x"], row["y"], row["w"], row["h"] = (v * cell * ONE for v in (x, y, w, h))
            row["inv_w"], row["inv_h"] = 1.0 / (w * scale * ONE), 1.0 / (h * scale * ONE)
            row["rate"], row["valid"] = code(w * scale, h * scale), 1
            centre = (2 * x + w) * cell, (2 * y + h) * cell             # half px
            away = [sum((p - q) ** 2 for p, q in zip(point, centre, strict=True)) for point in points]
            row["fixation"] = away.index(min(away)) if away else 0
            result.append(row)
    return table(result, budget, image)
