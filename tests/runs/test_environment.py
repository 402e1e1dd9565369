"""On what a run was trained, and what a machine lacks."""

from pathlib import Path

import pytest
import torch

from studio import families
from studio.data.examples import Dataset, Example
from studio.runs import environment

SAME = {"data": "a", "base_model": "b", "device": "cpu", "threads": 2, "torch": "2", "diffusers": "1", "transformers": "5", "safetensors": "0"}


def described(caption: str = "a cat", threads: int = 2) -> dict[str, object]:
    bundle = families.get("sd").load(families.POCKET, torch.device("cpu"), torch.float32)
    found = environment.describe(bundle, Dataset(Path(), (Example(Path("a.png"), "a.png", "0" * 64, (8, 8), caption),), ()), threads)
    assert not bundle.opened, "the weights are hashed where they lie"
    return found


def test_versions_device_data_and_base_model_are_told() -> None:
    found = described()
    assert found.keys() >= set(environment.SAME)
    assert (found["torch"], found["threads"]) == (torch.__version__, 2)
    assert str(found["device"]).startswith("cpu ")
    assert all(found.values())


def test_the_same_is_no_change_and_what_differs_is_named() -> None:
    before = described()
    assert environment.changes(before, described()) == []
    assert environment.changes(before, described(caption="a dog", threads=1)) == ["data", "threads"]


@pytest.mark.parametrize("name", SAME)
def test_each_thing_that_counts_is_noticed(name: str) -> None:
    assert environment.changes(SAME, {**SAME, name: "another"}) == [name]
    assert environment.changes({key: value for key, value in SAME.items() if key != name}, SAME) == [name]


def test_what_does_not_count_is_not_noticed() -> None:
    assert environment.changes({**SAME, "studio": "1", "python": "3.11"}, {**SAME, "studio": "2", "python": "3.12"}) == []


def test_a_machine_with_everything_is_ready() -> None:
    lines, fine = environment.examine()
    assert fine
    assert lines[-1] == "Ready."
    assert any(torch.__version__ in line for line in lines)


def test_a_missing_package_is_named_with_the_way_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "NEEDED", (*environment.NEEDED, "no-such-package"))
    lines, fine = environment.examine()
    assert not fine
    assert "no-such-package  missing: pip install -r requirements.txt" in lines
    assert lines[-1] == "Something is missing."


@pytest.mark.parametrize("place", ["file", "/proc/lora-studio"])
def test_a_workspace_that_cant_be_written_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("STUDIO_HOME", str(tmp_path / place / "deep"))
    lines, fine = environment.examine()
    assert not fine
    assert "The workspace can't be written. Set STUDIO_HOME to a folder that can." in lines


def test_looking_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STUDIO_HOME", str(tmp_path / "home"))
    environment.examine()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
@pytest.mark.parametrize(("built", "words"), [(None, "this PyTorch is a CPU build"), ("13.0", "PyTorch is built for CUDA 13.0, no NVIDIA driver")])
def test_why_there_is_no_cuda_is_said(monkeypatch: pytest.MonkeyPatch, built: str | None, words: str) -> None:
    monkeypatch.setattr(torch.version, "cuda", built)
    monkeypatch.setenv("PATH", "")
    assert any(words in line for line in environment.examine()[0])
