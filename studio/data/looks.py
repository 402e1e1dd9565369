"""What was seen in pictures, remembered while their files stay as they are: a second look at ten thousand takes a second."""

import hashlib
import json
import os
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
        path = home.cache() / "looks" / f"{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]}.json"
        try:
            rows = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            rows = {}
        return cls(path, rows if isinstance(rows, dict) else {})

    def find(self, name: str, file: os.stat_result) -> Look | None:
        """The look at a picture whose file is still what it was."""
        row = self.rows.get(name)
        if row is None or row[:2] != [file.st_mtime_ns, file.st_size]:
            return None
        self.seen[name] = row
        return Look(row[2], (row[3], row[4]), row[5])

    def keep(self, name: str, file: os.stat_result, look: Look) -> None:
        """Remember it."""
        self.seen[name] = [file.st_mtime_ns, file.st_size, look.content, *look.size, look.animated]

    def save(self) -> None:
        """Write what was seen this time; what is gone is forgotten. Nothing is lost where that fails."""
        if self.seen == self.rows:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path, json.dumps(self.seen), durable=False)
        except OSError:
            return
