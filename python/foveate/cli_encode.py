# SPDX-License-Identifier: Apache-2.0
"""What lies between the words of `foveate encode` and the engine: options, files, pictures."""

import json
import os
from collections import Counter

import numpy as np

from . import __version__, _core, policies
from .overlay import overlay, rates_overlay, relevance_overlay, seen_overlay
from .picture import tiled

SHOWS = ("tokens", "relevance", "rates", "seen")
OF_RATE = ("rates", "max_rate", "information", "saliency", "query", "roi", "falloff", "fov")     # options of one layout


class Failure(Exception):
    """A mistake in how a command was called: one line, exit status 2."""


def read_image(path):
    """A file as Pillow reads it, turned as its EXIF says. One line for whatever is wrong with it."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    most = _core.limits()["image_pixels"]
    try:
        with Image.open(path) as picture:  # reads the header; the pixels only below
            if picture.width * picture.height > most:
                raise Failure(f"image: file: got {path}, {picture.width} x {picture.height} px, expected at most "
                              f"{most} px. Scale it down first.")
            return ImageOps.exif_transpose(picture).copy()
    except FileNotFoundError:
        raise Failure(f"image: file: got {path}, expected a file that exists.") from None
    except UnidentifiedImageError:
        raise Failure(f"image: file: got {path}, expected a picture that Pillow can read.") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # a broken file
        raise Failure(f"image: file: got {path} ({error}), expected a whole picture.") from None


def read_map(path):
    """A gray picture as (h, w) float32 of 0..1."""
    picture = read_image(path)
    if picture.mode.startswith("I"):    # 16 bits
        return np.asarray(picture, np.float32) / 65535
    return np.asarray(picture.convert("L"), np.float32) / 255


def read_numbers(what, text, count, expected):
    """The numbers of a text as "0.4,0.6"."""
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != count:
        raise Failure(f"encode: {what}: got {text!r}, expected {expected}.")
    return numbers


def read_falloff(text):
    """A name, or a tuple of it and its numbers: "polynomial,5,2". Those of bands are pairs."""
    name, *parts = text.split(",")
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        numbers = None
    if numbers is None or (name == "bands" and len(numbers) % 2):
        raise Failure(f"encode: falloff: got {text!r}, expected a name and its numbers, as polynomial,5,2 or "
                      "bands,0.25,1,0.5,0.3.")
    if name == "bands":
        numbers = list(zip(numbers[::2], numbers[1::2], strict=True))
    return (name, *numbers) if numbers else name


def options_of(given):
    """(options of `Engine.tokens`, what --json says of them) of the command's own; None and [] were not given."""
    given = {name: value for name, value in given.items() if value or (value == 0 and value is not False)}
    layout = given.get("layout", "rate")
    for name in OF_RATE:
        if name in given and layout != "rate":
            raise Failure(f"encode: layout: got {layout} with --{name.replace('_', '-')}, expected rate. "
                          "Leave one of the two out.")
    for name in ("falloff", "fov"):
        if name in given and "gaze" not in given:
            raise Failure(f"encode: {name}: got {given[name]} without a gaze, expected a gaze too. Add --gaze x,y.")
    gaze = [read_numbers("gaze", text, 2, "x,y in 0..1, as 0.4,0.6") for text in given.get("gaze", ())]
    terms = {"information": True} if "information" in given else {}
    if "saliency" in given:
        terms["saliency"] = given["saliency"]
    if "roi" in given:
        terms["roi"] = [read_numbers("roi", text, 4, "x0,y0,x1,y1 in 0..1, as 0.2,0.1,0.6,0.5")
                        for text in given["roi"]]
    if "falloff" in given:
        terms["falloff"] = read_falloff(given["falloff"])
    if "fov" in given:
        terms["fov_deg"] = given["fov"]
    said = dict(terms)
    if "query" in given:
        terms["query"], said["query"] = read_map(given["query"]), str(given["query"])
    options = {name: given[name] for name in ("model", "budget", "rates", "max_rate", "dtype") if name in given}
    options |= {"layout": layout, "gaze": gaze or None, "relevance": terms or None}
    return options, {"layout": layout, "model": given.get("model"), "gaze": gaze, "relevance": said}


def used_by(engine, tokens, said):
    """What the tokens were made with, defaults filled in, for --json and for the file of --out."""
    rates = policies.made_by(engine, tokens)[1]
    return {**said, "cell": rates.cell if rates else tokens.preset.cell, "budget": tokens.table.shape[1],
            "dtype": tokens.patches.dtype, "rates": rates and rates.rates, "max_rate": rates and rates.max_rate}


