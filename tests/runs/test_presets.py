"""Presets hold what their titles promise."""

import itertools
import re

import pytest

from studio import fields
from studio.errors import InputError
from studio.families import FAMILIES
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
    assert config.family in FAMILIES


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


# GB in 16 bits, and for a picture of 1024 pixels (Stable Diffusion: 512) with activations kept and computed twice, of what each preset is for.
NEEDS = {"sd": (1.7, 1.1, 0.3), "sdxl": (5.1, 7.9, 1.4), "sd35": (16.3, 25.0, 2.6), "flux": (23.8, 32.0, 3.5)}
NEEDS |= {"zimage": (12.3, 23.0, 2.4), "qwen": (40.9, 42.0, 3.1), "klein": (7.8, 17.0, 2.2), "flux2": (64.0, 74.0, 5.6)}
SHARES = {"16bit": 1.0, "8bit": 0.5, "4bit": 0.28}
SIZED = [preset for preset in presets.listed() if preset.memory]


@pytest.mark.parametrize("preset", SIZED, ids=lambda preset: preset.name)
def test_a_preset_for_a_memory_fits_it_and_says_by_how_much(preset):
    config = fields.build(NEEDED, preset.settings)
    weights, kept, twice = NEEDS[preset.name.split("-")[0]]
    scale = (config.resolution / (512 if config.family == "sd" else 1024)) ** 2
    picture = (twice if config.gradient_checkpointing else kept) * scale
    need = weights * SHARES[config.load_in] + config.batch_size * picture
    assert need <= 0.88 * preset.memory, "a sixth or so stays for the LoRA, its optimizer and what else a card shows"
    said = [float(number) for number in re.findall(r"([\d.]+\d|\d) GB", preset.about)]
    assert any(abs(number - need) < 1 for number in said), f"{need:.1f} GB in {preset.about}"
    assert preset.settings.keys() >= {"batch_size", "resolution", "lora_rank", "lora_alpha", "learning_rate"}


def test_presets_for_more_memory_come_later_and_do_more():
    by_kind: dict = {}
    for preset in SIZED:
        by_kind.setdefault(preset.name.split("-")[0], []).append(preset)
    assert {kind: [preset.memory for preset in found] for kind, found in by_kind.items()} == {
        "sd": [8, 12, 24],
        "sdxl": [8, 12, 16, 24, 80],
        "sd35": [12, 16, 24, 80],
        "flux": [12, 16, 24, 80],
        "flux2": [80],
        "klein": [12, 16, 24, 80],
        "qwen": [24, 80],
        "zimage": [12, 16, 24, 80],
    }
    for found in by_kind.values():
        values = [{key: given.value for key, given in preset.settings.items()} for preset in found]
        assert all(one != other for one, other in itertools.pairwise(values))
        assert [value["lora_rank"] for value in values] == sorted(value["lora_rank"] for value in values)


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
