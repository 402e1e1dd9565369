"""Drawing in the background: pictures as they come, cancel, and a job that a reload finds again."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from studio import home
from studio.errors import InputError
from studio.ui import drawing
from studio.ui.tabs import compare


def until(true: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture(autouse=True)
def all_ended() -> Iterator[None]:
    yield
    for job in drawing._known.values():
        job.cancelled = True
    until(lambda: all(job.ended for job in drawing._known.values() if job.work is not None))
    drawing._known.clear()


def asked(**changes: Any) -> dict[str, Any]:
    return {"loras": [], "prompts": "a cat\n\na red car ", "strengths": [1], "seed": 3, "steps": 2, "guidance": 4, "base": "pocket", **changes}


def test_pictures_come_and_stay():
    job = compare.draw(asked())["job"]
    until(lambda: compare.look({"job": job})["job"]["ended"])
    found = compare.look({"job": job})["job"]
    assert (found["prompts"], found["columns"], sorted(found["images"]), found["error"]) == (["a cat", "a red car"], ["0", "1"], [0, 1, 2, 3], "")
    sheet = drawing.sheet(drawing.job(job, ""))
    path = home.cache() / "sheet.png"
    path.write_bytes(sheet)
    with Image.open(path) as picture:
        assert '"a red car"' in picture.text["parameters"]
    drawing._known.clear()  # the server begins anew
    assert sorted(compare.look({"job": job})["job"]["images"]) == [0, 1, 2, 3]


def test_cancel_takes_effect_within_a_step():
    job = compare.draw(asked(steps=150, prompts="\n".join("abcdefgh")))["job"]
    until(lambda: compare.look({"job": job})["job"]["part"] > 0)
    compare.cancel({"job": job})
    began = time.monotonic()
    until(lambda: compare.look({"job": job})["job"]["ended"])
    assert time.monotonic() - began < 5
    assert compare.look({"job": job})["job"]["images"] == []


def test_a_new_job_takes_the_place_of_the_visitors_old_one():
    old = compare.draw(asked(steps=150))["job"]
    new = compare.draw(asked())["job"]
    until(lambda: compare.look({"job": new})["job"]["ended"])
    assert compare.look({"job": old})["job"]["cancelled"]
    assert len(compare.look({"job": new})["job"]["images"]) == 4


def test_anothers_job_is_not_there():
    job = drawing.Job("somebody", ["a"], ["0"], {})
    drawing._known[job.id] = job
    with pytest.raises(InputError, match="gone"):
        compare.look({"job": job.id})


@pytest.mark.parametrize(
    "wrong",
    [
        {"prompts": " \n "},
        {"prompts": "\n".join(map(str, range(25)))},
        {"strengths": [3]},
        {"strengths": ["x"]},
        {"strengths": None},
        {"steps": 0},
        {"steps": "many"},
        {"seed": -1},
        {"guidance": float("nan")},
        {"loras": "all"},
        {"loras": [{"file": "nothing"}]},
        {"prompts": "a <lora:nothing:1>"},
    ],
)
def test_what_cant_be_drawn_is_said(wrong: dict[str, Any]):
    with pytest.raises(InputError):
        compare.draw(asked(**wrong))


def test_a_size_that_the_model_cant_draw_is_said():
    job = compare.draw(asked(width=63))["job"]
    until(lambda: compare.look({"job": job})["job"]["ended"])
    assert "multiple of" in compare.look({"job": job})["job"]["error"]


def test_a_sheet_waits_for_all_its_pictures():
    job = drawing.Job("", ["a", "b"], ["0"], {}, images=[0])
    with pytest.raises(InputError, match="Not all"):
        drawing.sheet(job)


def test_the_base_is_always_beside_it():
    job = compare.draw(asked(strengths=[0.5, -1, 0.5]))["job"]
    assert compare.look({"job": job})["job"]["columns"] == ["0", "-1", "0.5"]
    compare.cancel({"job": job})


def test_names_lead_only_to_what_is_there(tmp_path: Path):
    with pytest.raises(InputError, match="no LoRA"):
        compare.finder([])("run")
