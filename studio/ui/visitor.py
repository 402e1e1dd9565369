"""Who is asking: the visitor's language and session, from the request, for as long as it is answered."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import gradio as gr

from studio.language import LANGUAGES, speaking

LANGUAGE, SESSION = "studio_language", "studio_session"


@dataclass(frozen=True)
class Visitor:
    """A browser: the language it reads, and a random name that it keeps in a cookie."""

    language: str = ""
    session: str = ""


_present: ContextVar[Visitor] = ContextVar("visitor")


def visitor() -> Visitor:
    """The visitor that is being answered."""
    return _present.get(Visitor())


@contextmanager
def answering(request: gr.Request | None) -> Iterator[Visitor]:
    """Answer one request in its visitor's language."""
    found = _from(request) if request is not None else Visitor()
    token = _present.set(found)
    try:
        with speaking(found.language):
            yield found
    finally:
        _present.reset(token)


def _from(request: gr.Request) -> Visitor:
    chosen = request.cookies.get(LANGUAGE, "")
    wanted = chosen or request.headers.get("accept-language", "").split(",")[0]
    known = wanted if wanted[:2].lower() in LANGUAGES else ""
    session = request.cookies.get(SESSION, "")
    return Visitor(known, session if session.isalnum() and len(session) <= 64 else "")
