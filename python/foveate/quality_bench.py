# SPDX-License-Identifier: Apache-2.0
"""`foveate bench quality`: every layout against what the same number of tokens buys otherwise.

The images come inside the wheels of scikit-image, scikit-learn and matplotlib; nothing is downloaded. Every
policy gets at most K tokens of the plain 16 px preset, K a share of the image's cells; the picture is put
together from the patches alone and compared with the original.
"""

import statistics
import sys
from pathlib import Path

import numpy as np

from . import __version__, policies, quality
from .bench import machine
from .demo import find
from .engine import Engine
from .error import InputError, require
from .reconstruct import reconstruct

MODEL, CELL, SEED, MOST_DB = "vit16", 16, 7, 99.0
SHARES = (0.25, 0.5, 0.1)
MAX_RATES = {0.1: (8, 16)}      # where so few tokens are left that blocks of 4 x 4 cells spend most of them

# (package, file, gaze in uv): on a face, a sign, an object; the middle where there is no such thing.
SKIMAGE, MIDDLE = ("skimage", "data/"), (0.5, 0.5)
IMAGES = tuple((package, folder + name, gaze) for (package, folder), name, gaze in (
    (SKIMAGE, "astronaut.png", (0.43, 0.22)), (SKIMAGE, "brick.png", MIDDLE), (SKIMAGE, "camera.png", (0.44, 0.24)),
    (SKIMAGE, "cell.png", (0.50, 0.50)), (SKIMAGE, "chelsea.png", (0.38, 0.36)),
    (SKIMAGE, "chessboard_GRAY.png", MIDDLE), (SKIMAGE, "chessboard_RGB.png", MIDDLE),
    (SKIMAGE, "clock_motion.png", MIDDLE), (SKIMAGE, "coffee.png", (0.50, 0.45)), (SKIMAGE, "coins.png", (0.30, 0.40)),
    (SKIMAGE, "color.png", MIDDLE), (SKIMAGE, "grass.png", MIDDLE), (SKIMAGE, "gravel.png", MIDDLE),
    (SKIMAGE, "horse.png", (0.22, 0.25)), (SKIMAGE, "hubble_deep_field.jpg", (0.52, 0.37)),
    (SKIMAGE, "ihc.png", (0.35, 0.45)), (SKIMAGE, "logo.png", MIDDLE), (SKIMAGE, "microaneurysms.png", MIDDLE),
    (SKIMAGE, "moon.png", (0.42, 0.36)), (SKIMAGE, "motorcycle_left.png", (0.52, 0.55)),
    (SKIMAGE, "motorcycle_right.png", (0.45, 0.55)), (SKIMAGE, "page.png", (0.30, 0.40)),
    (SKIMAGE, "phantom.png", MIDDLE), (SKIMAGE, "retina.jpg", (0.82, 0.51)), (SKIMAGE, "rocket.jpg", (0.49, 0.46)),
    (SKIMAGE, "text.png", (0.25, 0.30)), (("sklearn", "datasets/images/"), "china.jpg", (0.53, 0.30)),
    (("sklearn", "datasets/images/"), "flower.jpg", (0.55, 0.40)),
    (("matplotlib", "mpl-data/sample_data/"), "grace_hopper.jpg", (0.47, 0.33)),
    (("matplotlib", "mpl-data/sample_data/"), "Minduka_Present_Blue_Pack.png", MIDDLE)))


