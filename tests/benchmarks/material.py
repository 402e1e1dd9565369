"""What all trainers are measured on: a base model of Stable Diffusion 1.x's architecture with random weights, and pictures with captions."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio.families.clip import ASSETS, tokenizer

LAYOUT = ASSETS / "sd15"


@dataclass(frozen=True)
class Size:
    """How wide the parts are, and the side of the pictures. Depth is that of Stable Diffusion 1.5 throughout, but for the text encoder."""

    unet: tuple[int, ...]
    vae: tuple[int, ...]
    text: int
    text_layers: int
    resolution: int


SIZES = {
    "small": Size((64, 128, 256, 256), (32, 64, 96, 96), 128, 6, 256),
    "narrow": Size((32, 32, 32, 32), (32, 32, 32, 32), 32, 12, 64),
}
"""`small` trains in about a second a step on one CPU core; `narrow` has every layer of Stable Diffusion 1.5 and next to no arithmetic."""

PICTURES = 16


def make(folder: Path, size: Size) -> tuple[Path, Path]:
    """The base model and the pictures below `folder`, made once."""
    base, pictures = folder / "base", folder / "pictures"
    if not (base / "model_index.json").exists():
        _make_base(base, size)
    if not (pictures / "metadata.jsonl").exists():
        _make_pictures(pictures, size.resolution)
    return base, pictures


def _make_base(base: Path, size: Size) -> None:
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    text = {
        **_layout("text_encoder/config.json"),
        "hidden_size": size.text,
        "intermediate_size": 4 * size.text,
        "num_hidden_layers": size.text_layers,
        "num_attention_heads": size.text // 16,
        "projection_dim": size.text,
    }
    unet = {**_layout("unet/config.json"), "block_out_channels": size.unet, "cross_attention_dim": size.text, "sample_size": size.resolution // 8}
    vae = {**_layout("vae/config.json"), "block_out_channels": size.vae, "sample_size": size.resolution}
    CLIPTextModel(CLIPTextConfig(**text)).save_pretrained(base / "text_encoder")
    UNet2DConditionModel.from_config(unet).save_pretrained(base / "unet")
    AutoencoderKL.from_config(vae).save_pretrained(base / "vae")
    tokenizer().save_pretrained(base / "tokenizer")
    (base / "scheduler").mkdir()
    for name in ("scheduler/scheduler_config.json", "model_index.json"):  # the index last: it says that all is there
        (base / name).write_text((LAYOUT / name).read_text(encoding="utf-8"), encoding="utf-8")


def _make_pictures(pictures: Path, side: int) -> None:
    import numpy as np
    from PIL import Image

    pictures.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    lines = []
    for number in range(PICTURES):
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        coarse.resize((side, side), Image.Resampling.BICUBIC).save(pictures / f"{number:02d}.png")
        lines.append(json.dumps({"file_name": f"{number:02d}.png", "text": f"soft patches of colour, arrangement {number}"}))
    (pictures / "metadata.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _layout(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((LAYOUT / name).read_text(encoding="utf-8"))
    return found
