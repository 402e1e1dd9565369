"""TensorBoard through the app's own port."""

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from studio import fields
from studio.errors import InputError
from studio.events import Started, Steps
from studio.fields import Given
from studio.runs import run as shelf
from studio.runs.board import Board
from studio.runs.run import Run
from studio.ui import tensorboard
from tests.browser.app import App, running


def made(home: Path | None = None) -> Run:
    run = shelf.create(fields.build({"base_model": Given("pocket", ""), "train_data_dir": Given(".", "")}))
    board = Board(run.folder)
    board.log([Started(step=0, steps=2), Steps(first=0, loss=(0.5, 0.25), grad_norm=(1.0, 1.0), learning_rate=(1e-4, 1e-4), seconds=1, examples=1)])
    board.close()
    run.update(status="finished")
    return run


@pytest.fixture(autouse=True)
def ended() -> Iterator[None]:
    yield
    tensorboard.end()


def ask(path: str) -> httpx.Response:
    return httpx.get(f"http://127.0.0.1:{tensorboard._board.port}/tensorboard/{path}", timeout=20, trust_env=False)


def test_it_shows_the_chosen_runs_and_begins_anew_for_others():
    first, second = made(), made()
    assert tensorboard.start([first]) == "tensorboard/"
    until = time.monotonic() + 30
    while not (shown := ask("data/runs").json()) and time.monotonic() < until:
        time.sleep(0.2)
    assert shown == [first.id]
    process = tensorboard._board.process
    tensorboard.start([first])
    assert tensorboard._board.process is process
    tensorboard.start([first, second])
    assert process.poll() is not None
    until = time.monotonic() + 30
    while len(shown := ask("data/runs").json()) < 2 and time.monotonic() < until:
        time.sleep(0.2)
    assert sorted(shown) == [first.id, second.id]
    tags = ask("data/plugin/scalars/tags").json()[first.id]
    assert "Loss/train" in tags


def test_without_logs_there_is_nothing_to_show(tmp_path: Path):
    with pytest.raises(InputError, match="no logs"):
        tensorboard.start([Run(tmp_path)])


def test_it_ends_with_the_server_however_that_ends(tmp_path: Path):
    home = tmp_path / "home"
    run = home / "runs" / "EXP-20260101-01"
    (run / "logs").mkdir(parents=True)
    (run / "config.yaml").write_text("base_model: pocket\ntrain_data_dir: .\n")
    (run / "state.json").write_text(json.dumps({"id": run.name, "status": "stopped"}))
    with running(home) as app:
        assert httpx.get(f"{app.url}/tensorboard/").status_code == 404
        _start(app, run.name)
        answer = httpx.get(f"{app.url}/tensorboard/")
        assert answer.status_code == 200
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        children = _children(app.process.pid)
        assert children
        app.process.send_signal(signal.SIGKILL)
        app.process.wait()
        until = time.monotonic() + 15
        while any(Path(f"/proc/{child}").exists() for child in children) and time.monotonic() < until:
            time.sleep(0.2)
        assert not [child for child in children if Path(f"/proc/{child}").exists()]


def _start(app: App, run: str) -> None:
    """Ask as the page does: the part's own function, by the component's number."""
    config = httpx.get(f"{app.url}/config").json()
    part = next(one for one in config["components"] if one["props"].get("elem_id") == "train")
    body = {"data": {"runs": [run]}, "component_id": part["id"], "fn_name": "board", "session_hash": "x"}
    answer = httpx.post(f"{app.url}/gradio_api/component_server/", json=body, timeout=90)
    assert answer.json()["ok"], answer.text


def _children(process: int) -> list[int]:
    return [
        int(child)
        for task in Path(f"/proc/{process}/task").iterdir()
        for child in (task / "children").read_text().split()
        if Path(f"/proc/{child}").exists()
    ]
