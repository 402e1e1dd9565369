"""What a tuned model has learned comes out as a LoRA that draws the same on the base model."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from studio import families
from studio.cli import main
from studio.errors import ModelError
from studio.formats.kohya import write_kohya
from studio.formats.lora import read_lora
from studio.formats.metadata import kohya_metadata
from studio.results.baked import bake
from studio.results.extract import extract
from studio.results.generate import LoraChoice
from studio.results.lorafile import write
from studio.results.merge import merge
from studio.training.lora import weights
from tests.families import tiny
from tests.formats.sd import NAMES, delta, random_layer

from . import small


def silent(done: int, total: int) -> None:
    assert 0 <= done <= total


@pytest.fixture
def moss(tmp_path: Path) -> Path:
    return small.lora(tmp_path / "moss.safetensors", 1, rank=3, alpha=3.0)


@pytest.fixture
def tuned(moss: Path, tmp_path: Path) -> Path:
    """The pocket model with the LoRA added to its weights."""
    folder = Path(shutil.copytree(families.POCKET, tmp_path / "tuned"))
    layers = read_lora(moss, NAMES).layers
    for part, file, inserted in (("unet", "diffusion_pytorch_model.safetensors", ""), ("text_encoder", "model.safetensors", "text_model.")):
        path = folder / part / file
        tensors = {name: tensor.float() for name, tensor in load_file(path).items()}
        for name, layer in layers.items():
            if name.startswith(f"{part}."):
                key = f"{inserted}{name.removeprefix(part + '.')}.weight"
                key = key if key in tensors else key.removeprefix(inserted)
                tensors[key] += delta(layer).reshape(tensors[key].shape)
        save_file(tensors, path, {"format": "pt"})
    return folder


def test_it_gives_the_loras_picture_back(moss: Path, tuned: Path, tmp_path: Path):
    made = extract(str(tuned), "pocket", 3, silent)
    write(made, tmp_path / "back.safetensors", precision="fp32")
    assert made.kept > 0.999
    assert made.ranks == [3]
    assert made.layers.keys() == read_lora(moss, NAMES).layers.keys()
    original, base = small.picture([LoraChoice(moss)]), small.picture()
    back = small.picture([LoraChoice(tmp_path / "back.safetensors")])
    assert np.abs(original - base).mean() > 0.05
    assert np.abs(original - back).mean() < 0.01
    assert np.abs(small.picture(base=str(tuned)) - original).mean() < 0.01


def test_a_lower_rank_says_what_is_lost(tuned: Path):
    assert 0.3 < extract(str(tuned), "pocket", 1, silent).kept < 0.99


def test_other_changes_are_left_out_and_said(tuned: Path):
    path = tuned / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    name = next(name for name in tensors if name.endswith("norm1.bias"))
    save_file({**tensors, name: tensors[name] + 1}, path, {"format": "pt"})
    assert extract(str(tuned), "pocket", 1, silent).notes == ("Norms and biases differ too. A LoRA can't hold that; it is left out.",)


@pytest.mark.parametrize("name", ["sdxl", "sd3", "flux"])
def test_every_family_is_merged_baked_and_taken_out_again(name: str, tmp_path: Path):
    source = getattr(tiny, name)(tmp_path / "model")
    family = families.get(name)
    known = weights(family.load(source, torch.device("cpu"), torch.float32))
    choices, sums = [], {}
    for seed in (1, 2):
        layers = {layer: random_layer(shape, 2, 1.0, 100 * seed + at) for at, (layer, shape) in enumerate(known.items()) if "attn" in layer}
        facts = {"kind": name, "name": str(seed), "lora_rank": 2, "lora_alpha": 1.0, "resolution": 1024}
        write_kohya(path := tmp_path / f"{seed}.safetensors", layers, family.names, kohya_metadata(facts))
        choices.append(LoraChoice(path))
        sums = {layer: sums.get(layer, 0) + delta(found) for layer, found in layers.items()}
    write(merge(choices, None, silent), tmp_path / "both.safetensors")
    bake(str(source), read_lora(tmp_path / "both.safetensors", family.names, known).layers, tmp_path / "baked", silent)
    made = extract(str(tmp_path / "baked"), str(source), 4, silent)
    assert (made.layers.keys(), made.kind, made.notes) == (sums.keys(), name, ())
    assert all(torch.allclose(delta(layer), sums[found], atol=1e-5) for found, layer in made.layers.items())


def test_models_of_other_shapes_have_no_difference(tuned: Path):
    path = tuned / "unet" / "config.json"
    text = path.read_text()
    path.write_text(text.replace('"cross_attention_dim": 128', '"cross_attention_dim": 1024'))
    assert path.read_text() != text
    with pytest.raises(ModelError, match=r"tuned is Stable Diffusion 2.x, base is Stable Diffusion 1.x"):
        extract(str(tuned), "pocket", 1, silent)


def test_the_same_model_twice_leaves_nothing_to_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    words = ["lora", "extract", "--tuned", "pocket", "--base_model", "pocket", "--rank", "2", "--output", str(tmp_path / "x.safetensors")]
    assert main(words) == 2
    assert "no change in any layer" in capsys.readouterr().err


def test_on_the_command_line(tuned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    output = tmp_path / "x.safetensors"
    assert main(["lora", "extract", "--tuned", str(tuned), "--base_model", "pocket", "--rank", "2", "--output", str(output)]) == 0
    assert "Rank 2; " in capsys.readouterr().out
    assert torch.is_tensor(next(iter(load_file(output).values())))
