"""Prompts to pictures, the same for all image families: what goes through the model together, guidance, and the steps of a scheduler."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from studio.device import free_memory
from studio.families import diffusion
from studio.families.base import Batch, Bundle, Family, Piece, Prompt, Row

PIXELS_AT_ONCE = {"cuda": 8 * 512 * 512, "cpu": 32 * 64 * 64}


@dataclass(frozen=True)
class Painter:
    """What drawing needs of a family. `say` is the model's word on latents [B, C, h, w] at a time, given what `tell` makes of the texts;
    `scheduler` has its timesteps set for a number of steps and a size in pixels; `decode` turns one latent [C, h, w] into pixels [3, H, W]."""

    scheduler: Callable[[int, int, int], Any]
    say: Callable[[Tensor, Tensor, Batch], Tensor]
    decode: Callable[[Tensor], Tensor]
    tell: Callable[[Batch, Prompt, int, int], Batch] = lambda told, *_: told
    above: float = 1.0
    """Guidance above this compares with the negative prompt; infinite where guidance is an input of the model."""
    mix: Callable[[Tensor, Tensor, float], Tensor] = lambda negative, positive, guidance: negative + guidance * (positive - negative)
    """What the model is taken to say, from its words on the negative prompt and on the prompt, both [B, C, h, w]."""


def draw(family: Family, bundle: Bundle, prompts: Sequence[Prompt], painter: Painter) -> Iterator[Piece]:
    """A picture per prompt; prompts of one size, number of steps and guidance go through together."""
    size = bundle.facts["resolution"]
    numbered = [(index, _complete(prompt, bundle, size)) for index, prompt in enumerate(prompts)]
    if not bundle.adapted & set(bundle.encoders):
        remember(family, bundle, [text for _, prompt in numbered for text in _texts(prompt, painter)])
        if bundle.release(*bundle.encoders):
            free_memory(bundle.device)
    for _, group in groupby(numbered, lambda item: (item[1].width, item[1].height, item[1].steps, item[1].guidance)):
        members = list(group)
        most = max(1, PIXELS_AT_ONCE.get(bundle.device.type, PIXELS_AT_ONCE["cpu"]) // (members[0][1].width * members[0][1].height))
        for start in range(0, len(members), most):
            part = members[start : start + most]
            yield from _draw(family, bundle, [index for index, _ in part], [prompt for _, prompt in part], painter)


def remember(family: Family, bundle: Bundle, texts: Sequence[str]) -> None:
    """Encode texts that are drawn, once: the encoders can go then."""
    for text in dict.fromkeys(texts):
        if text not in bundle.remembered:
            bundle.remembered[text] = family.encode(bundle, "text", [text])[0]


def _complete(prompt: Prompt, bundle: Bundle, size: int) -> Prompt:
    facts = bundle.facts
    return Prompt(
        prompt.text,
        prompt.seed,
        prompt.strengths,
        prompt.negative,
        facts["steps"] if prompt.steps is None else prompt.steps,
        facts["guidance"] if prompt.guidance is None else prompt.guidance,
        prompt.width or size,
        prompt.height or size,
    )


def _texts(prompt: Prompt, painter: Painter) -> list[str]:
    return [prompt.text, prompt.negative] if _compares(prompt, painter) else [prompt.text]


def _compares(prompt: Prompt, painter: Painter) -> bool:
    return (prompt.guidance or 0) > painter.above


@torch.no_grad()
def _draw(family: Family, bundle: Bundle, indices: list[int], prompts: list[Prompt], painter: Painter) -> Iterator[Piece]:
    first, strengths = prompts[0], [prompt.strengths for prompt in prompts]
    width, height, guidance, steps = first.width, first.height, first.guidance or 0, first.steps or 0
    factor, compares = bundle.facts["factor"], _compares(first, painter)
    bundle.blend(strengths)
    texts = [prompt.negative for prompt in prompts] if compares else []
    if compares:
        bundle.blend(strengths * 2)
    told = _told(family, bundle, [*texts, *(prompt.text for prompt in prompts)])
    told = painter.tell(told, first, width, height)
    shape = (bundle.facts["channels"], height // factor, width // factor)
    noise = torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(prompt.seed)) for prompt in prompts])
    latents = noise.to(bundle.device)
    scheduler = painter.scheduler(steps, width, height)
    for done, time in enumerate(scheduler.timesteps, 1):
        said = painter.say(torch.cat([latents] * 2) if compares else latents, time, told).float()
        if compares:
            negative, positive = said.chunk(2)
            said = painter.mix(negative, positive, guidance)
        latents = scheduler.step(said, time, latents, return_dict=False)[0]
        yield Piece(indices[0], done=done, total=len(scheduler.timesteps))
    for index, latent in zip(indices, latents, strict=True):
        yield Piece(index, diffusion.picture(painter.decode(latent)))


def _told(family: Family, bundle: Bundle, texts: Sequence[str]) -> Batch:
    """Rows of texts as a batch on the device; made anew where a LoRA on the encoders has its say."""
    rows: list[Row]
    rows = family.encode(bundle, "text", texts) if bundle.adapted & set(bundle.encoders) else [bundle.remembered[text] for text in texts]
    stacked = {name: tensor.to(bundle.device) for name, tensor in diffusion.together(rows).items()}
    return {name: tensor.to(bundle.dtype) if tensor.is_floating_point() else tensor for name, tensor in stacked.items()}
