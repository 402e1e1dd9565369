"""A smaller file that draws nearly the same, and says how nearly."""

from pathlib import Path

import numpy as np
import pytest

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


def test_a_dora_is_refused_and_said_why(moss: Path, tmp_path: Path):
    import torch
    from safetensors.torch import load_file, save_file

    tensors = load_file(moss)
    name = next(name for name in tensors if name.endswith("lora_up.weight"))
    save_file({**tensors, name.replace("lora_up.weight", "dora_scale"): torch.ones(len(tensors[name]))}, tmp_path / "dora.safetensors")
    with pytest.raises(ModelError, match="is a DoRA: what it changes depends on the weights of the base model"):
        resize(tmp_path / "dora.safetensors", 2, None, silent)


def test_on_the_command_line(moss: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    words = ["lora", "resize", str(moss), "--output", str(tmp_path / "small.safetensors")]
    assert main([*words, "--keep", "0.8"]) == 0
    assert "of the change is kept" in capsys.readouterr().out
    assert main([*words, "--keep", "8"]) == 2
    assert main([*words, "--rank", "0"]) == 2
