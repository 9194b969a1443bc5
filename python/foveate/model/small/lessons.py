# SPDX-License-Identifier: Apache-2.0
"""What the small model learns from: scenes cut into tokens in all ways, questions about them, and where to look."""

import math
import os

import numpy as np

from ... import Engine
from ...tensor import Tokens
from ...types import Array, Given
from ..join import join
from .scenes import PLACES, SIDE, scene
from .words import CLASSES, INDEX, SAY, encode_answer, encode_text

MODEL, PATCH = "vit16", 16
QUESTIONS, LENGTH = 10, 14                  # of an image; longest question with its answer
TOKENS = 1024                               # a step, about
BUDGETS = {64: 0.2, 96: 0.2, 144: 0.25, 208: 0.2, 273: 0.1, 1024: 0.05}     # how often
WAYS = "grid", "rate", "saliency", "gaze", "gaze", "views", "views", "logpolar"
CLOSE = 0.3                                 # share of batches with a close look
POOL, NEW = 256, 4                          # scenes to draw from, and how many of them are new in a step
IGNORE = -100                               # nothing is wanted here


def layout_of(rng, scenes):
    """Options of `Engine.tokens` for a batch, another way of looking each time."""
    way = rng.choice(WAYS)
    if way == "grid":
        return {"layout": "grid"}
    if way == "saliency":
        return {"relevance": {"saliency": "both"}}
    if way == "rate":
        return {}
    points = 2 if rng.random() < 0.3 else 1
    gaze = [[_middle(s.things[i].box) for i in rng.integers(len(s.things), size=points)] for s in scenes]
    return {"gaze": gaze, "layout": "rate" if way == "gaze" else way}


