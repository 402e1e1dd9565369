"""What only a person knows of a dataset, asked once and kept with it, and all that is known of it as a section of Markdown."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from studio.data.problems import Problem
from studio.data.report import Report
from studio.data.text.textreport import TextReport
from studio.data.writing import authors
from studio.files import write_atomically
from studio.language import say

FILE = "dataset.json"
LONGEST = 2000
MOST_NAMES = 8


@dataclass(frozen=True)
class Facts:
    """Where the pictures come from and under which terms, what was done to them, how the captions came about."""

    source: str = ""
    preprocessing: str = ""
    captioning: str = ""

    @property
    def missing(self) -> list[str]:
        """What nobody has said yet."""
        return [field.name for field in fields(self) if not getattr(self, field.name)]


def read(folder: Path) -> Facts:
    """What was said of the dataset in `folder`."""
    known = noted(folder)
    return Facts(**{field.name: str(known.get(field.name, ""))[:LONGEST] for field in fields(Facts)})


def write(folder: Path, facts: Facts) -> None:
    """Keep it. Raises OSError."""
    note(folder, **asdict(facts))


def note(folder: Path, **known: Any) -> None:
    """Keep more of what is known of a dataset, beside what was said. Raises OSError."""
    place = authors.place(folder)
    place.mkdir(parents=True, exist_ok=True)
    write_atomically(place / FILE, json.dumps({**noted(folder), **known}, ensure_ascii=False, indent=1))


def noted(folder: Path) -> dict[str, Any]:
    """All that is kept of a dataset."""
    try:
        known = json.loads((authors.place(folder) / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def captioning(folder: Path, captions: dict[str, str]) -> str:
    """How the captions came about, as far as the studio knows: "pocket 32, by hand 8"."""
    machine = authors.by_machine(folder, captions)
    counts = Counter(machine.get(name, say("by hand")) for name, text in captions.items() if text)
    return ", ".join(f"{name} {count}" for name, count in counts.most_common()) if machine else ""


def markdown(report: Report, facts: Facts, private: bool = True) -> str:
    """The section that an experiment record takes over. Without `private`, no name of a picture and no word of a caption is in it."""
    about = report.description
    rows = [
        (say("Pictures"), f"{report.pictures} ({say('{count} to train on', count=report.usable)})"),
        (say("Captions"), str(report.captions)),
        (say("Source"), facts.source),
        (say("Preprocessing"), facts.preprocessing),
        (say("Captioning method"), facts.captioning),
        (say("Shorter side, pixels"), _counts(about.sides)),
        (say("Aspect ratio"), _counts(about.aspects)),
        (say("Buckets"), "; ".join(f"{one.width} × {one.height}: {one.count}, {one.kept:.0%}" for one in about.buckets)),
        (say("Tokens in a caption"), _counts(about.tokens)),
        (say("Frequent words"), ", ".join(f"{word} {count}" for word, count in about.words) if private else ""),
    ]
    return _section(rows, report.problems, private)


def text_markdown(report: TextReport, facts: Facts, private: bool = True) -> str:
    """The same for text data. Without `private`, no name of a file and no word of a text is in it."""
    about = report.description
    rows = [
        (say("Rows"), str(report.rows)),
        (say("Formats"), _counts(about.forms)),
        (say("Roles"), _counts(about.roles)),
        (say("Source"), facts.source),
        (say("Preprocessing"), facts.preprocessing),
        (say("Messages in a row"), _counts(about.turns)),
        (say("Characters in a row"), str(about.characters)),
        (say("Words in a row"), str(about.words)),
        (say("Words in an answer"), str(about.answers)),
        (say("Tokens in a row"), str(about.tokens)),
        (say("Fingerprint"), report.fingerprint[:16]),
    ]
    return _section(rows, report.problems, private)


def _section(rows: Sequence[tuple[str, str]], problems: Sequence[Problem], private: bool) -> str:
    lines = [f"## {say('Data')}", "", "| | |", "|---|---|"] + [f"| {_cell(name)} | {_cell(value) or '–'} |" for name, value in rows]
    kinds: dict[str, list[Problem]] = {}
    for problem in problems:
        kinds.setdefault(problem.kind, []).append(problem)
    if kinds:
        lines += ["", f"### {say('Findings')}", ""]
    for found in kinds.values():
        places = dict.fromkeys(problem.file if problem.line is None else f"{problem.file}:{problem.line}" for problem in found[:MOST_NAMES])
        more = "…" if private and len(found) > MOST_NAMES else ""
        told = [f"{_cell(', '.join(places))}{more}.", _cell(found[0].message)] if private else []
        lines.append(" ".join([f"- **{found[0].kind}** ({len(found)}):", *told, _cell(found[0].fix)]).rstrip())
    return "\n".join(lines) + "\n"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{label}: {count}" for label, count in counts.items())


def _cell(text: str) -> str:
    """On one line, and nothing that Markdown or HTML would take for its own."""
    line = " ".join(text.split())
    for sign, written in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "\\|"), ("`", "\\`")):
        line = line.replace(sign, written)
    return line
