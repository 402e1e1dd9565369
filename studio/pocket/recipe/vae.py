"""The autoencoder: 64 × 64 pictures ↔ 4 × 16 × 16 latents, learned from all icons on all grounds."""

import math
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn

from studio.language import say
from studio.pocket.recipe.icons import COLOUR, FLAT, LINE, NOTO
from studio.pocket.recipe.pictures import SIZE, Picture, Pictures

CHANNELS = 4
BATCH = 8
LEARNING_RATE = 2e-3
# A learned variance collapsed (grey pictures); a fixed noise and a small penalty keep the latents in bounds.
NOISE, PENALTY = 0.08, 1e-4
_TO_YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])


def autoencoder() -> AutoencoderKL:
    """The autoencoder without training: 0.68 M weights, f = 4."""
    return AutoencoderKL(
        block_out_channels=(16, 32, 64),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        latent_channels=CHANNELS,
        norm_num_groups=8,
        sample_size=SIZE,
        scaling_factor=1.0,
    )


def train(pictures: Pictures, minutes: float) -> dict[str, Tensor]:
    """Train for `minutes` on one thread and return the weights; prints the quality on held-out pictures."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rng = random.Random(0)
    sources = Sources.of(pictures)
    model = autoencoder()
    _begin_with_identity(model)
    weights = list(model.parameters())
    optimizer = torch.optim.AdamW(weights, lr=LEARNING_RATE, betas=(0.9, 0.99), weight_decay=1e-4, fused=True)
    for step, share in enumerate(until(minutes), 1):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * min(1, step / 60) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share)))
        original = draw_batch(sources, rng)
        latents = model.encode(original).latent_dist.mean
        restored = model.decode(latents + NOISE * torch.randn_like(latents)).sample
        loss = reconstruction_loss(restored, original) + PENALTY * latents.square().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        if step % 200 == 0:
            _tell(model, sources, step, share)
    _tell(model, sources, step, 1.0)
    return {name: value.contiguous() for name, value in model.state_dict().items()}


def reconstruction_loss(restored: Tensor, original: Tensor) -> Tensor:
    """Pixels, and beyond them what the eye notices first: the colour of areas, hues, edges."""
    error = restored - original
    area_colour = F.avg_pool2d(error, 8).abs().mean()
    hue = (error - error.mean(1, keepdim=True)).abs().mean()
    edges = error.diff(dim=-2).abs().mean() + error.diff(dim=-1).abs().mean()
    return error.abs().mean() + 0.5 * error.square().mean() + 1.5 * area_colour + 1.5 * hue + 0.5 * edges


def decibels(restored: Tensor, original: Tensor) -> float:
    """Peak signal-to-noise ratio of pictures from -1 to 1."""
    return 10 * math.log10(4 / F.mse_loss(restored.clamp(-1, 1), original).item())


def until(minutes: float) -> Iterator[float]:
    """The share of `minutes` that is over, as often as it is asked for until that is all; at least once."""
    begin = time.monotonic()
    share = 0.0
    while share < 1:
        yield share
        share = (time.monotonic() - begin) / (60 * minutes)


@dataclass(frozen=True)
class Sources:
    """All icons as RGBA with multiplied colours, uint8 [n, 4, 128, 128], and the places of those to draw from; every 60th is held out."""

    icons: Tensor
    fluent: Tensor
    coloured: Tensor
    line: Tensor
    held_out: Tensor

    @classmethod
    def of(cls, pictures: Pictures) -> "Sources":
        """From the four rendered icon sets."""
        sets = [torch.stack([_multiplied(icon) for icon in pictures[name].values()]) for name in (FLAT, COLOUR, NOTO, LINE)]
        icons = torch.cat(sets)
        fluent, line = len(sets[0]) + len(sets[1]), len(icons) - len(sets[3])
        places = torch.arange(line)
        coloured = places[places % 60 != 0]
        return cls(icons, coloured[coloured < fluent], coloured, torch.arange(line, len(icons)), places[::60])

    def held_out_pictures(self) -> Tensor:
        """The held-out icons on white, [n, 3, 64, 64] from -1 to 1."""
        icons = F.interpolate(self.icons[self.held_out].float() / 255, size=(SIZE, SIZE), mode="area")
        return (icons[:, :3] + 1 - icons[:, 3:]) * 2 - 1


def draw_batch(sources: Sources, rng: random.Random, count: int = BATCH) -> Tensor:
    """`count` pictures [count, 3, 64, 64] from -1 to 1, whole icons or details, on any ground, in any hue."""
    chance = rng.random()
    places = sources.fluent if chance < 0.6 else sources.coloured if chance < 0.9 else sources.line
    icons = sources.icons[places[torch.randint(len(places), (count,))]].float() / 255
    if rng.random() < 0.75:
        icons = F.interpolate(icons, size=(SIZE, SIZE), mode="area")
    else:
        icons = F.interpolate(_detail(icons, rng), size=(SIZE, SIZE), mode="bilinear", antialias=True)
    ground = torch.ones(count, 3, 1, 1)
    coloured = torch.rand(count) < 0.45
    ground[coloured] = torch.rand(int(coloured.sum()), 3, 1, 1)
    batch = icons[:, :3] + (1 - icons[:, 3:]) * ground
    turned = torch.rand(count) < 0.5
    batch[turned] = _turn_hues(batch[turned])
    grey = torch.rand(count) < 0.06
    batch[grey] = batch[grey].mean(1, keepdim=True).expand(-1, 3, -1, -1)
    negative = torch.rand(count) < 0.06
    batch[negative] = 1 - batch[negative]
    if rng.random() < 0.5:
        batch = batch.flip(-1)
    return batch * 2 - 1


def _detail(icons: Tensor, rng: random.Random) -> Tensor:
    side = rng.choice([56, 64, 80, 96, 112])
    top, left = rng.randint(0, 128 - side), rng.randint(0, 128 - side)
    return icons[:, :, top : top + side, left : left + side]


def _turn_hues(batch: Tensor) -> Tensor:
    """Every picture's hues turned by an angle of its own, its saturation times 0.7 to 1.4; 0 to 1."""
    count = len(batch)
    angle = torch.rand(count) * 2 * math.pi
    turn = torch.zeros(count, 3, 3)
    turn[:, 0, 0] = 1
    turn[:, 1, 1] = turn[:, 2, 2] = angle.cos()
    turn[:, 2, 1] = angle.sin()
    turn[:, 1, 2] = -turn[:, 2, 1]
    turn[:, 1:] *= (0.7 + 0.7 * torch.rand(count)).view(-1, 1, 1)
    return torch.einsum("kij,kjhw->kihw", torch.linalg.inv(_TO_YIQ) @ turn @ _TO_YIQ, batch).clamp(0, 1)


def _multiplied(icon: Picture) -> Tensor:
    cover = icon[..., 3:].astype(np.float32) / 255
    return torch.from_numpy(np.concatenate([(icon[..., :3] * cover).astype(np.uint8), icon[..., 3:]], -1)).permute(2, 0, 1)


def _begin_with_identity(model: AutoencoderKL) -> None:
    """Let every residual branch begin at nothing, which makes the first minutes count."""
    for module in model.modules():
        if isinstance(module, ResnetBlock2D):
            nn.init.zeros_(module.conv2.weight)
            nn.init.zeros_(module.conv2.bias)
        elif isinstance(module, Attention):
            nn.init.zeros_(module.to_out[0].weight)


@torch.no_grad()
def _tell(model: AutoencoderKL, sources: Sources, step: int, share: float) -> None:
    originals = sources.held_out_pictures()
    restored = torch.cat([model.decode(model.encode(batch).latent_dist.mode()).sample for batch in torch.split(originals, 16)])
    quality = f"{decibels(restored, originals):.2f}"
    print(
        say("{percent} of the time, step {step}: {quality} dB on held-out pictures", percent=f"{share:.0%}", step=step, quality=quality),
        flush=True,
    )