def cut(rng, engine, scenes, budget):
    """Tokens of scenes in one of the ways, or of a glance with a close look at one thing."""
    pixels = [s.pixels for s in scenes]
    if budget < 128 or rng.random() > CLOSE:
        return engine.tokens(pixels, budget=budget, model=MODEL, **layout_of(rng, scenes))
    side = math.isqrt(budget // 2)
    boxes = [_near(s.things[rng.integers(len(s.things))].box, side * PATCH, rng) for s in scenes]
    glance = engine.tokens(pixels, budget=budget - side**2, model=MODEL, layout=str(rng.choice(["rate", "grid"])))
    looks = [engine.tokens(image, layout="views", views=[(box, (side, side))], unit="px", model=MODEL)
             for image, box in zip(pixels, boxes, strict=True)]
    close = Tokens(Array(Given(np.concatenate([t.numpy() for t in looks]))),
                   np.concatenate([t.table for t in looks]), glance.preset, glance.sizes)
    return join([glance, close])


def _near(box, side, rng):
    x, y = ((low + high) / 2 - side / 2 + rng.normal(0, 12) for low, high in (box[::2], box[1::2]))
    x, y = (int(min(max(v, 0), SIDE - side)) for v in (x, y))
    return x, y, x + side, y + side


def _middle(box):
    return (box[0] + box[2]) / 2 / SIDE, (box[1] + box[3]) / 2 / SIDE


def letter_boxes(thing):
    """(character, box) of each: letters have equal shares of their word."""
    x0, y0, x1, y1 = thing.box
    step = (x1 - x0) / len(thing.text)
    return [(c, (x0 + step * i, y0, x0 + step * (i + 1), y1)) for i, c in enumerate(thing.text)]


def shown(low, high, things):
    """(K, classes): whether the middle of a character lies in a token, or a token's middle in its box."""
    labels = np.zeros((len(low), len(CLASSES)), np.uint8)
    middle = (low + high) / 2
    for thing in things:
        for character, (x0, y0, x1, y1) in letter_boxes(thing):
            x, y = (x0 + x1) / 2, (y0 + y1) / 2
            holds = (low[:, 0] <= x) & (high[:, 0] > x) & (low[:, 1] <= y) & (high[:, 1] > y)
            inside = (middle[:, 0] >= x0) & (middle[:, 0] <= x1) & (middle[:, 1] >= y0) & (middle[:, 1] <= y1)
            labels[holds | inside, CLASSES.index(character)] = 1
    return labels


def meant(question, things):
    """Boxes to look at for each letter of the answer; one set serves an answer that is not read letter by letter."""
    words = question.split()
    if words[0] == "how":
        return [[thing.box for thing in things if thing.kind == "digit"]]
    if words[0] == "where":
        return [[thing.box for thing in things if thing.kind == "digit" and thing.text == words[-1]]]
    place = " ".join(words[5:])
    kind = "digit" if words[0] == "which" else "word"
    thing = next(t for t in things if t.kind == kind and (not place or PLACES[t.place] == place))
    return [[box] for _, box in letter_boxes(thing)]


def over(low, high, boxes):
    """(K,): whether a token shows a part of one of the boxes."""
    found = np.zeros(len(low), bool)
    for x0, y0, x1, y1 in boxes:
        found |= (low[:, 0] < x1) & (high[:, 0] > x0) & (low[:, 1] < y1) & (high[:, 1] > y0)
    return found


def batch_of(rng, engine, pool):
    """What a step learns from, as NumPy arrays: about as many tokens each time."""
    budget = int(rng.choice(list(BUDGETS), p=list(BUDGETS.values())))
    scenes = [pool[i] for i in rng.choice(len(pool), max(TOKENS // budget, 1), replace=False)]
    tokens = cut(rng, engine, scenes, budget)
    center, size, valid = tokens.center_px.copy(), tokens.size_px.copy(), tokens.valid.copy()
    low, high = center - size[..., ::-1] / 2, center + size[..., ::-1] / 2
    told = [_questions(rng, one, low[b], high[b], valid[b]) for b, one in enumerate(scenes)]
    text, wanted, looks = (np.stack(part) for part in zip(*told, strict=True))
    labels = np.stack([shown(low[b], high[b], one.things) for b, one in enumerate(scenes)])
    patches = tokens.numpy().reshape(*valid.shape, -1).astype(np.float16)
    return {"patches": patches, "center_px": center, "size_px": size, "valid": valid, "labels": labels, "text": text,
            "wanted": wanted, "looks": looks}


def _questions(rng, one, low, high, valid):
    """(QUESTIONS, LENGTH) words given, what is to follow each, and (QUESTIONS, LENGTH, K) where that is seen."""
    text, wanted = np.zeros((QUESTIONS, LENGTH), np.int64), np.full((QUESTIONS, LENGTH), IGNORE)
    looks = np.zeros((QUESTIONS, LENGTH, len(valid)), bool)
    kinds = one.by_kind()
    often = [*kinds, "read"]            # one kind as often as another, but the hardest twice
    for q in range(QUESTIONS):
        of_kind = kinds[often[rng.integers(len(often))]]
        question, answer, _ = of_kind[rng.integers(len(of_kind))]
        start, end = [*encode_text(question), INDEX[SAY]], encode_answer(answer)
        row, first = start + end[:-1], len(start) - 1
        text[q, :len(row)] = row
        wanted[q, first:len(row)] = end
        boxes = meant(question, one.things)
        for i in range(len(end) - 1):
            looks[q, first + i] = over(low, high, boxes[min(i, len(boxes) - 1)]) & valid
    return text, wanted, looks


def produce(queue, seed):
    """Batches without end, of a pool of scenes in which a few are new every time."""
    os.nice(1)
    rng, engine = np.random.default_rng(seed), Engine(backend="cpu", threads=1)
    pool = [scene(rng, words=(1, 3)) for _ in range(POOL // 8)]
    while True:
        for _ in range(NEW):
            if len(pool) < POOL:
                pool.append(scene(rng, words=(1, 3)))
            else:
                pool[rng.integers(POOL)] = scene(rng, words=(1, 3))
        queue.put(batch_of(rng, engine, pool))
