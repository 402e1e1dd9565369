"""What a program would lose is said, and refused when the file is for that program."""

from pathlib import Path

import pytest

from studio.cli import main
from studio.results.loading import NAMES
from studio.runs.run import Run
from studio.ui import access
from studio.ui.tabs import runs

from . import small


@pytest.fixture(scope="module")
def dora(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose LoRA one of the programs doesn't read as it is meant."""
    folder = tmp_path_factory.mktemp("dora")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STUDIO_HOME", str(folder / "home"))
        patch.setenv("STUDIO_DEVICE", "cpu")
        return small.made(small.pictures(folder / "data"), name="moss", adapter="dora", resolution=32, max_steps=2)


def test_a_program_that_would_lose_something_is_refused_unless_told_otherwise(dora: Run, capsys: pytest.CaptureFixture[str]):
    path = dora.folder / "exports" / "moss.safetensors"
    path.unlink()
    assert main(["export", str(dora.folder), "--for", "a1111"]) == 2
    said = capsys.readouterr().err
    assert "A1111 reads" in said
    assert "DoRA" in said
    assert "--anyway" in said
    assert not path.exists()
    assert main(["export", str(dora.folder), "--for", "a1111", "--anyway"]) == 0
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert Path(first) == path
    assert "A1111: " in second


def test_a_program_that_reads_it_whole_gets_its_file(dora: Run, capsys: pytest.CaptureFixture[str]):
    assert main(["export", str(dora.folder), "--for", "diffusers"]) == 0
    assert capsys.readouterr().out.splitlines()[0].endswith("pytorch_lora_weights.safetensors")


def test_every_program_can_be_asked_for(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["export", "--help"])
    assert ",".join(NAMES) in capsys.readouterr().out.replace("\n", "").replace(" ", "")


def test_the_app_says_it_of_the_run(dora: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(access, "run", lambda name: dora)
    loads = {program: why for program, _, why in runs.about({"run": "moss"})["loads"]}
    assert "doesn't read DoRA" in loads["A1111"]
    assert "in a way of its own" in loads["ComfyUI"]
