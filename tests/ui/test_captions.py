"""The Dataset tab's captions: written by a captioner, changed by the dozen, taken back; whatever the browser sends."""

import asyncio
import time
import zipfile
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from studio.data import datasets
from studio.errors import InputError
from studio.pocket import SAMPLES
from studio.ui import access, tasks
from studio.ui.tabs import captions, dataset


@pytest.fixture(autouse=True)
def sample() -> None:
    datasets.copy_of(SAMPLES / "gameboy", "gb")


def rows(stamp: str = "") -> dict[str, Any]:
    return dataset.rows({"name": "gb", "stamp": stamp})


def ended(begun: dict[str, Any]) -> dict[str, Any]:
    end = time.monotonic() + 60
    while not tasks.task(begun)["ended"]:
        assert time.monotonic() < end
        time.sleep(0.01)
    return tasks.task(begun)


def test_a_captioner_writes_and_the_rows_say_who_it_was() -> None:
    done = ended(captions.caption({"name": "gb", "captioner": "filename", "overwrite": "all", "prefix": "pixel art of"}))
    assert (done["failed"], done["result"]["written"]) == ("", 40)
    assert rows()["rows"][0] == ["airplane.png", "pixel art of airplane", "filename"]
    assert captions.undo({"name": "gb"})["count"] == 40
    assert rows()["rows"][0] == ["airplane.png", "an airplane", ""]


def test_only_the_pictures_in_view_are_captioned() -> None:
    done = ended(captions.caption({"name": "gb", "captioner": "filename", "overwrite": "all", "only": ["crown.png"]}))
    assert done["result"]["written"] == 1
    assert [row[1:] for row in rows()["rows"][:2]] == [["an airplane", ""], ["an avocado", ""]]


def test_a_captioner_that_cannot_be_opened_says_so_in_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    done = ended(captions.caption({"name": "gb", "captioner": "blip", "overwrite": "all"}))
    assert "is not in the cache" in done["failed"]


def test_changes_are_counted_then_made_then_taken_back() -> None:
    asked = {"name": "gb", "changes": ["trigger=ohwx"], "only": ["airplane.png", "crown.png"]}
    seen = captions.preview(asked)
    assert (seen["count"], seen["edits"][0]) == (2, ("airplane.png", "an airplane", "ohwx, an airplane"))
    stamp = rows()["stamp"]
    assert captions.change(asked)["count"] == 2
    assert rows(stamp)["undoable"]
    assert captions.undo({"name": "gb"}) == {"what": "trigger=ohwx", "count": 2, "left": 0, "undoable": False}
    assert rows(stamp) == {"same": True, "undoable": False}


def test_a_change_by_hand_can_be_taken_back_too() -> None:
    captions.save({"name": "gb", "edits": [["crown.png", "a crown", "a golden crown"]]})
    assert captions.undo({"name": "gb"})["count"] == 1
    assert dict(row[:2] for row in rows()["rows"])["crown.png"] == "a crown"


def test_a_set_is_packed_as_asked_and_fetched_by_its_token_only() -> None:
    done = ended(captions.export({"name": "gb", "form": "kohya", "repeats": 7}))
    url = done["result"]["url"].split("/")
    assert done["result"]["pictures"] == 40

    def fetch(token: str, name: str) -> Response:
        return asyncio.run(captions.packed(Request({"type": "http", "path_params": {"token": token, "name": name}})))

    answer = fetch(url[2], url[3])
    assert isinstance(answer, FileResponse)
    assert "7_gb/airplane.txt" in zipfile.ZipFile(answer.path).namelist()
    for token, name in ((url[2], "../x.zip"), (url[2], "y.zip"), ("..", "looks"), ("0" * 32, url[3])):
        assert fetch(token, name).status_code == 404


@pytest.mark.parametrize("words", [None, [], "trigger=a", ["shout"], ["trigger=a"] * 30])
def test_what_is_no_change_is_refused(words: Any) -> None:
    with pytest.raises(InputError):
        captions.change({"name": "gb", "changes": words})


def test_a_visitor_downloads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "HOUSE", access.House(open=False, demo=True))
    monkeypatch.setattr(access, "dataset", lambda name: datasets.find(name))
    assert all(writer["ready"] for writer in captions.writers({})["writers"])
    for asked in ({"captioner": "wd"}, {"captioner": "filename", "model": "/etc"}):
        with pytest.raises(InputError, match="Nothing is downloaded here"):
            captions.caption({"name": "gb", **asked})
