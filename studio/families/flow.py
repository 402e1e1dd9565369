"""What models that learn a flow share: timesteps, the draw of a step, and the schedule that they draw by."""

import math
from typing import Any

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from studio.config import Config
from studio.families import diffusion, meaning
from studio.families.base import Batch, Bundle
from studio.families.sources import Source
from studio.language import say

SETTINGS = meaning.FLOW


def facts(source: Source, title: str, levels: str = "block_out_channels") -> dict[str, Any]:
    """What the configurations of a transformer, its VAE and its schedule say; `even`: steps of one size before the shift, down to the last.

    `levels` is what the VAE's calls the list of its levels, each half the size of that before.
    """
    transformer, vae = source.read("transformer/config.json"), source.read("vae/config.json", levels)
    factor = 2 ** (len(vae[levels]) - 1)
    return {
        "title": title,
        "resolution": transformer.get("sample_size", 128) * factor,
        "factor": factor,
        "patch": 2,
        "step": 4 * factor,
        "channels": vae.get("latent_channels", 16),
        "scheduler": source.read("scheduler/scheduler_config.json"),
        "scaling": vae.get("scaling_factor", 1.0),
        "shift": vae.get("shift_factor") or 0.0,
        "transformer": transformer,
        "even": False,
    }


def draw(bundle: Bundle, batch: Batch, rng: torch.Generator, config: Config, at: float | None = None) -> Batch:
    """Noisy latents, the velocity ε - x₀ that the model is to say, and how far along the noise is: `timesteps` [B] in 0..1. On the CPU."""
    mean = batch["mean"]
    latents = (mean + batch["deviation"] * torch.randn(mean.shape, generator=rng) - bundle.facts["shift"]) * bundle.facts["scaling"]
    noise = torch.randn(latents.shape, generator=rng)
    sigma = _sigmas(bundle, config, latents, rng) if at is None else torch.full((len(mean),), at)
    noisy = torch.lerp(latents, noise, sigma.view(-1, 1, 1, 1))
    noisy = diffusion.jittered(noisy, sigma, config.ip_noise_gamma if at is None else 0.0, rng)
    rest: Batch = {key: tensor for key, tensor in batch.items() if key not in ("mean", "deviation")}
    return {**rest, "noisy": noisy.to(bundle.dtype), "target": noise - latents, "timesteps": sigma, "weight": torch.ones(len(mean))}


def spread(batch: int, sampling: str, rng: torch.Generator) -> Tensor:
    """[B] in 0..1, uniform or logit-normal (Esser et al. 2024, equation 19): one from each of B equally likely parts."""
    uniform = ((torch.randperm(batch, generator=rng) + torch.rand(batch, generator=rng)) / batch).clamp(1e-6, 1 - 1e-6)
    return uniform if sampling == "uniform" else torch.sigmoid(math.sqrt(2) * torch.erfinv(2 * uniform - 1))


def shifted(sigma: Tensor, shift: float) -> Tensor:
    """More noise for larger pictures: s·σ / (1 + (s - 1)·σ), Esser et al. 2024, equation 23."""
    return shift * sigma / (1 + (shift - 1) * sigma)


def dynamic_shift(scheduler: dict[str, Any], tokens: int) -> float:
    """The shift for a picture of so many tokens, as the schedule's configuration lays it down for two sizes."""
    low, high = scheduler.get("base_image_seq_len", 256), scheduler.get("max_image_seq_len", 4096)
    least, most = scheduler.get("base_shift", 0.5), scheduler.get("max_shift", 1.15)
    return math.exp(least + (most - least) * (tokens - low) / (high - low))


def scheduler(bundle: Bundle, steps: int, width: int, height: int, shift: float | None = None) -> FlowMatchEulerDiscreteScheduler:
    """Euler steps from noise to picture, shifted as the model wants it for this size in pixels, unless `shift` says how."""
    facts = bundle.facts
    made = FlowMatchEulerDiscreteScheduler.from_config(facts["scheduler"])
    if shift is None:
        shift = dynamic_shift(facts["scheduler"], tokens(height // facts["factor"], width // facts["factor"], facts["patch"]))
    wanted = {"mu": math.log(shift)} if made.config.use_dynamic_shifting else {}
    if facts["even"]:
        made.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), device=bundle.device, **wanted)
    else:
        made.set_timesteps(steps, device=bundle.device, **wanted)
    return made


def tokens(height: int, width: int, patch: int = 2) -> int:
    """How many patches there are in latents of this size."""
    return (height // patch) * (width // patch)


def distilled(name: str) -> str:
    """What is said of a base model that draws in few steps."""
    return say("{name} is made to draw in few steps, and training wears that off. Better train on the base model that it was made from.", name=name)


def pack(latents: Tensor) -> Tensor:
    """[B, C, h, w] → patches [B, h/2 · w/2, 4 C]."""
    batch, channels, height, width = latents.shape
    patches = latents.view(batch, channels, height // 2, 2, width // 2, 2).permute(0, 2, 4, 1, 3, 5)
    return patches.reshape(batch, -1, channels * 4)


def unpack(patches: Tensor, height: int, width: int) -> Tensor:
    """Patches [B, h/2 · w/2, 4 C] → [B, C, h, w]."""
    batch, _, size = patches.shape
    latents = patches.view(batch, height // 2, width // 2, size // 4, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return latents.reshape(batch, size // 4, height, width)


def decode(bundle: Bundle, latent: Tensor) -> Tensor:
    """[C, h, w] → [3, H, W] in -1..1."""
    unscaled = latent[None].float() / bundle.facts["scaling"] + bundle.facts["shift"]
    pixels: Tensor = bundle["vae"].decode(unscaled, return_dict=False)[0][0]
    return pixels


def _sigmas(bundle: Bundle, config: Config, latents: Tensor, rng: torch.Generator) -> Tensor:
    shift = config.flow_shift or bundle.facts["flow_shift"]
    if shift is None:
        height, width = latents.shape[-2:]
        shift = dynamic_shift(bundle.facts["scheduler"], tokens(height, width, bundle.facts["patch"]))
    return shifted(spread(len(latents), config.timestep_sampling, rng), shift)
