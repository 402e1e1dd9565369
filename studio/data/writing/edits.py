"""Changes to many captions at once: what each does to one text, and the journal by which the last one is taken back."""

import json
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import regex

from studio.data import album
from studio.data.album import Album, Conflict, Edit
from studio.data.captions import joined
from studio.data.problems import shown
from studio.data.writing import authors
from studio.errors import InputError
from studio.files import write_atomically
from studio.language import say

JOURNAL = "edits.jsonl"
LARGEST = 32 * 1024**2
"""Bytes of the journal; beyond that the oldest changes can't be taken back any more."""
LONGEST_PATTERN = 500
SLOWEST = 5.0  # seconds for one pattern over all captions

Change = Callable[[str], str]
ARROW = "=>"


@dataclass(frozen=True)
class Operation:
    """A change that can be asked for as `name` or `name=value`."""

    about: str
    make: Callable[[str], Change]
    needs: str = ""


def parse(words: Iterable[str]) -> Change:
    """The changes named by `prefix=…`, `sort_tags` and so on, one after the other. Raises InputError."""
    changes = [_parse(word) for word in words]

    def change(text: str) -> str:
        for one in changes:
            text = one(text)
        return " ".join(text.split())

    return change


def preview(captions: Mapping[str, str], change: Change) -> list[Edit]:
    """What a change would do: the captions that it changes. Raises InputError for a pattern that takes too long."""
    begun, edits = time.monotonic(), []
    for name, text in captions.items():
        after = change(text)
        if after != text:
            edits.append(Edit(name, text, after))
        if time.monotonic() - begun > SLOWEST:
            raise _slow()
    return edits


def apply(folder: Path, edits: list[Edit], what: str, metadata: Path | None = None) -> tuple[Album, list[Conflict]]:
    """Save edits so that they can be taken back. Returns how it stands now, and those whose caption somebody else changed meanwhile."""
    saved, conflicts = album.save(folder, edits, metadata)
    refused = {conflict.name for conflict in conflicts}
    made = [edit._replace(after=saved.captions.texts.get(edit.name, "")) for edit in edits if edit.name not in refused]
    if made := [edit for edit in made if edit.before != edit.after]:
        remember(folder, what, made, metadata)
    return saved, conflicts


def undo(folder: Path) -> tuple[str, int, list[Conflict]]:
    """Take the last change back, where its captions still stand: what it was, how many captions, and those that somebody changed since.

    Raises InputError when there is nothing to take back.
    """
    path = authors.place(folder) / JOURNAL
    rows = _rows(path)
    if not rows:
        raise InputError(say("There is no change to take back."))
    row = json.loads(rows[-1])
    back = [Edit(name, after, before) for name, before, after in row["edits"]]
    _, conflicts = album.save(folder, back, Path(row["metadata"]) if row.get("metadata") else None)
    write_atomically(path, b"".join(line + b"\n" for line in rows[:-1]))
    return row["what"], len(back) - len(conflicts), conflicts


def undoable(folder: Path) -> bool:
    """Whether there is a change to take back."""
    path = authors.place(folder) / JOURNAL
    return path.exists() and path.stat().st_size > 1


def tags(text: str) -> list[str]:
    """The comma-separated parts of a caption, without empty ones."""
    return [tag for part in text.split(",") if (tag := part.strip())]


def remember(folder: Path, what: str, made: list[Edit], metadata: Path | None = None) -> None:
    """Note edits that were made, so that they can be taken back as one."""
    path = authors.place(folder) / JOURNAL
    path.parent.mkdir(parents=True, exist_ok=True)
    row = {"what": what, "time": time.time(), "metadata": str(metadata or ""), "edits": [list(edit) for edit in made]}
    with path.open("ab") as file:
        file.write(
            b"\n" + json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"
        )  # on a line of its own, whatever a crash left
        size = file.tell()
    if size > LARGEST:
        newest: list[bytes] = []
        kept = 0
        for line in reversed(_rows(path)):
            kept += len(line)
            if newest and kept > LARGEST // 2:
                break
            newest.append(line)
        write_atomically(path, b"".join(line + b"\n" for line in reversed(newest)))


def _rows(path: Path) -> list[bytes]:
    """The whole lines of the journal; what a crash tore off is passed over."""
    lines = path.read_bytes().splitlines() if path.exists() else []
    return [line for line in lines if line.startswith(b"{") and line.endswith(b"}")]


def _parse(word: str) -> Change:
    name, equals, value = word.partition("=")
    name = name.strip().replace("-", "_")
    operation = OPERATIONS.get(name)
    if operation is None:
        raise InputError(say("There is no change {name}.", name=shown(name, 40)), say("Choose from: {names}.", names=", ".join(OPERATIONS)))
    if bool(operation.needs) != bool(equals and value.strip()):
        example = f"{name}={operation.needs}" if operation.needs else name
        raise InputError(say("{name}: not understood.", name=shown(word, 60)), say("Write it as {example}.", example=example))
    return operation.make(value)


def _slow() -> InputError:
    return InputError(say("The pattern takes too long: {seconds} seconds are over.", seconds=round(SLOWEST)), say("Write it more simply."))


