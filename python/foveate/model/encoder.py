# SPDX-License-Identifier: Apache-2.0
"""A checkpoint's vision encoder behind one call: images in, a vector for each token and each image out."""

import numpy as np

from ..default import engine_of
from ..error import InputError, choice, require
from ..presets import preset_of
from ..tensor import Tokens
from .framework import need

QWEN = {"qwen2_vl": "qwen2-vl", "qwen2_5_vl": "qwen2.5-vl", "qwen3_vl": "qwen3-vl", "qwen3_vl_moe": "qwen3-vl"}
# configuration -> the class of transformers that is its vision model alone
TOWERS = {"vit": "ViTModel", "clip": "CLIPVisionModel", "clip_vision_model": "CLIPVisionModel",
          "siglip": "SiglipVisionModel", "siglip_vision_model": "SiglipVisionModel",
          "siglip2": "Siglip2VisionModel", "siglip2_vision_model": "Siglip2VisionModel", "dinov2": "Dinov2Model",
          "dinov2_with_registers": "Dinov2WithRegistersModel", "dinov3_vit": "DINOv3ViTModel"}


class Encoder:
    """A vision model, and the tokens that it takes.

    `kind` is the model's type, `tokens` the options of `Engine.tokens` that cut for it, `width` the length of a vector.
    """

    def __init__(self, model, kind, tokens, width):
        self.model, self.kind, self.tokens, self.width = model, kind, tokens, width

    def __call__(self, images, *, engine=None, **options):
        """The same as `of_tokens`, of images as `Engine.tokens` takes them, and with its options."""
        given = sorted(set(options) & set(self.tokens))
        require(not given, "model: encoder options", ", ".join(given), "options that the encoder does not decide")
        return self.of_tokens(engine_of(engine).tokens(images, **self.tokens, **options))

    def of_tokens(self, tokens: Tokens):
        """(vectors (B, K, D), pooled (B, D) or None), float32 of NumPy; rows that are not valid are 0."""
        torch = need("torch")
        with torch.inference_mode():
            if self.kind in QWEN:
                from .qwen import features

                rows = torch.stack(list(features(self.model, tokens, copy=True).pooler_output))
                return rows.float().cpu().numpy(), None
            if self.kind.startswith("siglip2"):
                from .siglip2 import features
            else:
                from .vit import features
            made = features(self.model, tokens, copy=True)
        count = tokens.valid.shape[1]
        rows = made.last_hidden_state[:, -count:].float().cpu().numpy()     # class and register tokens come first
        pooled = made.pooler_output
        return rows * tokens.valid[..., None], None if pooled is None else pooled.float().cpu().numpy()


def encoder_of(model, *, mean=None, std=None) -> Encoder:
    """An Encoder of a model at hand.

    Args:
        model: a Qwen2-VL, Qwen2.5-VL or Qwen3-VL, SigLIP 2, ViT, CLIP, SigLIP, DINOv2 or DINOv3 of transformers.
        mean, std: what its image processor normalises by; None: the preset's.

    Raises:
        InputError: another model.
    """
    kind = getattr(getattr(model, "config", None), "model_type", type(model).__name__)
    if kind in QWEN:
        width = model.config.get_text_config().hidden_size
        return Encoder(model, kind, _normal({"model": QWEN[kind]}, mean, std), width)
    choice("model: encoder", kind, TOWERS)
    vision = getattr(model.config, "vision_config", model.config)
    tokens = {"model": "siglip2"} if kind.startswith("siglip2") else {"model": "vit16"}
    if vision.patch_size != preset_of(tokens["model"]).patch:
        tokens["patch"] = vision.patch_size
    return Encoder(model, kind, _normal(tokens, mean, std), vision.hidden_size)


def load_encoder(path, *, device="cpu", dtype="float32", **where) -> Encoder:
    """The vision encoder of a checkpoint.

    Args:
        path: a folder with config.json and safetensors, or a repository of the Hugging Face Hub. No code of it is run.
        device, dtype: of torch, as "cuda" and "bfloat16".
        where: where from_pretrained looks: revision, cache_dir, local_files_only and so on.

    Raises:
        InputError: a checkpoint of another kind.
        UnsupportedError: torch or transformers is missing or too old.
        OSError: no such checkpoint, as transformers says it.
    """
    torch, transformers = need("torch", "transformers")
    known = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if not isinstance(known, torch.dtype):
        raise InputError(f"model: encoder dtype: got {dtype!r}, expected a type of torch, as \"bfloat16\".")
    safe = {"trust_remote_code": False, **where}
    kind = transformers.AutoConfig.from_pretrained(path, **safe).model_type
    cls = transformers.AutoModel if kind in QWEN else getattr(transformers, choice("model: encoder", kind, TOWERS))
    model = cls.from_pretrained(path, dtype=known, use_safetensors=True, **safe).eval().to(device)
    return encoder_of(model, **_processor(path, safe))


def _processor(path, where):
    """mean and std of preprocessor_config.json, where there is one."""
    from transformers import ImageProcessingMixin

    try:
        found = ImageProcessingMixin.get_image_processor_dict(path, **where)[0]
    except OSError:
        return {}
    return {name: tuple(found[key]) for name, key in (("mean", "image_mean"), ("std", "image_std")) if found.get(key)}


def _normal(tokens, mean, std):
    preset = preset_of(tokens["model"])
    for name, value in (("mean", mean), ("std", std)):
        if value is not None and not np.allclose(value, getattr(preset, name)):
            tokens[name] = tuple(map(float, value))
    return tokens
