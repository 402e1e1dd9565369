"""Stable Diffusion 1.x and 2.x, and the embedded pocket model, which has the same parts."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel

from studio.config import Config
from studio.errors import ModelError
from studio.families import clip, diffusion, drawing, unet
from studio.families.base import Batch, Bundle, Picture, Piece, Prompt, Row
from studio.families.clip import ASSETS
from studio.families.sources import Source
from studio.formats import fingerprints, vocabularies
from studio.formats.names import Names
from studio.language import say

LAYOUTS = {"sd1": "sd15", "sd2": "sd21"}
PREFIXES = {"unet": "model.diffusion_model.", "vae": "first_stage_model.", "text_encoder": "cond_stage_model."}


class StableDiffusion:
    """UNet with cross-attention, a VAE and one CLIP text encoder (Rombach et al. 2022)."""

    name: ClassVar[str] = "sd"
    title: ClassVar[str] = "Stable Diffusion 1.x / 2.x"
    task: ClassVar[Literal["image-generation", "text-generation"]] = "image-generation"
    defaults: ClassVar[dict[str, Any]] = {}
    settings: ClassVar[frozenset[str]] = unet.SETTINGS
    names: ClassVar[Names] = vocabularies.SD

    def load(self, source: Path, device: torch.device, dtype: torch.dtype, load_in: str = "16bit") -> Bundle:
        """A diffusers folder or a single .safetensors file."""
        place = Source(source) if source.is_dir() else Source(ASSETS / LAYOUTS[_layout(source)], source, PREFIXES)
        facts = unet.facts(place, source.stem)
        facts["kind"] = "sd2" if facts["width"] == 1024 else "sd1"
        return Bundle(
            source=source,
            device=device,
            dtype=dtype,
            loaders={
                "unet": lambda: place.open(UNet2DConditionModel, "unet", device, dtype, load_in),
                "vae": lambda: place.open(AutoencoderKL, "vae", device, torch.float32),
                "text_encoder": lambda: place.open(CLIPTextModel, "text_encoder", device, dtype),
                "tokenizer": place.tokenizer,
                "alphas": lambda: diffusion.cumulative_alphas(facts["scheduler"], facts["zero_terminal_snr"]),
            },
            identities={"vae": lambda: place.identity("vae"), "text_encoder": lambda: place.identity("text_encoder", "tokenizer")},
            trainable=("unet", "text_encoder"),
            encoders=("text_encoder",),
            facts=facts,
        )

    def targets(self, bundle: Bundle, config: Config) -> list[str]:
        """Layers of the UNet, and of the text encoder if it is trained."""
        return unet.targets(bundle, config)

    def encode(self, bundle: Bundle, kind: Literal["picture", "text", "tokens"], items: Sequence[Picture | str]) -> list[Row]:
        """picture → mean and deviation [C, h, w]; text → embedding [77, D]; tokens → tokens [77]."""
        if kind == "picture":
            return diffusion.encode_pictures(bundle["vae"], items)
        tokens = clip.tokens(bundle["tokenizer"], items)
        if kind == "tokens":
            return [{"tokens": row} for row in tokens]
        with torch.no_grad():
            embedding = bundle["text_encoder"](tokens.to(bundle.device), return_dict=False)[0].cpu()
        return [{"embedding": row} for row in embedding]

    def collate(self, rows: Sequence[Row], config: Config) -> Batch:
        """Rows stacked; every example counts one."""
        return diffusion.stack(rows)

    def draw(self, bundle: Bundle, batch: Batch, rng: torch.Generator, config: Config, at: float | None = None) -> Batch:
        """Noisy latents, what the model is to say of them, timesteps and weights, on the CPU."""
        return unet.draw(bundle, batch, rng, config, at)

    def loss(self, bundle: Bundle, batch: Batch) -> Tensor:
        """Weighted mean square error per example, [B], in float32."""
        if "embedding" in batch:
            text = batch["embedding"].to(bundle.dtype)
        else:
            text = bundle["text_encoder"](batch["tokens"], return_dict=False)[0]
        said = bundle["unet"](batch["noisy"], batch["timesteps"], text, return_dict=False)[0]
        return diffusion.mean_square(said, batch)

    def sample(self, bundle: Bundle, prompts: Sequence[Prompt]) -> Iterator[Piece]:
        """Pictures by DPM-Solver++ with guidance."""

        def said(latents: Tensor, time: Tensor, told: Batch) -> Tensor:
            predicted: Tensor = bundle["unet"](latents.to(bundle.dtype), time, told["embedding"], return_dict=False)[0]
            return predicted

        painter = drawing.Painter(partial(unet.scheduler, bundle), said, partial(unet.decode, bundle))
        return drawing.draw(self, bundle, prompts, painter)


def _layout(single: Path) -> str:
    kind = fingerprints.check_base(single)
    if kind not in LAYOUTS:
        raise ModelError(say("{path}: is no Stable Diffusion 1.x or 2.x checkpoint.", path=single), say("Choose another base model."))
    return kind
