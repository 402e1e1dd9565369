"""A part of the page: its template, style and script lie in assets/, what the script may ask stands in a tab's file."""

import functools
import html
import logging
import re
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import gradio as gr

from studio.errors import StudioError
from studio.language import say, translations
from studio.ui.visitor import answering

ASSETS = Path(__file__).parent / "assets"
IN_SCRIPT = re.compile(r"""\bt\(\s*(["'`])((?:\\.|(?!\1).)+)\1""")
IN_TEMPLATE = (re.compile(r"<[^>]*? data-t(?: [^>]*)?>([^<]+)"), re.compile(r'data-t-(?:title|label|placeholder)="([^"]+)"'))

Answer = Callable[[dict[str, Any]], dict[str, Any] | None]

log = logging.getLogger("studio")


def part(name: str, answers: Sequence[Answer], *scripts: str) -> gr.HTML:
    """A component from `assets/<name>.html` and `.js`, with more `scripts` in the same scope.

    A script calls `ask("rows", {…})` for each function in `answers`. Such a function takes one dict and returns one; what it raises comes to the
    person as a sentence.
    """
    script = "\n".join(asset(f"{script}.js") for script in (name, *scripts))
    return gr.HTML(
        html_template=asset(f"{name}.html"),
        js_on_load=f"const {{t, el, $, $$, ask, follow, upload_files}} = window.studio.part(element, server, upload, trigger);\n{script}",
        server_functions=[_answering(answer) for answer in answers],
        apply_default_css=False,
        elem_id=name,
        elem_classes=["studio"],
    )


@cache
def asset(name: str) -> str:
    """The text of a file in assets/; nothing where there is none."""
    path = ASSETS / name
    return path.read_text(encoding="utf-8") if path.exists() else ""


def sentences() -> set[str]:
    """Every sentence that stands in templates and scripts."""
    found: set[str] = set()
    for path in ASSETS.iterdir():
        text = path.read_text(encoding="utf-8") if path.suffix in (".js", ".html") else ""
        if path.suffix == ".js":
            found |= {re.sub(r"\\(.)", r"\1", sentence) for _, sentence in IN_SCRIPT.findall(text)}
        else:
            found |= {html.unescape(sentence).strip() for pattern in IN_TEMPLATE for sentence in pattern.findall(text)}
    return found - {""}


def dictionary(language: str) -> dict[str, str]:
    """The translations that the page's scripts need."""
    known = translations(language)
    return {sentence: known[sentence] for sentence in sorted(sentences()) if sentence in known}


def _answering(answer: Answer) -> Callable[[Any, gr.Request], dict[str, Any]]:
    @functools.wraps(answer)
    def answered(asked: Any, request: gr.Request) -> dict[str, Any]:
        with answering(request):
            try:
                return {"ok": True, **(answer(asked if isinstance(asked, dict) else {}) or {})}
            except StudioError as error:
                return {"ok": False, "error": error.what, "fix": error.fix}
            except Exception:
                log.exception("%s", answer.__name__)
                return {"ok": False, "error": say("Something went wrong in the studio itself."), "fix": say("Try again; the server's log says more.")}

    answered.__annotations__ = {"asked": Any, "request": gr.Request}
    del answered.__dict__["__wrapped__"]  # Gradio reads the signature, and it is the wrapper's that counts
    return answered
