# SPDX-License-Identifier: Apache-2.0
"""Models of each family with random weights, small enough to run in milliseconds."""

from functools import cache

import torch

torch.set_num_threads(1)
IMAGE, VIDEO, START, END = 151, 152, 150, 153
IDS = {"image_token_id": IMAGE, "video_token_id": VIDEO, "vision_start_token_id": START, "vision_end_token_id": END}
QWEN = {"qwen2_vl": "qwen2-vl", "qwen2_5_vl": "qwen2.5-vl", "qwen3_vl": "qwen3-vl", "qwen3_vl_moe": "qwen3-vl"}
TEXT = {"vocab_size": 160, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 4096, "bos_token_id": 1, "eos_token_id": 2,
        "pad_token_id": 0}


def seeded(make, config, **options):
    """With weights as large as trained ones: those of a start are so small that attention looks nowhere."""
    torch.manual_seed(0)
    model = make(config, **options).eval().requires_grad_(False)
    for weight in model.parameters():
        if weight.ndim > 1:
            weight.normal_(std=weight[0].numel() ** -0.5)
    return model


@cache
def qwen(kind):
    """Qwen2-VL, Qwen2.5-VL or Qwen3-VL; the same one for all tests."""
    import transformers

    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 3, 3]}
    tower = {"spatial_merge_size": 2, "temporal_patch_size": 2, "in_channels": 3, "num_heads": 4, "patch_size": 14}
    if kind == "qwen2_vl":
        config = transformers.Qwen2VLConfig(
            text_config={**TEXT, "rope_parameters": rope},
            vision_config={**tower, "depth": 2, "embed_dim": 32, "hidden_size": 64, "mlp_ratio": 2}, **IDS)
        return seeded(transformers.Qwen2VLForConditionalGeneration, config)
    tower |= {"depth": 4, "hidden_size": 32, "out_hidden_size": 64, "intermediate_size": 64}
    if kind == "qwen2_5_vl":
        config = transformers.Qwen2_5_VLConfig(
            text_config={**TEXT, "rope_parameters": rope},
            vision_config={**tower, "window_size": 112, "fullatt_block_indexes": [1, 3], "tokens_per_second": 4}, **IDS)
        return seeded(transformers.Qwen2_5_VLForConditionalGeneration, config)
    rope |= {"mrope_section": [4, 2, 2], "mrope_interleaved": True}
    text = {**TEXT, "rope_parameters": rope, "head_dim": 16}
    tower |= {"patch_size": 16, "num_position_embeddings": 64, "deepstack_visual_indexes": [1, 2]}
    if kind == "qwen3_vl":
        config = transformers.Qwen3VLConfig(text_config=text, vision_config=tower, **IDS)
        return seeded(transformers.Qwen3VLForConditionalGeneration, config)
    text |= {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
    config = transformers.Qwen3VLMoeConfig(text_config=text, vision_config=tower, **IDS)
    return seeded(transformers.Qwen3VLMoeForConditionalGeneration, config)


ENCODERS = {"vit": ("ViTConfig", "ViTModel"), "clip": ("CLIPVisionConfig", "CLIPVisionModel"),
            "siglip": ("SiglipVisionConfig", "SiglipVisionModel"), "dinov2": ("Dinov2Config", "Dinov2Model"),
            "registers": ("Dinov2WithRegistersConfig", "Dinov2WithRegistersModel"),
            "dinov3": ("DINOv3ViTConfig", "DINOv3ViTModel"), "siglip2": ("Siglip2VisionConfig", "Siglip2VisionModel")}


@cache
def encoder(kind, **options):
    """A vision model for images of 96 px, with a table of 6 x 6 positions; the same one for all tests."""
    import transformers

    config, make = (getattr(transformers, name) for name in ENCODERS[kind])
    sizes = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "patch_size": 16,
             "intermediate_size": 64}
    sizes |= {"num_patches": 36} if kind == "siglip2" else {"image_size": 96}
    if kind in ("registers", "dinov3"):
        sizes["num_register_tokens"] = 3
    return seeded(make, config(**sizes, **options))


@cache
def gemma(standardize=True, bidirectional="vision"):
    """Gemma 4 with a table of 64 positions an axis; the same one for all tests."""
    import transformers

    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
             "num_key_value_heads": 2, "head_dim": 16}
    config = transformers.Gemma4Config(
        text_config={**sizes, "vocab_size": 160, "vocab_size_per_layer_input": 160, "hidden_size_per_layer_input": 16,
                     "global_head_dim": 16, "use_bidirectional_attention": bidirectional,
                     "layer_types": ["sliding_attention", "full_attention"], "sliding_window": 512},
        vision_config={**sizes, "num_key_value_heads": 4, "position_embedding_size": 64, "standardize": standardize},
        audio_config=None, image_token_id=IMAGE, video_token_id=VIDEO, audio_token_id=154, boi_token_id=START,
        eoi_token_id=END)
    model = seeded(transformers.Gemma4ForConditionalGeneration, config)
    if standardize:
        model.model.vision_tower.std_bias.normal_()
        model.model.vision_tower.std_scale.uniform_(0.5, 1)
    return model
