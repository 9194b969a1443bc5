# SPDX-License-Identifier: Apache-2.0
"""What a model wants its patches to look like."""

import atexit
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from . import _core
from .error import InputError, choice, real, require, whole

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
LIMITS = _core.limits()
HALF = (0.5, 0.5, 0.5)
DTYPES = {"float32": 0, "float16": 1, "bfloat16": 2}


@dataclass(frozen=True)
class Preset:
    """How patches are cut, normalised and ordered.

    Attributes:
        name: what `model=` calls it.
        patch: texels of a patch edge, 1..64.
        merge: patches of a token edge, 1..8; a token is patch * merge texels wide.
        frames: how often a patch is written in time, 1 or 2.
        mean, std: per written channel, for values 0..1.
        channels: "first" or "last", inside a patch.
        form: "patches" (B, N, C, P, P); "rows" (B, N, C*T*P*P); "packed" (B*N, C*T*P*P); N = K * merge^2.

    >>> import foveate
    >>> foveate.presets["qwen2.5-vl"].cell
    28
    """

    name: str = "by hand"
    patch: int = 16
    merge: int = 1
    frames: int = 1
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    channels: Literal["first", "last"] = "first"
    form: Literal["patches", "rows", "packed"] = "patches"

    @property
    def cell(self) -> int:
        """Texels of a token edge."""
        return self.patch * self.merge

    def shape(self, images: int, rows: int) -> tuple[int, ...]:
        """Shape of the patches of a batch with `rows` tokens an image."""
        count, depth = rows * self.merge**2, len(self.mean)
        elements = depth * self.frames * self.patch**2
        if self.form == "packed":
            return images * count, elements
        if self.form == "rows":
            return images, count, elements
        time = (self.frames,) if self.frames > 1 else ()
        texels = (self.patch, self.patch)
        inside = (depth, *time, *texels) if self.channels == "first" else (*time, *texels, depth)
        return images, count, *inside


presets = {preset.name: preset for preset in (
    Preset("vit16", patch=16, mean=HALF, std=HALF),
    Preset("siglip2", patch=16, mean=HALF, std=HALF, channels="last", form="rows"),
    Preset("qwen2-vl", patch=14, merge=2, frames=2, mean=CLIP_MEAN, std=CLIP_STD, form="packed"),
    Preset("qwen2.5-vl", patch=14, merge=2, frames=2, mean=CLIP_MEAN, std=CLIP_STD, form="packed"),
    Preset("qwen3-vl", patch=16, merge=2, frames=2, mean=HALF, std=HALF, form="packed"),
    Preset("gemma4", patch=16, merge=3, mean=(0.0,) * 3, std=(1.0,) * 3, channels="last", form="rows"),
)}


def preset_of(model) -> Preset:
    """A preset by its name; a Preset is itself, None is the plain one."""
    if isinstance(model, Preset):
        return model
    return Preset() if model is None else choice("sample: model", model, presets)


def _per_channel(what, value):
    """A number for every channel, or one for each of 1 or 3."""
    try:
        values = tuple(value)
    except TypeError:
        return (real(what, value),) * 3
    require(len(values) in (1, 3), what, f"{len(values)} values", "1 or 3")
    return tuple(real(what, v) for v in values)


def sample_options(model, patch, merge, mean, std, frames, channels, dtype, taps, lod_bias):
    """(Preset, core options), kept for the next call with the same ones."""
    if mean is not None and not isinstance(mean, tuple):
        mean = _per_channel("sample: mean", mean)
    if std is not None and not isinstance(std, tuple):
        std = _per_channel("sample: std", std)
    try:
        return _sample_options(model, patch, merge, mean, std, frames, channels, dtype, taps, lod_bias)
    except TypeError as error:  # unhashable
        raise InputError(f"sample: options: got {error}, expected numbers and names.") from None


@lru_cache(maxsize=64)
def _sample_options(model, patch, merge, mean, std, frames, channels, dtype, taps, lod_bias):
    preset, changes = preset_of(model), {}
    for name, value in (("patch", patch), ("merge", merge), ("frames", frames)):
        if value is not None:
            changes[name] = whole(f"sample: {name}", value, 1, LIMITS[name])
    for name, value in (("mean", mean), ("std", std)):
        if value is not None:
            changes[name] = _per_channel(f"sample: {name}", value)
    if "mean" in changes and "std" not in changes and len(changes["mean"]) != len(preset.std):
        changes["std"] = preset.std[: len(changes["mean"])]
    if "std" in changes and "mean" not in changes and len(changes["std"]) != len(preset.mean):
        changes["mean"] = preset.mean[: len(changes["std"])]
    if channels is not None:
        choice("sample: channels", channels, {"first": 0, "last": 1})
        changes["channels"] = channels
    preset = replace(preset, **changes)
    spec = _core.SampleSpec(
        patch=preset.patch, merge=preset.merge, frames=preset.frames, mean=preset.mean, std=preset.std,
        channels_last=preset.channels == "last", dtype=choice("sample: dtype", dtype, DTYPES),
        taps=real("sample: taps", taps), lod_bias=real("sample: lod_bias", lod_bias))
    return preset, spec


atexit.register(_sample_options.cache_clear)     # before the module that made the specs goes
