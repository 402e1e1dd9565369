"""Models that a language model tells what to draw: pictures, losses and files as diffusers has them for the same weights."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from studio import families
from studio.config import Config
from studio.errors import ModelError
from studio.families.base import Bundle, Prompt
from studio.formats.adapter import write_diffusers
from studio.formats.kohya import write_kohya
from studio.formats.lora import read_lora
from studio.results.baked import bake
from studio.training.lora import Lora, attach, attach_files, weights

from .test_flow import config, load, rng

Fresh = Callable[..., Bundle]
Small = dict[str, dict[str, Path]]
MODELS = [("z_image", "tiny"), ("z_image", "turbo"), ("qwen_image", "tiny"), *(("flux2", name) for name in ("dev", "klein", "klein-distilled"))]
NEGATIVE = {"z_image": "grey", "qwen_image": "grey", "flux2": ""}  # its pipelines take none
GUIDANCE = {"qwen_image": "true_cfg_scale"}
FAMILIES = list(dict.fromkeys(family for family, _ in MODELS))
SETTINGS: dict[str, Any] = {"num_inference_steps": 3, "width": 16, "height": 8}
EXPORTS = {"diffusers": write_diffusers, "kohya": write_kohya}


def pipeline(family: str, bundle: Bundle) -> Any:
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler.from_config(bundle.facts["scheduler"])
    parts = {part: bundle[part] for part in ("transformer", "vae", "text_encoder", "tokenizer")}
    index = json.loads((bundle.source / "model_index.json").read_text())
    rest = {"is_distilled": index["is_distilled"]} if "is_distilled" in index else {}
    made = getattr(diffusers, index["_class_name"])(**parts, **rest, scheduler=scheduler)
    made.set_progress_bar_config(disable=True)
    return made


def theirs(family: str, bundle: Bundle, before: Callable[[Any], object] = bool) -> np.ndarray[Any, Any]:
    made = pipeline(family, bundle)
    before(made)
    settings = {GUIDANCE.get(family, "guidance_scale"): 3.0, "generator": rng(5), **SETTINGS}
    if NEGATIVE[family]:
        settings["negative_prompt"] = NEGATIVE[family]
    return np.asarray(made(prompt="a red apple", **settings).images[0]).astype(int)


def ours(family: str, bundle: Bundle, **settings: Any) -> np.ndarray[Any, Any]:
    prompt = Prompt("a red apple", seed=5, negative=NEGATIVE[family], steps=3, guidance=3.0, width=16, height=8, **settings)
    return np.asarray(next(piece.image for piece in families.get(family).sample(bundle, [prompt]) if piece.image is not None)).astype(int)


def trained(family: str, bundle: Bundle) -> Lora:
    """LoRA with an alpha of its own and random weights that move a picture."""
    settings = config(lora_rank=4, lora_alpha=2.0, lora_targets=("attention", "feed-forward"))
    lora = attach(bundle, families.get(family).targets(bundle, settings), settings)
    for _, adapter in lora.adapters():
        adapter.up.data.uniform_(-4, 4, generator=rng(1))
    return lora


@pytest.mark.parametrize(("family", "name"), MODELS)
def test_it_draws_the_picture_that_diffusers_draws_from_the_same_weights(family: str, name: str, fresh: Fresh) -> None:
    picture = ours(family, fresh(family, name))
    assert np.abs(picture - theirs(family, fresh(family, name))).max() <= 1
    assert picture.std() > 2, "an even picture would prove nothing"


@pytest.mark.parametrize("format", EXPORTS)
@pytest.mark.parametrize(("family", "name"), MODELS)
def test_diffusers_draws_the_same_picture_with_an_exported_file(family: str, name: str, format: str, tmp_path: Path, fresh: Fresh) -> None:
    path, bundle = tmp_path / "a.safetensors", fresh(family, name)
    EXPORTS[format](path, trained(family, bundle).export(), families.get(family).names, {})
    attach_files(other := fresh(family, name), [read_lora(path, families.get(family).names, weights(other)).layers])
    with_lora = theirs(family, fresh(family, name), lambda made: made.load_lora_weights(tmp_path, weight_name=path.name))
    assert np.abs(ours(family, other, strengths=(1.0,)) - with_lora).max() <= 1
    assert np.abs(with_lora - theirs(family, fresh(family, name))).max() > 13


@pytest.mark.parametrize(("family", "name"), MODELS)
def test_a_long_text_beside_it_changes_nothing_for_a_short_one(family: str, name: str, fresh: Fresh) -> None:
    bundle, kind = fresh(family, name), families.get(family)
    channels, size = bundle.facts["channels"], bundle.facts["resolution"] // bundle.facts["factor"]
    latents = {"mean": torch.randn(channels, size, size, generator=rng()), "deviation": torch.ones(channels, size, size)}
    rows = [{**latents, **text} for text in kind.encode(bundle, "text", ["a cat", "a green tree " * 4])]
    both = kind.draw(bundle, kind.collate(rows, config()), rng(), config(), at=0.5)
    alone = [kind.draw(bundle, kind.collate([row], config()), rng(), config(), at=0.5) for row in rows]
    for index, one in enumerate(alone):
        one |= {part: both[part][index : index + 1] for part in ("noisy", "target")}
    expected = torch.cat([kind.loss(bundle, one) for one in alone])
    torch.testing.assert_close(kind.loss(bundle, both), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_single_file_is_refused_in_a_sentence(family: str, tmp_path: Path) -> None:
    single = tmp_path / "model.safetensors"
    with pytest.raises(ModelError, match="not from a single file"):
        families.get(family).load(single, torch.device("cpu"), torch.float32)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("setting", [{"snr_gamma": 5.0}, {"noise_offset": 0.05}, {"prediction_type": "epsilon"}, {"train_text_encoder": True}])
def test_what_means_nothing_for_it_is_refused_by_name(family: str, setting: dict[str, Any], small: Small, tmp_path: Path) -> None:
    from studio.errors import InputError
    from studio.runs.resolve import complete

    with pytest.raises(InputError, match=next(iter(setting))):
        complete(Config(base_model=str(next(iter(small[family].values()))), train_data_dir=tmp_path, **setting))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_merged_model_draws_without_the_lora_what_it_draws_with_it(family: str, small: Small, tmp_path: Path, fresh: Fresh) -> None:
    name = next(iter(small[family]))
    layers = trained(family, fresh(family, name)).export()
    merged = bake(str(small[family][name]), layers, tmp_path / "merged", lambda *_: None)
    attach_files(bundle := fresh(family, name), [layers])
    assert np.abs(ours(family, load(merged)) - ours(family, bundle, strengths=(1.0,))).max() <= 1


@pytest.mark.parametrize(("family", "name", "other"), [("z_image", "turbo", "tiny"), ("flux2", "klein-distilled", "klein")])
def test_a_model_made_for_few_steps_is_told_apart_and_said(family: str, name: str, other: str, small: Small) -> None:
    quick, base = (load(small[family][model]).facts for model in (name, other))
    assert "few steps" in quick["notes"][0]
    assert "notes" not in base
    assert quick["steps"] < base["steps"]
    assert quick["guidance"] < base["guidance"]


@pytest.mark.parametrize(("heads", "version", "least"), [(24, "klein-4b", 7), (32, "klein-9b", 18), (48, "dev", 60)])
def test_what_a_version_of_flux_2_takes_is_known_by_its_width(heads: int, version: str, least: float, small: Small, tmp_path: Path) -> None:
    from studio.runs.advice.facts import base_of
    from studio.runs.advice.habits import memory

    folder = Path(shutil.copytree(small["flux2"]["klein"], tmp_path / "model"))
    path = folder / "transformer/config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "num_attention_heads": heads, "attention_head_dim": 128}), encoding="utf-8")
    base = base_of(Config(base_model=str(folder), train_data_dir=tmp_path))
    assert base.version == version
    assert least < memory(base.size, 1024, 1, checkpointed=True) < 1.4 * least + 3


def test_alpha_is_the_rank_of_the_family_where_neither_is_given(small: Small, tmp_path: Path) -> None:
    from studio.runs.resolve import complete

    made = complete(Config(base_model=str(small["z_image"]["tiny"]), train_data_dir=tmp_path))
    assert (made.lora_rank, made.lora_alpha) == (32, 32)
    assert made.learning_rate == complete(Config(base_model=str(small["qwen_image"]["tiny"]), train_data_dir=tmp_path)).learning_rate * 2


def test_attention_that_another_program_wrote_as_one_layer_is_read(tmp_path: Path, fresh: Fresh) -> None:
    from safetensors.torch import save_file

    bundle, path = fresh("z_image", "tiny"), tmp_path / "a.safetensors"
    down, up = torch.randn(4, 16, generator=rng()), torch.randn(48, 4, generator=rng())
    layer = "lora_unet_layers_1_attention_qkv"
    save_file({f"{layer}.lora_down.weight": down, f"{layer}.lora_up.weight": up, f"{layer}.alpha": torch.tensor(4.0)}, path)
    layers = read_lora(path, families.get("z_image").names, weights(bundle)).layers
    assert list(layers) == [f"transformer.layers.1.attention.to_{part}" for part in "kqv"]
    torch.testing.assert_close(layers["transformer.layers.1.attention.to_k"].up, up[16:32])
