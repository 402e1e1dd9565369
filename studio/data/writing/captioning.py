"""Writing the captions of a whole dataset: which pictures, in batches, so that a crash loses at most one."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from studio.data import album
from studio.data.album import Album, Conflict, Edit
from studio.data.captions import joined
from studio.data.images import load
from studio.data.problems import FaultyDataError, Problem
from studio.data.writing import authors, captioners, edits
from studio.data.writing.captioners import Options, Shot
from studio.errors import DataError, MachineError
from studio.language import say

SAVE_EVERY = 3.0  # seconds; the journal holds what is written between

Overwrite = Literal["none", "auto", "all"]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Job:
    """What is asked for. `overwrite`: none: only pictures without a caption; auto: also those whose caption a captioner wrote and nobody changed;
    all: also a person's. `resume`: not again what this same job wrote before it was interrupted. `metadata`: the file to write, when it isn't
    the dataset's own."""

    folder: Path
    captioner: str = "blip"
    options: Options = field(default_factory=Options)
    prefix: str = ""
    overwrite: Overwrite = "none"
    resume: bool = False
    metadata: Path | None = None
    only: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The same for the same job."""
        return hashlib.sha256(repr((self.captioner, self.options, self.prefix, self.metadata)).encode()).hexdigest()[:12]


@dataclass
class Outcome:
    """What came of it. `kept` counts captions that were left alone, `seconds` the time for the pictures, without opening the model."""

    written: int = 0
    kept: int = 0
    recovered: int = 0
    seconds: float = 0.0
    source: str = ""
    problems: list[Problem] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)

    @property
    def speed(self) -> float:
        """Pictures a second."""
        return self.written / self.seconds if self.seconds else 0.0


def unwatched(done: int, total: int) -> None:
    """Progress that nobody watches."""


def caption(job: Job, progress: Progress = unwatched) -> Outcome:
    """Carry out a job. `progress` may raise to end it: what is written till then stays. A picture that can't be read is in the outcome.

    Raises DataError, ModelError, MachineError.
    """
    captioners.find(job.captioner)
    opened = album.open_album(job.folder, job.metadata)
    if not opened.listing.pictures:
        raise DataError(say("There are no pictures in {folder}.", folder=job.folder), say("Give the folder that holds them."))
    earlier = authors.written(job.folder)
    wanted = _wanted(job, opened, earlier)
    outcome = Outcome(kept=len(opened.listing.pictures) - len(wanted), source=opened.source)
    pending = _recovered(job, earlier, wanted) if job.resume else {}
    outcome.recovered = len(pending)
    todo = [name for name in wanted if name not in pending]
    writer = _Writer(job, outcome, {name: opened.captions.texts.get(name, "") for name in wanted}, pending)
    try:
        if todo:
            writer.write(todo, progress)
    finally:
        writer.save()
        if writer.made:
            edits.remember(job.folder, say("Captions by {name}", name=job.captioner), writer.made, job.metadata)
    return outcome


@dataclass
class _Writer:
    job: Job
    outcome: Outcome
    before: dict[str, str]
    pending: dict[str, str]
    made: list[Edit] = field(default_factory=list)
    saved: float = field(default_factory=time.monotonic)

    def write(self, names: list[str], progress: Progress) -> None:
        job, outcome = self.job, self.outcome
        progress(0, len(names))
        captioner = captioners.opened(job.captioner, job.options)
        begun = time.monotonic()
        for start in range(0, len(names), captioner.batch):
            batch = names[start : start + captioner.batch]
            texts = self._batch(captioner, batch)
            try:
                authors.note(job.folder, texts.items(), job.captioner, job.key)
            except OSError as error:
                reason = error.strerror or error
                raise MachineError(
                    say("{path}: can't be written: {reason}", path=error.filename, reason=reason), say("Make room on the disk.")
                ) from None
            self.pending |= texts
            outcome.written += len(texts)
            outcome.seconds = time.monotonic() - begun
            if time.monotonic() - self.saved > SAVE_EVERY:
                self.save()
            progress(start + len(batch), len(names))

    def _batch(self, captioner: captioners.Captioner, names: list[str]) -> dict[str, str]:
        """A picture that can't be read costs its own caption, not the batch's."""
        try:
            said = captioner.write([Shot(name, lambda name=name: load(self.job.folder / name)) for name in names])  # type: ignore[misc]
            return {name: joined(self.job.prefix, text, "") for name, text in zip(names, said, strict=True)}
        except FaultyDataError as refused:
            if len(names) == 1:
                self.outcome.problems += refused.problems
                return {}
            return {name: text for one in names for name, text in self._batch(captioner, [one]).items()}

    def save(self) -> None:
        """Into the file of the captions, where each is as it was when the job began."""
        wanted = [Edit(name, self.before[name], text) for name, text in self.pending.items()]
        if wanted:
            saved, conflicts = album.save(self.job.folder, wanted, self.job.metadata)
            refused = {conflict.name for conflict in conflicts}
            self.made += [edit for edit in wanted if edit.name not in refused and edit.before != edit.after]
            self.outcome.conflicts += conflicts
            self.outcome.source = saved.source
        self.pending = {}
        self.saved = time.monotonic()


def _wanted(job: Job, opened: Album, earlier: dict[str, list[authors.Written]]) -> list[str]:
    def asked(name: str) -> bool:
        text = opened.captions.texts.get(name, "")
        machine = any(one.text == text for one in earlier.get(name, ()))
        if job.only and name not in job.only:
            return False
        if text and job.resume and any(one.text == text and one.job == job.key for one in earlier.get(name, ())):
            return False
        return not text or job.overwrite == "all" or (job.overwrite == "auto" and machine)

    return [name for name in opened.listing.pictures if asked(name)]


def _recovered(job: Job, earlier: dict[str, list[authors.Written]], wanted: list[str]) -> dict[str, str]:
    """What this job wrote and a crash kept from being saved."""
    found = {}
    for name in wanted:
        last = earlier.get(name, [])[-1:]
        if last and last[0].job == job.key and last[0].text:
            found[name] = last[0].text
    return found