def _prefix(value: str) -> Change:
    start = value.strip()
    return lambda text: text if text.startswith(start) else joined(value, text, "")


def _suffix(value: str) -> Change:
    end = value.strip()
    return lambda text: text if text.endswith(end) else joined("", text, value)


def _trigger(value: str) -> Change:
    """First, and only there: a trigger word that stands in the middle too moves to the front."""
    word = value.strip()

    def change(text: str) -> str:
        rest = [tag for tag in tags(text) if tag.casefold() != word.casefold()]
        if rest and re.match(rf"{re.escape(word)}\b", rest[0], re.IGNORECASE):  # "ohwx man, smiling" begins with it already
            return ", ".join(rest)
        return ", ".join([word, *rest])

    return change


def _replace(value: str) -> Change:
    find, put = _pair(value)
    return lambda text: _tidy(text.replace(find, put)) if find in text else text


def _regex(value: str) -> Change:
    find, put = _pair(value)
    if len(find) > LONGEST_PATTERN:
        raise InputError(say("The pattern is longer than {limit} characters.", limit=LONGEST_PATTERN))
    try:
        pattern = regex.compile(find)
        if set(map(int, re.findall(r"\\(\d+)", put))) - set(range(pattern.groups + 1)):
            raise regex.error("invalid group reference")
    except regex.error as error:
        reason = str(error)
        raise InputError(say("{pattern}: no valid regular expression: {reason}.", pattern=shown(find, 60), reason=reason)) from None

    def change(text: str) -> str:
        try:
            changed, count = pattern.subn(put, text, timeout=SLOWEST)
        except TimeoutError:
            raise _slow() from None
        except (regex.error, IndexError) as error:
            raise InputError(say("{pattern}: no valid regular expression: {reason}.", pattern=shown(put, 60), reason=error)) from None
        return _tidy(changed) if count else text

    return change


def _pair(value: str) -> tuple[str, str]:
    find, arrow, put = value.partition(ARROW)
    if not arrow or not find:
        raise InputError(say("{name}: not understood.", name=shown(value, 60)), say("Write it as {example}.", example=f"old{ARROW}new"))
    return find, put


def _tidy(text: str) -> str:
    """Without what a removal leaves: doubled commas, blanks before them, a comma at either end."""
    text = re.sub(r"\s*,(\s*,)+", ",", " ".join(text.split()))
    return re.sub(r"\s+,", ",", re.sub(r",(?=\S)", ", ", text)).strip(" ,")


def _on_tags(work: Callable[[list[str]], list[str]]) -> Change:
    def change(text: str) -> str:
        before = tags(text)
        after = work(before)
        return text if after == before else ", ".join(after)

    return change


def _add_tag(value: str) -> Change:
    return _on_tags(lambda found: found if _key(value) in map(_key, found) else [*found, value.strip()])


def _remove_tag(value: str) -> Change:
    unwanted = {_key(tag) for tag in tags(value)}
    return _on_tags(lambda found: [tag for tag in found if _key(tag) not in unwanted])


def _keep_tags(value: str) -> Change:
    if not value.strip().isdecimal():
        raise InputError(say("{name}: not understood.", name=shown(value, 60)), say("Write it as {example}.", example="keep_tags=20"))
    return _on_tags(lambda found: found[: int(value)])


def _once(found: list[str]) -> list[str]:
    first: dict[str, str] = {}
    for tag in found:
        first.setdefault(_key(tag), tag)
    return list(first.values())


def _key(tag: str) -> str:
    return tag.strip().replace("_", " ").casefold()


def _spaced(tag: str) -> str:
    return tag if len(tag) <= 3 else tag.replace("_", " ")  # ^_^ is a face


OPERATIONS = {
    "prefix": Operation("puts a text in front, unless it is there", _prefix, "portrait of anna,"),
    "suffix": Operation("adds a text at the end, unless it is there", _suffix, ", oil painting"),
    "trigger": Operation("puts a word first, and takes it out elsewhere", _trigger, "ohwx"),
    "replace": Operation("replaces a text by another", _replace, "old=>new"),
    "regex": Operation("replaces what a regular expression finds", _regex, r"\bcar\b=>automobile"),
    "add_tag": Operation("adds a tag at the end, unless it is there", _add_tag, "outdoors"),
    "remove_tag": Operation("removes tags", _remove_tag, "blurry, watermark"),
    "keep_tags": Operation("keeps the first tags", _keep_tags, "20"),
    "sort_tags": Operation("sorts tags by the alphabet, the first stays", lambda _: _on_tags(lambda found: found[:1] + sorted(found[1:], key=_key))),
    "dedupe_tags": Operation("removes tags that stand there twice", lambda _: _on_tags(_once)),
    "spaces": Operation("turns underscores in tags into blanks", lambda _: _on_tags(lambda found: [_spaced(tag) for tag in found])),
    "underscores": Operation("turns blanks in tags into underscores", lambda _: _on_tags(lambda found: [tag.replace(" ", "_") for tag in found])),
}
