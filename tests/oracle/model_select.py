# SPDX-License-Identifier: Apache-2.0
"""model.select, one image at a time and slowly: what each method keeps, by loops over tokens.

Methods return the kept indices in order, merging ones also {kept index: [tokens it stands for]}.
"""

import math

import numpy as np


def ranked(scores):
    """Indices, the higher score first, then the lower index."""
    return sorted(range(len(scores)), key=lambda token: (-scores[token], token))


def topk(scores, k):
    return sorted(ranked(scores)[:k])


def uniform(total, k, grid=None):
    rows, columns = grid or (1, total)
    bands = max(round(math.sqrt(k * rows / columns)), math.ceil(k / columns), 1)
    bands = min(bands, rows, k)
    found, before = [], 0
    for band in range(bands):
        count = (band + 1) * k // bands - before
        before += count
        for place in range(count):
            row, column = math.floor((band + 0.5) * rows / bands), math.floor((place + 0.5) * columns / count)
            found.append(row * columns + column)
    return sorted(found)


# Log-polar

def angle(dx, dy):
    """0 .. 2 pi, from +x over +y."""
    return math.atan2(dy, dx) % (2 * math.pi)


def radii(places, distances, rings):
    """Radii between rings: equal steps of the logarithm from one pitch to the farthest token."""
    total, (width, height) = len(places), np.ptp(places, axis=0)
    pitch = 1.0
    if total > 1 and width + height:
        # (width / p + 1) (height / p + 1) = total
        pitch = max(np.roots([total - 1, -(width + height), -width * height]).real)
    ratio = max(1.0, max(distances) / pitch)
    return [pitch * ratio**(ring / rings) for ring in range(1, rings)]


def plain_bins(places, gaze, rings, spokes):
    distances = [math.hypot(*(place - gaze)) for place in places]
    edges = radii(places, distances, rings)
    return [sum(edge <= distance for edge in edges) * spokes + int(angle(*(place - gaze)) / (2 * math.pi) * spokes)
            for place, distance in zip(places, distances, strict=True)]


def filled_bins(places, gaze, count, rings):
    """Rings outward: where a log-polar one ends, or once it has a token a bin, but leaving enough for those outside."""
    total, squared = len(places), [float(((place - gaze)**2).sum()) for place in places]
    turns = [angle(*(place - gaze)) for place in places]
    outward = sorted(range(total), key=lambda token: (squared[token], turns[token], token))
    edges = [*radii(places, [math.sqrt(value) for value in squared], rings), math.inf]
    bins, begin, first = [None] * total, 0, 0
    for ring in range(rings):
        own = count // rings + (1 if ring >= rings - count % rings else 0)
        end = begin + own
        while end < total - (count - first - own) and math.sqrt(squared[outward[end]]) <= edges[ring]:
            end += 1
        around = sorted(outward[begin:end], key=lambda token: (turns[token], squared[token], token))
        for place, token in enumerate(around):
            bins[token] = first + place * own // len(around)
        begin, first = end, first + own
    return bins


def covered(scores, bins, k, first):
    """The first by score; of each bin that has none its best, the best of these first; the rest by score."""
    order = ranked(scores)
    chosen = order[:first]
    for token in order:
        if len(chosen) < k and token not in chosen and bins[token] not in {bins[other] for other in chosen}:
            chosen.append(token)
    chosen += [token for token in order if token not in chosen][:k - len(chosen)]
    return sorted(chosen), len({bins[token] for token in chosen})


def seed_bins(gaze, rings=16, spokes=17, side=64):
    """The bins of the notes this began with: log(distance + 0.01) from least to largest, places i / (side - 1)."""
    axis = np.arange(side) / (side - 1)
    y, x = np.meshgrid(axis, axis, indexing="ij")
    dx, dy = x - axis[gaze[0]], y - axis[gaze[1]]
    rho, theta = np.log(np.sqrt(dx**2 + dy**2 + 1e-8) + 0.01), np.arctan2(dy, dx)
    ring = np.clip(((rho - rho.min()) / (rho.max() - rho.min()) * rings).astype(int), 0, rings - 1)
    spoke = np.clip(((theta + np.pi) / (2 * np.pi) * spokes).astype(int), 0, spokes - 1)
    return (ring * spokes + spoke).ravel()


# SHIRG and rates

def unit(values):
    low, high = min(values), max(values)
    return [(value - low) / (high - low) if high > low else 0.0 for value in values]


def shirg(attention, similarity, overview, k, weights):
    near, alike = unit(attention[overview:]), unit(similarity[overview:])
    score = [np.float32(weights[0]) * np.float32(a) + np.float32(weights[1]) * np.float32(s)
             for a, s in zip(near, alike, strict=True)]
    return [*range(overview), *sorted(overview + token for token in ranked(score)[:k - overview])]


