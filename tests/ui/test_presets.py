"""The Presets tab's answers: files come in, presets go out and are compared."""

from pathlib import Path

import pytest

from studio.errors import InputError
from studio.runs import presets as shelf
from studio.ui import access
from studio.ui.tabs import presets

THEIRS = 'network_dim = 8\nnetwork_alpha = 4\nclip_skip = 2\noutput_dir = "/home/them"\nlr_scheduler = "cosine"\n'


def test_a_file_of_another_trainer_fills_the_form_and_says_what_it_left_out():
    answer = presets.read({"text": THEIRS, "name": "theirs.toml"})
    assert answer["values"] == answer["values"] | {"lora_rank": 8, "lora_alpha": 4}
    assert (answer["program"], answer["title"]) == ("sd-scripts", "theirs")
    assert {note["key"] for note in answer["left_out"]} == {"clip_skip", "output_dir"}
    assert not presets.form.faults({"base_model": "pocket", "train_data_dir": ".", **answer["values"]})


def test_what_is_pasted_needs_no_name():
    assert presets.read({"text": THEIRS})["program"] == "sd-scripts"
    assert presets.read({"text": '{"network_dim": 8, "LoRA_type": "Standard"}'})["program"] == "kohya_ss"
    assert presets.read({"text": "lora_rank: 8"})["values"] == {"lora_rank": 8}
    with pytest.raises(InputError, match="unknown setting"):
        presets.read({"text": "network_dim: 8"})


def test_settings_without_a_dataset_read_as_yaml_too():
    answer = presets.check({"settings": {"base_model": "pocket", "lora_rank": "8"}})
    assert list(answer["faults"]) == ["train_data_dir"]
    assert presets.read({"text": answer["yaml"]})["values"] == {"base_model": "pocket", "lora_rank": 8}
    assert presets.check({"settings": {"lora_rank": "x"}})["yaml"] == ""


def test_a_preset_is_shared_as_a_file_that_comes_in_again():
    made = shelf.save("Mine", "for nights", {"lora_rank": 4})
    shared = presets.share({"name": made.name})
    again = presets.read({"text": shared["text"], "name": shared["name"]})
    assert (again["title"], again["about"], again["values"]) == ("Mine", "for nights", {"lora_rank": 4})
    assert again["adapted"] == again["left_out"] == []


def test_only_presets_that_are_shown_are_shared_and_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "secret.yaml").write_text("lora_rank: 3\n")
    made = shelf.save("Mine", "", {"lora_rank": 4})
    assert ["lora_rank", "LoRA rank", "16", "4"] in presets.differ({"a": "style", "b": made.name})["rows"]
    monkeypatch.setattr(access.HOUSE, "demo", True)
    for name in (str(tmp_path / "secret.yaml"), made.name, None, "../style"):
        with pytest.raises(InputError, match="There is no preset"):
            presets.share({"name": name})
        with pytest.raises(InputError, match="There is no preset"):
            presets.differ({"a": "style", "b": name})


def test_settings_that_mean_nothing_for_the_base_model_are_told_and_wrong(tmp_path: Path):
    flow = {"timestep_sampling", "flow_shift"}
    assert set(presets.check({"settings": {"base_model": "pocket"}})["idle"]) == flow
    (tmp_path / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    answer = presets.check({"settings": {"base_model": str(tmp_path), "snr_gamma": "5", "flow_shift": "3"}})
    assert {"snr_gamma", "conv_rank", "train_text_encoder"} <= set(answer["idle"])
    assert not flow & set(answer["idle"])
    assert "means nothing for this base model" in answer["faults"]["snr_gamma"]
    assert "flow_shift" not in answer["faults"]
    assert set(presets.check({"settings": {"base_model": "org/not-here-yet", "family": "sdxl"}})["idle"]) == flow
    assert presets.check({"settings": {"base_model": "org/not-here-yet"}})["idle"] == []
