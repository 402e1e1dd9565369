"""Small models of random numbers, some 100 kB each: a Stable Diffusion 2 that predicts the velocity, and an SDXL; 16 × 16 pixels."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from studio.families import POCKET

TOKENS = 1234  # the pocket model's tokenizer
SPECIAL = {"vocab_size": TOKENS, "bos_token_id": TOKENS - 2, "eos_token_id": TOKENS - 1, "pad_token_id": TOKENS - 1}


def sd(folder: Path) -> Path:
    """Write a Stable Diffusion 2 below `folder` in the layout of diffusers."""
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextModel

    with torch.random.fork_rng():
        torch.manual_seed(7)
        unet = UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(8, 16),
            layers_per_block=1,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            cross_attention_dim=16,
            attention_head_dim=[2, 4],
            use_linear_projection=True,
            norm_num_groups=4,
        )
        models = {"unet": unet, "vae": _vae(), "text_encoder": CLIPTextModel(_clip(16))}
    return _write(folder, models, "StableDiffusionPipeline")


def sdxl(folder: Path) -> Path:
    """Write an SDXL below `folder`: two text encoders of different widths, told sizes and crops."""
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    with torch.random.fork_rng():
        torch.manual_seed(8)
        unet = UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(8, 16),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 2),
            cross_attention_dim=40,
            attention_head_dim=[2, 4],
            use_linear_projection=True,
            norm_num_groups=4,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=24 + 6 * 8,
        )
        second = CLIPTextModelWithProjection(_clip(24))
        models = {"unet": unet, "vae": _vae(), "text_encoder": CLIPTextModel(_clip(16)), "text_encoder_2": second}
    return _write(folder, models, "StableDiffusionXLPipeline")


def _vae() -> Any:
    from diffusers import AutoencoderKL

    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    return AutoencoderKL(block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=4, sample_size=16, **blocks)


def _clip(width: int) -> Any:
    from transformers import CLIPTextConfig

    sizes = {"hidden_size": width, "intermediate_size": 2 * width, "projection_dim": width}
    return CLIPTextConfig(num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=24, **sizes, **SPECIAL)


def _write(folder: Path, models: Mapping[str, Any], pipeline: str) -> Path:
    for part, model in models.items():
        model.save_pretrained(folder / part)
    for part in ("scheduler", *(part.replace("text_encoder", "tokenizer") for part in models if part.startswith("text_encoder"))):
        shutil.copytree(POCKET / part.removesuffix("_2"), folder / part)
    (folder / "model_index.json").write_text(json.dumps({"_class_name": pipeline}), encoding="utf-8")
    return folder
