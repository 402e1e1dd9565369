"""What models with a UNet share, Stable Diffusion and SDXL: their layers, the draw of a step, and how they draw pictures."""

from typing import Any

import torch
from diffusers import DPMSolverMultistepScheduler
from torch import Tensor
from torch.nn import Conv2d, Linear

from studio.config import Config
from studio.families import diffusion, meaning
from studio.families.base import Batch, Bundle
from studio.families.sources import Source, prediction
from studio.families.targets import chosen, ends

TARGETS = {
    "attention": ("to_q", "to_k", "to_v", "to_out.0"),
    "feed-forward": ("ff.net.0.proj", "ff.net.2", "proj_in", "proj_out"),
}
CONVOLUTIONS = ("conv1", "conv2", "conv_shortcut", "downsamplers.0.conv", "upsamplers.0.conv")
TEXT_TARGETS = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")
SETTINGS = meaning.UNET


def facts(source: Source, title: str) -> dict[str, Any]:
    """What the configurations of a UNet, its VAE and its schedule say: sizes, scaling, what it predicts."""
    unet = source.read("unet/config.json", "block_out_channels", "sample_size", "cross_attention_dim")
    vae, scheduler = source.read("vae/config.json", "block_out_channels"), source.read("scheduler/scheduler_config.json")
    factor = 2 ** (len(vae["block_out_channels"]) - 1)
    predicted, zero_terminal = prediction(source, scheduler)
    return {
        "title": title,
        "tokens": source.read("tokenizer/tokenizer_config.json").get("model_max_length", 77),
        "resolution": unet["sample_size"] * factor,
        "factor": factor,
        "step": factor * 2 ** (len(unet["block_out_channels"]) - 1),
        "channels": unet.get("in_channels", 4),
        "width": unet["cross_attention_dim"],
        "prediction_type": predicted,
        "zero_terminal_snr": zero_terminal,
        "scheduler": scheduler,
        "scaling": vae.get("scaling_factor", 0.18215),
        "steps": 20,
        "guidance": 7.0,
    }


def targets(bundle: Bundle, config: Config) -> list[str]:
    """Linear layers of the UNet by `lora_targets`, convolutions with `conv_rank`, and the text encoders' if they are trained."""
    model = bundle["unet"]
    found = set(chosen(model, config.lora_targets, TARGETS, "attentions"))
    layers = [name for name, layer in model.named_modules() if isinstance(layer, (Linear, Conv2d))]
    if config.conv_rank:
        found |= {name for name in layers if ends(name, CONVOLUTIONS) and "attentions" not in name}
    names = [f"unet.{name}" for name in layers if name in found]
    for part in bundle.trainable[1:] if config.train_text_encoder else ():
        names += [f"{part}.{name}" for name in chosen(bundle[part], TEXT_TARGETS, {}, "")]
    return names


def draw(bundle: Bundle, batch: Batch, rng: torch.Generator, config: Config, at: float | None = None) -> Batch:
    """Noisy latents, what the model is to say of them, timesteps and weights, on the CPU; the rest of the batch stays."""
    mean, predicted = batch["mean"], bundle.facts["prediction_type"]
    latents = (mean + batch["deviation"] * torch.randn(mean.shape, generator=rng)) * bundle.facts["scaling"]
    noise = diffusion.noise_like(latents, rng, config.noise_offset if at is None else 0.0)
    times = diffusion.timesteps(len(mean), len(bundle["alphas"]), rng, at)
    alpha_bar = bundle["alphas"][times]
    noisy, target = diffusion.noisy_and_target(latents, noise, alpha_bar, predicted)
    noisy = diffusion.jittered(noisy, (1 - alpha_bar).sqrt(), config.ip_noise_gamma if at is None else 0.0, rng)
    weight = diffusion.snr_weights(alpha_bar, config.snr_gamma if at is None else None, predicted)
    rest: Batch = {key: tensor for key, tensor in batch.items() if key not in ("mean", "deviation")}
    return {**rest, "noisy": noisy.to(bundle.dtype), "target": target, "timesteps": times, "weight": weight}


def scheduler(bundle: Bundle, steps: int, *_: int) -> DPMSolverMultistepScheduler:
    """DPM-Solver++ (Lu et al. 2022) on the model's own schedule. Where that ends in pure noise, its first step is there."""
    facts = bundle.facts
    zero = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"} if facts["zero_terminal_snr"] else {}
    made = DPMSolverMultistepScheduler.from_config(facts["scheduler"], prediction_type=facts["prediction_type"], **zero)
    made.set_timesteps(steps, device=bundle.device)
    return made


def decode(bundle: Bundle, latent: Tensor) -> Tensor:
    """[C, h, w] → [3, H, W] in -1..1."""
    pixels: Tensor = bundle["vae"].decode((latent[None] / bundle.facts["scaling"]).float(), return_dict=False)[0][0]
    return pixels
