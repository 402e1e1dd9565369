"""Presets hold what their titles promise."""

import pytest

from studio import fields
from studio.errors import InputError
from studio.fields import Given
from studio.runs import presets

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
    assert values("pocket")["learning_rate"] >= 10 * values("style")["learning_rate"]


def test_an_unknown_preset_says_which_there_are():
    with pytest.raises(InputError) as caught:
        presets.load("nothing")
    assert "low-vram" in caught.value.fix
