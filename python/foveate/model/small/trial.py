# SPDX-License-Identifier: Apache-2.0
"""What the experiments share: questions about scenes, the network asked in batches, and intervals over seeds."""

import math
import time
from dataclasses import dataclass
from itertools import groupby
from statistics import fmean, stdev

import numpy as np
import torch

from ...tensor import Tokens
from . import infer
from .net import Net
from .reader import LONGEST, WEIGHTS
from .scenes import SIDE, scene
from .words import END, INDEX, KINDS, PAD, SAY, decode_answer, encode_text

STUDENT = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}    # 97.5 %
BATCH = 16


@dataclass
class Case:
    """A question about a scene, its answer, and where in uv the answer is to be seen; None: in the whole of it."""

    pixels: np.ndarray
    question: str
    answer: str
    kind: str
    at: tuple[float, float] | None


def cases(seed, count, **options):
    """One question of each kind about each of `count` scenes that were never trained on."""
    rng, found = np.random.default_rng((2026, seed)), []
    for _ in range(count):
        one = scene(rng, seen=False, drawn=0, **options)
        for word, of_kind in one.by_kind().items():
            question, answer, box = of_kind[rng.integers(len(of_kind))]
            at = box and ((box[0] + box[2]) / 2 / SIDE, (box[1] + box[3]) / 2 / SIDE)
            found.append(Case(one.pixels, question, answer, KINDS[word], at))
    return found


class Asked:
    """The trained network in torch: for many questions at once. Counts the seconds it takes."""

    def __init__(self, path=WEIGHTS):
        self.net = Net()
        self.net.load_state_dict({name: torch.from_numpy(value) for name, value in infer.load(path).items()})
        self.net.eval()
        self.seconds = 0.0

    @torch.inference_mode()
    def encode(self, tokens: Tokens):
        """(B, K, width) and (B, K)."""
        start = time.perf_counter()
        count, rows = tokens.valid.shape
        patches = torch.from_numpy(tokens.numpy().reshape(count, rows, -1))
        center, size, valid = (torch.from_numpy(value.copy()) for value in (tokens.center_px, tokens.size_px,
                                                                            tokens.valid))
        seen = self.net.encode(patches.float(), center, size, valid)
        self.seconds += time.perf_counter() - start
        return seen, valid

    @torch.inference_mode()
    def shown(self, seen):
        """(B, K) 0..1: whether a token shows a part of a character."""
        return torch.logsumexp(self.net.shows(seen), -1).sigmoid()

    @torch.inference_mode()
    def answers(self, seen, valid, questions):
        """[text], one question an image."""
        start = time.perf_counter()
        texts = [[*encode_text(question), INDEX[SAY]] for question in questions]
        ends = np.array([len(text) for text in texts])
        rows = torch.full((len(texts), 1, int(ends.max()) + LONGEST), INDEX[PAD])
        for row, text in zip(rows, texts, strict=True):
            row[0, :len(text)] = torch.tensor(text)
        for step in range(LONGEST):
            at = torch.from_numpy(ends + step)
            scores = self.net.decode(rows[..., :int(ends.max()) + step], seen, valid)
            picked = scores[torch.arange(len(texts)), 0, at - 1].argmax(-1)
            rows[torch.arange(len(texts)), 0, at] = picked
        self.seconds += time.perf_counter() - start
        return [decode_answer([*row[0, end:].tolist(), INDEX[END]][:LONGEST + 1])
                for row, end in zip(rows, ends, strict=True)]


def batches(items):
    """Items in lists of BATCH at most."""
    return [items[i:i + BATCH] for i in range(0, len(items), BATCH)]


def by_scene(items):
    """Cases in lists, one a scene."""
    return [list(group) for _, group in groupby(items, key=lambda case: id(case.pixels))]


def interval(values):
    """(mean, half the width of its 95 % interval) of one number a seed."""
    if len(values) < 2:
        return fmean(values), math.nan
    return fmean(values), STUDENT[len(values)] * stdev(values) / math.sqrt(len(values))


def shares(right, kinds):
    """{kind: share of right answers}, with "all"; of one seed."""
    found = {kind: fmean(r for r, k in zip(right, kinds, strict=True) if k == kind) for kind in dict.fromkeys(kinds)}
    return {"all": fmean(right), **found}


def cell(values):
    """A mean with its interval, as percent."""
    mean, half = interval(values)
    return f"{100 * mean:.1f} ± {100 * half:.1f}"


def difference(values, others):
    """(words, verdict) of paired seeds."""
    mean, half = interval([a - b for a, b in zip(values, others, strict=True)])
    verdict = "undecided" if abs(mean) <= half else "holds" if mean > 0 else "does not hold"
    return f"{100 * mean:+.1f} ± {100 * half:.1f}", verdict
