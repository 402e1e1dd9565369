"""The lower part of the Compare tab: files are looked into, put together and made smaller; nothing is opened that isn't the visitor's."""

import time
from pathlib import Path
from typing import Any

import pytest

from studio import home
from studio.errors import InputError
from studio.ui import access, tasks
from studio.ui.tabs import files
from tests.results import small


@pytest.fixture(autouse=True)
def shelf() -> Path:
    """Two LoRA files below models/."""
    home.models().mkdir(parents=True)
    small.lora(home.models() / "moss.safetensors", 1)
    small.lora(home.models() / "rust.safetensors", 2)
    return home.models()


def ended(begun: dict[str, Any]) -> dict[str, Any]:
    end = time.monotonic() + 60
    while not (state := tasks.task(begun))["ended"]:
        assert time.monotonic() < end
        time.sleep(0.02)
    return state


def test_a_file_is_looked_into():
    found = ended(files.inspect({"file": {"file": "moss"}}))["result"]
    assert ("Made for", "Stable Diffusion 1.x") in found["facts"]
    assert found["groups"][0]["sort"] == "attention"
    assert all(norm > 0 for _, norm in found["norms"])


def test_what_is_unsafe_is_refused_in_a_sentence(shelf: Path):
    (shelf / "bad.safetensors").write_bytes(b"<!DOCTYPE html><html>")
    state = ended(files.inspect({"file": {"file": "bad"}}))
    assert (state["failed"], state["result"]) == ("bad.safetensors is a web page, not a model.", None)
    with pytest.raises(InputError, match="not uploaded here"):
        files.inspect({"file": {"upload": str(shelf / "moss.safetensors")}})
    with pytest.raises(InputError, match="Choose a LoRA file"):
        files.inspect({})


def test_what_is_made_lies_with_the_models(shelf: Path):
    both = [{"file": "moss", "weight": "0.5"}, {"file": "rust", "weight": 1}]
    result = ended(files.merge({"files": both, "name": "both", "format": "both", "precision": "fp16"}))["result"]
    assert [name for name, _ in result["files"]] == ["both.safetensors", "both_diffusers.safetensors"]
    assert result["said"] == ["Rank 8; 100.00% of the change is kept."]
    smaller = ended(files.resize({"file": {"file": "both"}, "rank": 2, "name": "tiny"}))["result"]
    assert smaller["files"][0][1] == (shelf / "tiny.safetensors").stat().st_size < (shelf / "both.safetensors").stat().st_size / 2
    with pytest.raises(InputError, match="there already"):
        files.resize({"file": {"file": "both"}, "rank": 2, "name": "tiny"})


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "x" * 81])
def test_a_name_stays_a_name(name: str):
    with pytest.raises(InputError, match="Give the new file a name"):
        files.resize({"file": {"file": "moss"}, "rank": 2, "name": name})


def test_extracting_says_what_is_missing(tmp_path: Path):
    with pytest.raises(InputError, match="Give both models"):
        files.extract({"tuned": "pocket", "base": "", "rank": 2, "name": "x"})
    with pytest.raises(InputError, match="which rank"):
        files.extract({"tuned": "pocket", "base": "pocket", "name": "x"})
    with pytest.raises(InputError, match="the app opens nothing there"):
        files.extract({"tuned": "/etc/passwd", "base": "pocket", "rank": 2, "name": "x"})
    state = ended(files.extract({"tuned": "pocket", "base": "pocket", "rank": 2, "name": "x"}))
    assert state["failed"] == "Nothing is left to write: there is no change in any layer."


def test_a_demonstration_makes_no_files(house: access.House):
    house.demo = True
    with pytest.raises(InputError, match="looked into, not made"):
        files.merge({"files": [], "name": "both"})
    with pytest.raises(InputError, match="no LoRA called moss"):
        files.inspect({"file": {"file": "moss"}})
