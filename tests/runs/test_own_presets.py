"""Presets of one's own lie beside those that ship."""

import pytest

from studio.errors import InputError
from studio.runs import presets


def test_a_saved_preset_is_found_everywhere_by_its_name():
    made = presets.save("My Neon: look!", "for  neon\nnights", {"lora_rank": 16, "learning_rate": 2e-4, "sample_prompts": ["a", "b: c"]})
    assert (made.name, made.title, made.about, made.own) == ("my-neon-look", "My Neon: look!", "for neon nights", True)
    assert {key: given.value for key, given in presets.load("my-neon-look").settings.items()} == {
        "lora_rank": 16,
        "learning_rate": 2e-4,
        "sample_prompts": ["a", "b: c"],
    }
    assert presets.listed()[-1].name == "my-neon-look"


def test_what_belongs_to_one_run_isnt_kept():
    made = presets.save("Mine", "", {"lora_rank": 2, "train_data_dir": "/home/me", "output_dir": "/home/me/out", "purpose": "x", "name": "y"})
    assert set(made.settings) == {"lora_rank"}


def test_a_taken_name_is_said():
    presets.save("Mine", "", {"lora_rank": 2})
    for title in ("Mine", "Style"):
        with pytest.raises(InputError, match="already"):
            presets.save(title, "", {"lora_rank": 4})
    assert presets.save("Mine", "", {"lora_rank": 4}, over=True).settings["lora_rank"].value == 4


@pytest.mark.parametrize("title", ["", "  ", "../..", "///"])
def test_a_title_without_letters_is_none(title: str):
    with pytest.raises(InputError, match="needs a title"):
        presets.save(title, "", {})


@pytest.mark.parametrize("name", ["style", "../presets/style", "nothing"])
def test_only_ones_own_can_be_deleted(name: str):
    with pytest.raises(InputError):
        presets.delete(name)
    presets.save("Mine", "", {})
    presets.delete("mine")
    assert all(not preset.own for preset in presets.listed())


def test_one_that_cant_be_read_hides_none_of_the_others():
    made = presets.save("Mine", "", {})
    (presets.home.own_presets() / f"{made.name}.yaml").write_text("a: [")
    assert presets.load("style").title
    assert "mine" not in [preset.name for preset in presets.listed()]
