"""FLUX.1, dev and schnell: a transformer over patches and words, told by T5 and CLIP."""

import math
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel
from torch import Tensor
from transformers import CLIPTextModel, T5EncoderModel

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

WHOLE = "model.diffusion_model."  # before the transformer's names where the file holds other parts, too
PREFIXES = {
    "vae": "vae.",
    "text_encoder": "text_encoders.clip_l.transformer.",
    "text_encoder_2": "text_encoders.t5xxl.transformer.",
}
ENCODERS = ("text_encoder", "text_encoder_2")
TARGETS = {
    "attention": ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"),
    "feed-forward": ("ff.net.0.proj", "ff.net.2", "ff_context.net.0.proj", "ff_context.net.2", "proj_mlp", "proj_out"),
}
GUIDANCE_SIGN = "guidance_in.in_layer.weight"


class Flux:
    """A transformer that learns a rectified flow (Black Forest Labs 2024)."""

    name: ClassVar[str] = "flux"
    title: ClassVar[str] = "FLUX.1"
    task: ClassVar[Literal["image-generation", "text-generation"]] = "image-generation"
    defaults: ClassVar[dict[str, Any]] = {"batch_size": 1, "gradient_checkpointing": True}
    settings: ClassVar[frozenset[str]] = flow.SETTINGS
    names: ClassVar[Names] = vocabularies.FLUX

    def load(self, source: Path, device: torch.device, dtype: torch.dtype, load_in: str = "16bit") -> Bundle:
        """A diffusers folder or a single .safetensors file, beside which the text encoders and the VAE may lie, this one also as ae.safetensors."""
        place = Source(source) if source.is_dir() else _single(source)
        facts = flow.facts(place, source.stem)
        distilled = bool(facts["transformer"].get("guidance_embeds"))
        facts |= {
            "kind": "flux",
            "version": "dev" if distilled else "schnell",
            "tokens": 512 if distilled else 256,
            "counted_by": "tokenizer_2",
            "guided": distilled,
            "even": True,
            "flow_shift": None if facts["scheduler"].get("use_dynamic_shifting") else 1.0,
            "steps": 28 if distilled else 4,
            "guidance": 3.5 if distilled else 0.0,
        }
        return Bundle(
            source=source,
            device=device,
            dtype=dtype,
            loaders={
                "transformer": lambda: place.open(FluxTransformer2DModel, "transformer", device, dtype, load_in),
                "vae": lambda: place.open(AutoencoderKL, "vae", device, torch.float32),
                "text_encoder": lambda: place.open(CLIPTextModel, "text_encoder", device, dtype),
                "text_encoder_2": lambda: place.open(T5EncoderModel, "text_encoder_2", device, dtype),
                "tokenizer": place.tokenizer,
                "tokenizer_2": lambda: place.t5_tokenizer("tokenizer_2"),
            },
            identities={
                "vae": lambda: place.identity("vae"),
                "text_encoder": lambda: place.identity("text_encoder", "tokenizer"),
                "text_encoder_2": lambda: place.identity("text_encoder_2", "tokenizer_2"),
            },
            trainable=("transformer",),
            encoders=ENCODERS,
            facts=facts,
        )

    def targets(self, bundle: Bundle, config: Config) -> list[str]:
        """Layers of both kinds of blocks: attention of pictures and words, and what follows it."""
        return [f"transformer.{name}" for name in chosen(bundle["transformer"], config.lora_targets, TARGETS, "transformer_blocks.")]

    def encode(self, bundle: Bundle, kind: Literal["picture", "text", "tokens"], items: Sequence[Picture | str]) -> list[Row]:
        """picture → mean and deviation [C, h, w]; text → T5's embedding [512, D] and CLIP's word for the whole, pooled [P]."""
        if kind == "picture":
            return diffusion.encode_pictures(bundle["vae"], items)
        words, whole = clip.tokens(bundle["tokenizer_2"], items, bundle.facts["tokens"]), clip.tokens(bundle["tokenizer"], items)
        with torch.no_grad():
            embedding = bundle["text_encoder_2"](words.to(bundle.device), return_dict=False)[0].cpu()
            pooled = bundle["text_encoder"](whole.to(bundle.device)).pooler_output.cpu()
        return [{"embedding": text, "pooled": one} for text, one in zip(embedding, pooled, strict=True)]

    def collate(self, rows: Sequence[Row], config: Config) -> Batch:
        """Rows stacked; every example counts one."""
        return diffusion.stack(rows)

    def draw(self, bundle: Bundle, batch: Batch, rng: torch.Generator, config: Config, at: float | None = None) -> Batch:
        """Noisy latents, the velocity that the model is to say, timesteps and weights, on the CPU."""
        return flow.draw(bundle, batch, rng, config, at)

    def loss(self, bundle: Bundle, batch: Batch) -> Tensor:
        """Mean square error of the velocity per example, [B], in float32; guidance-distilled models are asked at a guidance of 1."""
        text, whole, times = batch["embedding"].to(bundle.dtype), batch["pooled"].to(bundle.dtype), batch["timesteps"]
        return diffusion.mean_square(_said(bundle, batch["noisy"], times, text, whole, torch.ones_like(times)), batch)

    def sample(self, bundle: Bundle, prompts: Sequence[Prompt]) -> Iterator[Piece]:
        """Pictures by Euler's method; guidance is an input of the model, and a negative prompt means nothing to it."""

        def tell(told: Batch, prompt: Prompt, *_: int) -> Batch:
            return {**told, "guidance": torch.full((len(told["pooled"]),), prompt.guidance or 0.0, device=bundle.device)}

        def said(latents: Tensor, time: Tensor, told: Batch) -> Tensor:
            times = (time / 1000).expand(len(latents))
            return _said(bundle, latents.to(bundle.dtype), times, told["embedding"], told["pooled"], told["guidance"])

        painter = drawing.Painter(partial(flow.scheduler, bundle), said, partial(flow.decode, bundle), tell, above=math.inf)
        return drawing.draw(self, bundle, prompts, painter)


