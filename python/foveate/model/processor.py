# SPDX-License-Identifier: Apache-2.0
"""Image processors of transformers for the Qwen-VL family: the stock one, faster; with a budget, a foveated one."""

from typing import Any

import numpy as np

from ..default import engine_of
from ..error import require, whole
from ..presets import LIMITS, Preset
from .framework import need
from .positions import positions
from .resize import covers, down_first, rows

need("transformers", "PIL")

from transformers import AutoImageProcessor, BatchFeature, PreTrainedConfig  # noqa: E402
from transformers.image_utils import PILImageResampling  # noqa: E402
from transformers.models.qwen2_vl import image_processing_pil_qwen2_vl as stock  # noqa: E402

OURS = ("patch_positions", "token_center", "token_size", "image_sizes")
HALF = (0.5, 0.5, 0.5)
BYTES = {"uint8": 255.0, "uint16": 65535.0}     # what a number means, times its largest


class FoveatedKwargs(stock.Qwen2VLImageProcessorKwargs, total=False):
    """Options beyond the stock processor's.

    budget (`int`, *optional*): tokens an image; None: the stock processor's result.
    gaze: (x, y), or a list for each image, see `foveate.layout`.
    relevance (`dict`): options of `foveate.relevance`.
    foveation (`dict`): what else `Engine.tokens` takes.
    threads (`int`): of the stock processor's work; None: all.
    engine: the Engine that makes tokens; None: the process's own. Never saved.
    """

    budget: int | None
    gaze: Any
    relevance: dict | None
    foveation: dict | None
    threads: int | None
    engine: Any


class _Held:
    __slots__ = ("engine",)     # outside of the attributes: those are copied and saved


