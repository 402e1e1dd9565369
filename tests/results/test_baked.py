"""A model with the LoRA in its weights draws, without it, what the two drew together."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from studio import families
from studio.errors import InputError
from studio.formats.lora import LokrLayer, LoraLayer, read_lora
from studio.results.baked import bake, changed
from studio.results.generate import LoraChoice
from studio.results.precision import stored
from tests.families import ldm
from tests.formats.sd import NAMES, delta, random_layer

from . import small


def silent(done: int, total: int) -> None:
    assert 0 <= done < total


def layers(tmp_path: Path) -> tuple[Path, dict[str, LoraLayer]]:
    path = small.lora(tmp_path / "moss.safetensors", 1)
    return path, read_lora(path, NAMES).layers


def test_it_draws_what_base_and_lora_drew(tmp_path: Path):
    path, read = layers(tmp_path)
    bake("pocket", read, tmp_path / "baked", silent)
    together = small.picture([LoraChoice(path)])
    assert np.abs(together - small.picture()).mean() > 0.05
    assert np.abs(together - small.picture(base=str(tmp_path / "baked"))).max() <= 2 / 255
    assert sorted(path.name for path in tmp_path.iterdir()) == ["baked", "moss.safetensors"]
    with pytest.raises(InputError, match="there already"):
        bake("pocket", read, tmp_path / "baked", silent)


def test_parts_that_stay_are_copied_and_a_precision_is_taken(tmp_path: Path):
    _, read = layers(tmp_path)
    only = {name: layer for name, layer in read.items() if name.startswith("unet.")}
    bake("pocket", only, tmp_path / "same", silent)
    bake("pocket", only, tmp_path / "half", silent, torch.bfloat16)
    for part, file in (("vae", "diffusion_pytorch_model.safetensors"), ("text_encoder", "model.safetensors")):
        assert (tmp_path / "same" / part / file).read_bytes() == (families.POCKET / part / file).read_bytes()
    assert stored(tmp_path / "same") == stored(families.POCKET)
    assert stored(tmp_path / "half") == torch.bfloat16
    assert np.abs(small.picture(base=str(tmp_path / "half")) - small.picture(base=str(tmp_path / "same"))).mean() < 0.05


def test_a_single_file_becomes_a_folder_that_diffusers_opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from diffusers import StableDiffusionPipeline

    assets = tmp_path / "assets"
    folder = ldm.narrow(assets, "sd15")
    monkeypatch.setattr("studio.families.sd.ASSETS", assets)
    (assets / "clip").symlink_to(ldm.ASSETS / "clip")
    models = ldm.random_models(folder)
    source = ldm.write(tmp_path / "base.safetensors", ldm.checkpoint(models, "sd1"))
    name = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    before = models["unet"].get_submodule(name).weight.detach().clone()
    layer = random_layer(tuple(before.shape), 2, 4.0)
    bake(str(source), {f"unet.{name}": layer}, tmp_path / "baked", silent)
    opened = StableDiffusionPipeline.from_pretrained(tmp_path / "baked", local_files_only=True)
    assert torch.allclose(opened.unet.get_submodule(name).weight, before + delta(layer), atol=1e-6)
    assert json.loads((tmp_path / "baked" / "model_index.json").read_text())["unet"] == ["diffusers", "UNet2DConditionModel"]
    assert len(opened.tokenizer) == 49408
    vae = load_file(tmp_path / "baked" / "vae" / "diffusion_pytorch_model.safetensors")
    assert all(torch.equal(tensor, vae[name]) for name, tensor in models["vae"].state_dict().items())


def test_dora_and_lokr_are_added_as_they_act():
    weight = torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    layer = random_layer((6, 4, 3, 3), 2, 1.0)
    dora = changed(weight, LoraLayer(layer.down, layer.up, layer.alpha, torch.arange(1.0, 7.0)))
    assert torch.allclose(dora.flatten(1).norm(dim=1), torch.arange(1.0, 7.0), atol=1e-5)
    assert torch.allclose(
        torch.nn.functional.normalize(dora.flatten(1)), torch.nn.functional.normalize((weight + delta(layer)).flatten(1)), atol=1e-5
    )
    matrix, w1, w2 = torch.zeros(6, 4), torch.randn(2, 2), torch.randn(3, 2)
    assert torch.allclose(changed(matrix, LokrLayer(w1, w2, 7.0)), torch.kron(w1, w2))
    inner, outer = torch.randn(3, 1), torch.randn(1, 2)
    assert torch.allclose(changed(matrix, LokrLayer(w1, inner, 0.5, outer)), 0.5 * torch.kron(w1, inner @ outer))
