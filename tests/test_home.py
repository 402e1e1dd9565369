"""Where things lie."""

from pathlib import Path

import pytest

from studio import home

PLACES = {"datasets": home.datasets, "runs": home.runs, "models": home.models, "cache": home.cache}


def test_everything_lies_below_the_workspace(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STUDIO_HOME", str(tmp_path / "of mine"))
    assert home.home() == tmp_path / "of mine"
    assert {name: place() for name, place in PLACES.items()} == {name: tmp_path / "of mine" / name for name in PLACES}


def test_asking_makes_no_folders() -> None:
    assert [place() for place in PLACES.values() if place().exists()] == []
    assert not home.home().exists()


@pytest.mark.parametrize("setting", [None, ""])
def test_without_a_setting_it_is_the_folder_workspace(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, setting: str | None) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STUDIO_HOME")
    if setting is not None:
        monkeypatch.setenv("STUDIO_HOME", setting)
    assert home.home() == tmp_path / "workspace"


def test_a_relative_workspace_and_one_at_home_become_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    found = []
    for setting in ("here/it is", "~/studio"):
        monkeypatch.setenv("STUDIO_HOME", setting)
        found.append(home.home())
    assert found == [tmp_path / "here" / "it is", tmp_path / "me" / "studio"]


def test_the_presets_that_ship_are_there() -> None:
    assert (home.presets() / "style.yaml").is_file()
