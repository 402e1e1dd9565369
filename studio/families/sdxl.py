"""SDXL and what was made from it: Pony, Illustrious, NoobAI, also where they predict the velocity down to pure noise."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from studio.config import Config
from studio.errors import ModelError
from studio.families import clip, diffusion, drawing, unet
from studio.families.base import Batch, Bundle, Picture, Piece, Prompt, Row
from studio.families.clip import ASSETS
from studio.families.sources import Source
from studio.formats import fingerprints, vocabularies
from studio.formats.names import Names
from studio.language import say

PREFIXES = {
    "unet": "model.diffusion_model.",
    "vae": "first_stage_model.",
    "text_encoder": "conditioner.embedders.0.",
    "text_encoder_2": "conditioner.embedders.1.",
}
ENCODERS = ("text_encoder", "text_encoder_2")


class StableDiffusionXL:
    """UNet that attends to two CLIP text encoders and is told the picture's size and crop (Podell et al. 2023)."""

    name: ClassVar[str] = "sdxl"
    title: ClassVar[str] = "SDXL"
    task: ClassVar[Literal["image-generation", "text-generation"]] = "image-generation"
    defaults: ClassVar[dict[str, Any]] = {"batch_size": 1, "gradient_checkpointing": True, "snr_gamma": 5.0}
    settings: ClassVar[frozenset[str]] = unet.SETTINGS
    names: ClassVar[Names] = vocabularies.SDXL

    def load(self, source: Path, device: torch.device, dtype: torch.dtype, load_in: str = "16bit") -> Bundle:
        """A diffusers folder or a single .safetensors file."""
        place = Source(source) if source.is_dir() else Source(ASSETS / "sdxl", _checked(source), PREFIXES)
        facts = unet.facts(place, source.stem) | {"kind": "sdxl"}
        return Bundle(
            source=source,
            device=device,
            dtype=dtype,
            loaders={
                "unet": lambda: place.open(UNet2DConditionModel, "unet", device, dtype, load_in),
                "vae": lambda: place.open(AutoencoderKL, "vae", device, torch.float32),
                "text_encoder": lambda: place.open(CLIPTextModel, "text_encoder", device, dtype),
                "text_encoder_2": lambda: place.open(CLIPTextModelWithProjection, "text_encoder_2", device, dtype),
                "tokenizer": place.tokenizer,
                "tokenizer_2": lambda: place.tokenizer("tokenizer_2"),
                "alphas": lambda: diffusion.cumulative_alphas(facts["scheduler"], facts["zero_terminal_snr"]),
            },
            identities={
                "vae": lambda: place.identity("vae"),
                "text_encoder": lambda: place.identity("text_encoder", "tokenizer"),
                "text_encoder_2": lambda: place.identity("text_encoder_2", "tokenizer_2"),
            },
            trainable=("unet", *ENCODERS),
            encoders=ENCODERS,
            facts=facts,
        )

    def targets(self, bundle: Bundle, config: Config) -> list[str]:
        """Layers of the UNet, and of both text encoders if they are trained; the first one's last layer has no say in pictures."""
        found = unet.targets(bundle, config)
        if not config.train_text_encoder:
            return found
        unheard = f"text_encoder.encoder.layers.{bundle['text_encoder'].config.num_hidden_layers - 1}."
        return [name for name in found if not name.startswith(unheard)]

    def encode(self, bundle: Bundle, kind: Literal["picture", "text", "tokens"], items: Sequence[Picture | str]) -> list[Row]:
        """picture → mean and deviation [C, h, w], sizes [6]; text → embedding [77, D₁ + D₂] and pooled [D₂]; tokens → two of [77]."""
        if kind == "picture":
            rows = diffusion.encode_pictures(bundle["vae"], items)
            sizes = [_sizes(item.original or item.size, item.corner, item.size) for item in items if isinstance(item, Picture)]
            return [{**row, "sizes": size} for row, size in zip(rows, sizes, strict=True)]
        one, two = (clip.tokens(bundle[part], items) for part in ("tokenizer", "tokenizer_2"))
        if kind == "tokens":
            return [{"tokens": first, "tokens_2": second} for first, second in zip(one, two, strict=True)]
        with torch.no_grad():
            embedding, pooled = _encoded(bundle, one.to(bundle.device), two.to(bundle.device))
        return [{"embedding": text, "pooled": whole} for text, whole in zip(embedding.cpu(), pooled.cpu(), strict=True)]

    def collate(self, rows: Sequence[Row], config: Config) -> Batch:
        """Rows stacked; every example counts one."""
        return diffusion.stack(rows)

    def draw(self, bundle: Bundle, batch: Batch, rng: torch.Generator, config: Config, at: float | None = None) -> Batch:
        """Noisy latents, what the model is to say of them, timesteps and weights, on the CPU."""
        return unet.draw(bundle, batch, rng, config, at)

    def loss(self, bundle: Bundle, batch: Batch) -> Tensor:
        """Weighted mean square error per example, [B], in float32."""
        if "embedding" in batch:
            embedding, pooled = batch["embedding"].to(bundle.dtype), batch["pooled"].to(bundle.dtype)
        else:
            embedding, pooled = _encoded(bundle, batch["tokens"], batch["tokens_2"])
        return diffusion.mean_square(_said(bundle, batch["noisy"], batch["timesteps"], embedding, pooled, batch["sizes"]), batch)

    def sample(self, bundle: Bundle, prompts: Sequence[Prompt]) -> Iterator[Piece]:
        """Pictures by DPM-Solver++ with guidance, as if they had never been larger or cropped."""

        def tell(told: Batch, _: Prompt, width: int, height: int) -> Batch:
            sizes = _sizes((width, height), (0, 0), (width, height)).to(bundle.device)
            return {**told, "sizes": sizes.expand(len(told["embedding"]), -1)}

        def said(latents: Tensor, time: Tensor, told: Batch) -> Tensor:
            return _said(bundle, latents.to(bundle.dtype), time, told["embedding"], told["pooled"], told["sizes"])

        painter = drawing.Painter(partial(unet.scheduler, bundle), said, partial(unet.decode, bundle), tell)
        return drawing.draw(self, bundle, prompts, painter)


def _encoded(bundle: Bundle, tokens: Tensor, tokens_2: Tensor) -> tuple[Tensor, Tensor]:
    """The last layer but one of both encoders side by side, [B, 77, D₁ + D₂], and the second's text as a whole, [B, D₂]."""
    one = bundle["text_encoder"](tokens, output_hidden_states=True)
    two = bundle["text_encoder_2"](tokens_2, output_hidden_states=True)
    return torch.cat([one.hidden_states[-2], two.hidden_states[-2]], dim=-1), two.text_embeds


def _said(bundle: Bundle, noisy: Tensor, times: Tensor, embedding: Tensor, pooled: Tensor, sizes: Tensor) -> Tensor:
    conditions = {"text_embeds": pooled, "time_ids": sizes.to(bundle.dtype)}
    said: Tensor = bundle["unet"](noisy, times, embedding, added_cond_kwargs=conditions, return_dict=False)[0]
    return said


def _sizes(original: tuple[int, int], corner: tuple[int, int], target: tuple[int, int]) -> Tensor:
    """What SDXL is told of a picture, [6]: its height and width before, the top and left of the crop, height and width now."""
    return torch.tensor([*reversed(original), *reversed(corner), *reversed(target)], dtype=torch.float32)


def _checked(single: Path) -> Path:
    if fingerprints.check_base(single) != "sdxl":
        raise ModelError(say("{path}: is no SDXL checkpoint.", path=single), say("Choose another base model."))
    return single
