# SPDX-License-Identifier: Apache-2.0
"""Looking more than once: a glance at the whole image, then fixations where an answer is still to be found.

A model is anything that is called with (Tokens, question) and gives an `Answer`. One budget of tokens serves all looks.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ..default import engine_of
from ..engine import Engine
from ..error import choice, real, require, whole
from ..gaze import Chosen, GazeSource
from ..image import Image
from ..policies import grid_shape
from ..presets import Preset, preset_of
from ..tensor import Tokens
from .join import join

GRID = 32               # cells of the map that a next point is chosen on, a side
SPREAD = 1 / 32         # of the longer side: how far a token's weight reaches


@dataclass
class Answer:
    """What a model said, and what it drew on.

    Attributes:
        text: the answer.
        confidence: 0..1.
        attention: (K,) 0 or more: how much of it each token gave; None where the model does not tell.
        doubt: (K,) 0 or more: how unsure the model is of what each token shows; None where it does not tell.
        scores: {text: probability} of the likeliest answers; None: the text with its confidence.
    """

    text: str
    confidence: float = 1.0
    attention: np.ndarray | None = None
    doubt: np.ndarray | None = None
    scores: dict[str, float] | None = None


@dataclass
class Look:
    """An answer after several looks.

    Attributes:
        answer: of all looks together.
        points: [(x, y)] in uv, in the order they were chosen.
        answers: of each look alone, the glance first; with "concat" of all looks up to it.
        tokens: what the last input was.
        encoded: tokens that the model was given in all its calls.
    """

    answer: Answer
    points: list[tuple[float, float]] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    tokens: Tokens | None = None
    encoded: int = 0


def look(ask: Callable[[Tokens, str], Answer], image, question: str, *, budget: int = 273, fixations: int = 3,
         choose: str = "attention", integrate: str = "concat", first: float = 0.4, inhibit: float = 0.15,
         source=None, glance: dict | None = None, engine=None, model=None) -> Look:
    """Glances at an image, looks closely at a few points, and answers.

    Args:
        ask: the model.
        image: one image, as `foveate.image` takes it.
        question: handed to the model.
        budget: tokens of all looks together, the glance included.
        fixations: 0..32 close looks; with 0 the glance has the whole budget.
        choose: where to look next. "attention": where the model looked for its answer and saw coarsely (the residual
            query); "doubt": where it looked and is unsure of what it saw; "saliency": where the image stands out.
            Each with inhibition of return.
        integrate: "concat": the tokens of all looks are one input. "layout": the points are all chosen from the glance
            on, and what is left of the budget is one layout around them. "attention": each close look answers with the
            glance, and answers count by the attention that their own look drew. "confidence": the surest one counts.
        first: the glance's share of the budget, 0.05..0.95.
        inhibit: 0..1: how far around a point, in sides of the image, it is not looked at again.
        source: a `foveate.gaze.GazeSource` that says where to look instead of `choose`; it is asked before each look,
            and where it has no answer the model chooses. A `Chosen` is also told of every point.
        glance: options of `Engine.tokens` for the glance; None: rates without gaze.
        engine: the Engine to use; None: the process's own.
        model: a preset.

    Returns:
        Look.

    Raises:
        InputError: an option outside the above, a budget too small for the looks, or an Answer without what
            `choose` or `integrate` needs.
    """
    engine = engine_of(engine)
    plan = choice("model: integrate", integrate, INTEGRATE)
    chooser = choice("model: choose", choose, CHOOSE)
    fixations = whole("model: fixations", fixations, 0, 32)
    require(fixations <= 32, "model: fixations", fixations, "0..32")
    first, inhibit = real("model: first", first), real("model: inhibit", inhibit)
    require(0.05 <= first <= 0.95, "model: first", first, "0.05..0.95 of the budget")
    require(0 <= inhibit <= 1, "model: inhibit", inhibit, "0..1 sides of the image")
    least = 2 + 2 * fixations
    require(least <= whole("model: budget", budget, 1, 65536), "model: budget", budget,
            f"{least} or more for {fixations} fixations")
    taken = engine.image(image)
    require(len(taken) == 1, "model: look", f"{len(taken)} images", "one; call it for each")
    run = _Run(ask, taken, question, budget, fixations, chooser, first, inhibit, source, glance or {}, engine,
               preset_of(model))
    return plan(run)


@dataclass
class _Run:
    """What the ways to integrate share: the parts of the budget, the glance, the next point, a close look."""

    asked: Callable
    image: Image
    question: str
    budget: int
    fixations: int
    chooser: Callable
    first: float
    inhibit: float
    source: GazeSource | None
    options: dict
    engine: Engine
    preset: Preset

    def __post_init__(self):
        self.size = self.image.sizes[0]
        self.look = Look(Answer(""))
        close = int(self.budget * (1 - self.first)) // self.fixations if self.fixations else 1
        self.shape = self._shape(max(close, 1))
        self.close = self.shape[0] * self.shape[1] if self.fixations else 0

    def _shape(self, budget):
        rows, columns = grid_shape(self.size, budget)
        height, width = (max(side // self.preset.cell, 1) for side in self.size)
        return min(rows, height), min(columns, width)

    def glance(self, budget):
        return self.engine.tokens(self.image, budget=budget, model=self.preset, **self.options)

    def near(self, point):
        """A grid of whole cells around a point, moved into the image."""
        rows, columns = self.shape
        cell, (height, width) = self.preset.cell, self.size
        x = min(max(point[0] * width - columns * cell / 2, 0), max(width - columns * cell, 0))
        y = min(max(point[1] * height - rows * cell / 2, 0), max(height - rows * cell, 0))
        x, y = math.floor(x), math.floor(y)
        box = (x, y, min(x + columns * cell, width), min(y + rows * cell, height))
        return self.engine.tokens(self.image, layout="views", views=[(box, self.shape)], unit="px", model=self.preset)

    def ask(self, tokens):
        self.look.encoded += tokens.valid.shape[1]
        self.look.tokens = tokens
        return self.asked(tokens, self.question)

    def next(self, tokens, answer):
        given = self.source.at() if self.source is not None and not isinstance(self.source, Chosen) else None
        point = given.uv if given else self.chooser(self, tokens, answer)
        self.look.points.append(point)
        if isinstance(self.source, Chosen):
            self.source.put(*point)
        return point

    def inhibited(self, heat):
        """The map's best cell as (x, y), less where a point has been; of a map with nothing left, the farthest off."""
        centers = (np.arange(GRID) + 0.5) / GRID
        height, width = self.size
        side = max(self.size)
        farthest = np.full(heat.shape, np.inf) if self.look.points else -np.hypot(centers - 0.5, centers[:, None] - 0.5)
        for x, y in self.look.points:
            away = np.hypot((centers - x) * width / side, (centers[:, None] - y) * height / side)
            falling = 1 - np.exp(-away**2 / (2 * max(self.inhibit, 1e-6)**2))
            heat = np.where(away <= self.inhibit / 2, 0, heat * falling)
            farthest = np.minimum(farthest, away)
        best = heat if heat.max() > 0 else farthest
        row, column = np.unravel_index(int(best.argmax()), heat.shape)
        return float(centers[column]), float(centers[row])


