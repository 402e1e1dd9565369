"""Presets hold what their titles promise."""

import pytest

from studio import fields
from studio.errors import InputError
from studio.fields import Given
from studio.pocket import SAMPLES
from studio.runs import presets
from studio.runs.resolve import complete

NEEDED = {key: Given(value, "test") for key, value in presets.YOURS.items()}


def values(name: str) -> dict:
    return {key: given.value for key, given in presets.load(name).settings.items()}


@pytest.mark.parametrize("preset", presets.listed(), ids=lambda preset: preset.name)
def test_each_is_whole(preset):
    config = fields.build(NEEDED, preset.settings)
    assert preset.title != preset.name
    assert preset.about
    assert config.family == "sd"


@pytest.mark.parametrize("preset", presets.listed(), ids=lambda preset: preset.name)
def test_its_file_to_start_from_means_the_same(preset, tmp_path):
    (tmp_path / "my.yaml").write_text(presets.template(preset), encoding="utf-8")
    again = fields.build(fields.read_yaml(tmp_path / "my.yaml"))
    assert again == fields.build(NEEDED, preset.settings)


def test_the_titles_promises():
    assert {"batch_size": 2, "lora_rank": 4, "resolution": 512, "gradient_checkpointing": True}.items() <= values("low-vram").items()
    assert {"lora_rank": 16, "lora_alpha": 32}.items() <= values("high-fidelity").items()
    assert 15 <= values("few-pictures")["epochs"] <= 20
    assert values("few-pictures")["learning_rate"] == 1e-4
    assert values("character")["caption_prefix"].startswith("portrait of [name], in the style of")
    assert {"random_flip": False, "train_text_encoder": True}.items() <= values("product").items()
    assert "[name]" in values("product")["caption_prefix"]
    assert {"lora_targets": ["attention", "feed-forward"], "caption_dropout": 0.1}.items() <= values("style").items()
    assert values("style")["conv_rank"] > 0
    assert values("quick")["max_steps"] <= 300
    assert values("pocket")["learning_rate"] >= 10 * values("style")["learning_rate"]


@pytest.mark.parametrize("name", ["character", "product"])
def test_a_run_waits_until_its_blanks_are_filled_in(name: str):
    needed = NEEDED | {"base_model": Given("pocket", "test"), "train_data_dir": Given(str(SAMPLES / "gameboy"), "test")}
    with pytest.raises(InputError, match=r"caption_prefix: \[name\] is still to be filled in"):
        complete(fields.build(needed, presets.load(name).settings))
    filled = {"caption_prefix": Given("portrait of mika, [sks:1.2] in the style of ink, ", "test")}
    assert complete(fields.build(needed, presets.load(name).settings, filled)).lora_rank == 16


def test_two_presets_are_compared_by_what_they_do():
    rows = {key: (a, b) for key, a, b in presets.differences(presets.load("high-fidelity"), presets.load("low-vram"))}
    assert rows["lora_rank"] == (16, 4)
    assert rows["lora_alpha"] == (32, 4)
    assert rows["gradient_checkpointing"] == (False, True)  # what one leaves open has the default
    assert not {"learning_rate", "family", "base_model", "train_data_dir"} & rows.keys()
    same = presets.save("Same", "", values("low-vram") | {"conv_rank": 0})
    assert presets.differences(presets.load("low-vram"), same) == []


def test_an_unknown_preset_says_which_there_are():
    with pytest.raises(InputError) as caught:
        presets.load("nothing")
    assert "low-vram" in caught.value.fix
