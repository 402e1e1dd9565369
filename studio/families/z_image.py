"""Z-Image: a transformer that reads patches and words as one row, told by Qwen3."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from diffusers import AutoencoderKL, ZImageTransformer2DModel
from torch import Tensor
from transformers import Qwen2Tokenizer, Qwen3Model

from studio.config import Config
from studio.families import chat, diffusion, drawing, flow
from studio.families.base import Batch, Bundle, Picture, Piece, Prompt, Row
from studio.families.sources import folder_only
from studio.families.targets import chosen
from studio.formats import vocabularies
from studio.formats.names import Names

TEMPLATE = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
AROUND = 8  # tokens of the template
LIMIT = 512
TURBO_SHIFT = 3.0  # in the schedule of Z-Image-Turbo; Z-Image's own is 6
TARGETS = {
    "attention": ("attention.to_q", "attention.to_k", "attention.to_v", "attention.to_out.0"),
    "feed-forward": ("feed_forward.w1", "feed_forward.w2", "feed_forward.w3"),
}


class ZImage:
    """A transformer that learns a rectified flow (Z-Image team 2025)."""

    name: ClassVar[str] = "z_image"
    title: ClassVar[str] = "Z-Image"
    task: ClassVar[Literal["image-generation", "text-generation"]] = "image-generation"
    defaults: ClassVar[dict[str, Any]] = {
        "lora_rank": 32,
        "batch_size": 1,
        "gradient_checkpointing": True,
    }
    settings: ClassVar[frozenset[str]] = flow.SETTINGS
    names: ClassVar[Names] = vocabularies.Z_IMAGE

    def load(self, source: Path, device: torch.device, dtype: torch.dtype, load_in: str = "16bit") -> Bundle:
        """A diffusers folder."""
        place = folder_only(source, self.title)
        facts = flow.facts(place, source.name)
        turbo = float(facts["scheduler"].get("shift", 1.0)) <= TURBO_SHIFT
        facts |= {
            "kind": "z-image",
            "tokens": LIMIT - AROUND,
            "even": True,
            "flow_shift": 2.0,
            "steps": 9 if turbo else 28,
            "guidance": 0.0 if turbo else 4.0,
        }
        if turbo:
            facts["notes"] = (flow.distilled(source.name),)
        return Bundle(
            source=source,
            device=device,
            dtype=dtype,
            loaders={
                "transformer": lambda: place.open(ZImageTransformer2DModel, "transformer", device, dtype, load_in),
                "vae": lambda: place.open(AutoencoderKL, "vae", device, torch.float32),
                "text_encoder": lambda: place.open(Qwen3Model, "text_encoder", device, dtype),
                "tokenizer": lambda: place.llm_tokenizer(Qwen2Tokenizer),
            },
            identities={"vae": lambda: place.identity("vae"), "text_encoder": lambda: place.identity("text_encoder", "tokenizer")},
            trainable=("transformer",),
            encoders=("text_encoder",),
            facts=facts,
        )

    def targets(self, bundle: Bundle, config: Config) -> list[str]:
        """Layers of the blocks that read patches and words together."""
        return [f"transformer.{name}" for name in chosen(bundle["transformer"], config.lora_targets, TARGETS, "layers.")]

    def encode(self, bundle: Bundle, kind: Literal["picture", "text", "tokens"], items: Sequence[Picture | str]) -> list[Row]:
        """picture → mean and deviation [C, h, w]; text → words [L, D], what the last layer but one of the language model says."""
        if kind == "picture":
            return diffusion.encode_pictures(bundle["vae"], items)
        read = partial(chat.states, bundle["text_encoder"], bundle["tokenizer"], limit=LIMIT, layers=(-2,))
        return [{"words": read(TEMPLATE.format(text))} for text in items]

    def collate(self, rows: Sequence[Row], config: Config) -> Batch:
        """Rows stacked; every example counts one."""
        return diffusion.stack(rows)

    def draw(self, bundle: Bundle, batch: Batch, rng: torch.Generator, config: Config, at: float | None = None) -> Batch:
        """Noisy latents, the velocity that the model is to say, timesteps and weights, on the CPU."""
        return flow.draw(bundle, batch, rng, config, at)

    def loss(self, bundle: Bundle, batch: Batch) -> Tensor:
        """Mean square error of the velocity per example, [B], in float32. Where texts of a batch differ in length, the host reads how long
        they are: the model takes them apart."""
        return diffusion.mean_square(_said(bundle, batch["noisy"], batch["timesteps"], batch), batch)

    def sample(self, bundle: Bundle, prompts: Sequence[Prompt]) -> Iterator[Piece]:
        """Pictures by Euler's method; guidance counts what is added to the prompt's own word, so that 0 leaves that as it is."""

        def said(latents: Tensor, time: Tensor, told: Batch) -> Tensor:
            return _said(bundle, latents.to(bundle.dtype), (time / 1000).expand(len(latents)), told)

        def mix(negative: Tensor, positive: Tensor, guidance: float) -> Tensor:
            return positive + guidance * (positive - negative)

        painter = drawing.Painter(partial(flow.scheduler, bundle), said, partial(flow.decode, bundle), above=0.0, mix=mix)
        return drawing.draw(self, bundle, prompts, painter)


def _said(bundle: Bundle, noisy: Tensor, times: Tensor, told: Batch) -> Tensor:
    """The model's word on latents [B, C, h, w]. It counts time from noise to picture, and says the way in that direction."""
    words = told["words"].to(bundle.dtype)
    lengths = told["heard"].sum(1).tolist() if "heard" in told else [words.shape[1]] * len(words)
    texts = [text[:length] for text, length in zip(words, lengths, strict=True)]
    said: list[Tensor] = bundle["transformer"](list(noisy[:, :, None]), 1 - times, texts, return_dict=False)[0]
    return -torch.stack(said)[:, :, 0]