class FoveatedQwen2VLImageProcessor(_Held, stock.Qwen2VLImageProcessorPil):
    """Qwen2-VL's image processor: bit for bit the stock one of the "pil" backend, and many times as fast.

    With a budget images are not resized: `budget` tokens of each are cut from its full resolution, fine where it
    matters. See docs/model/processor.md.

    >>> import numpy as np
    >>> processor = FoveatedQwen2VLImageProcessor(budget=16)
    >>> processor(np.zeros((480, 640, 3), np.uint8), gaze=(0.4, 0.6), return_tensors="np")["pixel_values"].shape
    (64, 1176)
    """

    budget = None
    gaze = None
    relevance = None
    foveation = None
    threads = None
    valid_kwargs = FoveatedKwargs

    def __getstate__(self):
        return self.__dict__    # without the engine

    @property
    def model_input_names(self):
        """The stock keys, and with a budget ours."""
        names = list(stock.Qwen2VLImageProcessorPil.model_input_names)
        return names if self.budget is None else [*names, *OURS]

    def _standardize_kwargs(self, budget=None, threads=None, **kwargs):
        if budget is not None:
            most = LIMITS["image_tokens"]
            require(whole("model: budget", budget, 1, most) <= most, "model: budget", budget, f"1..{most}")
        if threads is not None:
            most = LIMITS["threads"]
            require(whole("model: threads", threads, 1, most) <= most, "model: threads", threads, f"1..{most}")
        return super()._standardize_kwargs(**kwargs) | {"budget": budget, "threads": threads}

    def process_image(self, image, do_convert_rgb=None, input_data_format=None, **kwargs):
        """As the stock one: an array (channels, height, width); gray and RGB images of Pillow with a copy less."""
        if do_convert_rgb and getattr(image, "mode", None) in ("RGB", "L") and image.info.get("transparency") is None:
            pixels = np.asarray(image)
            if pixels.ndim == 2:
                return np.broadcast_to(pixels, (3, *pixels.shape))
            return np.moveaxis(pixels, -1, 0)
        return super().process_image(image, do_convert_rgb=do_convert_rgb, input_data_format=input_data_format,
                                     **kwargs)

    def _preprocess(self, images, budget=None, gaze=None, relevance=None, foveation=None, threads=None, engine=None,
                    **kwargs):
        if _is_torch(kwargs["return_tensors"]):
            need("torch")
        if budget is not None:
            return self._foveated(images, {"budget": budget, "gaze": gaze, "relevance": relevance,
                                           **(foveation or {})}, engine_of(engine), **kwargs)
        sizes = self._sizes(images, **kwargs)
        if sizes is None:
            return super()._preprocess(images, **kwargs)
        patch = kwargs["patch_size"]
        pixels = rows(images, sizes, self._table(**kwargs), patch, kwargs["merge_size"],
                      kwargs["temporal_patch_size"], threads)
        grids = np.array([(1, height // patch, width // patch) for height, width in sizes], np.int64)
        return BatchFeature({"pixel_values": pixels, "image_grid_thw": grids}, tensor_type=kwargs["return_tensors"])

    def _sizes(self, images, *, do_resize, size, resample, patch_size, merge_size, temporal_patch_size, **_):
        """(height, width) after resizing; None where the stock code has to do it."""
        order = (("patch", patch_size), ("merge", merge_size), ("frames", temporal_patch_size))
        if not images or not all(map(covers, images)) or not all(1 <= n <= LIMITS[name] for name, n in order):
            return None
        sizes, cell = [image.shape[1:] for image in images], patch_size * merge_size
        if do_resize:
            if resample != PILImageResampling.BICUBIC or not (size.shortest_edge and size.longest_edge):
                return None
            sizes = [stock.smart_resize(height, width, cell, size.shortest_edge, size.longest_edge)
                     for height, width in sizes]
        fits = all(side % cell == 0 and side <= LIMITS["image_side"] for one in sizes for side in one)
        return sizes if fits and down_first() else None

    def _table(self, *, do_rescale, rescale_factor, do_normalize, image_mean, image_std, **_):
        """What a byte of each channel becomes, by the stock code itself."""
        image = np.broadcast_to(np.arange(256, dtype=np.uint8), (3, 1, 256))
        if do_rescale:
            image = self.rescale(image, rescale_factor)
        if do_normalize:
            image = self.normalize(image, image_mean, image_std)
        return np.ascontiguousarray(image.reshape(3, 256), np.float32)

    def _foveated(self, images, options, engine, *, do_rescale, rescale_factor, do_normalize, image_mean, image_std,
                  patch_size, temporal_patch_size, merge_size, return_tensors, **_):
        gray = [image.strides[0] == 0 for image in images]      # one channel thrice; a batch is all gray or none of it
        images = [image[0] if all(gray) else np.ascontiguousarray(image) if one else image
                  for image, one in zip(images, gray, strict=True)]
        # The engine reads numbers as 0..1; the stock processor multiplies them as they are.
        unit = BYTES.get(str(images[0].dtype), 1.0) * (rescale_factor if do_rescale else 1.0)
        mean, std = (_per_channel(image_mean), _per_channel(image_std)) if do_normalize else ((0.0,) * 3, (1.0,) * 3)
        preset = Preset(type(self).__name__, patch=patch_size, merge=merge_size, frames=temporal_patch_size,
                        mean=tuple(value / unit for value in mean), std=tuple(value / unit for value in std),
                        form="packed")
        tokens = engine.tokens(images, channels=None if images[0].ndim == 2 else "first", model=preset, **options)
        found, table = positions(tokens), tokens.table
        count = table.shape[1] * merge_size
        return BatchFeature({
            "pixel_values": tokens.torch() if _is_torch(return_tensors) else tokens.numpy(),
            "image_grid_thw": np.array([(1, merge_size, count)] * len(images), np.int64),
            "patch_positions": found.patches.reshape(-1, 2),
            "token_center": np.ascontiguousarray(table["center_px"][..., ::-1]).reshape(-1, 2),
            "token_size": np.ascontiguousarray(table["size_px"]).reshape(-1, 2),
            "image_sizes": np.array(tokens.sizes, np.int64),
        }, tensor_type=return_tensors)

    def get_number_of_image_patches(self, height, width, images_kwargs=None):
        """Patches that an image of this size becomes; with a budget, of every size."""
        kwargs = images_kwargs or {}
        budget = kwargs.get("budget", self.budget)
        if budget is None:
            return super().get_number_of_image_patches(height, width, images_kwargs)
        return budget * kwargs.get("merge_size", self.merge_size)**2


class FoveatedQwen2_5_VLImageProcessor(FoveatedQwen2VLImageProcessor):
    """Qwen2.5-VL's image processor; the stock one is Qwen2-VL's."""


class FoveatedQwen3VLImageProcessor(FoveatedQwen2VLImageProcessor):
    """Qwen3-VL's image processor: the stock one is Qwen2-VL's with these numbers."""

    patch_size = 16
    size = {"shortest_edge": 256 * 256, "longest_edge": 4096 * 4096}    # noqa: RUF012 as transformers has it
    image_mean = HALF
    image_std = HALF


CLASSES = {"qwen2_vl": FoveatedQwen2VLImageProcessor, "qwen2_5_vl": FoveatedQwen2_5_VLImageProcessor,
           "qwen3_vl": FoveatedQwen3VLImageProcessor}
KINDS = CLASSES | {"qwen3_vl_moe": FoveatedQwen3VLImageProcessor}
NAMES = {cls.__name__: cls for cls in CLASSES.values()} | {
    "Qwen2VLImageProcessor": FoveatedQwen2VLImageProcessor,
    "Qwen2_5_VLImageProcessor": FoveatedQwen2_5_VLImageProcessor,
}


def _is_torch(return_tensors):
    return getattr(return_tensors, "value", return_tensors) == "pt"


def _per_channel(value):
    return (float(value),) * 3 if isinstance(value, (int, float)) else tuple(float(one) for one in value)


def load_processor(path_or_id, budget: int | None = None, **options):
    """The image processor of a Qwen-VL checkpoint, as one of ours.

    Args:
        path_or_id: a folder, a file, or a repository of the Hugging Face Hub.
        budget: tokens an image, 1..65536; None: what the checkpoint says, or no foveation.
        options: of the processor, instead of the checkpoint's; or where from_pretrained looks (revision, cache_dir,
            local_files_only and so on).

    Returns:
        FoveatedQwen2VL-, FoveatedQwen2_5_VL- or FoveatedQwen3VLImageProcessor, by the model's type.

    Raises:
        InputError: the checkpoint of another family, patches of another size than its model has, no such option.
        UnsupportedError: transformers or Pillow is missing or too old.
        OSError: no such checkpoint, as transformers says it.
    """
    found, unused = FoveatedQwen2VLImageProcessor.get_image_processor_dict(path_or_id, **options)
    where = {name: value for name, value in options.items() if name not in unused}
    unknown = sorted(set(unused) - set(FoveatedKwargs.__annotations__))
    require(not unknown, "model: processor options", ", ".join(unknown),
            "options of the processor, or of from_pretrained")
    model = _model_config(path_or_id, where)
    kind = found.get("image_processor_type") or found.get("feature_extractor_type")
    named = NAMES.get(str(kind).removesuffix("Fast").removesuffix("Pil"))
    cls = KINDS.get(model.get("model_type"), named)
    require(cls and (named or kind is None), "model: processor", f"{kind or 'no type'} of "
            f"{model.get('model_type', 'no model')}", f"that of {', '.join(KINDS)}")
    if budget is not None:
        options["budget"] = budget
    processor = cls.from_dict(found, **{name: value for name, value in options.items() if name not in where})
    vision = model.get("vision_config") or {}
    have = f"patch {processor.patch_size}, merge {processor.merge_size}"
    want = (f"patch {vision.get('patch_size', processor.patch_size)}, "
            f"merge {vision.get('spatial_merge_size', processor.merge_size)}")
    require(have == want, "model: processor", have, f"{want}, as the model has",
            "Leave patch_size and merge_size out, or correct the checkpoint's preprocessor_config.json.")
    return processor


def _model_config(path_or_id, where):
    """config.json of the same checkpoint; {} where there is none."""
    try:
        return PreTrainedConfig.get_config_dict(path_or_id, **where)[0]
    except OSError:
        return {}


def register_processors() -> None:
    """Tells AutoImageProcessor of the classes: `from_pretrained(..., backend="foveated")` finds them.

    Without torchvision transformers finds them only for checkpoints that one of them has saved; `load_processor` always
    does.
    """
    from transformers import Qwen2_5_VLConfig, Qwen2VLConfig, Qwen3VLConfig

    for config in (Qwen2VLConfig, Qwen2_5_VLConfig, Qwen3VLConfig):
        AutoImageProcessor.register(config, image_processor_classes={"foveated": CLASSES[config.model_type]},
                                    exist_ok=True)
