"""The UNet and the text encoder, trained together from nothing by two processes of one thread each."""

import json
import math
import random
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.distributed as dist
import torch.nn.functional as F
from diffusers import DDPMScheduler, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from studio.language import say
from studio.pocket.recipe import latents
from studio.pocket.recipe.latents import Words
from studio.pocket.recipe.tokenizer import LENGTH
from studio.pocket.recipe.vae import CHANNELS

PROCESSES = 2
BATCH = 20
WIDTH = 128
LEARNING_RATE = 1.6e-3
WARM_UP = 60
CONSTANT_SHARE = 0.5
NO_WORDS_SHARE = 0.1
NOISE = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "num_train_timesteps": 1000}
TIMESTEPS = 1000
_EVERY = 4


def unet() -> UNet2DConditionModel:
    """The UNet without training: 4.31 M weights, cross-attention at every level."""
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        layers_per_block=1,
        block_out_channels=(32, 64, 128),
        down_block_types=("CrossAttnDownBlock2D",) * 3,
        up_block_types=("CrossAttnUpBlock2D",) * 3,
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        norm_num_groups=16,
    )


def text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """The text encoder without training: two layers."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=LENGTH,
        projection_dim=WIDTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config)


def train(folder: Path, latents: Path, tokenizer: Path, minutes: float) -> None:
    """Train for `minutes` and write unet.safetensors, text_encoder.safetensors and training.json into `folder`."""
    start: Callable[..., object] = spawn  # torch's has no types
    with TemporaryDirectory() as meeting_place:
        start(_train, args=(f"file://{meeting_place}/store", folder, latents, tokenizer, minutes), nprocs=PROCESSES)


class Examples:
    """Draws batches of noised latents with token ids; every process has its own random numbers."""

    def __init__(self, folder: Path, tokenizer: CLIPTokenizer, rank: int) -> None:
        self.latents, words = latents.load(folder)
        self.weights = torch.tensor([item.weight for item in words])
        self.ids = [_token_ids(tokenizer, item) for item in words]
        self.no_words = _ids(tokenizer, "")
        self.rng = random.Random(rank)
        self.alphas = DDPMScheduler(**NOISE).alphas_cumprod
        torch.manual_seed(rank + 7)

    def draw(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Noised latents [20, 4, 16, 16], timesteps [20] spread evenly, token ids [20, 24] and the velocity to predict."""
        places = torch.multinomial(self.weights, BATCH, replacement=True)
        clean = self.latents[places, torch.randint(0, 2, (BATCH,))]
        ids = torch.tensor([self._words(place) for place in places.tolist()])
        timesteps = ((torch.arange(BATCH) + torch.rand(BATCH)) * TIMESTEPS / BATCH).long().clamp(0, TIMESTEPS - 1)
        signal = self.alphas[timesteps].sqrt().view(-1, 1, 1, 1)
        sigma = (1 - self.alphas[timesteps]).sqrt().view(-1, 1, 1, 1)
        noise = torch.randn_like(clean)
        return signal * clean + sigma * noise, timesteps, ids, signal * noise - sigma * clean

    def _words(self, place: int) -> list[int]:
        return self.no_words if self.rng.random() < NO_WORDS_SHARE else self.rng.choice(self.ids[place])


class Average:
    """The weights averaged over the last steps, less at the beginning: what is kept in the end."""

    def __init__(self, weights: list[nn.Parameter]) -> None:
        self.weights = weights
        self.values = [weight.detach().clone() for weight in weights]

    def follow(self, step: int) -> None:
        """Called after every step; does its work at every fourth."""
        if step % _EVERY == 0:
            keep = min(0.9985, (1 + step) / (40 + step)) ** _EVERY
            torch._foreach_lerp_(self.values, [weight.detach() for weight in self.weights], 1 - keep)

    @torch.no_grad()
    def take_over(self) -> None:
        """Put the averages where the weights are."""
        for weight, value in zip(self.weights, self.values, strict=True):
            weight.copy_(value)


def learning_rate(step: int, share: float) -> float:
    """The rate at step 1, 2 … when `share` of the time is over: a warm-up, half of the time constant, then half a cosine."""
    falling = max(0.0, (share - CONSTANT_SHARE) / (1 - CONSTANT_SHARE))
    return LEARNING_RATE * min(1, step / WARM_UP) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * falling)))


def _train(rank: int, store: str, folder: Path, latents: Path, tokenizer_folder: Path, minutes: float) -> None:
    """One process; the first one keeps the time, tells and saves."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=PROCESSES)
    torch.manual_seed(0)  # both begin with the same weights
    tokenizer = CLIPTokenizer.from_pretrained(tokenizer_folder)
    model, encoder = unet(), text_encoder(tokenizer)
    weights = [*model.parameters(), *encoder.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=1e-3, fused=True)
    average, examples = Average(weights), Examples(latents, tokenizer, rank)
    begin, step, losses = time.monotonic(), 0, [0.0]
    while (share := _agreed((time.monotonic() - begin) / (60 * minutes))) < 1:
        step += 1
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, share)
        noised, timesteps, ids, velocity = examples.draw()
        loss = F.mse_loss(model(noised, timesteps, encoder(ids)[0]).sample, velocity)
        optimizer.zero_grad(set_to_none=False)
        torch.autograd.backward(loss)
        _share_gradients(weights)
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        average.follow(step)
        losses = [*losses[-99:], loss.item()]
        if rank == 0 and step % 100 == 0:
            _tell(share, step, losses)
    if rank == 0:
        average.take_over()
        _save(folder, model, encoder, {"steps": step, "samples": step * BATCH * PROCESSES, "loss": sum(losses) / len(losses)})
    dist.barrier()
    dist.destroy_process_group()


def _agreed(share: float) -> float:
    """The first process's clock is everybody's."""
    clock = torch.tensor([share])
    dist.broadcast(clock, 0)
    return clock.item()


def _share_gradients(weights: list[nn.Parameter]) -> None:
    """Replace every gradient by its mean over the processes, in one message."""
    flat = torch.cat([(torch.zeros_like(weight) if weight.grad is None else weight.grad).reshape(-1) for weight in weights])
    dist.all_reduce(flat)
    for weight, gradient in zip(weights, torch.split(flat / PROCESSES, [weight.numel() for weight in weights]), strict=True):
        weight.grad = gradient.view_as(weight)


def _token_ids(tokenizer: CLIPTokenizer, words: Words) -> list[list[int]]:
    return [_ids(tokenizer, caption) for caption in words.captions()]


def _ids(tokenizer: CLIPTokenizer, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, padding="max_length", max_length=LENGTH, truncation=True).input_ids
    return ids


def _save(folder: Path, model: UNet2DConditionModel, encoder: CLIPTextModel, facts: dict[str, float]) -> None:
    for name, part in (("unet", model), ("text_encoder", encoder)):
        save_file({key: value.contiguous() for key, value in part.state_dict().items()}, folder / f"{name}.safetensors")
    (folder / "training.json").write_text(json.dumps(facts), encoding="utf-8")


def _tell(share: float, step: int, losses: list[float]) -> None:
    mean = f"{sum(losses) / len(losses):.4f}"
    print(say("{percent} of the time, step {step}: loss {loss}", percent=f"{share:.0%}", step=step, loss=mean), flush=True)
