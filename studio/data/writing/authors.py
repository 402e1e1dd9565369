"""Which captions a captioner wrote, as far as nobody has touched them since: whatever differs is a person's, whoever edited it and with what.

Beside a dataset, in the workspace, lies `machine.jsonl`: each caption is added there before it is saved. So it is a journal too: after a crash,
what was written and not yet saved is still there.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from studio import home

JOURNAL = "machine.jsonl"


@dataclass(frozen=True)
class Written:
    """What a captioner wrote for a picture last, who it was, and in which job."""

    text: str
    by: str
    job: str


def place(folder: Path) -> Path:
    """Where the studio keeps what it knows of a dataset; nothing of it lies among the person's pictures."""
    folder = folder.resolve()
    if folder.parent == home.datasets().resolve():  # by name alone: the workspace may be moved
        return home.about() / folder.name
    return home.about() / f"{folder.name[:40]}-{hashlib.sha256(str(folder).encode()).hexdigest()[:12]}"


def written(folder: Path) -> dict[str, list[Written]]:
    """By picture, what captioners wrote, oldest first. A line that a crash tore off is passed over."""
    found: dict[str, list[Written]] = {}
    path = place(folder) / JOURNAL
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else ():
        try:
            row = json.loads(line)
            found.setdefault(row["name"], []).append(Written(row["text"], row["by"], row["job"]))
        except (ValueError, KeyError, TypeError):
            continue
    return found


def by_machine(folder: Path, captions: dict[str, str]) -> dict[str, str]:
    """By picture, the captioner whose text stands there unchanged."""
    known = written(folder)
    return {
        name: next(one.by for one in reversed(known[name]) if one.text == text)
        for name, text in captions.items()
        if name in known and text and any(one.text == text for one in known[name])
    }


def note(folder: Path, texts: Iterable[tuple[str, str]], by: str, job: str) -> None:
    """Add a batch to the journal; it is on disk when this returns. Raises OSError."""
    path = place(folder) / JOURNAL
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"name": name, "text": text, "by": by, "job": job}, ensure_ascii=False) for name, text in texts]
    with path.open("a+b") as file:
        if file.tell() and not _ends_line(file):
            file.write(b"\n")
        file.write("".join(f"{line}\n" for line in lines).encode())
        file.flush()
        os.fsync(file.fileno())


def _ends_line(file: object) -> bool:
    file.seek(-1, os.SEEK_END)  # type: ignore[attr-defined]
    ended: bool = file.read(1) == b"\n"  # type: ignore[attr-defined]
    return ended
