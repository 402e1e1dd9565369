from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

from studio.families import diffusion

SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_picture_survives_becoming_numbers() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = Image.fromarray(np.stack([levels, levels.T, 255 - levels], -1))
    numbers = diffusion.pixels([image])
    assert (numbers.shape, numbers.min(), numbers.max()) == ((1, 3, 16, 16), -1, 1)
    assert np.array_equal(np.asarray(diffusion.picture(numbers[0])), np.asarray(image))


def test_numbers_beyond_black_and_white_are_black_and_white() -> None:
    assert np.asarray(diffusion.picture(torch.tensor([-9.0, 9.0, 0.0]).view(3, 1, 1))).ravel().tolist() == [0, 255, 128]


def test_cumulative_alphas_are_the_product_of_what_is_kept() -> None:
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    assert torch.allclose(diffusion.cumulative_alphas(SCHEDULE).double(), (1 - betas).cumprod(0), atol=1e-6)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_noise_and_target_are_those_of_diffusers(prediction: str) -> None:
    from diffusers import DDPMScheduler

    scheduler, times = DDPMScheduler(**SCHEDULE), torch.tensor([0, 400, 999])
    x0, epsilon = torch.randn(3, 4, 8, 8, generator=rng(1)), torch.randn(3, 4, 8, 8, generator=rng(2))
    noisy, target = diffusion.noisy_and_target(x0, epsilon, diffusion.cumulative_alphas(SCHEDULE)[times], prediction)
    assert torch.allclose(noisy, scheduler.add_noise(x0, epsilon, times), atol=1e-6)
    expected = scheduler.get_velocity(x0, epsilon, times) if prediction == "v_prediction" else epsilon
    assert torch.allclose(target, expected, atol=1e-6)


@pytest.mark.parametrize("gamma", [1.0, 5.0])
def test_snr_weights_are_those_of_diffusers_own_training(gamma: float) -> None:
    from diffusers import DDPMScheduler
    from diffusers.training_utils import compute_snr

    times = torch.tensor([0, 100, 500, 999])
    snr = compute_snr(DDPMScheduler(**SCHEDULE), times)
    alphas = diffusion.cumulative_alphas(SCHEDULE)[times]
    smaller = torch.minimum(snr, torch.full_like(snr, gamma))
    assert torch.allclose(diffusion.snr_weights(alphas, gamma, "epsilon"), smaller / snr, rtol=1e-4)
    assert torch.allclose(diffusion.snr_weights(alphas, gamma, "v_prediction"), smaller / (snr + 1), rtol=1e-4)


def test_weights_are_finite_where_no_signal_is_left() -> None:
    for prediction in ("epsilon", "v_prediction"):
        assert torch.isfinite(diffusion.snr_weights(torch.tensor([0.0]), 5.0, prediction)).all()


def test_without_gamma_every_timestep_counts_the_same() -> None:
    assert diffusion.snr_weights(torch.tensor([0.1, 0.9]), None, "epsilon").tolist() == [1, 1]


def test_a_batch_takes_one_timestep_from_each_equal_part() -> None:
    for seed in range(20):
        times = diffusion.timesteps(4, 1000, rng(seed))
        assert sorted((times // 250).tolist()) == [0, 1, 2, 3]


def test_every_timestep_is_as_likely_as_another_for_each_example() -> None:
    random = rng()
    drawn = torch.stack([diffusion.timesteps(2, 10, random) for _ in range(5000)])
    for example in drawn.T.tolist():
        assert all(abs(count - 500) < 110 for count in Counter(example).values())  # five standard deviations
        assert len(set(example)) == 10


@pytest.mark.parametrize(("at", "expected"), [(0.0, 0), (0.125, 125), (0.5, 500), (1.0, 999)])
def test_a_timestep_can_be_fixed(at: float, expected: int) -> None:
    assert diffusion.timesteps(3, 1000, rng(), at).tolist() == [expected] * 3


def test_noise_that_the_model_isnt_told_of_is_as_strong_as_asked() -> None:
    noisy, share = torch.randn(2, 4, 32, 32, generator=rng()), torch.tensor([1.0, 0.5])
    more = diffusion.jittered(noisy, share, 0.1, rng()) - noisy
    assert diffusion.jittered(noisy, share, 0.0, rng()) is noisy
    assert torch.allclose(more.std((1, 2, 3)), torch.tensor([0.1, 0.05]), rtol=0.05)


def test_noise_offset_moves_whole_channels() -> None:
    latents = torch.zeros(2, 4, 32, 32)
    plain, shifted = diffusion.noise_like(latents, rng()), diffusion.noise_like(latents, rng(), 0.5)
    moved = shifted - plain
    assert torch.allclose(moved, moved[:, :, :1, :1].expand_as(moved), atol=1e-6)
    assert moved[:, :, 0, 0].unique().numel() == 8
    assert 0.1 < moved[:, :, 0, 0].std() < 1.2
