# SPDX-License-Identifier: Apache-2.0
"""layout: logpolar and cortical, from their definitions. Lengths in px, angles in rad."""

import itertools
import math

import numpy as np

from .layout import ONE, table, token

TURN = 2 * math.pi
BINS = 1024
GOLDEN = 0.6180339887498949


def distinct(points):
    """(index, point) without those less than 1 px, on both axes, from one before."""
    kept = []
    for index, (x, y) in enumerate(points):
        if all(max(abs(x - a), abs(y - b)) >= 1 for _, (a, b) in kept):
            kept.append((index, (x, y)))
    return kept


class Region:
    """What is nearer to one gaze point than to the others; its half planes n . p <= d as seen from there."""

    def __init__(self, points, index, size):
        height, width = size
        x, y = points[index]
        self.mirror = np.array([x > width / 2, y > height / 2])
        sign = np.where(self.mirror, -1, 1)
        self.size = np.array([width, height])
        self.gaze = np.where(self.mirror, self.size - (x, y), (x, y))
        planes = [(1, 0, width - self.gaze[0]), (0, 1, height - self.gaze[1]), (-1, 0, self.gaze[0]),
                  (0, -1, self.gaze[1])]
        for a, b in points:
            dx, dy = (a - x) * sign[0], (b - y) * sign[1]
            far = math.hypot(dx, dy)
            if far > 0:
                planes.append((dx / far, dy / far, far / 2))
        self.planes = np.array(planes)
        self.reach = max(math.hypot(*corner) for corner in self.corners())

    def corners(self):
        """Where two of the lines meet inside all the others."""
        for i, (ax, ay, ad) in enumerate(self.planes):
            for bx, by, bd in self.planes[:i]:
                det = ax * by - ay * bx
                if abs(det) > 1e-12:
                    p = (ad * by - ay * bd) / det, (ax * bd - ad * bx) / det
                    if (self.planes[:, :2] @ p <= self.planes[:, 2] + 1e-7).all():
                        yield p

    def arcs(self, radius):
        """[(begin, length)] of the circle inside the region, from the first half plane that it crosses."""
        normals = np.arctan2(self.planes[:, 1], self.planes[:, 0])
        half = np.arccos(np.clip(self.planes[:, 2] / radius, 0, 1))
        cuts = [(n, h) for n, h, d in zip(normals, half, self.planes[:, 2], strict=True) if d < radius]
        if not cuts:
            return [(0.0, TURN)]
        marks = sorted({(n + s * h) % TURN for n, h in cuts for s in (-1, 1)})
        first = min((n - h) % TURN for n, h in cuts)
        marks = [m for m in marks if m >= first] + [m + TURN for m in marks if m < first] + [first + TURN]
        found = []
        for a, b in itertools.pairwise(marks):
            middle = (a + b) / 2
            open_ = all(radius * math.cos(middle - n) <= d for n, d in zip(normals, self.planes[:, 2], strict=True))
            if open_ and b - a > 1e-9:
                found.append((a, b - a))
        return found

    def profile(self):
        """(radius, area) of 1024 bins, r = reach (j / 1024)^2 their edges."""
        edges = self.reach * (np.arange(BINS + 1) / BINS) ** 2
        radius = (edges[1:] + edges[:-1]) / 2
        angle = np.array([sum(length for _, length in self.arcs(r)) for r in radius])
        return edges, radius, angle * radius * np.diff(edges)


def mass(profile, a):
    return (profile[2] / (profile[1] + a) ** 2).sum()


def foveation(profiles, size, budget, cell):
    """The default a: 0.15 half diagonals, or where a token at the gaze is one cell of px, if that is more."""
    half = math.hypot(*size) / 2

    def pitch(a):
        return a * math.sqrt(sum(mass(p, a) for p in profiles) / budget)

    low, high = 0.15 * half, 100 * half
    if pitch(low) >= cell or pitch(high) < cell:
        return low if pitch(low) >= cell else high
    for _ in range(40):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if pitch(middle) < cell else (low, middle)
    return high


