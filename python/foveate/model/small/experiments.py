# SPDX-License-Identifier: Apache-2.0
"""`python -m foveate.model.small.experiments`, as `make experiments` does: what the founding notes expected of ways to
spend tokens, tried at the scale of the small model.

Every way answers the same questions about the same scenes, none of them trained on; seeds are sets of scenes.
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ... import Engine
from ...bench import machine, write
from ...budget import complexity
from ...error import require
from .. import select
from ..join import join
from ..look import look
from ..select.shirg import OVERVIEW
from ..select.shirg import TOKENS as SHIRG
from .reader import WEIGHTS, Reader
from .scenes import SIDE
from .trial import Asked, batches, by_scene, cases, cell, difference, shares
from .words import KINDS

SEEDS, SCENES = 6, 24
BUDGETS = 64, 128, 273
ADAPTIVE = 64, 96, 160, 224
SORTS = {"plain": {"digits": (1, 2), "words": (1, 1)}, "busy": {"digits": (4, 6), "words": (2, 3)}}
FIXATIONS = 5
EDGE = SIDE // 16           # tokens of the whole grid, a side
FULL, WHOLE = EDGE**2, "whole grid"
MODEL = "vit16"


@dataclass
class Way:
    """A way to spend tokens: options of Engine.tokens, and whether it is told where the answer is to be seen."""

    title: str
    options: dict
    told: bool = False


UNIFORM = "uniform grid"
WAYS = (Way(UNIFORM, {"layout": "grid"}),
        Way("rate", {}),
        Way("rate, saliency", {"relevance": {"saliency": "both"}}),
        Way("rate, told where", {}, True),
        Way("views, told where", {"layout": "views"}, True),
        Way("log-polar, told where", {"layout": "logpolar"}, True),
        Way("cortical, told where", {"layout": "cortical"}, True))


def tokens_of(engine, batch, way, budget):
    """Tokens of a batch of cases in a way; without gaze a scene is cut once for all its questions."""
    options = dict(way.options)
    if way.told:
        options["gaze"] = [[case.at or (0.5, 0.5)] for case in batch]
    return engine.tokens([case.pixels for case in batch], budget=budget, model=MODEL, **options)


def run(asked, batch_tokens, items):
    """(right answers, ms an image) of items in batches; batch_tokens makes a batch's (seen, valid)."""
    right, start = [], time.perf_counter()
    for batch in batches(items):
        said = asked.answers(*batch_tokens(batch), [case.question for case in batch])
        right += [answer == case.answer for answer, case in zip(said, batch, strict=True)]
    return right, (time.perf_counter() - start) * 1e3 / len(items)


class Results(dict):
    """{(way, tokens): {"all" or kind: [share of right answers a seed]}}, and ms an image."""

    def add(self, key, right, kinds, ms):
        for kind, share in shares(right, kinds).items():
            self.setdefault(key, {}).setdefault(kind, []).append(share)
        self[key].setdefault("ms", []).append(ms)

    def table(self, head, columns):
        """Lines of Markdown: a row a way, and a column for all and for each kind."""
        columns = "all", *columns
        lines = [f"| {head} | tokens | {' | '.join(columns)} | ms |", "|---|---:|" + "---:|" * (len(columns) + 1)]
        for (way, budget), found in self.items():
            lines.append(f"| {way} | {budget} | {' | '.join(cell(found[kind]) for kind in columns)} | "
                         f"{np.median(found['ms']):.1f} |")
        return lines

    def claim(self, words, first, second, kind="all"):
        """A line of the table of claims: that first is better than second."""
        text, verdict = difference(self[first][kind], self[second][kind])
        return f"| {words} | {text} | {verdict} |"


def layouts(engine, asked, sets, few):
    """What the tokens are cut from the image by, at equal budgets; and the whole grid, for the first few scenes."""
    found = Results()
    for items in sets:
        kinds = [case.kind for case in items]
        for budget in BUDGETS:
            for way in WAYS:
                found.add((way.title, budget), *_with(kinds, run(asked, _cut(engine, asked, way, budget), items)))
    for items in sets:
        right, kinds, start = [], [], time.perf_counter()
        for one in by_scene(items)[:few]:
            right += _right(asked, *_whole(engine, asked, one), one)
            kinds += [case.kind for case in one]
        found.add((WHOLE, FULL), right, kinds, (time.perf_counter() - start) * 1e3 / few)
    return found


def _cut(engine, asked, way, budget):
    return lambda batch: asked.encode(tokens_of(engine, batch, way, budget))


def _with(kinds, result):
    right, ms = result
    return right, kinds, ms


def _whole(engine, asked, one):
    """The whole grid of one scene, encoded: (seen, valid)."""
    return asked.encode(engine.tokens(one[0].pixels, layout="grid", budget=FULL, model=MODEL))


def _right(asked, seen, valid, one):
    """Of all questions about one scene."""
    said = asked.answers(seen.expand(len(one), -1, -1), valid.expand(len(one), -1), [case.question for case in one])
    return [answer == case.answer for answer, case in zip(said, one, strict=True)]