def vrs(scores, grid, k, cuts=(0.2, 0.4, 0.6, 0.8), edge=4):
    """Splits one rectangle after the other: the heaviest, then the coarsest, the upper, the left one."""
    rows, columns = grid
    weights = [0.25 * 2**sum(score > cut for cut in cuts) for score in unit(scores)]
    while math.ceil(rows / edge) * math.ceil(columns / edge) > k:
        edge *= 2

    def cells(rectangle):
        y, x, h, w = rectangle
        return [row * columns + column for row in range(y, min(y + h, rows))
                for column in range(x, min(x + w, columns))]

    def halves(rectangle):
        y, x, h, w = rectangle
        if w >= h:
            return (y, x, h, w // 2), (y, x + w // 2, h, w // 2)
        return (y, x, h // 2, w), (y + h // 2, x, h // 2, w)

    def freed(rectangle):
        """Without what has no cells: such a split adds no token."""
        while rectangle[2] * rectangle[3] > 1:
            one, other = halves(rectangle)
            if cells(one) and cells(other):
                break
            rectangle = one if cells(one) else other
        return rectangle

    leaves = [freed((y, x, edge, edge)) for y in range(0, rows, edge) for x in range(0, columns, edge)]
    while len(leaves) < k:
        best = min((leaf for leaf in leaves if leaf[2] * leaf[3] > 1),
                   key=lambda leaf: (-sum(weights[cell] for cell in cells(leaf)), -leaf[2] * leaf[3], leaf[0], leaf[1]))
        leaves.remove(best)
        leaves += [freed(half) for half in halves(best)]
    groups = {}
    for y, x, h, w in leaves:
        down, across = min(h, rows - y), min(w, columns - x)
        groups[(y + (down - 1) // 2) * columns + x + (across - 1) // 2] = cells((y, x, h, w))
    return groups


# Likeness

def cosine(a, b):
    return float(a @ b / (max(np.linalg.norm(a), 1e-12) * max(np.linalg.norm(b), 1e-12)))


def tome(features, keys, sizes, k, protect=0):
    """{kept index: tokens it stands for} and the merged features."""
    groups = {token: [token] for token in range(len(features))}

    def mean(plane, token):
        weights = sizes[groups[token]]
        return weights @ plane[groups[token]] / weights.sum()

    while len(groups) > k:
        left = sorted(groups)
        free = range(protect, len(left))
        source, target = [left[i] for i in free if i % 2 == 0], [left[i] for i in free if i % 2]
        pairs = []
        for token in source:
            alike = [cosine(mean(keys, token), mean(keys, other)) for other in target]
            best = max(range(len(target)), key=lambda place: (alike[place], -place))
            pairs.append((-alike[best], token, target[best]))
        for _, token, other in sorted(pairs)[:min(len(left) - k, len(free) // 2)]:
            groups[other] += groups.pop(token)
    return groups, np.array([mean(features, token) for token in sorted(groups)])


def saint(keys, k, graph, protect=0, tau=0.7, gamma=10.0):
    left = list(range(protect, len(keys)))
    while len(left) > k - protect:
        if graph == "full":
            scores = {token: sum(cosine(keys[token], keys[other]) for other in left if other != token)
                      for token in left}
            count = max(1, len(left) // 16)
        else:
            scores = {}
            for token in left[::2]:
                alike = [cosine(keys[token], keys[other]) for other in left[1::2]]
                valid = [value for value in alike if value >= tau]
                scores[token] = len(valid) * math.exp(gamma * (sum(valid) / len(valid) - tau)) if valid else \
                    sum(alike) / len(alike)
            count = len(scores)
        if graph == "full" and len(left) == 2:
            left = left[:1]     # each is as like the other
            continue
        count = min(count, len(left) - (k - protect))
        gone = sorted(scores, key=lambda token: (-scores[token], -token))[:count]
        left = [token for token in left if token not in gone]
    return [*range(protect), *left]


def visionzip(features, keys, attention, k, contextual, cls=False, summed=False):
    """{kept index: tokens it stands for} and the merged features."""
    order = ranked([math.inf if cls and token == 0 else value for token, value in enumerate(attention)])
    dominant, rest = sorted(order[:k - contextual]), sorted(order[k - contextual:])
    groups = {token: [token] for token in dominant}
    if contextual:
        target = rest[::max(1, len(rest) // contextual)][:contextual]
        groups |= {token: [token] for token in target}
        for token in rest:
            if token not in target:
                alike = [cosine(keys[token], keys[other]) for other in target]
                groups[target[alike.index(max(alike))]].append(token)
    merged = []
    for token in sorted(groups):
        joined = features[[other for other in groups[token] if other != token]]
        if summed:
            merged.append(features[token] + (joined.mean(0) if len(joined) else 0))
        else:
            merged.append(features[groups[token]].mean(0))
    return groups, np.array(merged)


def transport(source, target, places, weights, sigma=10.0, epsilon=0.1, iterations=3):
    """(rows' sums, sums of plan times cost) of the transport plan, times N."""
    total, middle = len(source), (places.max(0) + places.min(0)) / 2
    terms = np.empty((3, total, total))
    for i in range(total):
        for j in range(total):
            terms[0, i, j] = ((source[i] - target[j])**2).sum()
            terms[1, i, j] = 1 - math.exp(-((places[i] - places[j])**2).sum() / (2 * sigma**2))
            terms[2, i, j] = math.sqrt(((places[i] - middle)**2).sum())
    cost = sum(weight * (term - term.min()) / max(np.ptp(term), 1e-30)
               for weight, term in zip(weights, terms, strict=True))
    plan = np.exp(-cost / epsilon)
    for step in range(iterations):
        if step:
            plan = plan / plan.sum(1, keepdims=True)
        plan = plan / plan.sum(0)
    return plan.sum(1), (plan * cost).sum(1)


def topv(importance, k, again):
    order = ranked(importance)
    pruned = sorted(order[k - again:])
    return sorted(order[:k - again] + [pruned[place * len(pruned) // again] for place in range(again)])


# Scores

def received(queries, keys):
    """(N,) of (heads, N, d): the mean over heads and queries of attention."""
    weights = []
    for q, k in zip(queries, keys, strict=True):
        logits = q @ k.T / math.sqrt(q.shape[1])
        each = np.exp(logits - logits.max(1, keepdims=True))
        weights.append(each / each.sum(1, keepdims=True))
    return np.mean(weights, axis=(0, 1))
