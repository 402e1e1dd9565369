"""The LoRA of any checkpoint, as files for other programs."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from studio.cli import main
from studio.errors import InputError
from studio.families.sd import StableDiffusion
from studio.formats.lora import LoraFile, read_lora
from studio.results.export import export
from studio.results.generate import LoraChoice
from studio.runs.run import Run

from . import small

SETTINGS = {"lora_rank": 4, "lora_alpha": 2.0, "conv_rank": 2, "train_text_encoder": True, "keep_checkpoints": 2}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STUDIO_HOME", str(folder / "home"))
        patch.setenv("STUDIO_DEVICE", "cpu")
        small.made(small.pictures(folder / "data"), output_dir=folder / "style", name=None, resolution=32, **SETTINGS)
    return folder / "style"


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Run:
    """A finished run with the checkpoints of steps 4 and 6."""
    return Run(Path(shutil.copytree(trained, tmp_path / "style")))


def same(one: LoraFile, other: LoraFile) -> bool:
    return one.layers.keys() == other.layers.keys() and all(
        torch.equal(layer.down, other.layers[name].down) and torch.equal(layer.up, other.layers[name].up) and layer.alpha == other.layers[name].alpha
        for name, layer in one.layers.items()
    )


def read(path: Path) -> LoraFile:
    return read_lora(path, StableDiffusion.names)


def steps_of(path: Path) -> str:
    with safe_open(path, framework="pt") as file:
        return str(file.metadata()["ss_steps"])


def test_the_newest_checkpoint_gives_the_runs_own_files_again(run: Run) -> None:
    paths = [run.folder / "pytorch_lora_weights.safetensors", run.folder / "exports" / "style.safetensors"]
    before = [read(path) for path in paths]
    for path in paths:
        path.unlink()
    assert list(export(run)) == paths
    assert all(same(read(path), one) for path, one in zip(paths, before, strict=True))
    assert {layer.alpha / layer.rank for layer in before[0].layers.values()} == {0.5}
    assert {name.partition(".")[0] for name in before[0].layers} == {"unet", "text_encoder"}


def test_an_earlier_checkpoint_gives_that_steps_lora(run: Run) -> None:
    newest = read(run.folder / "pytorch_lora_weights.safetensors")
    ours, others = export(run, 4)
    assert steps_of(ours) == steps_of(others) == "4"
    assert same(read(ours), read(others))
    assert not same(read(ours), newest)


def test_a_run_that_counted_steps_names_no_epochs(run: Run) -> None:
    with safe_open(export(run)[1], framework="pt") as file:
        assert "ss_epoch" not in file.metadata(), "max_steps was set, so the ten of the settings mean nothing"


def test_a_step_without_a_checkpoint_names_those_there_are(run: Run) -> None:
    with pytest.raises(InputError, match="no checkpoint of step 2") as caught:
        export(run, 2)
    assert caught.value.fix == "There are: 4, 6."


def test_a_damaged_checkpoint_is_not_exported(run: Run) -> None:
    (run.folder / "checkpoints" / "step-000006" / "adapter.safetensors").write_bytes(b"torn")
    assert steps_of(export(run)[0]) == "4"
    with pytest.raises(InputError, match="no checkpoint of step 6"):
        export(run, 6)


def test_without_a_checkpoint_it_says_what_to_do(run: Run) -> None:
    shutil.rmtree(run.folder / "checkpoints")
    with pytest.raises(InputError, match="has no checkpoint yet") as caught:
        export(run)
    assert "Resume" in caught.value.fix


def test_on_the_command_line_it_prints_the_files(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(run.folder), "--step", "4"]) == 0
    assert [Path(line).name for line in capsys.readouterr().out.splitlines()] == ["pytorch_lora_weights.safetensors", "style.safetensors"]


def test_other_formats_and_precisions_lie_beside(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(run.folder), "--format", "all", "--precision", "fp16"]) == 0
    lines = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert [path.name for path in lines[:2]] == ["pytorch_lora_weights.safetensors", "style.safetensors"]
    assert {path.name for path in lines[2:]} == {"text_encoder", "unet"}
    layer = next(iter(read(lines[0]).layers.values()))
    assert (layer.down.dtype, layer.alpha / layer.rank) == (torch.float16, 0.5)
    assert (run.folder / "exports" / "style-peft" / "unet" / "adapter_config.json").is_file()


def test_merged_into_the_base_model_it_draws_the_same(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    target = run.folder.parent / "whole"
    assert main(["export", str(run.folder), "--merged", str(target)]) == 0
    assert Path(capsys.readouterr().out.strip()) == target
    together = small.picture([LoraChoice(run.folder / "pytorch_lora_weights.safetensors")])
    assert np.abs(together - small.picture(base=str(target))).max() <= 2 / 255
    assert main(["export", str(run.folder), "--merged", str(target)]) == 2
