"""The form is made from the settings, and says what follows from them."""

import shutil
from pathlib import Path

import pytest

from studio import fields
from studio.fields import Given
from studio.pocket import SAMPLES
from studio.ui import form


def named(groups: list[dict]) -> dict[str, dict]:
    return {field["name"]: field for group in groups for field in group["fields"]}


def test_every_setting_is_in_the_form_but_those_asked_elsewhere():
    assert set(named(form.groups())) == {name for _, name, _ in fields.settings()} - form.ELSEWHERE


def test_a_field_says_what_it_takes():
    found = named(form.groups())
    assert (found["lora_rank"]["kind"], found["lora_rank"]["default"], found["lora_rank"]["title"]) == ("number", 16, "LoRA rank")
    assert found["lr_scheduler"]["choices"] == ["constant", "cosine", "linear"]
    assert (found["random_flip"]["kind"], found["sample_prompts"]["kind"], found["train_data_dir"]["kind"]) == ("switch", "list", "path")
    assert found["learning_rate"]["bounds"]["gt"] == 0


def test_what_is_typed_is_read_as_a_file_would_be():
    typed = form.typed(
        {"learning_rate": " 2e-4 ", "lora_rank": "16", "caption_prefix": "1e3", "sample_prompts": ["a", "b"], "seed": "", "random_flip": True}
    )
    assert typed == {"learning_rate": 2e-4, "lora_rank": 16, "caption_prefix": "1e3", "sample_prompts": ["a", "b"], "random_flip": True}


def test_ranks_by_layer_are_written_one_a_line():
    assert named(form.groups())["rank_pattern"]["kind"] == "mapping"
    typed = form.typed({"rank_pattern": "mid_block: 32\n*.to_q: 4"})
    assert form.faults({"base_model": "pocket", "train_data_dir": ".", **typed}) == []
    assert fields.build({key: Given(value, "") for key, value in {"base_model": "pocket", "train_data_dir": ".", **typed}.items()}).rank_pattern == {
        "mid_block": 32,
        "*.to_q": 4,
    }
    assert form.typed({"rank_pattern": {}}) == {}


def test_all_faults_come_at_once_with_their_settings():
    found = {
        fault.key
        for fault in form.faults({"base_model": "pocket", "train_data_dir": ".", "lora_rank": "x", "epochs": 0, "learning_rte": 1, "keep_tokens": 2})
    }
    assert {"lora_rank", "epochs", "learning_rte"} <= found
    assert [fault.key for fault in form.faults({"base_model": "pocket", "train_data_dir": ".", "keep_tokens": 2})] == ["keep_tokens"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"epochs": 3, "batch_size": 4}, {"steps": 27, "epochs": 3.0}),  # 36 pictures are trained on
        ({"max_steps": 18, "batch_size": 4}, {"steps": 18, "epochs": 2.0}),
        ({"epochs": 2, "batch_size": 4, "gradient_accumulation_steps": 2, "num_repeats": 2}, {"steps": 18, "epochs": 2.0}),
        ({"epochs": 1, "batch_size": 4, "validation_steps": 0}, {"steps": 10, "epochs": 1.0}),
    ],
)
def test_steps_and_epochs_are_those_of_the_trainer(values: dict, expected: dict):
    follows = form.consequences(values, SAMPLES / "gameboy")
    assert follows["pictures"] == 40
    assert {key: follows[key] for key in expected} == expected


def test_the_learning_scale_knows_rslora():
    assert form.consequences({"lora_rank": 16, "lora_alpha": 8}, None)["scale"] == 0.5
    assert form.consequences({"lora_rank": 16, "lora_alpha": 8, "use_rslora": True}, None)["scale"] == 2.0


def test_one_wrong_value_doesnt_hide_what_follows_from_the_others():
    assert form.consequences({"lora_rank": "x", "max_steps": 7}, None)["steps"] == 7


def test_an_empty_folder_has_no_length(tmp_path: Path):
    shutil.copy(SAMPLES / "gameboy" / "metadata.csv", tmp_path)
    assert "steps" not in form.consequences({}, tmp_path)


def test_what_is_unusual_is_noted():
    assert "learning_rate" in form.consequences({"learning_rate": 1.0}, None)["notes"]
