"""A run is a folder that remembers."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from studio import home
from studio.config import Config
from studio.errors import InputError, MachineError
from studio.events import Note, Started
from studio.runs import run as runs


def config(**settings: object) -> Config:
    return Config(base_model="pocket", train_data_dir=Path("pictures"), **settings)


def test_every_run_has_an_id_of_its_own():
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(lambda _: runs.create(config()).id, range(24)))
    assert len(set(ids)) == 24
    assert [run.id for run in runs.listed()] == sorted(ids)


def test_a_run_at_an_output_dir_is_found_by_id_and_by_folder(tmp_path: Path):
    made = runs.create(config(output_dir=tmp_path / "style one"))
    assert runs.find(made.id).folder == runs.find(str(tmp_path / "style one")).folder == tmp_path / "style one"
    assert list((home.runs() / made.id).iterdir()) == [home.runs() / made.id / "where"]
    assert made.name == "style one"


def test_an_occupied_output_dir_is_refused_with_the_way_out(tmp_path: Path):
    made = runs.create(config(output_dir=tmp_path / "out"))
    with pytest.raises(InputError, match=f"already holds run {made.id}") as caught:
        runs.create(config(output_dir=tmp_path / "out"))
    assert "resume" in caught.value.fix


def test_a_run_that_failed_before_its_first_step_leaves_its_output_dir(tmp_path: Path):
    first = runs.create(config(output_dir=tmp_path / "out"))
    first_id = first.id
    first.update(status="failed", error="no pictures")
    second = runs.create(config(output_dir=tmp_path / "out"))
    assert second.id != first_id
    assert runs.find(first_id).state.error == "no pictures"


def test_a_run_that_has_begun_keeps_its_output_dir(tmp_path: Path):
    made = runs.create(config(output_dir=tmp_path / "out"))
    made.log([Started(step=0, steps=5)])
    made.update(status="failed")
    with pytest.raises(InputError):
        runs.create(config(output_dir=tmp_path / "out"))


def test_an_output_dir_that_cant_be_written_is_refused(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError):
        runs.create(config(output_dir=tmp_path / "file" / "out"))


def test_a_dead_process_leaves_an_interrupted_run():
    made = runs.create(config())
    made.update(status="running")
    assert made.state.status == "interrupted"
    with made.claim():
        assert made.state.status == "running"


def test_a_run_is_claimed_once():
    made = runs.create(config())
    with made.claim(), pytest.raises(InputError, match="is being trained already"), runs.Run(made.folder).claim():
        pass


def test_claiming_counts_attempts_and_takes_the_stop_away():
    made = runs.create(config())
    made.request_stop()
    assert made.stop_requested
    with made.claim():
        assert not made.stop_requested
    assert made.state.attempt == 1


def test_a_torn_line_is_cut_by_the_next_holder():
    made = runs.create(config())
    made.log([Note(text="whole")])
    with (made.folder / "events.jsonl").open("a") as file:
        file.write('{"torn')
    with made.claim():
        made.log([Note(text="after")])
    assert [json.loads(line)["text"] for line in (made.folder / "events.jsonl").read_text().splitlines()] == ["whole", "after"]


def test_the_config_is_what_was_asked_for():
    asked = config(purpose="see", sample_prompts=("a cat",), learning_rate=2e-4)
    assert runs.create(asked).config == asked


def test_an_unknown_run_is_said():
    with pytest.raises(InputError, match="no run EXP-1"):
        runs.find("EXP-1")
