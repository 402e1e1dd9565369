"""Every sentence that a person reads goes through `say`: the English sentence is the key of one file per other language."""

import locale
import os
from functools import cache
from pathlib import Path

LANGUAGES = {"en": "English", "zh": "简体中文"}
FOLDER = Path(__file__).parent / "languages"


def language() -> str:
    """The language in use: `$STUDIO_LANGUAGE`, else the system's, else English."""
    for source in (os.environ.get("STUDIO_LANGUAGE"), os.environ.get("LC_ALL"), os.environ.get("LC_MESSAGES"), os.environ.get("LANG")):
        if source:
            return _known(source)
    return _known(locale.getlocale()[0] or "en")


def say(sentence: str, /, **values: object) -> str:
    """`sentence` in the person's language, with `{names}` filled from `values`.

    The sentence must stand in the code as it is, so that a test can find it and demand its translation.
    """
    text = translations(language()).get(sentence, sentence)
    return text.format(**values) if values else text


@cache
def translations(code: str) -> dict[str, str]:
    """English sentence → sentence in language `code`; empty for English."""
    import yaml

    path = FOLDER / f"{code}.yaml"
    return dict(yaml.safe_load(path.read_text(encoding="utf-8")) or {}) if path.exists() else {}


def _known(name: str) -> str:
    code = name.replace("-", "_").split("_")[0].split(".")[0].lower()
    return code if code in LANGUAGES else "en"
