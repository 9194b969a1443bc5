# SPDX-License-Identifier: Apache-2.0
"""`python -m foveate.demo`: pictures from installed packages through every layout, into one report.

The pictures come inside the wheels of scikit-image, scikit-learn and matplotlib; nothing is downloaded.
"""

import importlib.util
import os
import statistics
import sys
import time
from pathlib import Path

import numpy as np

# (package, file, layout, tokens, gaze in uv); None: the ring pattern's own number
SCENES = (
    ("skimage", "data/astronaut.png", "views", 273, ((0.43, 0.22),)),
    ("skimage", "data/coffee.png", "rings", None, ((0.50, 0.45),)),
    ("skimage", "data/chelsea.png", "views", 160, ((0.38, 0.36), (0.73, 0.37))),
    ("skimage", "data/page.png", "grid", 96, ()),
    ("skimage", "data/text.png", "views", 96, ((0.25, 0.30),)),
    ("skimage", "data/retina.jpg", "rings", None, ((0.82, 0.51),)),
    ("sklearn", "datasets/images/china.jpg", "views", 273, ((0.53, 0.30),)),
    ("sklearn", "datasets/images/flower.jpg", "rings", None, ((0.55, 0.40),)),
    ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg", "views", 160, ((0.47, 0.33),)),
)
REPEATS = 5


def find(package, name):
    """The file of an installed package, without importing the package."""
    spec = importlib.util.find_spec(package)
    path = Path(spec.origin).parent / name if spec and spec.origin else None
    return path if path and path.is_file() else None


def encode(engine, pixels, layout, budget, gaze):
    """(tokens, median ms): the first call warms up, the others are timed."""
    options = {"layout": layout, "gaze": list(gaze) or None, "budget": budget}
    tokens, times = engine.tokens(pixels, **options), []
    for _ in range(REPEATS):
        start = time.perf_counter_ns()
        engine.tokens(pixels, **options)
        times.append((time.perf_counter_ns() - start) / 1e6)
    return tokens, statistics.median(times)


def main(arguments=None):
    arguments = sys.argv[1:] if arguments is None else arguments
    target = Path(arguments[0] if arguments else "out/report.html")
    try:
        from PIL import Image
        from rich.text import Text

        from .cli import out, plain_table
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
    table, entries, absent = plain_table("image", "layout", ">size", ">tokens", "px a texel: tokens", ">ms"), [], []
    for package, name, layout, budget, gaze in SCENES:
        path = find(package, name)
        if path is None:
            absent.append(f"{package}/{name}")
            continue
        pixels = np.asarray(Image.open(path).convert("RGB"))
        tokens, ms = encode(engine, pixels, layout, budget, gaze)
        entry = {"name": path.stem, "layout": layout, "image": pixels, "tokens": tokens, "ms": ms, "gaze_uv": gaze}
        entries.append(entry)
        found = details(tokens)
        table.add_row(path.stem, layout, f"{pixels.shape[1]} x {pixels.shape[0]}",
                      str(sum(count for _, _, count in found)),
                      ", ".join(f"{step:.3g}: {count}" for _, step, count in found), f"{ms:.2f}")
    if not entries:
        sys.exit('demo: pictures: got none, expected those of scikit-image. pip install "foveate[demo]"')
    out.print(table)
    if absent:
        out.print(Text("not installed: " + ", ".join(absent), "dim"))
    write_report(target, entries, facts=facts)
    out.print(f"report: {target}")
    engine.close()


if __name__ == "__main__":
    main()