def selections(engine, asked, sets, few):
    """What is kept of the whole grid after the encoder, of the first few scenes of each seed."""
    found, places = Results(), select.grid_positions(EDGE, EDGE)
    for items in sets:
        kept, kinds = {}, []
        for one in by_scene(items)[:few]:
            kinds += [case.kind for case in one]
            whole = engine.tokens(one[0].pixels, layout="grid", budget=FULL, model=MODEL)
            seen, _ = asked.encode(whole)
            overview = engine.tokens(one[0].pixels, layout="grid", budget=OVERVIEW, model=MODEL)
            both, _ = asked.encode(join([overview, whole]))
            for name, budget, chosen, ms in _chosen(seen, both, asked.shown(seen), asked.shown(both), places):
                valid = torch.ones(chosen.indices.shape, dtype=torch.bool)
                rights, took = kept.setdefault((name, budget), ([], []))
                rights += _right(asked, chosen.features, valid, one)
                took.append(ms)
        for key in sorted(kept, key=lambda key: key[1]):
            found.add(key, kept[key][0], kinds, float(np.median(kept[key][1])))
    return found


def _chosen(seen, both, scores, both_scores, places):
    """(method, k, Selection, ms) of every method and budget; both: the tokens of SHIRG's overview before the others."""
    needs = {"topk": {"scores": scores}, "logpolar": {"scores": scores, "positions": places},
             "hybrid": {"scores": scores, "positions": places}, "vrs": {"scores": scores, "grid": (EDGE, EDGE)},
             "uniform": {"grid": (EDGE, EDGE)}, "random": {}, "saint": {"keys": seen}, "topv": {"positions": places},
             "tome": {"keys": seen}, "visionzip": {"attention": scores, "keys": seen}}
    for name, given in needs.items():
        for budget in (*BUDGETS, SHIRG) if name == "topk" else BUDGETS:
            start = time.perf_counter()
            chosen = select.METHODS[name](seen, k=budget, **given)
            yield name, budget, chosen, (time.perf_counter() - start) * 1e3
    start = time.perf_counter()
    yield "shirg", SHIRG, select.shirg(both, attention=both_scores), (time.perf_counter() - start) * 1e3


def fixations(engine, sets, path, few, budget=BUDGETS[-1]):
    """Looking again: 0 to 5 close looks, one budget for all; and a budget for each. Of the first few scenes."""
    found, reader = Results(), Reader(path)
    plans = [(f"{_looks(count)}, attention", {"fixations": count, "budget": budget}) for count in range(FIXATIONS + 1)]
    plans += [(f"{_looks(count)}, {choose}", {"fixations": count, "choose": choose, "budget": budget})
              for choose in ("doubt", "saliency") for count in (1, 3)]
    plans += [(f"{_looks(count)}, layout around them", {"fixations": count, "integrate": "layout", "budget": budget})
              for count in (1, 3)]
    plans += [(f"{_looks(count)}, {budget} each", {"fixations": count, "budget": budget * (count + 1),
                                                 "first": 1 / (count + 1)}) for count in range(1, FIXATIONS + 1)]
    for items in ([case for scene in by_scene(of_seed)[:few] for case in scene] for of_seed in sets):
        kinds = [case.kind for case in items]
        for title, options in plans:
            right, start = [], time.perf_counter()
            for case in items:
                answer = look(reader, case.pixels, case.question, engine=engine, model=MODEL, **options).answer
                right.append(answer.text == case.answer)
            found.add((title, options["budget"]), right, kinds, (time.perf_counter() - start) * 1e3 / len(items))
    return found


def adaptive(engine, asked, seeds, scenes):
    """Budgets by complexity against one for all, on plain and on busy scenes."""
    found = Results()
    mixed = [[(sort, case) for sort, options in SORTS.items() for case in cases(100 + seed, scenes, **options)]
             for seed in range(seeds)]
    values = [complexity([case.pixels for _, case in part], engine=engine) for part in mixed]
    cuts = [float(cut) for cut in np.quantile(np.concatenate(values), (0.25, 0.5, 0.75))]
    for part, busy in zip(mixed, values, strict=True):
        items, kinds = [case for _, case in part], [sort for sort, _ in part]
        wanted = np.array(ADAPTIVE)[np.searchsorted(cuts, busy, side="right")]
        right, start = np.zeros(len(items), bool), time.perf_counter()
        for budget in np.unique(wanted):
            some = np.flatnonzero(wanted == budget)
            right[some], _ = run(asked, _cut(engine, asked, WAYS[1], int(budget)), [items[i] for i in some])
        found.add(("adaptive", "mean"), right.tolist(), kinds,
                  (time.perf_counter() - start) * 1e3 / len(items))
        found.add(("fixed", "mean"), *_with(kinds, run(asked, _cut(engine, asked, WAYS[1], round(wanted.mean())),
                                                          items)))
    return found


def _looks(count):
    return "1 look" if count == 1 else f"{count} looks"


