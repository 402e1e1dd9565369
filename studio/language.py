"""Every sentence that a person reads goes through `say`: the English sentence is the key of one file per other language."""

import locale
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path

LANGUAGES = {"en": "English", "zh": "简体中文"}
FOLDER = Path(__file__).parent / "languages"
_spoken: ContextVar[str] = ContextVar("spoken", default="")


@contextmanager
def speaking(name: str) -> Iterator[None]:
    """Speak `name` (`zh-CN`, say) within this block and what it calls, whatever others speak meanwhile. Empty: as before."""
    token = _spoken.set(_known(name) if name else _spoken.get())
    try:
        yield
    finally:
        _spoken.reset(token)


def language() -> str:
    """The language in use: that of the block, `$STUDIO_LANGUAGE`, else the system's, else English."""
    if spoken := _spoken.get():
        return spoken
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
