"""Stable Diffusion 3 and 3.5: a transformer in which patches and words attend to each other, told by two CLIPs and, where it is there, T5."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from diffusers import AutoencoderKL, SD3Transformer2DModel
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPTextModelWithProjection, T5EncoderModel

from studio.config import Config
from studio.errors import ModelError
from studio.families import clip, diffusion, drawing, flow
from studio.families.base import Batch, Bundle, Picture, Piece, Prompt, Row
from studio.families.clip import ASSETS
from studio.families.sources import Source
from studio.families.targets import chosen
from studio.formats import fingerprints, gate, vocabularies
from studio.formats.names import Names
from studio.language import say

PREFIXES = {
    "transformer": "model.diffusion_model.",
    "vae": "first_stage_model.",
    "text_encoder": "text_encoders.clip_l.",
    "text_encoder_2": "text_encoders.clip_g.",
    "text_encoder_3": "text_encoders.t5xxl.",
}
CLIPS = ("text_encoder", "text_encoder_2")
T5 = "text_encoder_3"
T5_TOKENS = 256
TARGETS = {
    "attention": ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"),
    "feed-forward": ("ff.net.0.proj", "ff.net.2", "ff_context.net.0.proj", "ff_context.net.2"),
}


class StableDiffusion3:
    """A transformer that learns a rectified flow (Esser et al. 2024)."""

    name: ClassVar[str] = "sd3"
    title: ClassVar[str] = "Stable Diffusion 3 / 3.5"
    task: ClassVar[Literal["image-generation", "text-generation"]] = "image-generation"
    defaults: ClassVar[dict[str, Any]] = {"batch_size": 1, "gradient_checkpointing": True}
    settings: ClassVar[frozenset[str]] = flow.SETTINGS
    names: ClassVar[Names] = vocabularies.SD3

    def load(self, source: Path, device: torch.device, dtype: torch.dtype, load_in: str = "16bit") -> Bundle:
        """A diffusers folder or a single .safetensors file, beside which the text encoders may lie. T5 may be left out."""
        place = Source(source) if source.is_dir() else Source(ASSETS / _layout(source), source, PREFIXES, names=vocabularies.SD3)
        encoders = (*CLIPS, T5) if place.has(T5) else CLIPS
        facts = flow.facts(place, source.stem) | {"kind": "sd3", "tokens": 77, "flow_shift": 1.0, "steps": 28, "guidance": 4.5}
        facts["version"] = _version(facts["transformer"])
        if T5 in encoders:
            facts |= {"tokens": T5_TOKENS, "counted_by": "tokenizer_3"}
        else:
            facts["notes"] = (say("{name} comes without T5: captions go through CLIP alone, which reads 77 tokens.", name=source.name),)
        return Bundle(
            source=source,
            device=device,
            dtype=dtype,
            loaders={
                "transformer": lambda: place.open(SD3Transformer2DModel, "transformer", device, dtype, load_in),
                "vae": lambda: place.open(AutoencoderKL, "vae", device, torch.float32),
                "text_encoder": lambda: place.open(CLIPTextModelWithProjection, "text_encoder", device, dtype),
                "text_encoder_2": lambda: place.open(CLIPTextModelWithProjection, "text_encoder_2", device, dtype),
                T5: lambda: place.open(T5EncoderModel, T5, device, dtype),
                "tokenizer": place.tokenizer,
                "tokenizer_2": lambda: place.tokenizer("tokenizer_2"),
                "tokenizer_3": lambda: place.t5_tokenizer("tokenizer_3"),
            },
            identities={
                "vae": lambda: place.identity("vae"),
                **{part: partial(place.identity, part, part.replace("text_encoder", "tokenizer")) for part in encoders},
            },
            trainable=("transformer",),
            encoders=encoders,
            facts=facts,
        )

    def targets(self, bundle: Bundle, config: Config) -> list[str]:
        """Layers of the blocks; what the last one would ask for the words has no say in pictures."""
        found = chosen(bundle["transformer"], config.lora_targets, TARGETS, "transformer_blocks.")
        unheard = f"transformer_blocks.{bundle['transformer'].config.num_layers - 1}.attn.add_q_proj"
        return [f"transformer.{name}" for name in found if name != unheard]

    def encode(self, bundle: Bundle, kind: Literal["picture", "text", "tokens"], items: Sequence[Picture | str]) -> list[Row]:
        """picture → mean and deviation [C, h, w]; text → embedding [77 + 256, D], the CLIPs' above T5's, and pooled [D₁ + D₂]."""
        if kind == "picture":
            return diffusion.encode_pictures(bundle["vae"], items)
        with torch.no_grad():
            said = [bundle[part](self._tokens(bundle, part, items), output_hidden_states=True) for part in CLIPS]
            width = bundle.facts["transformer"]["joint_attention_dim"]
            embedding = torch.cat([one.hidden_states[-2] for one in said], dim=-1)
            embedding = F.pad(embedding, (0, width - embedding.shape[-1]))
            if T5 in bundle.encoders:
                words = bundle[T5](self._tokens(bundle, T5, items, T5_TOKENS), return_dict=False)[0]
            else:
                words = embedding.new_zeros(len(items), T5_TOKENS, width)
            embedding, pooled = torch.cat([embedding, words.to(embedding.dtype)], dim=1).cpu(), torch.cat([one.text_embeds for one in said], -1).cpu()
        return [{"embedding": text, "pooled": one} for text, one in zip(embedding, pooled, strict=True)]

    def collate(self, rows: Sequence[Row], config: Config) -> Batch:
        """Rows stacked; every example counts one."""
        return diffusion.stack(rows)

    def draw(self, bundle: Bundle, batch: Batch, rng: torch.Generator, config: Config, at: float | None = None) -> Batch:
        """Noisy latents, the velocity that the model is to say, timesteps and weights, on the CPU."""
        return flow.draw(bundle, batch, rng, config, at)

    def loss(self, bundle: Bundle, batch: Batch) -> Tensor:
        """Mean square error of the velocity per example, [B], in float32."""
        text, whole = batch["embedding"].to(bundle.dtype), batch["pooled"].to(bundle.dtype)
        return diffusion.mean_square(_said(bundle, batch["noisy"], batch["timesteps"] * 1000, text, whole), batch)

    def sample(self, bundle: Bundle, prompts: Sequence[Prompt]) -> Iterator[Piece]:
        """Pictures by Euler's method with guidance."""

        def said(latents: Tensor, time: Tensor, told: Batch) -> Tensor:
            return _said(bundle, latents.to(bundle.dtype), time.expand(len(latents)), told["embedding"], told["pooled"])

        painter = drawing.Painter(partial(flow.scheduler, bundle), said, partial(flow.decode, bundle))
        return drawing.draw(self, bundle, prompts, painter)

    def _tokens(self, bundle: Bundle, part: str, items: Sequence[Picture | str], limit: int | None = None) -> Tensor:
        return clip.tokens(bundle[part.replace("text_encoder", "tokenizer")], items, limit).to(bundle.device)


def _said(bundle: Bundle, noisy: Tensor, times: Tensor, text: Tensor, whole: Tensor) -> Tensor:
    said: Tensor = bundle["transformer"](
        hidden_states=noisy, timestep=times, encoder_hidden_states=text, pooled_projections=whole, return_dict=False
    )[0]
    return said


def _layout(single: Path) -> str:
    if fingerprints.check_base(single) != "sd3":
        raise ModelError(say("{path}: is no Stable Diffusion 3 checkpoint.", path=single), say("Choose another base model."))
    names = gate.check_safetensors(single).tensors
    if any("joint_blocks.37." in name for name in names):
        return "sd35-large"
    return "sd35-medium" if any("x_block.attn2." in name for name in names) else "sd3-medium"


def _version(transformer: dict[str, Any]) -> str:
    """Large ones have 38 blocks; of the others, 3.5 has a second attention."""
    if transformer.get("num_layers", 0) > 24:
        return "3.5-large"
    return "3.5-medium" if transformer.get("dual_attention_layers") else "3-medium"