def _said(bundle: Bundle, noisy: Tensor, times: Tensor, text: Tensor, whole: Tensor, guidance: Tensor) -> Tensor:
    """The model's word on latents [B, C, h, w], which it reads as patches of 2 × 2 with their places."""
    height, width = noisy.shape[-2:]
    places = torch.zeros(height // 2, width // 2, 3, device=noisy.device)
    places[..., 1] += torch.arange(height // 2, device=noisy.device)[:, None]
    places[..., 2] += torch.arange(width // 2, device=noisy.device)
    patches: Tensor = bundle["transformer"](
        hidden_states=flow.pack(noisy),
        encoder_hidden_states=text,
        pooled_projections=whole,
        timestep=times.to(noisy.dtype),
        img_ids=places.reshape(-1, 3).to(noisy.dtype),
        txt_ids=torch.zeros(text.shape[1], 3, device=noisy.device, dtype=noisy.dtype),
        guidance=guidance if bundle.facts["guided"] else None,
        return_dict=False,
    )[0]
    return flow.unpack(patches, height, width)


def _single(path: Path) -> Source:
    if fingerprints.check_base(path) != "flux":
        raise ModelError(say("{path}: is no FLUX.1 checkpoint.", path=path), say("Choose another base model."))
    names = gate.check_safetensors(path).tensors
    layout = "flux-dev" if any(name.endswith(GUIDANCE_SIGN) for name in names) else "flux-schnell"
    transformer = WHOLE if any(name.startswith(WHOLE) for name in names) else ""
    return Source(ASSETS / layout, path, {"transformer": transformer, **PREFIXES}, {"vae": "ae.safetensors"}, vocabularies.FLUX)
