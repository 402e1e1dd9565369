"""Models that learn a flow: their timesteps, and pictures and losses as diffusers has them for the same weights."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from studio import families
from studio.config import Config
from studio.errors import ModelError
from studio.families import flow
from studio.families.base import Bundle, Prompt

CPU = torch.device("cpu")
Small = dict[str, dict[str, Path]]


def config(**settings: Any) -> Config:
    return Config(base_model="small", train_data_dir=Path("none"), **settings)


def load(path: Path) -> Bundle:
    return families.get(families.recognise(path)).load(path, CPU, torch.float32)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_uniform_timesteps_are_spread_evenly() -> None:
    found = flow.spread(64, "uniform", rng()).sort().values
    assert ((found * 64).floor() == torch.arange(64)).all()


def test_logit_normal_timesteps_are_mostly_middling() -> None:
    found = flow.spread(4096, "logit_normal", rng())
    odds = torch.logit(found)
    assert abs(float(odds.mean())) < 0.01
    assert abs(float(odds.std()) - 1) < 0.01


def test_a_shift_moves_timesteps_towards_noise_and_keeps_the_ends() -> None:
    given = torch.tensor([0.0, 0.25, 0.5, 1.0])
    torch.testing.assert_close(flow.shifted(given, 3.0), torch.tensor([0.0, 0.5, 0.75, 1.0]))
    assert torch.equal(flow.shifted(given, 1.0), given)


def test_the_dynamic_shift_is_that_of_diffusers() -> None:
    from diffusers.pipelines.flux.pipeline_flux import calculate_shift

    for tokens in (256, 1024, 4096):
        assert np.isclose(np.log(flow.dynamic_shift({}, tokens)), calculate_shift(tokens))


def test_the_model_is_to_say_the_way_from_picture_to_noise(small: Small) -> None:
    bundle = load(small["flux"]["dev"])
    latents = {"mean": torch.full((2, 4, 8, 8), 0.3), "deviation": torch.zeros(2, 4, 8, 8), "count": torch.ones(2)}
    drawn = flow.draw(bundle, latents, rng(), config(), at=0.25)
    picture = (0.3 - bundle.facts["shift"]) * bundle.facts["scaling"]
    noise = drawn["target"] + picture
    torch.testing.assert_close(drawn["noisy"], 0.75 * torch.full_like(noise, picture) + 0.25 * noise)
    assert abs(float(noise.mean())) < 0.2


@pytest.mark.parametrize(("settings", "low", "high"), [({}, 0.55, 0.7), ({"flow_shift": 1.0}, 0.45, 0.55), ({"flow_shift": 8.0}, 0.75, 0.9)])
def test_flux_dev_shifts_by_the_size_of_the_picture_unless_told(small: Small, settings: dict[str, Any], low: float, high: float) -> None:
    bundle = load(small["flux"]["dev"])
    rows = {"mean": torch.zeros(256, 4, 8, 8), "deviation": torch.zeros(256, 4, 8, 8), "count": torch.ones(256)}
    assert low < float(flow.draw(bundle, rows, rng(), config(**settings))["timesteps"].mean()) < high


@pytest.mark.parametrize(("kind", "name"), [("sd3", "tiny"), ("sd3", "without-t5"), ("flux", "dev"), ("flux", "schnell")])
def test_it_draws_the_picture_that_diffusers_draws_from_the_same_weights(small: Small, kind: str, name: str) -> None:
    from diffusers import FluxPipeline, StableDiffusion3Pipeline

    bundle = load(small[kind][name])
    parts = {part: bundle[part] for part in ("transformer", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")}
    settings: dict[str, Any] = {"guidance_scale": 3.0, "num_inference_steps": 3, "width": 16, "height": 8, "generator": rng(5)}
    scheduler = flow.FlowMatchEulerDiscreteScheduler.from_config(bundle.facts["scheduler"])
    if kind == "sd3":
        optional = {part: bundle[part] if name == "tiny" else None for part in ("text_encoder_3", "tokenizer_3")}
        pipeline: Any = StableDiffusion3Pipeline(**parts, **optional, scheduler=scheduler)
        settings["negative_prompt"] = "grey"
    else:
        pipeline = FluxPipeline(**parts, scheduler=scheduler)
        settings["max_sequence_length"] = bundle.facts["tokens"]
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline("a red apple", **settings).images[0]
    prompt = Prompt("a red apple", seed=5, negative="grey", steps=3, guidance=3.0, width=16, height=8)
    ours = next(piece.image for piece in families.get(kind).sample(bundle, [prompt]) if piece.image is not None)
    assert np.abs(np.asarray(ours).astype(int) - np.asarray(theirs).astype(int)).max() <= 1
    assert np.asarray(ours).std() > 2, "an even picture would prove nothing"


def test_guidance_reaches_the_distilled_model_alone(small: Small) -> None:
    def picture(name: str, guidance: float) -> bytes:
        pieces = families.get("flux").sample(load(small["flux"][name]), [Prompt("a cat", steps=2, guidance=guidance)])
        return next(piece.image.tobytes() for piece in pieces if piece.image is not None)

    assert picture("dev", 1.0) != picture("dev", 6.0)
    assert picture("schnell", 1.0) == picture("schnell", 6.0)


def test_texts_are_counted_by_the_encoder_that_reads_most(small: Small) -> None:
    facts = {name: load(small[family][name]).facts for family, name in (("sd3", "tiny"), ("sd3", "without-t5"), ("flux", "dev"), ("flux", "schnell"))}
    assert {name: (found["tokens"], found.get("counted_by")) for name, found in facts.items()} == {
        "tiny": (256, "tokenizer_3"),
        "without-t5": (77, None),
        "dev": (512, "tokenizer_2"),
        "schnell": (256, "tokenizer_2"),
    }
    assert "without T5" in facts["without-t5"]["notes"][0]


def test_a_tokenizer_of_another_size_is_refused(small: Small, tmp_path: Path) -> None:
    import shutil

    folder = Path(shutil.copytree(small["flux"]["dev"], tmp_path / "model"))
    shutil.rmtree(folder / "tokenizer_2")
    shutil.copytree(folder / "tokenizer", folder / "tokenizer_2")
    with pytest.raises(ModelError, match="tokenizer_2"):
        load(folder)["tokenizer_2"]


@pytest.mark.parametrize("setting", [{"snr_gamma": 5.0}, {"noise_offset": 0.05}, {"prediction_type": "epsilon"}, {"train_text_encoder": True}])
def test_what_means_nothing_for_a_flow_is_refused_by_name(small: Small, setting: dict[str, Any], tmp_path: Path) -> None:
    from studio.errors import InputError
    from studio.runs.resolve import complete

    with pytest.raises(InputError, match=next(iter(setting))):
        complete(Config(base_model=str(small["flux"]["dev"]), train_data_dir=tmp_path, **setting))
