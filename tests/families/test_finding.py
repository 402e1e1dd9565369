"""Where a base model lies and what it is: studio/families/__init__.py."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from studio import families
from studio.errors import InputError, ModelError
from studio.families import POCKET


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STUDIO_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "home" / "models").mkdir(parents=True)
    return tmp_path


def save(path: Path, *names: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: torch.zeros(4, 2048) for name in names}, path)
    return path


def test_a_model_is_found_by_path_by_name_and_inside(workspace: Path) -> None:
    (workspace / "home/models/mine.safetensors").touch()
    (workspace / "here").mkdir()
    assert families.find("pocket") == POCKET
    assert families.find("here").resolve() == workspace / "here"
    assert families.find(str(workspace / "here")) == workspace / "here"
    assert families.find("mine.safetensors") == workspace / "home/models/mine.safetensors"


@pytest.mark.parametrize(
    "name", ["nothing", "./a/b", "../a/b", "/a/b", "~/a", "a/", "a/b/c", "sd/v1-5.safetensors", "sd/v1.ckpt", "my models/v1 5", "a/b..c", "C:\\m\\x"]
)
def test_a_model_that_is_not_there_is_said_without_asking_the_hub(workspace: Path, name: str) -> None:
    with pytest.raises(ModelError) as caught:
        families.find(name)
    assert name in caught.value.what
    assert "diffusers folder" in caught.value.fix


def test_an_unknown_family_names_the_known_ones() -> None:
    with pytest.raises(InputError) as caught:
        families.get("sdxxl")
    assert "sdxxl" in caught.value.what
    assert "sd" in caught.value.fix


def test_another_pipeline_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "WanPipeline"}))
    with pytest.raises(ModelError, match="WanPipeline"):
        families.recognise(tmp_path)


def test_a_folder_without_an_index_is_no_model(tmp_path: Path) -> None:
    shutil.copytree(POCKET / "unet", tmp_path / "unet")
    with pytest.raises(ModelError, match=r"model_index\.json is missing"):
        families.recognise(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", '"StableDiffusionPipeline"'])
def test_a_damaged_index_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "model_index.json").write_text(text)
    with pytest.raises(ModelError, match=r"model_index\.json: can't be read"):
        families.recognise(tmp_path)


def test_a_checkpoint_of_another_kind_is_refused_by_name(tmp_path: Path) -> None:
    path = save(tmp_path / "big.safetensors", "head.modulation")
    with pytest.raises(ModelError, match=r"big\.safetensors.*Wan"):
        families.recognise(path)


def test_a_lora_is_no_base_model(tmp_path: Path) -> None:
    layer = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"
    path = save(tmp_path / "style.safetensors", f"{layer}.lora_down.weight", f"{layer}.lora_up.weight")
    with pytest.raises(ModelError, match="is a LoRA") as caught:
        families.recognise(path)
    assert "init_lora" in caught.value.fix


def test_a_part_of_a_model_is_no_base_model(tmp_path: Path) -> None:
    path = save(tmp_path / "vae.safetensors", "decoder.conv_in.weight")
    with pytest.raises(ModelError, match="no whole base model"):
        families.recognise(path)
