"""SDXL as it is published: one file in the original layout, told sizes and crops, sometimes down to pure noise."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from studio import families
from studio.config import Config
from studio.errors import ModelError
from studio.families import sdxl
from studio.families.base import Bundle, Picture, Prompt

from . import ldm

CPU = torch.device("cpu")
PARTS = ("unet", "vae", "text_encoder", "text_encoder_2")
Checkpoint = tuple[Path, dict[str, Any]]


@pytest.fixture(scope="module")
def assets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped configurations, all blocks and layers, but thin."""
    return ldm.narrow(tmp_path_factory.mktemp("assets"), "sdxl").parent


@pytest.fixture(scope="module")
def checkpoint(assets: Path) -> Checkpoint:
    """A checkpoint and the models that it was written from."""
    models = ldm.random_models(assets / "sdxl")
    return ldm.write(assets / "sdxl.safetensors", ldm.checkpoint(models, "sdxl")), models


@pytest.fixture(autouse=True)
def thin(monkeypatch: pytest.MonkeyPatch, assets: Path) -> None:
    monkeypatch.setattr(sdxl, "ASSETS", assets)


def load(path: Path) -> Bundle:
    return families.get(families.recognise(path)).load(path, CPU, torch.float32)


def test_a_single_file_opens_with_every_weight_in_its_place(checkpoint: Checkpoint) -> None:
    path, models = checkpoint
    bundle = load(path)
    for part in PARTS:
        opened, written = bundle[part].state_dict(), models[part].state_dict()
        assert opened.keys() == written.keys()
        assert {name for name in written if not torch.equal(opened[name], written[name])} == set()


def test_what_a_published_model_is(monkeypatch: pytest.MonkeyPatch, checkpoint: Checkpoint) -> None:
    monkeypatch.undo()  # the configurations as they ship
    facts = load(checkpoint[0]).facts
    assert (facts["prediction_type"], facts["zero_terminal_snr"], facts["resolution"], facts["step"]) == ("epsilon", False, 1024, 32)
    assert (facts["kind"], facts["factor"], facts["tokens"], facts["scaling"]) == ("sdxl", 8, 77, 0.13025)


def test_it_draws_the_picture_that_diffusers_draws_from_the_same_weights(checkpoint: Checkpoint, assets: Path) -> None:
    from diffusers import DPMSolverMultistepScheduler, StableDiffusionXLPipeline

    path, models = checkpoint
    bundle = load(path)
    scheduler = DPMSolverMultistepScheduler.from_config(DPMSolverMultistepScheduler.load_config(assets / "sdxl" / "scheduler"))
    tokenizers = {part: bundle[part] for part in ("tokenizer", "tokenizer_2")}
    pipeline = StableDiffusionXLPipeline(**models, **tokenizers, scheduler=scheduler, add_watermarker=False)
    pipeline.set_progress_bar_config(disable=True)
    settings = {"guidance_scale": 3.0, "num_inference_steps": 3, "width": 96, "height": 64, "negative_prompt": "grey"}
    theirs = pipeline("a red apple", generator=torch.Generator().manual_seed(5), **settings).images[0]
    pieces = families.get("sdxl").sample(bundle, [Prompt("a red apple", seed=5, negative="grey", steps=3, guidance=3.0, width=96, height=64)])
    ours = next(piece.image for piece in pieces if piece.image is not None)
    assert np.abs(np.asarray(ours).astype(int) - np.asarray(theirs).astype(int)).max() <= 1
    assert np.asarray(ours).std() > 2, "an even picture would prove nothing"


def test_a_checkpoint_that_predicts_velocity_down_to_pure_noise_says_so(tmp_path: Path, checkpoint: Checkpoint) -> None:
    tensors = ldm.checkpoint(checkpoint[1], "sdxl")
    marked = load(ldm.write(tmp_path / "noob.safetensors", {**tensors, "v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)}))
    assert (marked.facts["prediction_type"], marked.facts["zero_terminal_snr"]) == ("v_prediction", True)
    assert float(marked["alphas"][-1]) < 1e-8 < float(load(checkpoint[0])["alphas"][-1])
    pieces = families.get("sdxl").sample(marked, [Prompt("a tree", steps=2, guidance=2.0, width=64, height=64)])
    image = next(piece.image for piece in pieces if piece.image is not None)
    assert np.isfinite(np.asarray(image)).all()
    assert np.asarray(image).std() > 2


def test_what_the_model_is_told_of_size_and_crop_reaches_it(small: dict[str, dict[str, Path]]) -> None:
    family = families.get("sdxl")
    bundle = family.load(small["sdxl"]["tiny"], CPU, torch.float32)
    image = Image.new("RGB", (16, 16), "red")
    whole, cut = Picture(lambda: image, "a", (16, 16)), Picture(lambda: image, "b", (16, 16), (64, 40), (8, 3))
    rows = family.encode(bundle, "picture", [whole, cut])
    assert [row["sizes"].tolist() for row in rows] == [[16, 16, 0, 0, 16, 16], [40, 64, 3, 8, 16, 16]]
    config = Config(base_model="small", train_data_dir=Path("none"))
    text = family.encode(bundle, "text", ["a tree"])[0]
    losses = [
        family.loss(bundle, family.draw(bundle, family.collate([{**row, **text}], config), torch.Generator().manual_seed(0), config)) for row in rows
    ]
    assert not torch.equal(*losses)


def test_another_kind_of_checkpoint_is_refused_by_name(tmp_path: Path) -> None:
    key = "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"
    path = ldm.write(tmp_path / "v1.safetensors", {key: torch.zeros(640, 768)})
    with pytest.raises(ModelError, match="no SDXL checkpoint"):
        families.get("sdxl").load(path, CPU, torch.float32)