def load(package, name):
    """(H, W, 3) uint8 of a file in an installed package; None where it is not there."""
    from PIL import Image

    path = find(package, name)
    if path is None:
        return None
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def random_codes(shape, budget, seed=SEED, max_rate=4):
    """(rows, columns) of rate codes of a random cover: blocks, halved at random up to `budget` tokens."""
    rng, (rows, columns) = np.random.default_rng(seed), shape
    leaves = [(x, y, max_rate, max_rate) for y in range(0, rows, max_rate) for x in range(0, columns, max_rate)]
    whole = []
    while leaves and len(leaves) + len(whole) < budget:
        x, y, w, h = leaves.pop(int(rng.integers(len(leaves))))
        if w == h == 1:
            whole.append((x, y, w, h))
            continue
        wide = w > h or (w == h and rng.integers(2))
        halves = [(x, y, w // 2, h), (x + w // 2, y, w // 2, h)] if wide else [(x, y, w, h // 2),
                                                                              (x, y + h // 2, w, h // 2)]
        leaves += [half for half in halves if half[0] < columns and half[1] < rows]
    codes = np.zeros(shape, np.uint32)
    for x, y, w, h in leaves + whole:
        codes[y:y + h, x:x + w] = (w.bit_length() - 1) << 2 | (h.bit_length() - 1)
    return codes, len(leaves) + len(whole)


def seen_at(image, codes, cell=CELL):
    """What tokens of these rates keep of an image, float 0..1: the mean of each texel's footprint, by nearest."""
    height, width = image.shape[:2]
    rows, columns = codes.shape
    edge = ((0, rows * cell - height), (0, columns * cell - width), (0, 0))
    most = 1 << int((codes & 3).max() | (codes >> 2 & 3).max())
    whole = np.pad(np.pad(image, edge, "edge"), ((0, -rows * cell % (most * cell)),
                                                 (0, -columns * cell % (most * cell)), (0, 0)), "edge") / 255.0
    out = np.zeros(whole.shape)
    each = np.kron(codes, np.ones((cell, cell), codes.dtype))
    for code in np.unique(codes):
        w, h = 1 << int(code >> 2 & 3), 1 << int(code & 3)
        means = whole.reshape(whole.shape[0] // h, h, whole.shape[1] // w, w, 3).mean(axis=(1, 3))
        at = np.nonzero(each == code)
        out[at] = means[at[0] // h, at[1] // w]
    return out[:height, :width]


def contenders(share):
    """[(name, title, policy, options), ...] of a share of the cells."""
    found = []
    for name, policy in policies.POLICIES.items():
        if name.startswith("rate") and share in MAX_RATES:
            found += [(f"{name} {rate}", f"{policy.title}, max_rate {rate}", name, {"max_rate": rate})
                      for rate in MAX_RATES[share]]
        else:
            found.append((name, policy.title, name, {}))
    return found


def scores(image, seen, gaze):
    return min(quality.psnr(image, seen), MOST_DB), min(quality.weighted_psnr(image, seen, gaze), MOST_DB)


def measure_image(engine, label, image, gaze, share, budget):
    """(rows of a table, notes): one row a policy."""
    size = image.shape[:2]
    shape = tuple(-(-side // CELL) for side in size)
    if budget is None:
        budget = max(1, int(share * shape[0] * shape[1]))
    common = {"image": label, "width": size[1], "height": size[0], "gaze": gaze, "share": share, "budget": budget}
    rows, notes = [], []
    for name, title, policy, options in contenders(share):
        try:
            shown = policies.encode(engine, image, policy, budget=budget, gaze=[gaze], model=MODEL, **options)
        except InputError as error:
            notes.append(f"{label}, {title}: {error}")
            continue
        if shown is None:
            continue
        nearest, bilinear = (reconstruct(size, shown.tokens, method) for method in ("nearest", "bilinear"))
        values = (*scores(image, nearest, gaze), *scores(image, bilinear, gaze))
        rows.append(common | {"policy": name, "title": title, "tokens": int(np.asarray(shown.tokens.valid).sum())}
                    | dict(zip(("psnr", "gaze_psnr", "psnr_bilinear", "gaze_psnr_bilinear"), values, strict=True))
                    | {"ssim": quality.ssim(image, nearest)})
    blocks = (edge for edge in (4, 8) if 4 * -(-shape[0] // edge) * -(-shape[1] // edge) <= budget)
    codes, count = random_codes(shape, budget, max_rate=next(blocks, 8))
    seen = seen_at(image, codes)
    values = scores(image, seen, gaze)
    rows.append(common | {"policy": "random", "title": "random rectangles", "tokens": count, "psnr": values[0],
                          "gaze_psnr": values[1], "psnr_bilinear": None, "gaze_psnr_bilinear": None,
                          "ssim": quality.ssim(image, seen)})
    return rows, notes


def compare(rows, share, ours, ours_key, other_key, other="grid", gain=None, often=None):
    """Ours against another policy over the images that both have: median of the differences and how often ours won.

    gain, often: what is goal: the least median difference in dB, the least share of the images that ours won.
    """
    table = {(row["image"], row["policy"]): row for row in rows if row["share"] == share}
    gains = [row[ours_key] - table[image, other][other_key] for (image, policy), row in table.items()
             if policy == ours and (image, other) in table]
    if not gains:
        return None
    median, won = statistics.median(gains), sum(gain > 0 for gain in gains)
    return {"share": share, "ours": ours, "key": ours_key, "other": other, "other_key": other_key,
            "images": len(gains), "won": won, "lost": sum(gain < 0 for gain in gains), "median_gain": median,
            "goal_gain": gain, "goal_often": often,
            "met": None if gain is None and often is None else
            (gain is None or median >= gain) and (often is None or won >= often * len(gains))}


def proof(rows):
    """The comparisons that count, as docs/guide/quality.md states them."""
    nearest, weighted = ("psnr", "psnr"), ("gaze_psnr", "gaze_psnr")
    asked = [(0.25, "rate", *nearest, "grid", 1.2), (0.25, "rate gaze", *weighted, "grid", None, 0.9),
             (0.5, "rate", "psnr", "psnr_bilinear", "grid", 2.0),
             (0.5, "rate gaze", "gaze_psnr", "gaze_psnr_bilinear", "grid")]
    asked += [(0.1, f"{name} {rate}", *keys, "grid", 0.0, often) for rate in MAX_RATES[0.1]
              for name, keys, often in (("rate", nearest, None), ("rate gaze", weighted, 0.9))]
    asked += [(share, name, *weighted, other, None, 0.9)
              for share, names in ((0.25, ("rate gaze",)), (0.5, ("rate gaze",)),
                                   (0.1, [f"rate gaze {rate}" for rate in MAX_RATES[0.1]]))
              for name in names for other in ("grid", "random", "rings") if other != "grid" or share == 0.5]
    asked += [(0.25, name, *weighted) for name in ("rings", "views", "logpolar", "cortical")]
    return [line for line in (compare(rows, *case) for case in asked) if line]


def medians(rows):
    """A row for each share and policy, in the order they were measured."""
    groups = {}
    for row in rows:
        groups.setdefault((row["share"], row["policy"]), []).append(row)
    keys = ("psnr", "gaze_psnr", "psnr_bilinear", "gaze_psnr_bilinear", "ssim")
    return [{"share": share, "policy": policy, "title": found[0]["title"], "images": len(found),
             "tokens_of_budget": statistics.median(row["tokens"] / row["budget"] for row in found)}
            | {key: statistics.median(row[key] for row in found) if found[0][key] is not None else None
               for key in keys} for (share, policy), found in groups.items()]


def rings_mtf(engine, side=384):
    """MTF50 by ring of each layout at a quarter of the cells of a square chart, gaze in the middle."""
    budget, rows = (side // CELL) ** 2 // 4, []
    for name, policy in policies.POLICIES.items():
        def seen(chart, name=name):
            shown = policies.encode(engine, chart, name, budget=budget, gaze=[(0.5, 0.5)], model=MODEL)
            return reconstruct(chart.shape[:2], shown.tokens, "bilinear")

        if policies.encode(engine, np.zeros((side, side, 3), np.uint8), name, budget=budget) is not None:
            rings = quality.mtf(seen, (side, side), (0.5, 0.5), edges=quality.BANDS[:-1])
            rows.append({"policy": name, "title": policy.title, "rings": rings})
    return {"side": side, "budget": budget, "rows": rows}


def measure(shares=SHARES, budget=None, only=(), charts=True):
    """Everything, as docs/measured/quality.json holds it."""
    engine, rows, notes, absent, used = Engine(backend="cpu"), [], [], [], 0
    chosen = [entry for entry in IMAGES if not only or Path(entry[1]).stem in only]
    unknown = set(only) - {Path(name).stem for _, name, _ in IMAGES}
    require(not unknown, "bench: image", ", ".join(sorted(unknown)), "the name of a bundled picture, as coffee")
    for number, (package, name, gaze) in enumerate(chosen, 1):
        if sys.stderr.isatty():
            print(f"\r{number}/{len(chosen)} {Path(name).stem:40}", end="", file=sys.stderr)
        image = load(package, name)
        if image is None:
            absent.append(f"{package}/{name}")
            continue
        used += 1
        for share in shares:
            more, said = measure_image(engine, Path(name).stem, image, gaze, share, budget)
            rows += more
            notes += said
    if sys.stderr.isatty():
        print("\r" + " " * 60, end="\r", file=sys.stderr)
    return {"version": __version__, "machine": machine(), "model": MODEL, "seed": SEED, "images": used,
            "kinds_missing": policies.missing(), "images_missing": absent, "notes": notes, "proof": proof(rows),
            "medians": medians(rows), "mtf": rings_mtf(engine) if charts else None, "rows": rows}