def words_of(used):
    """The same as a line."""
    parts = [f"{used['rates']} up to {used['max_rate']} x {used['max_rate']} cells"] if used["rates"] else []
    for name, value in {"gaze": used["gaze"], **used["relevance"]}.items():
        if name == "query":
            value = os.path.basename(value)
        parts += [name if value is True else f"{name} {_words(value)}"] if value else []
    return "; ".join(parts) or f"{used['layout']}, as it comes"


def _words(value):
    """Numbers and names, lists of them side by side, lists of lists joined."""
    if isinstance(value, (list, tuple)):
        return (" and " if isinstance(value[0], tuple) else ", ").join(map(_words, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def names_for(paths, pattern):
    """Where pictures go: the name itself for one, <stem>-<image><suffix> for several, numbered where images are
    called the same.
    """
    if len(paths) == 1:
        return [pattern]
    seen, names = Counter(), []
    for path in paths:
        seen[path.stem] += 1
        number = f"-{seen[path.stem]}" if seen[path.stem] > 1 else ""
        names.append(pattern.with_name(f"{pattern.stem}-{path.stem}{number}{pattern.suffix}"))
    return names


def check_shows(overlay_path, shows, layout):
    """What --overlay is to show; a mistake here is found before anything is computed."""
    if shows and not overlay_path:
        raise Failure(f"encode: show: got {shows[0]} without --overlay, expected a file to draw into. "
                      "Add --overlay FILE.png.")
    if overlay_path and overlay_path.suffix.lower() != ".png":
        raise Failure(f"encode: overlay: got {overlay_path}, expected a name that ends in .png.")
    for name in shows:
        if name in ("rates", "relevance") and layout != "rate":
            raise Failure(f"encode: show: got {name} with --layout {layout}, expected tokens or seen. "
                          "Only --layout rate has rates and relevance.")


def draw(engine, pixels, tokens, shows, gaze_uv):
    """One picture, or several side by side."""
    relevance, rates = policies.made_by(engine, tokens)
    side = 1280 if len(shows) < 2 else 640      # two are as wide as one
    pictures = []
    for name in shows or ["tokens"]:
        if name == "tokens":
            pictures.append(overlay(pixels, tokens, gaze_uv=gaze_uv, side=side))
        elif name == "seen":
            pictures.append(seen_overlay(pixels, tokens, side=side))
        elif name == "rates":
            pictures.append(rates_overlay(pixels, rates.codes, rates.cell, gaze_uv=gaze_uv, side=side))
        else:
            flat = np.ones(rates.grid_sizes[0], np.float32)     # without a term every cell counts as much
            values = flat if relevance is None else relevance.values[0]
            pictures.append(relevance_overlay(pixels, values, rates.cell, gaze_uv=gaze_uv, side=side))
    return pictures[0] if len(pictures) == 1 else tiled(pictures)


def report_entry(engine, name, pixels, tokens, options, used, ms):
    """What was asked for, and the other ways to spend as many tokens."""
    from .demo import entry_of

    uv, valid = options["gaze"] or (), int(np.asarray(tokens.valid[0], bool).sum())
    asked = policies.Policy(f"as asked: {used['layout']}", words_of(used), used["layout"], None, bool(uv))
    return entry_of(engine, name, pixels, valid, uv, options.get("model"), repeats=1,
                    first=policies.Shown(asked, tokens, ms))


def save_tokens(path, tokens, names, used):
    """Patches and positions in one safetensors file, which appears whole or not at all."""
    fields = ("center_px", "size_px", "level", "rate", "fixation", "valid")
    arrays = {field: np.ascontiguousarray(getattr(tokens, field)) for field in fields}
    if tokens.patches.dtype == "bfloat16":  # NumPy has no such type
        try:
            import torch
            from safetensors import torch as safetensors
        except ModuleNotFoundError:
            raise Failure("encode: dtype: got bfloat16 without torch, expected float32 or float16 with --out. "
                          'Or pip install "foveate[torch]".') from None
        arrays = {"patches": tokens.torch()} | {field: torch.from_numpy(array) for field, array in arrays.items()}
    else:
        from safetensors import numpy as safetensors

        arrays["patches"] = np.ascontiguousarray(tokens.numpy())
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        safetensors.save_file(arrays, str(temporary), metadata={
            "foveate": __version__, "images": json.dumps(names), "used": json.dumps(used)})
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
