"""Qwen-Image: a transformer in which patches and words attend to each other, told by Qwen2.5-VL."""

from collections.abc import Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from diffusers import AutoencoderKLQwenImage, QwenImagePipeline, QwenImageTransformer2DModel
from torch import Tensor
from transformers import Qwen2_5_VLModel, Qwen2Tokenizer

from studio.config import Config
from studio.families import chat, diffusion, drawing, flow
from studio.families.base import Batch, Bundle, Picture, Piece, Prompt, Row
from studio.families.sources import folder_only
from studio.families.targets import chosen
from studio.formats import vocabularies
from studio.formats.names import Names

LIMIT = 1024
AFTER = 5  # tokens of what is asked that come after the text
TARGETS = {
    "attention": ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"),
    "feed-forward": ("img_mlp.net.0.proj", "img_mlp.net.2", "txt_mlp.net.0.proj", "txt_mlp.net.2"),
}
UNHEARD = ("attn.add_q_proj", "attn.to_add_out", "txt_mlp.net.0.proj", "txt_mlp.net.2")


class QwenImage:
    """A transformer that learns a rectified flow (Wu et al. 2025)."""

    name: ClassVar[str] = "qwen_image"
    title: ClassVar[str] = "Qwen-Image"
    task: ClassVar[Literal["image-generation", "text-generation"]] = "image-generation"
    defaults: ClassVar[dict[str, Any]] = {
        "learning_rate": 5e-5,
        "batch_size": 1,
        "gradient_checkpointing": True,
    }
    settings: ClassVar[frozenset[str]] = flow.SETTINGS
    names: ClassVar[Names] = vocabularies.QWEN_IMAGE

    def load(self, source: Path, device: torch.device, dtype: torch.dtype, load_in: str = "16bit") -> Bundle:
        """A diffusers folder."""
        place = folder_only(source, self.title)
        vae = place.read("vae/config.json", "latents_mean", "latents_std", "z_dim")
        facts = flow.facts(place, source.name, levels="dim_mult")
        facts |= {
            "kind": "qwen-image",
            "channels": vae["z_dim"],
            "latents": tuple(torch.tensor(vae[name]).view(-1, 1, 1) for name in ("latents_mean", "latents_std")),
            "tokens": LIMIT - AFTER,
            "even": True,
            "flow_shift": 2.2,
            "steps": 50,
            "guidance": 4.0,
        }
        return Bundle(
            source=source,
            device=device,
            dtype=dtype,
            loaders={
                "transformer": lambda: place.open(QwenImageTransformer2DModel, "transformer", device, dtype, load_in),
                "vae": lambda: place.open(AutoencoderKLQwenImage, "vae", device, torch.float32),
                "text_encoder": lambda: place.open(Qwen2_5_VLModel, "text_encoder", device, dtype),
                "tokenizer": lambda: place.llm_tokenizer(Qwen2Tokenizer),
            },
            identities={"vae": lambda: place.identity("vae"), "text_encoder": lambda: place.identity("text_encoder", "tokenizer")},
            trainable=("transformer",),
            encoders=("text_encoder",),
            facts=facts,
        )

    def targets(self, bundle: Bundle, config: Config) -> list[str]:
        """Layers of the blocks; what the last one makes of the words has no say in pictures."""
        found = chosen(bundle["transformer"], config.lora_targets, TARGETS, "transformer_blocks.")
        last = f"transformer_blocks.{bundle['transformer'].config.num_layers - 1}"
        unheard = {f"{last}.{name}" for name in UNHEARD}
        return [f"transformer.{name}" for name in found if name not in unheard]

    def encode(self, bundle: Bundle, kind: Literal["picture", "text", "tokens"], items: Sequence[Picture | str]) -> list[Row]:
        """picture → mean and deviation [C, h, w], each channel at the scale of the flow; text → words [L, D], the language model's last layer."""
        if kind == "picture":
            center, spread = bundle.facts["latents"]
            pixels = diffusion.pixels([item.read() for item in items if isinstance(item, Picture)])
            mean, deviation = diffusion.encode_latents(bundle["vae"], pixels[:, :, None])  # as a film of one frame
            return [{"mean": (mean[i, :, 0] - center) / spread, "deviation": deviation[i, :, 0] / spread} for i in range(len(items))]
        asked, before = _asked()
        read = partial(chat.states, bundle["text_encoder"], bundle["tokenizer"], limit=LIMIT + before, layers=(-1,))
        return [{"words": read(asked.format(text))[before:].clone()} for text in items]

    def collate(self, rows: Sequence[Row], config: Config) -> Batch:
        """Rows stacked; every example counts one."""
        return diffusion.stack(rows)

    def draw(self, bundle: Bundle, batch: Batch, rng: torch.Generator, config: Config, at: float | None = None) -> Batch:
        """Noisy latents, the velocity that the model is to say, timesteps and weights, on the CPU."""
        return flow.draw(bundle, batch, rng, config, at)

    def loss(self, bundle: Bundle, batch: Batch) -> Tensor:
        """Mean square error of the velocity per example, [B], in float32."""
        return diffusion.mean_square(_said(bundle, batch["noisy"], batch["timesteps"], batch), batch)

    def sample(self, bundle: Bundle, prompts: Sequence[Prompt]) -> Iterator[Piece]:
        """Pictures by Euler's method; guidance changes the direction of what is said of a patch and leaves its length."""

        def said(latents: Tensor, time: Tensor, told: Batch) -> Tensor:
            return _said(bundle, latents.to(bundle.dtype), (time / 1000).expand(len(latents)), told)

        def mix(negative: Tensor, positive: Tensor, guidance: float) -> Tensor:
            height, width = positive.shape[-2:]
            without, plain = flow.pack(negative), flow.pack(positive)
            mixed = without + guidance * (plain - without)
            return flow.unpack(mixed * (plain.norm(dim=-1, keepdim=True) / mixed.norm(dim=-1, keepdim=True)), height, width)

        def decode(latent: Tensor) -> Tensor:
            center, spread = (part.to(latent.device) for part in bundle.facts["latents"])
            pixels: Tensor = bundle["vae"].decode((latent.float() * spread + center)[None, :, None], return_dict=False)[0][0, :, 0]
            return pixels

        return drawing.draw(self, bundle, prompts, drawing.Painter(partial(flow.scheduler, bundle), said, decode, mix=mix))


def _said(bundle: Bundle, noisy: Tensor, times: Tensor, told: Batch) -> Tensor:
    """The model's word on latents [B, C, h, w], which it reads as patches of 2 × 2."""
    height, width = noisy.shape[-2:]
    patches: Tensor = bundle["transformer"](
        hidden_states=flow.pack(noisy),
        encoder_hidden_states=told["words"].to(bundle.dtype),
        encoder_hidden_states_mask=told.get("heard"),
        timestep=times.to(noisy.dtype),
        img_shapes=[[(1, height // 2, width // 2)]] * len(noisy),
        return_dict=False,
    )[0]
    return flow.unpack(patches, height, width)


@cache
def _asked() -> tuple[str, int]:
    """What the language model is asked of a text, and how many tokens at its beginning the transformer never sees."""
    pipeline = QwenImagePipeline(None, None, None, None, None)
    return pipeline.prompt_template_encode, pipeline.prompt_template_encode_start_idx
