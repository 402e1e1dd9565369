"""The Presets tab is asked for settings: it answers with values that can be trained and their reasons in each language."""

import time
from pathlib import Path
from typing import Any

import pytest

from studio import fields
from studio.data import datasets
from studio.errors import InputError
from studio.fields import Given
from studio.language import LANGUAGES
from studio.pocket import SAMPLES
from studio.ui import access, form, tasks
from studio.ui.tabs.recommend import recommend


def outcome(asked: dict[str, Any]) -> dict[str, Any]:
    begun = recommend(asked)
    while not (state := tasks.task(begun))["ended"]:
        time.sleep(0.01)
    assert state["failed"] == ""
    return state["result"]


@pytest.fixture
def folder() -> str:
    return str(datasets.copy_of(SAMPLES / "gameboy", access.mine("gameboy")).folder)


def test_every_value_has_its_reason_in_every_language(folder: str):
    found = outcome({"folder": folder, "base_model": "pocket"})
    for code in LANGUAGES:
        assert found["said"][code]["reasons"].keys() == found["values"].keys()
    assert "40 pictures" in found["said"]["en"]["about"]
    assert "40 张图片" in found["said"]["zh"]["about"]
    assert form.faults({"base_model": "pocket", "train_data_dir": folder, **found["values"]}) == []


def test_what_is_recommended_in_a_demonstration_may_be_trained_there(folder: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(access.HOUSE, "demo", True)
    mine = str(datasets.copy_of(SAMPLES / "gameboy", access.mine("gameboy")).folder)
    values = {"base_model": "pocket", "train_data_dir": mine, **outcome({"folder": mine})["values"]}
    access.limited(fields.build({key: Given(value, "") for key, value in values.items()}))
    with pytest.raises(InputError, match="paths are not taken"):
        recommend({"folder": folder})
    with pytest.raises(InputError, match="only the small model"):
        recommend({"folder": mine, "base_model": "org/name"})


def test_only_what_the_visitor_may_open_is_looked_at(folder: str, tmp_path: Path):
    with pytest.raises(InputError, match="no pictures to recommend settings for"):
        recommend({"folder": ""})
    outside = tmp_path.parent / "outside"
    outside.mkdir(exist_ok=True)
    for asked in ({"folder": str(outside)}, {"folder": folder, "base_model": "/etc"}, {"folder": folder, "metadata_path": "/etc/passwd"}):
        with pytest.raises(InputError, match="opens nothing there"):
            recommend(asked)
