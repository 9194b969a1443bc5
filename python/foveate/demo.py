# SPDX-License-Identifier: Apache-2.0
"""`python -m foveate.demo`: pictures from installed packages, each encoded in several ways with
as many tokens, into one report.

The pictures come inside the wheels of scikit-image, scikit-learn and matplotlib; nothing is downloaded.
"""

import importlib.util
import os
import sys
from pathlib import Path

import numpy as np

from . import policies
from .error import InputError

# (package, file, tokens, gaze in uv)
SCENES = (
    ("skimage", "data/astronaut.png", 273, ((0.43, 0.22),)),
    ("skimage", "data/coffee.png", 240, ((0.50, 0.45),)),
    ("skimage", "data/chelsea.png", 140, ((0.38, 0.36), (0.73, 0.37))),
    ("skimage", "data/page.png", 96, ((0.30, 0.40),)),
    ("skimage", "data/text.png", 96, ((0.25, 0.30),)),
    ("skimage", "data/retina.jpg", 1024, ((0.82, 0.51),)),
    ("sklearn", "datasets/images/china.jpg", 273, ((0.53, 0.30),)),
    ("sklearn", "datasets/images/flower.jpg", 273, ((0.55, 0.40),)),
    ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg", 273, ((0.47, 0.33),)),
)
REPEATS = 5


def find(package, name):
    """The file of an installed package, without importing the package."""
    spec = importlib.util.find_spec(package)
    path = Path(spec.origin).parent / name if spec and spec.origin else None
    return path if path and path.is_file() else None


def entry_of(engine, name, pixels, budget, gaze, model="vit16", repeats=REPEATS, first=None):
    """What a report shows of an image: `first` or rates with the gaze, with the relevance and the rates that made
    them, then every other policy at the same budget; those that came to the same tokens once.
    """
    shown = [] if first is None else [first]
    for policy in sorted(policies.POLICIES, key=lambda policy: policy != "rate gaze"):
        try:
            made = policies.encode(engine, pixels, policy, budget=budget, gaze=gaze, model=model, repeats=repeats)
        except InputError:      # a budget that is too small for this way of spending it
            made = None
        if made is not None and not any(policies.same(made.tokens, other.tokens) for other in shown):
            shown.append(made)
    relevance, rates = policies.made_by(engine, shown[0].tokens) if shown else (None, None)
    return {"name": name, "image": pixels, "budget": budget, "gaze_uv": gaze, "shown": shown,
            "relevance": relevance and relevance.values[0], "rates": rates and rates.codes[0],
            "cell": rates and rates.cell}


def main(arguments=None):
    arguments = sys.argv[1:] if arguments is None else arguments
    target = Path(arguments[0] if arguments else "out/report.html")
    try:
        from PIL import Image
        from rich.text import Text

        from .cli import out, plain_table
        from .demo_answers import answers
        from .overlay import details
        from .report import write_report
    except ModuleNotFoundError as error:
        sys.exit(f'demo: got no {error.name}, expected it installed. pip install "foveate[demo]"')
    from . import Engine, __version__

    engine = Engine()
    caps = engine.caps
    facts = [f"foveate {__version__}", f"{caps['backend']}: {caps['device']}",
             f"{len(os.sched_getaffinity(0))} cores"]
    out.print(Text(" · ".join(facts), "dim"))
    table, entries, absent = plain_table("image", ">size", "policy", ">tokens", "px a texel: tokens", ">ms"), [], []
    for package, name, budget, gaze in SCENES:
        path = find(package, name)
        if path is None:
            absent.append(f"{package}/{name}")
            continue
        pixels = np.asarray(Image.open(path).convert("RGB"))
        entries.append(entry_of(engine, path.stem, pixels, budget, gaze))
        for number, shown in enumerate(entries[-1]["shown"]):
            found = details(shown.tokens)
            table.add_row("" if number else path.stem, "" if number else f"{pixels.shape[1]} x {pixels.shape[0]}",
                          shown.policy.title, str(sum(count for _, _, count in found)),
                          ", ".join(f"{step:.3g}: {count}" for _, step, count in found), f"{shown.ms:.2f}")
    if not entries:
        sys.exit('demo: pictures: got none, expected those of scikit-image. pip install "foveate[demo]"')
    out.print(table)
    if absent:
        out.print(Text("not installed: " + ", ".join(absent), "dim"))
    if policies.missing():
        out.print(Text("not in this build: " + ", ".join(policies.missing()), "dim"))
    more, rows = answers(engine)
    table = plain_table("question", "answer", *(told.title for told in rows[0][2]))
    for question, expected, found in rows:
        table.add_row(question, expected, *(told.answer.text for told in found))
    out.print(table)
    write_report(target, entries, facts=facts, more=more)
    out.print(f"report: {target}")
    engine.close()


if __name__ == "__main__":
    main()
