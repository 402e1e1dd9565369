"""What a visitor may see and touch."""

from pathlib import Path
from typing import Any

import pytest

from studio import fields, home
from studio.config import Config
from studio.data import datasets
from studio.errors import InputError
from studio.fields import Given
from studio.pocket import SAMPLES
from studio.runs import run as shelf
from studio.ui import access, visitor
from studio.ui.tabs import captions as captions_tab
from studio.ui.tabs import compare, presets, runs, train
from studio.ui.tabs import dataset as dataset_tab
from studio.ui.visitor import Visitor


def config(**settings: Any) -> Config:
    given = {"base_model": "pocket", "train_data_dir": str(home.datasets() / "mine"), **settings}
    return fields.build({key: Given(value, "") for key, value in given.items()})


@pytest.fixture
def as_visitor(monkeypatch: pytest.MonkeyPatch):
    def become(session: str) -> None:
        visitor._present.set(Visitor("en", session))

    yield become
    visitor._present.set(Visitor())


HOSTILE = ["/etc/passwd", "/proc/self/environ", "~root", "../../../etc", "\x00", "a" * 5000, "/dev/zero", "workspace/../../../etc/hosts"]


@pytest.mark.parametrize("asked", HOSTILE)
def test_nothing_outside_is_opened(asked: str):
    with pytest.raises(InputError, match="opens nothing there"):
        access.path(asked)


def test_a_link_that_leads_out_is_followed_before_it_is_judged(house: access.House):
    (house.began / "innocent").symlink_to("/etc")
    with pytest.raises(InputError):
        access.path(house.began / "innocent" / "passwd")


def test_on_the_own_machine_the_folder_it_was_started_in_is_open(house: access.House):
    (house.began / "data").mkdir()
    assert access.path(house.began / "data") == house.began / "data"
    house.open = False
    with pytest.raises(InputError):
        access.path(house.began / "data")
    home.datasets().mkdir(parents=True)
    assert access.path(home.datasets()) == home.datasets()


def test_registered_folders_are_open_on_the_own_machine_only(house: access.House, tmp_path: Path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with pytest.raises(InputError):
        access.path(elsewhere)
    datasets.register(elsewhere)
    assert access.path(elsewhere) == elsewhere
    house.open = False
    with pytest.raises(InputError):
        access.path(elsewhere)


@pytest.mark.parametrize("key", ["train_data_dir", "metadata_path", "prior_data_dir", "init_lora", "output_dir", "base_model"])
def test_each_path_of_a_config_is_looked_at(key: str):
    with pytest.raises(InputError, match="opens nothing there"):
        access.limited(config(**{key: "/etc/ssl"}))
    assert access.limited(config()).base_model == "pocket"


def test_paths_in_an_uploaded_yaml_are_looked_at():
    with pytest.raises(InputError, match="opens nothing there"):
        presets.read({"text": "output_dir: /etc/cron.d\n", "name": "evil.yaml"})
    assert presets.read({"text": "lora_rank: 4\n"})["values"] == {"lora_rank": 4}


@pytest.mark.parametrize("path", ["/etc/passwd", "", "\x00", None, 7, "../x"])
def test_only_what_was_uploaded_counts_as_uploaded(path: Any):
    with pytest.raises(InputError, match="not uploaded"):
        access.uploaded(path)
    with pytest.raises(InputError):
        dataset_tab.bring({"files": [{"name": "a.png", "path": path}]})


@pytest.mark.parametrize(
    "ask",
    [
        lambda: dataset_tab.folders({"at": "/etc"}),
        lambda: dataset_tab.choose({"folder": "/etc"}),
        lambda: dataset_tab.choose({"name": "../../etc"}),
        lambda: dataset_tab.choose({"sample": "../base"}),
        lambda: dataset_tab.rows({"name": "/etc"}),
        lambda: captions_tab.save({"name": "..", "edits": [["a", "b", "c"]]}),
        lambda: train.start({"settings": {"base_model": "pocket", "train_data_dir": "/etc"}}),
        lambda: train.stop({"run": "/etc"}),
        lambda: runs.about({"run": "../.."}),
        lambda: runs.note({"run": "/tmp", "text": "x"}),
        lambda: runs.purge({"runs": ["../runs"]}),
        lambda: compare.draw({"loras": [{"file": "/etc/passwd"}], "prompts": "a", "strengths": [1]}),
        lambda: compare.draw({"loras": [{"run": "/etc"}], "prompts": "a", "strengths": [1]}),
        lambda: compare.draw({"loras": [], "prompts": "a <lora:/etc/hosts.safetensors:1>", "strengths": [1]}),
        lambda: compare.draw({"loras": [], "prompts": "a", "strengths": [1], "base": "/etc"}),
        lambda: compare.keep({"job": "../x", "number": 0, "verdict": "good", "run": "x"}),
    ],
)
def test_no_answer_leads_out(ask: Any):
    with pytest.raises(InputError):
        ask()


class TestDemo:
    """A public Space without a login shows each visitor only what is their own."""

    @pytest.fixture(autouse=True)
    def demo(self, house: access.House):
        house.open, house.demo = False, True

    def test_runs_of_others_are_not_there(self, as_visitor: Any):
        as_visitor("aaaaaaaaaaaaaaaa")
        mine = shelf.create(config())
        access.own(mine)
        assert [run.id for run in access.runs()] == [mine.id]
        as_visitor("bbbbbbbbbbbbbbbb")
        assert access.runs() == []
        with pytest.raises(InputError, match="no run"):
            train.stop({"run": mine.id})
        as_visitor("")
        assert access.runs() == []

    def test_datasets_of_others_are_not_there(self, as_visitor: Any):
        as_visitor("aaaaaaaaaaaaaaaa")
        dataset_tab.choose({"sample": "gameboy"})
        assert [known.name for known in access.datasets()] == ["aaaaaaaaaaaa-gameboy"]
        as_visitor("bbbbbbbbbbbbbbbb")
        assert access.datasets() == []
        with pytest.raises(InputError):
            dataset_tab.rows({"name": "aaaaaaaaaaaa-gameboy"})

    def test_sizes_and_steps_are_capped_and_no_path_is_taken(self, as_visitor: Any, tmp_path: Path):
        as_visitor("aaaaaaaaaaaaaaaa")
        folder = dataset_tab.choose({"sample": "gameboy"})["folder"]
        assert access.limited(config(train_data_dir=folder)).max_steps == access.CAPS["max_steps"]
        for wrong in (
            {"max_steps": 5000},
            {"resolution": 1024},
            {"lora_rank": 512},
            {"rank_pattern": {"mid_block": 512}},
            {"output_dir": str(tmp_path)},
            {"prior_data_dir": str(SAMPLES / "gameboy")},
            {"base_model": "org/name"},
            {"train_data_dir": str(SAMPLES / "gameboy")},
        ):
            with pytest.raises(InputError, match="demonstration"):
                access.limited(config(**{"train_data_dir": folder, **wrong}))

    def test_no_folder_is_opened_and_nothing_shared_is_changed(self, as_visitor: Any):
        as_visitor("aaaaaaaaaaaaaaaa")
        for ask in (
            lambda: access.path(home.home()),
            lambda: presets.save({"title": "x", "settings": {}}),
            lambda: presets.delete({"name": "x"}),
            lambda: runs.deleted({}),
        ):
            with pytest.raises(InputError):
                ask()
