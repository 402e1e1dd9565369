"""A second home for what is finished, on storage that knows no locks and no safe renames: a Space's bucket. Copied out, and brought back at start.

A list of all files with their hashes is written last, in turn to one of two names, so that a copy that was cut off leaves the former list whole.
"""

import hashlib
import json
import logging
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

LISTS = ("list-a.json", "list-b.json")
KEPT = ("datasets", "about", "runs", "presets")
PASSING = ("lock", "stop")
log = logging.getLogger("studio")

Facts = tuple[int, str]


@dataclass
class Mirror:
    """Copies `home` to `bucket` every `seconds` while it is watched. `trouble` says why the last copy failed; nothing else is hurt by that."""

    home: Path
    bucket: Path
    seconds: float = 30.0
    trouble: str = ""
    _known: dict[str, tuple[int, int, Facts]] = field(default_factory=dict)
    _end: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def copy_out(self) -> int:
        """Copy what is new or has changed; take away what is gone. Returns how many files were copied."""
        former, number = _newest(self.bucket)
        now = {name: self._facts(name) for name in _worth(self.home)}
        changed = [name for name, facts in now.items() if former.get(name) != facts]
        gone = [name for name in former if name not in now]
        if not changed and not gone:
            return 0
        whole = {name: facts for name, facts in former.items() if name in now and name not in changed}
        for name in changed:
            place = self.bucket / _stored(name, now[name])
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.home / name, place)
            if _hash(place) == now[name][1]:  # else it was written to meanwhile: the next round has it
                whole[name] = now[name]
        _write(self.bucket, whole, number + 1)
        kept = {_stored(name, facts) for name, facts in whole.items()}
        for name, facts in former.items():
            if _stored(name, facts) not in kept:
                (self.bucket / _stored(name, facts)).unlink(missing_ok=True)
        return len(changed)

    def bring_back(self) -> list[str]:
        """Copy everything to `home` that isn't there. Returns the files whose copies are damaged; they are left out."""
        damaged = []
        for name, facts in _newest(self.bucket)[0].items():
            place = self.home / name
            if place.exists():
                continue
            stored = self.bucket / _stored(name, facts)
            if not stored.is_file() or _hash(stored) != facts[1]:
                damaged.append(name)
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(stored, place)
        return damaged

    def watch(self) -> None:
        """Copy now and then, in a thread."""
        self._thread = threading.Thread(target=self._work, name="mirror", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Copy a last time."""
        self._end.set()
        if self._thread:
            self._thread.join()

    def _work(self) -> None:
        last = False
        while not last:
            last = self._end.wait(self.seconds)
            try:
                self.copy_out()
                self.trouble = ""
            except OSError as error:
                self.trouble = error.strerror or str(error)
                log.warning("mirror: %s", error)

    def _facts(self, name: str) -> Facts:
        """Size and hash; the hash only of what has changed since."""
        path = self.home / name
        stat = path.stat()
        known = self._known.get(name)
        if known is None or known[:2] != (stat.st_size, stat.st_mtime_ns):
            known = (stat.st_size, stat.st_mtime_ns, (stat.st_size, _hash(path)))
            self._known[name] = known
        return known[2]


def _worth(home: Path) -> Iterator[str]:
    """Files that are finished: no locks, nothing that is just being written, no links."""
    for top in KEPT:
        for path in sorted((home / top).rglob("*")) if (home / top).is_dir() else ():
            parts = path.relative_to(home).parts
            hidden = any(part.startswith(".") or part.endswith((".part", ".corrupt")) for part in parts)
            if not hidden and path.is_file() and not path.is_symlink() and parts[-1] not in PASSING:
                yield "/".join(parts)


def _stored(name: str, facts: Facts) -> str:
    """By content: a changed file gets a new name, so the former list stays true until the new one is there."""
    return f"files/{hashlib.sha256(name.encode()).hexdigest()[:16]}-{facts[1][:16]}"


def _newest(bucket: Path) -> tuple[dict[str, Facts], int]:
    """The newest list that is whole, and its number."""
    best: tuple[dict[str, Facts], int] = ({}, 0)
    for name in LISTS:
        try:
            text = (bucket / name).read_text(encoding="utf-8")
            found = json.loads(text[65:])
            if hashlib.sha256(text[65:].encode()).hexdigest() == text[:64] and found["number"] > best[1]:
                best = {key: (size, digest) for key, (size, digest) in found["files"].items()}, found["number"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return best


def _write(bucket: Path, files: dict[str, Facts], number: int) -> None:
    text = json.dumps({"number": number, "files": files})
    (bucket / LISTS[number % 2]).write_text(f"{hashlib.sha256(text.encode()).hexdigest()}\n{text}", encoding="utf-8")


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