def report(parts, facts):
    """The page: a table each, and what was claimed."""
    laid, chosen, looked, suited = (parts[name] for name in ("layouts", "selections", "fixations", "adaptive"))
    lines = ["# Measured: experiments with the small model", "", *facts, "",
             "Numbers are percent of right answers, the mean over seeds with its 95 % interval; a seed is a set of "
             "scenes, and every way answers the same questions. ms: tokens, encoder and answer of one question, median "
             "of the seeds.", "",
             "## What was expected, and what came out", "",
             "Differences are of the same questions, seed by seed, in points; undecided: the interval holds 0.", "",
             "| claim | difference | |", "|---|---:|---|"]
    for budget in BUDGETS:
        at = f" at {budget}"
        lines.append(laid.claim(f"rates over a uniform grid{at}", ("rate", budget), (UNIFORM, budget)))
        lines.append(laid.claim(f"rates, told where, over a uniform grid{at}", ("rate, told where", budget),
                                (UNIFORM, budget)))
        lines.append(laid.claim(f"rates over log-polar, both told where{at}", ("rate, told where", budget),
                                ("log-polar, told where", budget)))
        lines.append(chosen.claim(f"log-polar selection over top-k{at}", ("logpolar", budget), ("topk", budget)))
        lines.append(chosen.claim(f"hybrid selection over top-k{at}", ("hybrid", budget), ("topk", budget)))
        lines.append(chosen.claim(f"hybrid selection over log-polar{at}", ("hybrid", budget), ("logpolar", budget)))
        lines.append(chosen.claim(f"top-k over random tokens{at}", ("topk", budget), ("random", budget)))
    budget = BUDGETS[-1]
    for count in range(1, FIXATIONS + 1):
        lines.append(looked.claim(f"{_looks(count)} over {count - 1}, one budget of {budget}",
                                  (f"{_looks(count)}, attention", budget), (f"{_looks(count - 1)}, attention", budget)))
    for count in range(2, FIXATIONS + 1):
        first, second = (f"{_looks(n)}, {budget} each" for n in (count, count - 1))
        lines.append(looked.claim(f"{_looks(count)} over {count - 1}, {budget} each", (first, budget * (count + 1)),
                                  (second, budget * count)))
    lines += [suited.claim(f"adaptive over fixed, {sort} scenes", ("adaptive", "mean"), ("fixed", "mean"), kind)
              for sort, kind in (("all", "all"), *((sort, sort) for sort in SORTS))]
    lines += ["", "## Cut from the image", "", "Told where: the gaze is at what is asked about. That gives away where "
              "a thing is, so the column `place` of those rows says little.", "",
              *laid.table("way", KINDS.values()), "", "## Kept after the encoder", "",
              f"Of the {FULL} tokens of the whole grid. Scores: whether the encoder finds a token to show a part of a "
              "character, so they know nothing of the question; log-polar bins lie around the highest, and SHIRG has "
              f"{OVERVIEW} tokens of an overview beside them. ms: choosing alone.", "",
              *chosen.table("method", KINDS.values()), "", "## Looking again", "",
              "`foveate.model.look`: a glance by rates, then close looks, each chosen by what the model said before.",
              "", *looked.table("looks", KINDS.values()), "", "## Budgets by complexity", "",
              f"{', '.join(map(str, ADAPTIVE))} tokens, cut at quarters of the complexity of all scenes, against the "
              "same mean for every scene.", "", *suited.table("budget", SORTS)]
    return "\n".join(lines) + "\n"


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="foveate.model.small.experiments", description="Ways to spend tokens, tried "
                                     "with the small model.")
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"sets of scenes, 2..10; default: {SEEDS}")
    parser.add_argument("--scenes", type=int, default=SCENES, help=f"of a seed; default: {SCENES}")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="default: those that come with foveate")
    parser.add_argument("--out", type=Path, help="folder for experiments.json and experiments.md")
    options = parser.parse_args(arguments)
    require(2 <= options.seeds <= 10, "bench: seeds", options.seeds, "2..10")
    require(options.scenes >= 1, "bench: scenes", options.scenes, "1 or more")
    engine, asked, start = Engine(backend="cpu"), Asked(options.weights), time.monotonic()
    sets = [cases(seed, options.scenes) for seed in range(options.seeds)]
    few = max(1, options.scenes // 2)
    parts = {"layouts": layouts(engine, asked, sets, few), "selections": selections(engine, asked, sets, few),
             "fixations": fixations(engine, sets, options.weights, few),
             "adaptive": adaptive(engine, asked, options.seeds, few)}
    questions = sum(len(items) for items in sets)
    facts = [f"Written by `make experiments`, in {(time.monotonic() - start) / 60:.0f} minutes. Machine: {machine()}; "
             f"torch {torch.__version__}, {torch.get_num_threads()} threads. {options.seeds} seeds of {options.scenes} "
             f"scenes, {questions} questions; half of the scenes of each where the whole grid is encoded, and where it "
             "looks again. One network, trained once: how another would differ is not in the intervals."]
    text = report(parts, facts)
    result = {name: [{"way": way, "tokens": budget, **found} for (way, budget), found in part.items()]
              for name, part in parts.items()}
    write(options.out, "experiments", result, text)
    print(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