def apportion(weights, count):
    """Webster's method (Sainte-Lague), at least 1 each; without enough for that, 1 to the heaviest."""
    shares = np.floor(np.array(weights) / sum(weights) * 2**32 + 0.5) + 1
    if count < len(shares):
        parts = np.zeros(len(shares), int)
        parts[np.argsort(-shares, kind="stable")[:count]] = 1
        return parts
    parts = np.ones(len(shares), int)
    while parts.sum() < count:
        parts[np.argmax(shares / (2 * parts + 1))] += 1
    return parts


def sectors(region, a, count, profile):
    """(ring edges in px, [(ring, radius, begin, length, tokens)])."""
    span = math.log((region.reach + a) / a)
    rings = max(1, math.floor(span / math.sqrt(mass(profile, a) / count) + 0.5))
    while True:
        found = [(k, r, *arc) for k in range(rings) for r in [a * math.expm1(span * (k + 0.5) / rings)]
                 for arc in region.arcs(r)]
        if rings == 1 or len(found) <= count:
            break
        rings -= 1
    parts = apportion([length * r / (r + a) for _, r, _, length in found], count)
    edges = a * np.expm1(span * np.arange(rings + 1) / rings)
    return edges, [(*f, int(n)) for f, n in zip(found, parts, strict=True)]


def logpolar_spots(region, profile, a, count):
    edges, found = sectors(region, a, count, profile)
    spots, size = [], 0
    for ring in range(len(edges) - 1):
        inside = [f for f in found if f[0] == ring]
        tokens = sum(f[4] for f in inside)
        if tokens:
            length = sum(f[3] for f in inside) * inside[0][1]
            size = max(size, math.sqrt((edges[ring + 1] - edges[ring]) * length / tokens))
        for _, r, begin, length, n in inside:
            at = 0 if tokens == 1 and length == TURN else r
            for j in range(n):
                angle = begin + length * (j + 0.5) / n
                spots.append((at * math.cos(angle), at * math.sin(angle), size))
    return spots


def cortical_spots(region, profile, a, count):
    edges, radius, area = profile
    weights = area / (radius + a) ** 2
    ends = np.cumsum(weights)
    spots = []
    for rank in range(count):
        wanted = ends[-1] * (rank + 0.5) / count
        bin_ = int(np.searchsorted(ends, wanted))
        share = (wanted - (ends[bin_] - weights[bin_])) / weights[bin_]
        r = edges[bin_] + (edges[bin_ + 1] - edges[bin_]) * share
        arcs = region.arcs(r) or region.arcs(radius[bin_])
        left = math.modf((rank + 0.5) * GOLDEN)[0] * sum(length for _, length in arcs)
        for begin, length in arcs:  # noqa: B007 - the one it stops at is used below
            if left < length:
                break
            left -= length
        angle = begin + min(left, length)
        spots.append((r * math.cos(angle), r * math.sin(angle), math.sqrt(ends[-1] / count) * (r + a)))
    return spots


def polar(kind, size, gazes=((0.5, 0.5),), budget=273, cell=16, foveated=None, image=0):
    """The table in order="level"; `foveated` is alpha or e0."""
    width, height = size[1], size[0]
    kept = distinct([(x * width, y * height) for x, y in gazes])
    regions = [Region([p for _, p in kept], i, size) for i in range(len(kept))]
    profiles = [region.profile() for region in regions]
    a = foveated * math.hypot(*size) / 2 if foveated else foveation(profiles, size, budget, cell)
    counts = apportion([mass(p, a) for p in profiles], budget)
    rows = []
    for (fixation, _), region, profile, count in zip(kept, regions, profiles, counts, strict=True):
        spots = (logpolar_spots if kind == "logpolar" else cortical_spots)(region, profile, a, int(count))
        for dx, dy, side in spots:
            step = math.floor(max(cell, min(side, max(size))) * ONE / cell + 0.5)
            centre = np.clip(region.gaze + np.array((dx, dy)), 0, region.size)
            corner = np.floor(centre * ONE + 0.5).astype(int) - step * cell // 2
            corner = np.where(region.mirror, region.size * ONE - corner - step * cell, corner)
            rows.append(token(*corner, step * cell, step * cell, size, cell, fixation))
    return table(rows, budget, image)
