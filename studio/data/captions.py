"""Which text belongs to which picture, and how it reads when it is trained on."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from studio.data.listing import Listing
from studio.data.problems import Problem, shown
from studio.data.tables import CLIP, LineError, Table, clean, read_table, read_text
from studio.language import say

METADATA = ("metadata.jsonl", "metadata.csv")
SIDECARS = "*.txt"
ENDINGS = (".txt", ".caption")
"""Of the files beside pictures; the first counts where both are there."""
LONGEST_SIDECAR = 131_072


@dataclass(frozen=True)
class Captions:
    """Captions as written, by the picture's name in the folder. `source` is the one file they come from, `*.txt`, or nothing.

    `elsewhere` names pictures that only a source which isn't used has a caption for, `faulty` those whose caption can't be read.
    """

    source: str
    texts: dict[str, str]
    problems: tuple[Problem, ...] = ()
    elsewhere: frozenset[str] = frozenset()
    faulty: frozenset[str] = frozenset()


def read_captions(folder: Path, listing: Listing, metadata_path: Path | None = None) -> Captions:
    """The captions of the pictures in `folder`, from the first source there is: `metadata_path`, metadata.jsonl,
    metadata.csv, one .txt or .caption beside each picture. The others are only compared: where they disagree is a finding.

    Names in a metadata file are relative to `folder`. Faults are in the result, nothing is raised.
    """
    files = [folder / name for name in METADATA if name in listing.others]
    if metadata_path is not None:
        files = [metadata_path, *(file for file in files if not _same(file, metadata_path))]
    found = [_from_table(file, read_table(file), listing) for file in files]
    found.append(_from_sidecars(folder, listing, found == []))
    used, *others = found
    problems = [*used.problems, *_unread(folder, listing, metadata_path)]
    for other in others:
        problems += _disagreements(used, other)
    elsewhere = frozenset(name for other in others for name in other.texts if name not in used.texts)
    return replace(used, problems=tuple(problems), elsewhere=elsewhere)


def joined(prefix: str, caption: str, suffix: str) -> str:
    """The three parts, each trimmed, with one space between those that hold something; no space before a suffix
    that begins with punctuation: `portrait of anna,` + `smiling` + `, oil` is `portrait of anna, smiling, oil`."""
    text = " ".join(part for part in (prefix.strip(), caption.strip()) if part)
    suffix = suffix.strip()
    if not text or not suffix:
        return text or suffix
    return text + suffix if suffix[0] in ",.;:!?" else f"{text} {suffix}"


def shuffled(caption: str, keep: int, rng: random.Random) -> str:
    """The comma-separated tags of `caption` in another order; the first `keep` stay where they are."""
    tags = [tag.strip() for tag in caption.split(",")]
    tags = [tag for tag in tags if tag]
    if len(tags) - keep < 2:
        return caption
    rest = tags[keep:]
    rng.shuffle(rest)
    return ", ".join(tags[:keep] + rest)


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def _from_table(file: Path, table: Table, listing: Listing) -> Captions:
    source = shown(file.name)
    texts: dict[str, str] = {}
    problems = list(table.problems)
    faulty = frozenset(name for name in map(listing.find, table.faulty) if name and name in listing.pictures)
    for row in table.rows:
        name = listing.find(row.name)
        if name is None:
            problems.append(_without_picture(source, row.line, row.name, listing))
        else:
            texts[name] = row.caption
    return Captions(source, texts, tuple(problems), faulty=faulty - texts.keys())


def _without_picture(source: str, line: int, name: str, listing: Listing) -> Problem:
    like = listing.like(name)
    message = say("There is no picture {name}.", name=shown(name, CLIP))
    if like:
        fix = say("Correct the names: {found} is there, for example.", found=shown(like, CLIP))
    else:
        fix = say("Add the picture or take the line out. Names are relative to train_data_dir.")
    return Problem(source, line, message, fix, kind="no-picture")


def _from_sidecars(folder: Path, listing: Listing, used: bool) -> Captions:
    texts: dict[str, str] = {}
    problems: list[Problem] = []
    faulty: set[str] = set()
    pictures: dict[str, list[str]] = {}
    for name in listing.pictures:
        pictures.setdefault(_stem(name), []).append(name)
    for name in sorted(listing.others, key=lambda name: ENDINGS[::-1].index(_ending(name)) if _ending(name) in ENDINGS else -1):
        if _ending(name) not in ENDINGS:
            continue
        owners = pictures.get(_stem(name))
        if owners:
            text, problem = _sidecar(folder / name, name)
            if problem:
                problems.append(problem)
                faulty.update(owners)
            else:
                texts.update(dict.fromkeys(owners, text))
        elif used and pictures:
            message = say("No picture has this name, so the text isn't used.")
            problems.append(Problem(shown(name), None, message, say("Rename it like its picture."), "warning", "orphan"))
    return Captions(SIDECARS if texts or used else "", texts, tuple(problems), faulty=frozenset(faulty))


def _sidecar(path: Path, name: str) -> tuple[str, Problem | None]:
    text, problem = read_text(path, name)
    if text is None:
        return "", problem
    try:
        if len(text) > LONGEST_SIDECAR:
            raise LineError(say("The line is longer than {limit} characters.", limit=LONGEST_SIDECAR))
        return clean(text).strip(), None
    except LineError as fault:
        return "", Problem(shown(name), 1, fault.message, fault.fix, kind="format")


def _ending(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def _stem(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))


def _disagreements(used: Captions, other: Captions) -> Iterator[Problem]:
    for name, text in other.texts.items():
        mine = used.texts.get(name)
        if mine is None or mine == text or not text:
            continue
        beside = PurePosixPath(name).with_suffix(".txt").name if other.source == SIDECARS else other.source
        message = say("{used} and {other} have different captions; {used} counts.", used=used.source, other=shown(beside))
        fix = say("Keep one source of captions: metadata_path, metadata.jsonl, metadata.csv or .txt files, in this order.")
        yield Problem(shown(name), None, message, fix, "warning", "disagreement")


def _unread(folder: Path, listing: Listing, metadata_path: Path | None) -> Iterator[Problem]:
    for name in listing.others:
        path = PurePosixPath(name)
        if path.name not in METADATA or len(path.parts) == 1 or (metadata_path and _same(folder / name, metadata_path)):
            continue
        message = say("It isn't read: metadata files are looked for in the first folder only.")
        fix = say("Give its folder as train_data_dir, or its path as metadata_path.")
        yield Problem(shown(name), None, message, fix, "warning", "unread")
