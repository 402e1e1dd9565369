"""What image families share, as functions: pictures to latents, noise, targets, weights."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from studio.families.base import Batch, Picture, Row

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image
    from torch import Tensor


def pixels(images: "Sequence[Image]") -> "Tensor":
    """RGB pictures of one size → [B, 3, H, W] in -1..1, float32."""
    import numpy as np
    import torch

    stacked = np.stack([np.asarray(image.convert("RGB")) for image in images])
    return torch.from_numpy(stacked).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def picture(tensor: "Tensor") -> "Image":
    """[3, H, W] in -1..1 → picture."""
    from PIL.Image import fromarray

    return fromarray(((tensor.float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).cpu().numpy())


def encode_latents(vae: Any, batch: "Tensor") -> "tuple[Tensor, Tensor]":
    """Mean and standard deviation of the VAE's posterior, unscaled, on the CPU in float32. [B, 3, H, W] → two of [B, C, h, w]."""
    import torch

    with torch.no_grad():
        posterior = vae.encode(batch.to(vae.device, torch.float32)).latent_dist
    return posterior.mean.float().cpu(), posterior.std.float().cpu()


def encode_pictures(vae: Any, items: "Sequence[Picture | str]") -> list[Row]:
    """Pictures of one size → their latents' mean and deviation, two of [C, h, w]."""
    mean, deviation = encode_latents(vae, pixels([item.read() for item in items if isinstance(item, Picture)]))
    return [{"mean": mean[i], "deviation": deviation[i]} for i in range(len(items))]


def stack(rows: Sequence[Row]) -> Batch:
    """Rows as a batch, in which every example counts one."""
    import torch

    return {**together(rows), "count": torch.ones(len(rows))}


def together(rows: Sequence[Row]) -> Batch:
    """Rows of one shape as a batch. Only "words" [L, D] may differ in length: they are filled up with zeros, and where that was needed "heard"
    [B, L] says which places count."""
    import torch

    batch = {key: torch.stack([row[key] for row in rows]) for key in rows[0] if key != "words"}
    if "words" in rows[0]:
        lengths = [len(row["words"]) for row in rows]
        batch["words"] = torch.nn.utils.rnn.pad_sequence([row["words"] for row in rows], batch_first=True)
        if min(lengths) < max(lengths):
            batch["heard"] = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return batch


def mean_square(said: "Tensor", batch: Batch) -> "Tensor":
    """Mean square error against `target`, times `mask` [B, 1, h, w] where there is one, times `weight`: [B] in float32.

    The mean is over all of the picture: each place that is learned counts the same, however much of its picture is masked.
    """
    from torch.nn import functional as F

    errors = F.mse_loss(said.float(), batch["target"], reduction="none")
    if "mask" in batch:
        errors = errors * batch["mask"]
    return errors.mean((1, 2, 3)) * batch["weight"]


def cumulative_alphas(scheduler: dict[str, Any], zero_terminal: bool = False) -> "Tensor":
    """ᾱ_t of the training schedule, [T] in float32 (Ho et al. 2020, section 2); `zero_terminal`: down to pure noise (Lin et al. 2023)."""
    from diffusers import DDPMScheduler

    known = ("beta_start", "beta_end", "beta_schedule", "num_train_timesteps", "trained_betas")
    given = {key: scheduler[key] for key in known if scheduler.get(key) is not None}
    result: Tensor = DDPMScheduler(**given, rescale_betas_zero_snr=zero_terminal).alphas_cumprod
    return result


def timesteps(batch: int, total: int, rng: "torch.Generator", at: float | None = None) -> "Tensor":
    """[B] integers below `total`: one from each of B equal parts, each example equally likely in each part; or all at `at` × total.

    Spreading a batch over the timesteps leaves their distribution uniform and takes noise out of the loss.
    """
    import torch

    if at is not None:
        return torch.full((batch,), min(total - 1, int(at * total)))
    part = torch.randperm(batch, generator=rng)
    return ((part + torch.rand(batch, generator=rng)) * (total / batch)).long().clamp_(max=total - 1)


def noise_like(latents: "Tensor", rng: "torch.Generator", offset: float = 0.0) -> "Tensor":
    """Gaussian noise, with the mean of each channel shifted by `offset` × a number of its own (Guttenberg 2023)."""
    import torch

    noise = torch.randn(latents.shape, generator=rng)
    if offset:
        noise += offset * torch.randn((*latents.shape[:2], 1, 1), generator=rng)
    return noise


def jittered(noisy: "Tensor", noise_share: "Tensor", gamma: float, rng: "torch.Generator") -> "Tensor":
    """`noisy` with γ times more noise that the model isn't told of, so that its own errors while drawing matter less (Ning et al. 2023).

    `noise_share` [B] is the factor on the noise in it.
    """
    import torch

    return noisy + gamma * noise_share.view(-1, 1, 1, 1) * torch.randn(noisy.shape, generator=rng) if gamma else noisy


def noisy_and_target(x0: "Tensor", epsilon: "Tensor", alpha_bar: "Tensor", prediction: str) -> "tuple[Tensor, Tensor]":
    """x_t = √ᾱ x₀ + √(1-ᾱ) ε, and what the model is to say of it: ε, or v = √ᾱ ε - √(1-ᾱ) x₀ (Salimans & Ho 2022). All [B, C, h, w]."""
    a, s = alpha_bar.sqrt().view(-1, 1, 1, 1), (1 - alpha_bar).sqrt().view(-1, 1, 1, 1)
    return a * x0 + s * epsilon, a * epsilon - s * x0 if prediction == "v_prediction" else epsilon


def snr_weights(alpha_bar: "Tensor", gamma: float | None, prediction: str) -> "Tensor":
    """Min-SNR-γ weights per example, [B]; ones without γ. Hang et al. 2023, equation 8 and its form for v."""
    import torch

    if gamma is None:
        return torch.ones_like(alpha_bar)
    snr = alpha_bar / (1 - alpha_bar)
    return snr.clamp(max=gamma) / (snr + 1 if prediction == "v_prediction" else snr.clamp(min=1e-8))
