"""Pictures that a person kept of a run, with a note and a verdict: a line each in verdicts.jsonl, the pictures beside it."""

import json
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

from studio.runs.run import Run

VERDICTS = ("good", "so-so", "bad")


@dataclass(frozen=True)
class Verdict:
    """A kept picture: what it shows (everything needed to draw it again), and what the person thinks of it."""

    number: int
    verdict: str
    note: str
    picture: dict[str, Any] = field(default_factory=dict)
    time: float = 0.0


def keep(run: Run, image: bytes, picture: dict[str, Any], verdict: str, note: str) -> Verdict:
    """Keep a PNG with the run. Raises OSError."""
    folder = run.folder / "verdicts"
    folder.mkdir(exist_ok=True)
    with FileLock(folder / ".lock"):
        number = max((kept.number for kept in listed(run)), default=0) + 1
        (folder / f"{number:03d}.png").write_bytes(image)
        kept = Verdict(number, verdict, note, picture, round(time.time(), 1))
        with (run.folder / "verdicts.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(kept), ensure_ascii=False) + "\n")
    return kept


def listed(run: Run) -> list[Verdict]:
    """What was kept, oldest first. A torn line is passed over."""
    found = []
    with suppress(FileNotFoundError):
        for line in (run.folder / "verdicts.jsonl").read_text(encoding="utf-8").splitlines():
            with suppress(ValueError, TypeError):
                found.append(Verdict(**json.loads(line)))
    return found


def picture(run: Run, number: int) -> Path:
    """Where the picture of a verdict is."""
    return run.folder / "verdicts" / f"{number:03d}.png"