def heat_of(tokens: Tokens, weights) -> np.ndarray:
    """(GRID, GRID): the weights of one image's tokens, each spread over the cells it covers, and smoothed."""
    heat = np.zeros((GRID, GRID))
    height, width = tokens.sizes[0]
    scale = np.array([GRID / width, GRID / height])
    half = tokens.size_px[0][:, ::-1] / 2
    low, high = (tokens.center_px[0] - half) * scale, (tokens.center_px[0] + half) * scale
    cells = np.arange(GRID)
    inside = [np.clip(np.minimum(high[:, axis, None], cells + 1) - np.maximum(low[:, axis, None], cells), 0, None)
              for axis in (0, 1)]
    area = np.maximum(np.prod(high - low, 1), 1e-9)
    share = np.where(tokens.valid[0], np.asarray(weights, np.float64) / area, 0)
    heat = np.einsum("k,ky,kx->yx", share, inside[1], inside[0])
    reach = np.exp(-((cells[:, None] - cells) / (SPREAD * GRID))**2 / 2)
    reach /= reach.sum(0)       # what is smoothed stays in the map
    return reach @ heat @ reach.T


def coarseness(tokens: Tokens) -> np.ndarray:
    """(K,) 0..1 of one image: 0 for a token of the finest kind, 1 for the coarsest there is."""
    sides = np.maximum(tokens.size_px[0].prod(1), 1) ** 0.5 / tokens.preset.cell
    steps = np.maximum(np.log2(sides), 0)
    return steps / max(steps.max(), 1e-9)


