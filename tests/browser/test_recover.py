"""A server that dies leaves nothing lost: the run is interrupted, goes on, and every window shows the same."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from studio import fields
from studio.fields import Given
from studio.pocket import SAMPLES
from studio.runs import run as shelf
from studio.runs.resolve import complete
from tests.browser.app import free_port, settle, start


def state(page: Any, name: str, seconds: float = 90) -> None:
    settle(page, f"document.querySelector('#train .state')?.textContent === '{name}'", seconds)


def test_killed_while_it_trains_it_goes_on_after_a_restart(chrome: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("STUDIO_HOME", str(tmp_path))
    settings = {"base_model": "pocket", "train_data_dir": str(SAMPLES / "gameboy"), "max_steps": 40, "batch_size": 2, "save_steps": 3, "threads": 1}
    config = fields.build({key: Given(value, "") for key, value in {**settings, "validation_steps": 0}.items()})
    run, port = shelf.create(complete(config), waits=True).folder, free_port()
    app = start(tmp_path, port=port)
    context = chrome.new_context(viewport={"width": 1440, "height": 900}, locale="en-US")
    page = context.new_page()
    page.goto(f"{app.url}/#train")
    settle(page, "parseInt(document.querySelector('#train .v-step')?.textContent) >= 6", 150)
    app.process.send_signal(signal.SIGKILL)
    app.process.wait()
    settle(page, "document.querySelector('#top .lost:not([hidden])') !== null", 30)
    again = start(tmp_path, port=port)
    try:
        page.goto(f"{again.url}/#train")
        state(page, "Interrupted")
        step = page.evaluate("parseInt(document.querySelector('#train .v-step').textContent)")
        assert step >= 3
        other = context.new_page()
        other.goto(f"{again.url}/#train")
        state(other, "Interrupted")
        page.click("#train .resume")
        state(other, "Training")
        other.click("#train .stop")
        state(page, "Stopped")
        page.click("#train .resume")
        state(page, "Finished", 150)
        assert page.locator("#train .log").inner_text().count("Goes on from step") == 2
    finally:
        context.close()
        again.end()
    losses = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    assert max(event["first"] + len(event["loss"]) for event in losses if event["event"] == "steps") == 40
