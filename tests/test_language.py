"""Every sentence that a person reads has its translation, with the same blanks, and no translation is left over."""

import ast
import re
from pathlib import Path

import pytest

from studio import cli, config, fields
from studio.data.writing.captioners import CAPTIONERS
from studio.data.writing.edits import OPERATIONS
from studio.language import say, translations
from studio.runs import presets
from studio.ui import app, parts

STUDIO = Path(cli.__file__).parent
STATUSES = {"queued", "preparing", "running", "finished", "stopped", "failed", "interrupted"}
# Where a sentence is looked up by name: settings' help and groups, commands' help, presets, statuses, captioners, changes.
BY_NAME = {"fields.py", "arguments.py", "cli.py", "cli_presets.py", "presets.py", "form.py", "jobs.py", "captioners.py", "captions.py"}


def calls() -> list[tuple[Path, ast.Call]]:
    found = []
    for path in sorted(STUDIO.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "say":
                found.append((path, node))
    return found


def sentences() -> set[str]:
    written = {node.args[0].value for _, node in calls() if isinstance(node.args[0], ast.Constant)}
    helps = {field.description or "" for _, _, field in fields.settings()}
    groups = {group.__doc__ or "" for group in config.GROUPS}
    commands = {command.__doc__ or "" for command in cli.COMMANDS.values()}
    captions = {text for kind in CAPTIONERS.values() for text in (kind.title, kind.about)} | {change.about for change in OPERATIONS.values()}
    shelf = {text for preset in presets.listed() for text in (preset.title, preset.about)}
    page = parts.sentences() | set(app.TABS) | {fields.title(name) for _, name, _ in fields.settings()}
    return {text for text in written | captions | helps | groups | commands | shelf | page | STATUSES if isinstance(text, str)}


def blanks(text: str) -> set[str]:
    return set(re.findall(r"(?<!\{)\{(\w+)", text))


def test_every_sentence_has_its_translation():
    assert sorted(sentences() - set(translations("zh"))) == []


def test_no_translation_is_left_over():
    assert sorted(set(translations("zh")) - sentences()) == []


def test_a_translation_fills_the_same_blanks():
    assert [text for text, translated in translations("zh").items() if blanks(text) != blanks(translated)] == []


def test_sentences_stand_where_they_are_said():
    strange = {path.name for path, node in calls() if not isinstance(node.args[0], ast.Constant)}
    assert strange <= BY_NAME


def test_the_language_is_the_one_that_is_asked_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("STUDIO_LANGUAGE", "zh")
    assert say("Ready.") == translations("zh")["Ready."] != "Ready."


def test_an_unknown_language_is_english(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("STUDIO_LANGUAGE", "tlh")
    assert say("Ready.") == "Ready."
