"""What the Dataset tab asks of texts: a page of rows, edits, the report."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from studio.data import datasets, datasheet
from studio.data.datasets import Known
from studio.data.text import corpus, textreport, texts
from studio.data.text.conversations import Columns, checked
from studio.data.text.corpus import TextEdit
from studio.data.text.texts import UnknownColumnsError
from studio.errors import InputError
from studio.language import say
from studio.ui import access, tasks

MOST_ROWS = 500
MOST_EDITS = 1000
MOST_CHOSEN = 200_000


def text_rows(asked: dict[str, Any]) -> dict[str, Any]:
    """Rows `begin` to `begin + count` of those that hold `search`, or are among `only` (as `file:line`). With `stamp`: nothing, where that is
    how it stands still."""
    opened = corpus.open_corpus(access.dataset(str(asked.get("name"))).folder)
    if asked.get("stamp") == opened.stamp:
        return {"same": True}
    wanted = str(asked.get("search") or "").casefold()
    only = set(map(str, asked["only"][:MOST_CHOSEN])) if isinstance(asked.get("only"), list) else None
    found = [
        row for row in opened.rows if (not wanted or wanted in row.example.whole.casefold()) and (only is None or f"{row.file}:{row.line}" in only)
    ]
    begin = _whole(asked.get("begin"), len(found))
    page = found[begin : begin + _whole(asked.get("count"), MOST_ROWS)]
    return {
        "rows": [[row.file, row.line, row.form, row.example.row] for row in page],
        "found": len(found),
        "total": len(opened.rows),
        "stamp": opened.stamp,
        "editable": opened.editable,
    }


def save_texts(asked: dict[str, Any]) -> dict[str, Any]:
    """Make edits `[line, before, after]`. Those whose row somebody else changed come back as conflicts."""
    given = asked.get("edits")
    if not isinstance(given, list) or len(given) > MOST_EDITS or not all(map(_is_edit, given)):
        raise InputError(say("That is no list of edits."))
    saved, conflicts = corpus.save(access.dataset(str(asked.get("name"))).folder, [TextEdit(*edit) for edit in given])
    return {"stamp": saved.stamp, "total": len(saved.rows), "conflicts": [list(conflict) for conflict in conflicts]}


def check_texts(asked: dict[str, Any]) -> dict[str, Any]:
    """Look for everything that is wrong, in the background."""
    found = access.dataset(str(asked.get("name")))

    def work(_: tasks.Progress) -> dict[str, Any]:
        seen = textreport.report(corpus.open_corpus(found.folder).texts, found.folder)
        facts = datasheet.read(found.folder)
        about = {**asdict(seen.description), "facts": asdict(facts), "markdown": datasheet.text_markdown(seen, facts)}
        return {
            "problems": [[p.file, p.line, p.message, p.fix, p.severity, p.kind, p.also] for p in seen.problems],
            "about": about,
            "rows": seen.rows,
        }

    return tasks.start(say("Looking at the texts"), work)


ANSWERS = [text_rows, save_texts, check_texts]


def columns_of(asked: dict[str, Any]) -> Columns | None:
    """What the person said that columns hold. Raises InputError."""
    chosen = asked.get("columns")
    return checked({str(part): str(column) for part, column in chosen.items()}) if isinstance(chosen, dict) and chosen else None


def unknown(error: UnknownColumnsError) -> dict[str, Any]:
    """What the page needs to ask which column holds what."""
    first = error.unknown[0]
    return {"unknown": {"file": first.file, "columns": [[name, samples] for name, samples in first.columns.items()]}}


def copy_of(folder: Path, columns: Columns | None) -> tuple[Known, list[str]]:
    """The text dataset that was made of a folder, made when there is none: the person's files are only read. Beside it what was left out.
    Raises DataError."""
    for known in access.datasets():
        if corpus.is_corpus(known.folder) and datasheet.noted(known.folder).get("origin") == str(folder):
            return known, []
    if corpus.is_corpus(folder):
        return datasets.register(folder), []
    taken = {known.name for known in datasets.listed()}
    name = next(name for number in range(1, len(taken) + 2) if (name := folder.name + (f"-{number}" if number > 1 else "")) not in taken)
    made, left_out = datasets.bring(datasets.files_of(str(folder), lambda _, __: None), name, lambda _, __: None, columns)
    datasheet.note(made.folder, origin=str(folder))
    return made, left_out


def holds_texts(folder: Path) -> bool:
    """Whether a folder is shown as texts."""
    return texts.holds_texts(folder)


def _is_edit(edit: object) -> bool:
    return (
        isinstance(edit, list)
        and len(edit) == 3
        and isinstance(edit[0], int)
        and all(part is None or isinstance(part, dict) for part in edit[1:])
        and edit[1:] != [None, None]
    )


def _whole(asked: object, most: int) -> int:
    return min(max(int(asked), 0), most) if isinstance(asked, (int, float)) else 0
