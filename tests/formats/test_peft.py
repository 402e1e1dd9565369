"""PEFT opens the folder, and the part answers as with the LoRA added by hand."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from studio.errors import ModelError
from studio.formats.lora import LoraLayer, read_lora
from studio.formats.peft import write_peft

from .conftest import outputs
from .sd import NAMES, random_layer, same


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # PEFT asks transformers by an old name
def test_peft_reads_what_is_written_with_every_rank_and_alpha(tmp_path: Path, pipeline: Any, layers: dict[str, LoraLayer], by_hand: Any):
    from peft import PeftModel

    folders = write_peft(tmp_path / "moss-peft", layers, "org/base")
    assert sorted(folder.name for folder in folders) == ["text_encoder", "unet"]
    models = {folder.name: PeftModel.from_pretrained(copy.deepcopy(getattr(pipeline, folder.name)), folder) for folder in folders}
    for found, expected in zip(outputs(models["unet"], models["text_encoder"]), by_hand(layers), strict=True):
        assert torch.allclose(found, expected, atol=1e-4)
    assert not torch.allclose(expected, outputs(pipeline.unet, pipeline.text_encoder)[1], atol=1e-2)
    settings = json.loads((folders[0] / "adapter_config.json").read_text())
    assert (settings["peft_type"], settings["base_model_name_or_path"]) == ("LORA", "org/base")


def test_the_magnitude_of_dora_is_kept(tmp_path: Path):
    from peft import PeftModel
    from torch import nn

    plain = random_layer((6, 4), 2, 2.0)
    (folder,) = write_peft(tmp_path, {"unet.first": LoraLayer(plain.down, plain.up, 2.0, torch.arange(1.0, 7.0))}, "")
    model = nn.Sequential()
    model.add_module("first", nn.Linear(4, 6, bias=False))
    wrapped = PeftModel.from_pretrained(model, folder).merge_and_unload()
    assert torch.allclose(wrapped.first.weight.norm(dim=1), torch.arange(1.0, 7.0), atol=1e-4)


def test_what_is_written_comes_back_with_every_rank_and_alpha(tmp_path: Path, layers: dict[str, LoraLayer], known: dict[str, tuple[int, ...]]):
    for folder in write_peft(tmp_path, layers, "org/base"):
        back = read_lora(folder / "adapter_model.safetensors", NAMES, known)
        assert same(back.layers, {name: layer for name, layer in layers.items() if name.startswith(f"{folder.name}.")})
        assert back.warnings == ()


def test_settings_that_are_none_are_refused(tmp_path: Path, layers: dict[str, LoraLayer]):
    folder = write_peft(tmp_path, layers, "org/base")[0]
    (folder / "adapter_config.json").write_text("[1]")
    with pytest.raises(ModelError, match="damaged"):
        read_lora(folder / "adapter_model.safetensors", NAMES)
