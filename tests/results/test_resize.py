"""A smaller file that draws nearly the same, and says how nearly."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from studio import families
from studio.cli import main
from studio.errors import InputError, ModelError
from studio.formats.lora import read_lora
from studio.results.generate import LoraChoice
from studio.results.lorafile import write
from studio.results.resize import resize
from tests.formats.sd import NAMES, same

from . import small


def silent(done: int, total: int) -> None:
    assert 0 <= done <= total


@pytest.fixture
def moss(tmp_path: Path) -> Path:
    return small.lora(tmp_path / "moss.safetensors", 1, rank=4, alpha=2.0)


def test_the_rank_that_it_has_changes_nothing(moss: Path, tmp_path: Path):
    made = resize(moss, 4, None, silent)
    write(made, tmp_path / "same.safetensors")
    assert made.kept == 1
    assert same(read_lora(moss, NAMES).layers, read_lora(tmp_path / "same.safetensors", NAMES).layers)


def test_a_lower_rank_draws_the_more_alike_the_more_is_kept(moss: Path, tmp_path: Path):
    whole, missed, kept = small.picture([LoraChoice(moss)]), [], []
    for rank in (1, 3):
        made = resize(moss, rank, None, silent)
        write(made, path := tmp_path / f"{rank}.safetensors")
        kept.append(made.kept)
        missed.append(float(np.abs(small.picture([LoraChoice(path)]) - whole).mean()))
    assert 0.2 < kept[0] < kept[1] < 1
    assert missed[0] > missed[1] > 0


def test_a_share_chooses_the_rank_of_each_layer(moss: Path):
    made = resize(moss, None, 0.9, silent)
    assert made.kept >= 0.9
    assert made.ranks[-1] <= 4
    with pytest.raises(InputError, match="Say how small"):
        resize(moss, None, None, silent)


def dora(moss: Path, path: Path) -> Path:
    """The same LoRA with lengths for its rows, half as long again as the base model's."""
    tensors, weights = load_file(moss), families.get("sd").load(families.POCKET, torch.device("cpu"), torch.float32)
    for name in read_lora(moss, NAMES).layers:
        weight = weights[name.partition(".")[0]].get_submodule(name.partition(".")[2]).weight
        tensors[f"{NAMES.in_kohya(name)}.dora_scale"] = 1.5 * weight.detach().flatten(1).norm(dim=1).view(-1, *[1] * (weight.dim() - 1))
    with safe_open(moss, framework="pt") as file:
        save_file(tensors, path, file.metadata())
    return path


def test_a_dora_is_refused_and_said_why(moss: Path, tmp_path: Path):
    with pytest.raises(ModelError, match="is a DoRA: what it changes depends on the weights of the base model"):
        resize(dora(moss, tmp_path / "dora.safetensors"), 2, None, silent)


def test_beside_its_base_model_a_dora_becomes_a_lora(moss: Path, tmp_path: Path):
    path = dora(moss, tmp_path / "dora.safetensors")
    made = resize(path, 128, None, silent, "pocket")
    write(made, tmp_path / "plain.safetensors")
    assert made.kept > 0.999
    expected, base = small.picture([LoraChoice(path)]), small.picture()
    assert np.abs(expected - base).mean() > 0.05
    assert np.abs(small.picture([LoraChoice(tmp_path / "plain.safetensors")]) - expected).mean() < 0.01
    words = ["lora", "merge", str(path), str(moss), "--rank", "4", "--output", str(tmp_path / "both.safetensors")]
    assert main(words) == 2
    assert main([*words, "--base_model", "pocket"]) == 0
    assert resize(path, 4, None, silent, "pocket").kept < 0.9


def test_on_the_command_line(moss: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    words = ["lora", "resize", str(moss), "--output", str(tmp_path / "small.safetensors")]
    assert main([*words, "--keep", "0.8"]) == 0
    assert "of the change is kept" in capsys.readouterr().out
    assert main([*words, "--keep", "8"]) == 2
    assert main([*words, "--rank", "0"]) == 2
