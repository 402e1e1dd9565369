"""Work in the background says how far it is, and ends where it is told to."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from studio.config import Config
from studio.data import report
from studio.ui import tasks


def ended(started: dict[str, Any]) -> dict[str, Any]:
    until = time.monotonic() + 60
    while not (found := tasks.task(started))["ended"]:
        assert time.monotonic() < until
        time.sleep(0.01)
    return found


def test_when_the_server_ends_pictures_that_wait_to_be_looked_at_are_left(tmp_path: Path) -> None:
    for number in range(300):
        Image.new("RGB", (64, 64), (number % 256, 0, 0)).save(tmp_path / f"{number}.png")
    config, seen = Config(base_model="pocket", train_data_dir=tmp_path, missing_captions="empty"), []

    def work(progress: Callable[[int, int], None]) -> dict[str, Any]:
        def follow(done: int, total: int) -> None:
            seen.append(done)
            if done == 5:
                tasks.end()
            progress(done, total)

        return {"pictures": report.check(config, follow).pictures}

    found = ended(tasks.start("Looking", work))
    assert found["cancelled"]
    assert found["result"] is None
    assert max(seen) == 5


def test_what_came_of_it_is_told(tmp_path: Path) -> None:
    found = ended(tasks.start("Counting", lambda progress: {"count": 3}))
    assert (found["result"], found["cancelled"], found["failed"]) == ({"count": 3}, False, "")
