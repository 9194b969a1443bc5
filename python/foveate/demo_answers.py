# SPDX-License-Identifier: Apache-2.0
"""What the demo asks the small model, about a page that it was not trained on."""

import numpy as np

from .model.look import look
from .model.small.reader import Reader
from .model.small.scenes import SIDE, scene
from .report_answers import Told, section

SEED = 20
BUDGET = 128
LOOKS = 2
MODEL = "vit16"
ASKED = "read", "which", "where", "how"
LEAD = (f"A ViT of 0.9 million weights with a few words of language, trained for 27 minutes on a CPU with digits that "
        f"people wrote and words in print, reads a page of {SIDE} × {SIDE} px that it has not seen before. It may see "
        f"all of it; or {BUDGET} tokens in a grid; or {BUDGET} in all that it spends itself: a glance, and {LOOKS} "
        "close looks (crosses) where its attention fell for want of detail. Tinted: what the answer drew on.")


def page():
    """(image, [(question, answer)]): a scene of digits and words of the other set, and a question of each kind."""
    rng = np.random.default_rng(SEED)
    one = scene(rng, seen=False, digits=(4, 4), words=(2, 2), drawn=0)
    kinds = one.by_kind()
    return one.pixels, [kinds[kind][int(rng.integers(len(kinds[kind])))][:2] for kind in ASKED]


def ways(engine, reader, pixels, question):
    """[(title, about, answer, tokens, points, outlined)]"""
    whole, grid = (engine.tokens(pixels, layout="grid", budget=budget, model=MODEL)
                   for budget in ((SIDE // 16)**2, BUDGET))
    looked = look(reader, pixels, question, budget=BUDGET, fixations=LOOKS, engine=engine, model=MODEL)
    return [("whole page", "every px", reader(whole, question), whole, [], False),
            ("uniform grid", "the whole page at one resolution", reader(grid, question), grid, [], True),
            ("looking", f"a glance and {LOOKS} close looks", looked.answer, looked.tokens, looked.points, True)]


def answers(engine):
    """(what write_report takes as `more`, [(question, expected, [Told, ...])])."""
    pixels, asked = page()
    reader = Reader()
    rows = [(question, expected, [Told(title, about, answer, tokens, points, answer.text == expected, outlined)
                                  for title, about, answer, tokens, points, outlined
                                  in ways(engine, reader, pixels, question)]) for question, expected in asked]
    text, style = section([(question, told) for question, _, told in rows], pixels.shape[:2], "asked", LEAD)
    return (text, style, pixels, "asked"), rows
