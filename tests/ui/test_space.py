"""On a Space: where things lie, what is said, and a GPU that is lent to a visitor's own request."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from studio import home
from studio.pocket import SAMPLES
from studio.runs import chunks, jobs
from studio.runs import run as shelf
from studio.runs.mirror import Mirror
from studio.ui import drawing, space
from studio.ui.tabs import compare, train
from tests.browser.app import ROOT
from tests.runs import zero


@pytest.fixture
def lending(monkeypatch: pytest.MonkeyPatch):
    """ZeroGPU's stand-in."""
    monkeypatch.setenv("SPACES_ZERO_GPU", "1")
    monkeypatch.setitem(sys.modules, "spaces", zero)
    monkeypatch.setattr(space, "_piece", space.lent(60)(chunks.piece))
    monkeypatch.setattr(jobs, "queue", jobs.Queue(ending=True))  # nobody else trains


def asked(**data: Any) -> tuple[Any, Any]:
    return SimpleNamespace(**data), SimpleNamespace(cookies={}, headers={})


def test_elsewhere_nothing_is_different(monkeypatch: pytest.MonkeyPatch):
    assert space.settle() is None
    assert space.notices(None) == []
    assert space.lent(5)(len) is len


def test_a_bucket_is_brought_back_and_the_work_is_done_beside_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    bucket = tmp_path / "bucket"
    (tmp_path / "before" / "runs" / "A").mkdir(parents=True)
    (tmp_path / "before" / "runs" / "A" / "state.json").write_text("{}")
    bucket.mkdir()
    Mirror(tmp_path / "before", bucket).copy_out()
    monkeypatch.setenv("SPACE_ID", "anna/studio")
    monkeypatch.setenv("STUDIO_HOME", str(bucket))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "local"))
    mirror = space.settle()
    assert mirror is not None
    assert mirror.bucket == bucket
    assert home.home() == tmp_path / "local" / "studio"
    assert (home.runs() / "A" / "state.json").is_file()
    assert space.notices(mirror) == []


def test_without_a_bucket_the_page_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("SPACE_ID", "anna/studio")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("STUDIO_HOME", str(tmp_path / "not-mounted"))
    assert space.settle() is None
    assert "no bucket" in space.notices(None)[0]


def test_a_training_is_carried_by_the_request_that_asks(lending: None):
    settings = {
        "base_model": "pocket",
        "train_data_dir": str(SAMPLES / "gameboy"),
        "max_steps": 3,
        "lora_rank": 2,
        "validation_steps": 0,
        "threads": 1,
    }
    home.datasets().mkdir(parents=True)
    (home.datasets() / "set").symlink_to(SAMPLES / "gameboy")
    from studio.runs.resolve import complete
    from studio.ui import form

    config = complete(train.fields.build({key: train.Given(value, "") for key, value in form.typed(settings).items()}))
    run = shelf.create(config, waits=True)
    zero.CALLS.clear()
    for _ in space.train(*asked(run=run.id)):
        pass
    assert run.state.status == "finished"
    assert zero.CALLS


def test_pictures_are_drawn_by_the_request_that_asks(lending: None):
    answer = compare.draw({"loras": [], "prompts": "a cat", "strengths": [1], "steps": 2, "guidance": 4})
    assert answer["zero"]
    for _ in space.draw(*asked(job=answer["job"])):
        pass
    assert sorted(drawing.job(answer["job"], "").images) == [0, 1]


def test_the_page_has_the_events_for_it(tmp_path: Path):
    code = (
        "import sys; from tests.runs import zero; sys.modules['spaces'] = zero; from studio.ui import opening; from studio.ui import app, space; "
        "blocks = app.page(); print({function.fn for function in blocks.fns.values()} >= {space.train, space.draw}, space._piece.__wrapped__)"
    )
    surroundings = {"SPACES_ZERO_GPU": "1", "STUDIO_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=surroundings, capture_output=True, text=True, timeout=90)
    assert done.stdout.startswith("True <function piece"), done.stderr
