"""One file draws what several drew together."""

from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from studio.cli import main
from studio.errors import InputError, ModelError
from studio.formats.kohya import write_kohya
from studio.formats.lora import LoraLayer, read_lora
from studio.formats.metadata import kohya_metadata
from studio.results.generate import LoraChoice
from studio.results.lorafile import write
from studio.results.merge import merge
from tests.formats.sd import NAMES, random_layer

from . import small


def silent(done: int, total: int) -> None:
    assert 0 <= done <= total


@pytest.fixture
def pair(tmp_path: Path) -> list[LoraChoice]:
    """Two LoRA of different ranks and alphas, the second on the UNet only, one of them turned round."""
    return [
        LoraChoice(small.lora(tmp_path / "moss.safetensors", 1, rank=4, alpha=2.0), 0.8),
        LoraChoice(small.lora(tmp_path / "rust.safetensors", 2, rank=2, alpha=2.0, only="unet"), -0.5),
    ]


@pytest.mark.parametrize("form", ["kohya", "diffusers"])
def test_merging_draws_what_both_draw_together(pair: list[LoraChoice], tmp_path: Path, form: str):
    made = merge(pair, None, silent)
    write(made, tmp_path / "both.safetensors", form)
    together, alone, merged = small.picture(pair), small.picture(), small.picture([LoraChoice(tmp_path / "both.safetensors")])
    assert np.abs(together - alone).mean() > 0.05
    assert np.abs(together - merged).max() <= 2 / 255
    assert made.kept == 1
    assert made.ranks == [4, 6]


def test_a_rank_bounds_every_layer_and_the_loss_is_said(pair: list[LoraChoice], tmp_path: Path):
    made = merge(pair, 3, silent)
    assert made.ranks == [3]
    assert 0.3 < made.kept < 1
    whole = merge(pair, None, silent)
    assert merge(pair, 6, silent).kept == whole.kept == 1


def test_what_it_was_made_from_stands_in_the_file(pair: list[LoraChoice], tmp_path: Path):
    paths = write(merge(pair, None, silent), tmp_path / "out" / "both.safetensors", "both", "fp16")
    assert [path.name for path in paths] == ["both.safetensors", "both_diffusers.safetensors"]
    for path in paths:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            name = next(name for name in file.keys() if not name.endswith("alpha"))  # noqa: SIM118 - no mapping
            assert file.get_tensor(name).element_size() == 2
        assert metadata["modelspec.merged_from"] == "moss.safetensors:0.8, rust.safetensors:-0.5"
        assert metadata["modelspec.trigger_phrase"] == "moss, rust"
        assert metadata["ss_base_model_version"] == "sd_v1_v"
        assert metadata["modelspec.title"] == "both"
    with pytest.raises(InputError, match="there already"):
        write(merge(pair, None, silent), paths[0])


def other(path: Path, layers: dict[str, LoraLayer], kind: str = "sd1") -> Path:
    write_kohya(path, layers, NAMES, kohya_metadata({"kind": kind, "name": path.stem, "lora_rank": 2, "lora_alpha": 2, "resolution": 64}))
    return path


def test_files_for_different_models_are_refused_by_both_names(pair: list[LoraChoice], tmp_path: Path):
    name = next(iter(read_lora(pair[0].path, NAMES).layers))
    second = other(tmp_path / "second.safetensors", {name: random_layer((128, 128), 2, 2.0)}, "sd2")
    with pytest.raises(ModelError, match=r"moss.safetensors is made for Stable Diffusion 1.x, second.safetensors for Stable Diffusion 2.x"):
        merge([pair[0], LoraChoice(second)], None, silent)
    wider = other(tmp_path / "wider.safetensors", {name: random_layer((64, 32), 2, 2.0)})
    with pytest.raises(ModelError, match="another shape in wider.safetensors than in moss.safetensors"):
        merge([pair[0], LoraChoice(wider)], None, silent)
    with pytest.raises(InputError, match="at least two"):
        merge(pair[:1], None, silent)


def test_on_the_command_line(pair: list[LoraChoice], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    words = [f"{choice.path}:{choice.strength}" for choice in pair]
    assert main(["lora", "merge", *words, "--output", str(tmp_path / "both.safetensors"), "--rank", "2"]) == 0
    said = capsys.readouterr().out
    assert "both.safetensors" in said
    assert "Rank 2; " in said
    assert "of the change is kept" in said
    assert main(["lora", "merge", *words, "--output", str(tmp_path / "both.pt")]) == 2