def _told(answer, name):
    values = getattr(answer, name)
    require(values is not None, "model: Answer", f"no {name}", f'{name}, for choose="{name}"')
    return np.asarray(values, np.float64)


def _by_attention(run, tokens, answer):
    return run.inhibited(heat_of(tokens, _told(answer, "attention") * coarseness(tokens)))


def _by_doubt(run, tokens, answer):
    told = _told(answer, "doubt")
    return run.inhibited(heat_of(tokens, told * (1 if answer.attention is None else answer.attention)))


def _by_saliency(run, tokens, answer):
    cells = run.engine.relevance(run.image, saliency="both", floor=0, cell=max(max(run.size) // GRID, 1)).values[0]
    rows = np.minimum((np.arange(GRID) + 0.5) / GRID * cells.shape[0], cells.shape[0] - 1).astype(int)
    columns = np.minimum((np.arange(GRID) + 0.5) / GRID * cells.shape[1], cells.shape[1] - 1).astype(int)
    return run.inhibited(cells[np.ix_(rows, columns)].astype(np.float64))


def _concat(run):
    parts = [run.glance(run.budget - run.fixations * run.close)]
    for _ in range(run.fixations):
        tokens = join(parts)
        run.look.answers.append(run.ask(tokens))
        parts.append(run.near(run.next(tokens, run.look.answers[-1])))
    run.look.answers.append(run.ask(join(parts)))
    run.look.answer = run.look.answers[-1]
    return run.look


def _layout(run):
    if run.fixations == 0:
        return _concat(run)
    spent = max(run.budget - run.fixations * run.close, 1)
    tokens = run.glance(spent)
    run.look.answers.append(run.ask(tokens))
    for _ in range(run.fixations):
        run.next(tokens, run.look.answers[0])
    last = run.engine.tokens(run.image, budget=run.budget - spent, gaze=list(run.look.points), model=run.preset)
    run.look.answers.append(run.ask(last))
    run.look.answer = run.look.answers[-1]
    return run.look


def _each(run):
    """[(answer, attention on its own look)] of the glance and of each close look with it."""
    glance = run.glance(run.budget - run.fixations * run.close)
    answer = run.ask(glance)
    found, tokens = [(answer, None)], glance
    for _ in range(run.fixations):
        tokens = join([glance, run.near(run.next(tokens, answer))])
        answer = run.ask(tokens)
        share = None
        if answer.attention is not None:
            own = np.asarray(answer.attention, np.float64)
            share = float(own[tokens.fixation[0] == 1].sum() / max(own.sum(), 1e-12))
        found.append((answer, share))
    run.look.answers = [answer for answer, _ in found]
    return found


def _by_weight(run):
    found = _each(run)
    summed: dict[str, float] = {}
    for answer, share in found[1:] or found:
        weight = 1.0 if share is None else share
        for text, score in (answer.scores or {answer.text: answer.confidence}).items():
            summed[text] = summed.get(text, 0.0) + weight * score
    text = max(summed, key=summed.get)
    total = sum(summed.values())
    run.look.answer = Answer(text, summed[text] / total if total else 0.0, scores=summed)
    return run.look


def _by_confidence(run):
    run.look.answer = max((answer for answer, _ in _each(run)), key=lambda answer: answer.confidence)
    return run.look


CHOOSE = {"attention": _by_attention, "doubt": _by_doubt, "saliency": _by_saliency}
INTEGRATE = {"concat": _concat, "layout": _layout, "attention": _by_weight, "confidence": _by_confidence}
