"""What was seen in pictures, remembered while their files stay as they are: a second look at ten thousand takes a second."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from studio import home
from studio.data.images import Look
from studio.files import write_atomically


@dataclass
class Looks:
    """The looks at the pictures of one folder, by name. Only good for showing: a run looks at every byte itself."""

    path: Path
    rows: dict[str, list[Any]]
    seen: dict[str, list[Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Path) -> "Looks":
        """What is remembered of `folder`."""
        path = _place(folder, "json")
        return cls(path, _read(path))

    def find(self, name: str, file: os.stat_result) -> Look | None:
        """The look at a picture whose file is still what it was."""
        row = self.rows.get(name)
        if row is None or len(row) != 8 or row[:2] != [file.st_mtime_ns, file.st_size]:
            return None
        self.seen[name] = row
        return Look(row[2], (row[3], row[4]), *row[5:])

    def keep(self, name: str, file: os.stat_result, look: Look) -> None:
        """Remember it."""
        self.seen[name] = [file.st_mtime_ns, file.st_size, look.content, *look.size, look.animated, look.sketch, look.blur]

    def save(self) -> None:
        """Write what was seen this time; what is gone is forgotten. Nothing is lost where that fails."""
        if self.seen != self.rows:
            _write(self.path, self.seen)


def remembered(folder: Path, what: str, of: Iterable[str], make: Callable[[], Any]) -> Any:
    """What `make` found out (as JSON holds it) about pictures of the contents `of`, made anew only when these are others."""
    path, key = _place(folder, f"{what}.json"), hashlib.sha256("".join(of).encode()).hexdigest()
    known = _read(path)
    if known.get("of") == key and "found" in known:
        return known["found"]
    found = make()
    _write(path, {"of": key, "found": found})
    return found


def _place(folder: Path, ending: str) -> Path:
    return home.cache() / "looks" / f"{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]}.{ending}"


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(path: Path, content: dict[str, Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(content), durable=False)
    except OSError:
        return
