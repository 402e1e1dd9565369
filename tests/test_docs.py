"""The README says what is there: settings and presets are the generated ones, and every command is named."""

import re
from pathlib import Path

import pytest

from studio import cli, fields
from studio.runs import presets

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_settings_table_is_the_generated_one():
    assert fields.table() in README, "run `python -m tests.test_docs`"


def test_the_presets_are_the_shipped_ones():
    assert preset_table() in README, "run `python -m tests.test_docs`"


def test_every_command_is_named(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    commands = re.findall(r"^    (\w+)  ", capsys.readouterr().out, re.M)
    assert {"demo", "train", "resume"} <= set(commands)
    assert [command for command in commands if f"`{command}" not in README] == []


def test_every_file_it_names_is_there():
    named = re.findall(r"`((?:studio|tests|presets)/[\w/.-]+)`|\]\(([\w/.-]+)\)", README)
    assert [path for pair in named for path in pair if path and not (ROOT / path).exists()] == []


def preset_table() -> str:
    rows = [f"| `{preset.name}` | {preset.title} | {preset.about} |" for preset in presets.listed()]
    return "\n".join(["| preset | title | what it is for |", "|---|---|---|", *rows]) + "\n"


def renew(text: str) -> str:
    """The README with its generated parts made anew."""
    for heading, content in (("## Presets", preset_table()), ("## Settings", fields.table())):
        text = re.sub(rf"({heading}\n\n).*?(?=\n## )", lambda found, new=content: found[1] + new, text, flags=re.S)
    return text


if __name__ == "__main__":
    (ROOT / "README.md").write_text(renew(README), encoding="utf-8")
