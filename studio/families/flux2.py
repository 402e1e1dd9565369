"""FLUX.2, dev and klein: a transformer over patches and words, told by three layers of Mistral Small or of Qwen3."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from diffusers import AutoencoderKLFlux2, Flux2Transformer2DModel
from diffusers.pipelines.flux2.pipeline_flux2 import compute_empirical_mu, format_input
from torch import Tensor
from torch.nn import functional as F
from transformers import Mistral3Model, PreTrainedTokenizerFast, Qwen2Tokenizer, Qwen3Model

from studio.config import Config
from studio.families import chat, diffusion, drawing, flow
from studio.families.base import Batch, Bundle, Picture, Piece, Prompt, Row
from studio.families.sources import folder_only
from studio.families.targets import chosen
from studio.formats import vocabularies
from studio.formats.names import Names

LIMIT = 512
VERSIONS = {3072: "klein-4b", 4096: "klein-9b", 6144: "dev"}  # by their width
SINGLE = ("attn.to_qkv_mlp_proj", "attn.to_out")  # of the single blocks, for attention and feed-forward together
TARGETS = {
    "attention": ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out", *SINGLE),
    "feed-forward": ("ff.linear_in", "ff.linear_out", "ff_context.linear_in", "ff_context.linear_out", *SINGLE),
}


@dataclass(frozen=True)
class Teller:
    """The language model of a version: its classes, the layers that are heard, how a text is put to it, and about how many tokens that adds."""

    encoder: Any
    tokenizer: Any
    layers: tuple[int, ...]
    messages: Callable[[str], Any]
    answers: bool
    """Whether it is heard where its answer would begin."""
    around: int


TELLERS = {
    "Flux2Pipeline": Teller(Mistral3Model, PreTrainedTokenizerFast, (10, 20, 30), lambda text: format_input([text])[0], False, 40),
    "Flux2KleinPipeline": Teller(Qwen3Model, Qwen2Tokenizer, (9, 18, 27), lambda text: [{"role": "user", "content": text}], True, 12),
}


class Flux2:
    """A transformer that learns a rectified flow (Black Forest Labs 2025)."""

    name: ClassVar[str] = "flux2"
    title: ClassVar[str] = "FLUX.2"
    task: ClassVar[Literal["image-generation", "text-generation"]] = "image-generation"
    defaults: ClassVar[dict[str, Any]] = {
        "lora_rank": 32,
        "batch_size": 1,
        "gradient_checkpointing": True,
    }
    settings: ClassVar[frozenset[str]] = flow.SETTINGS
    names: ClassVar[Names] = vocabularies.FLUX2

    def load(self, source: Path, device: torch.device, dtype: torch.dtype, load_in: str = "16bit") -> Bundle:
        """A diffusers folder."""
        place = folder_only(source, self.title)
        index, facts = place.read("model_index.json", "_class_name"), flow.facts(place, source.name)
        width = facts["transformer"].get("num_attention_heads", 48) * facts["transformer"].get("attention_head_dim", 128)
        teller = TELLERS[index["_class_name"]]
        guided, quick = bool(facts["transformer"].get("guidance_embeds", True)), bool(index.get("is_distilled"))
        facts |= {
            "kind": "flux2",
            "version": VERSIONS.get(width),
            "factor": 2 * facts["factor"],  # latents are kept as patches of 2 × 2
            "patch": 1,
            "channels": 4 * facts["channels"],
            "teller": teller,
            "tokens": LIMIT - teller.around,
            "even": True,
            "flow_shift": None,
            "guided": guided,
            "compares": not guided and not quick,
            "steps": 4 if quick else 28 if guided else 50,
            "guidance": 1.0 if quick else 4.0,
        }
        if quick:
            facts["notes"] = (flow.distilled(source.name),)
        return Bundle(
            source=source,
            device=device,
            dtype=dtype,
            loaders={
                "transformer": lambda: place.open(Flux2Transformer2DModel, "transformer", device, dtype, load_in),
                "vae": lambda: place.open(AutoencoderKLFlux2, "vae", device, torch.float32),
                "text_encoder": lambda: place.open(teller.encoder, "text_encoder", device, dtype),
                "tokenizer": lambda: place.chat_tokenizer(teller.tokenizer),
            },
            identities={"vae": lambda: place.identity("vae"), "text_encoder": lambda: place.identity("text_encoder", "tokenizer")},
            trainable=("transformer",),
            encoders=("text_encoder",),
            facts=facts,
        )

    def targets(self, bundle: Bundle, config: Config) -> list[str]:
        """Layers of both kinds of blocks: attention of pictures and words, and what follows it."""
        return [f"transformer.{name}" for name in chosen(bundle["transformer"], config.lora_targets, TARGETS, "transformer_blocks.")]

    def encode(self, bundle: Bundle, kind: Literal["picture", "text", "tokens"], items: Sequence[Picture | str]) -> list[Row]:
        """picture → mean and deviation of patches [4 C, h/2, w/2], each channel at the scale of the flow; text → words [512, 3 D]."""
        if kind == "picture":
            center, spread = _scale(bundle)
            pixels = diffusion.pixels([item.read() for item in items if isinstance(item, Picture)])
            mean, deviation = (F.pixel_unshuffle(latents, 2) for latents in diffusion.encode_latents(bundle["vae"], pixels))
            return [{"mean": (mean[i] - center.cpu()) / spread.cpu(), "deviation": deviation[i] / spread.cpu()} for i in range(len(items))]
        teller, tokenizer = bundle.facts["teller"], bundle["tokenizer"]
        ask = partial(tokenizer.apply_chat_template, tokenize=False, add_generation_prompt=teller.answers, enable_thinking=False)
        read = partial(chat.states, bundle["text_encoder"], tokenizer, limit=LIMIT, layers=teller.layers, padded=True)
        return [{"words": read(ask(teller.messages(str(text))))} for text in items]

    def collate(self, rows: Sequence[Row], config: Config) -> Batch:
        """Rows stacked; every example counts one."""
        return diffusion.stack(rows)

    def draw(self, bundle: Bundle, batch: Batch, rng: torch.Generator, config: Config, at: float | None = None) -> Batch:
        """Noisy latents, the velocity that the model is to say, timesteps and weights, on the CPU."""
        return flow.draw(bundle, batch, rng, config, at)

    def loss(self, bundle: Bundle, batch: Batch) -> Tensor:
        """Mean square error of the velocity per example, [B], in float32; guidance-distilled models are asked at a guidance of 1."""
        words, times = batch["words"].to(bundle.dtype), batch["timesteps"]
        return diffusion.mean_square(_said(bundle, batch["noisy"], times, words, torch.ones_like(times)), batch)

    def sample(self, bundle: Bundle, prompts: Sequence[Prompt]) -> Iterator[Piece]:
        """Pictures by Euler's method. Guidance is an input of dev, compares prompts for klein's base, and means nothing to klein itself."""

        def tell(told: Batch, prompt: Prompt, *_: int) -> Batch:
            return {**told, "guidance": torch.full((len(told["words"]),), prompt.guidance or 0.0, device=bundle.device)}

        def said(latents: Tensor, time: Tensor, told: Batch) -> Tensor:
            return _said(bundle, latents.to(bundle.dtype), (time / 1000).expand(len(latents)), told["words"], told["guidance"])

        def decode(latent: Tensor) -> Tensor:
            center, spread = _scale(bundle)
            pixels: Tensor = bundle["vae"].decode(F.pixel_shuffle((latent.float() * spread + center)[None], 2), return_dict=False)[0][0]
            return pixels

        def scheduler(steps: int, width: int, height: int) -> Any:
            factor = bundle.facts["factor"]
            mu = compute_empirical_mu(flow.tokens(height // factor, width // factor, bundle.facts["patch"]), steps)
            return flow.scheduler(bundle, steps, width, height, math.exp(mu))

        painter = drawing.Painter(scheduler, said, decode, tell, above=1.0 if bundle.facts["compares"] else math.inf)
        return drawing.draw(self, bundle, prompts, painter)


def _said(bundle: Bundle, noisy: Tensor, times: Tensor, words: Tensor, guidance: Tensor) -> Tensor:
    """The model's word on patches [B, C, h, w], which it reads in a row with their places."""
    height, width = noisy.shape[-2:]
    places, order = torch.zeros(height, width, 4, device=noisy.device), torch.zeros(words.shape[1], 4, device=noisy.device)
    places[..., 1] += torch.arange(height, device=noisy.device)[:, None]
    places[..., 2] += torch.arange(width, device=noisy.device)
    order[:, 3] = torch.arange(len(order), device=noisy.device)
    patches: Tensor = bundle["transformer"](
        hidden_states=noisy.flatten(2).transpose(1, 2),
        encoder_hidden_states=words,
        timestep=times.to(noisy.dtype),
        img_ids=places.reshape(-1, 4),
        txt_ids=order,
        guidance=guidance if bundle.facts["guided"] else None,
        return_dict=False,
    )[0]
    return patches.transpose(1, 2).reshape(noisy.shape)


def _scale(bundle: Bundle) -> tuple[Tensor, Tensor]:
    """The mean and the deviation of each channel of patches, two of [C, 1, 1]: what the VAE has counted."""
    vae = bundle["vae"]
    spread = torch.sqrt(vae.bn.running_var + vae.config.batch_norm_eps)
    return vae.bn.running_mean.view(-1, 1, 1), spread.view(-1, 1, 1)
