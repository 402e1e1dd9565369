"""A LoRA goes where other programs look for theirs; the folders are given once, and nobody else's file is written over."""

import json
import time
from pathlib import Path

import pytest

from studio.cli import main
from studio.errors import InputError
from studio.formats.inspect import inspect
from studio.results import sending
from studio.runs.run import Run
from studio.ui import access, tasks
from studio.ui.tabs import runs

from . import small


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("moss")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STUDIO_HOME", str(folder / "home"))
        patch.setenv("STUDIO_DEVICE", "cpu")
        return small.made(small.pictures(folder / "data"), name="moss", resolution=32, max_steps=2, sample_prompts=["a tree"])


@pytest.fixture
def programs(tmp_path: Path) -> list[Path]:
    """A1111 and ComfyUI as they are installed."""
    for inside in ("webui/models/Lora", "comfy/models/loras"):
        (tmp_path / inside).mkdir(parents=True)
    return [tmp_path / "webui", tmp_path / "comfy"]


def test_folders_are_given_once(run: Run, programs: list[Path], capsys: pytest.CaptureFixture[str]):
    assert main(["export", str(run.folder), "--send"]) == 2
    assert "No folder is set" in capsys.readouterr().err
    assert main(["export", str(run.folder), "--send", *map(str, programs)]) == 0
    expected = [programs[0] / "models/Lora/moss.safetensors", programs[1] / "models/loras/moss.safetensors"]
    assert [Path(line) for line in capsys.readouterr().out.splitlines()] == expected
    for path in expected:
        path.unlink()
    assert main(["export", str(run.folder), "--send"]) == 0
    assert sorted(path.name for path in expected[0].parent.iterdir()) == ["moss.json", "moss.png", "moss.safetensors"]
    assert inspect(expected[1]).training["title"] == "moss"


def test_another_lora_of_that_name_stays(run: Run, programs: list[Path]):
    sending.remember(programs[:1])
    other = small.lora(programs[0] / "models/Lora/moss.safetensors", 1)
    before = other.read_bytes()
    with pytest.raises(InputError, match="another LoRA of the same name"):
        sending.send(run)
    assert other.read_bytes() == before


def test_a_folder_that_is_not_there_is_said(tmp_path: Path):
    with pytest.raises(InputError, match="there is no such folder"):
        sending.remember([tmp_path / "nowhere"])
    assert sending.folders() == []


def test_in_the_app_a_folder_is_taken_on_the_own_machine_only(run: Run, programs: list[Path], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(access, "run", lambda name: run)
    monkeypatch.setattr(access, "HOUSE", access.House(open=True))
    assert runs.send({"run": "moss"}) == {"folder": True}
    begun = runs.send({"run": "moss", "folder": str(programs[1])})
    while not (state := tasks.task(begun))["ended"]:
        time.sleep(0.02)
    assert json.loads(json.dumps(state["result"])) == {"sent": [str(programs[1] / "models/loras/moss.safetensors")]}
    access.HOUSE.open = False
    with pytest.raises(InputError, match="Who runs this studio sets the folder"):
        runs.send({"run": "moss", "folder": str(programs[0])})
    access.HOUSE.demo = True
    with pytest.raises(InputError, match="doesn't do that"):
        runs.merged({"run": "moss"})
