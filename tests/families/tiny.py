"""A Stable Diffusion 2 of random numbers, 40 kB small: velocity prediction, linear projections, 16 × 16 pixels."""

import json
import shutil
from pathlib import Path

import torch

from studio.families import POCKET

TOKENS = 1234  # the pocket model's tokenizer


def build(folder: Path) -> Path:
    """Write the model below `folder` in the layout of diffusers."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    tokens = {"vocab_size": TOKENS, "bos_token_id": TOKENS - 2, "eos_token_id": TOKENS - 1, "pad_token_id": TOKENS - 1}
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
        vae = AutoencoderKL(
            block_out_channels=(8, 8),
            layers_per_block=1,
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            norm_num_groups=4,
            sample_size=16,
        )
        text = CLIPTextConfig(
            hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=24, projection_dim=16, **tokens
        )
        models = {"unet": unet, "vae": vae, "text_encoder": CLIPTextModel(text)}
    for part, model in models.items():
        model.save_pretrained(folder / part)
    for part in ("tokenizer", "scheduler"):
        shutil.copytree(POCKET / part, folder / part)
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}), encoding="utf-8")
    return folder
