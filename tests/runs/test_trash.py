"""A deleted run can come back to where it was, and nothing that isn't its own goes with it."""

from pathlib import Path

import pytest

from studio import fields, home
from studio.errors import InputError
from studio.fields import Given
from studio.runs import run as shelf
from studio.runs import trash
from studio.runs.run import Run


def made(**settings: object) -> Run:
    given = {"base_model": "pocket", "train_data_dir": ".", **settings}
    run = shelf.create(fields.build({key: Given(value, "") for key, value in given.items()}))
    (run.folder / "checkpoints" / "step-000001").mkdir(parents=True)
    (run.folder / "pytorch_lora_weights.safetensors").write_text("x")
    run.update(status="stopped")
    return run


def test_a_run_goes_and_comes_back_whole():
    run = made()
    before = sorted(path.name for path in run.folder.iterdir() if path.name != "lock")
    name = run.id
    trash.delete(run)
    assert shelf.listed() == []
    assert [one.id for one in trash.listed()] == [name]
    assert trash.restore(name) == Run(home.runs() / name)
    assert sorted(path.name for path in run.folder.iterdir()) == before
    assert shelf.find(name).state.status == "stopped"
    assert trash.listed() == []


def test_what_else_lies_in_an_output_dir_stays(tmp_path: Path):
    run = made(output_dir=str(tmp_path / "out"))
    (run.folder / "holiday.jpg").write_text("mine")
    name = run.id
    trash.delete(run)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["holiday.jpg"]
    trash.restore(name)
    assert shelf.find(name).folder == tmp_path / "out"
    assert (tmp_path / "out" / "holiday.jpg").read_text() == "mine"


def test_an_empty_output_dir_goes_too(tmp_path: Path):
    trash.delete(made(output_dir=str(tmp_path / "out")))
    assert not (tmp_path / "out").exists()


def test_a_run_that_is_trained_stays():
    run = made()
    run.update(status="queued")
    with pytest.raises(InputError, match="Stop it first|waits for its turn"):
        trash.delete(run)


def test_it_doesnt_come_back_over_another_run(tmp_path: Path):
    run = made(output_dir=str(tmp_path / "out"))
    name = run.id
    trash.delete(run)
    made(output_dir=str(tmp_path / "out"))
    with pytest.raises(InputError, match="another run"):
        trash.restore(name)


@pytest.mark.parametrize("name", ["../runs", "/etc", "EXP-1", ""])
def test_only_what_is_in_the_trash_is_deleted_for_good(name: str):
    run = made()
    with pytest.raises(InputError, match="in the trash"):
        trash.purge(name)
    assert run.folder.is_dir()


def test_for_good_is_for_good():
    run = made()
    name = run.id
    trash.delete(run)
    trash.purge(name)
    assert trash.listed() == []
    assert not (home.trash() / name).exists()
