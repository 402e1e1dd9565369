"""Who may ask the server what: no other site's page, no other host's name, nobody without the login, nothing that the app doesn't need."""

import asyncio
import os
import threading
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import gradio
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OURS = ("/studio/", "/tensorboard/")
# What Gradio offers and this app has no use for: files by their path, other servers' answers, saved pages.
CLOSED = ("/file", "/proxy", "/deep_link", "/custom_component", "/stream", "/reset", "/vibe", "/monitoring", "/process_recording", "/agent", "/runs")
READING = ("GET", "HEAD", "OPTIONS")
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self' data: blob:; worker-src 'self' blob:; object-src 'none'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors "
)
FRAMES = "'self'"
FRAMES_ON_A_SPACE = "'self' https://huggingface.co https://*.hf.space"

FAILURES = 5
WITHIN = 60.0
"""Seconds in which so many logins may fail from one address before no more are heard."""

BROKEN_OFF = 600.0
"""Seconds after which an upload that nothing is added to any more has broken off."""

page_asked = threading.Event()
"""Set when somebody has opened the page."""


class Guard:
    """Answers instead of the app where it has to; ASGI."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.failed: dict[str, list[float]] = {}
        self.policy = POLICY + (FRAMES_ON_A_SPACE if "SPACE_ID" in os.environ else FRAMES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on and put our headers on the answer."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        asked = HTTPConnection(scope)
        path = scope["path"].removeprefix(scope.get("root_path") or "")
        if path == "/":
            page_asked.set()
        refused = _refused(asked, scope["method"], path)
        if scope["method"] == "POST" and path.startswith("/gradio_api/upload"):
            await asyncio.to_thread(sweep, Path(gradio.utils.get_upload_folder()))
        logs_in = scope["method"] == "POST" and path.rstrip("/") == "/login"
        address = asked.client.host if asked.client else ""
        if logs_in and not refused and len(self._recent(address)) >= FAILURES:
            refused = 429, "too many failed logins: wait a minute"

        async def with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                if logs_in and message["status"] in (400, 401):
                    self.failed.setdefault(address, []).append(time.monotonic())
                present = {name.lower() for name, _ in message["headers"]}
                added = {**HEADERS, "content-security-policy": self.policy}
                message["headers"] = [*message["headers"], *((n.encode(), v.encode()) for n, v in added.items() if n.encode() not in present)]
            await send(message)

        answer: Any = PlainTextResponse(refused[1], refused[0]) if refused else self.app
        await answer(scope, receive, with_headers)

    def _recent(self, address: str) -> list[float]:
        """When logins from there failed a moment ago. Older failures are forgotten, everybody's."""
        since = time.monotonic() - WITHIN
        self.failed = {one: recent for one, times in self.failed.items() if (recent := [at for at in times if at > since])}
        return self.failed.get(address, [])


def guards(loopback: bool) -> list[Middleware]:
    """The middlewares for `launch`. On a loopback address no other name than its own is answered (DNS rebinding)."""
    hosts = [Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost", "[::1]"], www_redirect=False)] if loopback else []
    return [*hosts, Middleware(Guard)]


def sweep(folder: Path) -> None:
    """Remove what uploads that broke off have left; whole ones lie in folders of their own."""
    for path in folder.glob("tmp*"):
        with suppress(OSError):
            if path.is_file() and path.stat().st_mtime < time.time() - BROKEN_OFF:
                path.unlink()


def _refused(asked: HTTPConnection, method: str, path: str) -> tuple[int, str] | None:
    if method not in READING and _foreign(asked):
        return 403, "cross-site request refused"
    name = path.removeprefix("/gradio_api")
    if name.startswith(CLOSED) and not path.startswith(OURS):
        return 404, "not found"
    if path.startswith(OURS) and not _known(asked):
        return 401, "not logged in"
    return None


def _foreign(asked: HTTPConnection) -> bool:
    """Whether another site's page asks. Scripts send no origin."""
    origin = asked.headers.get("origin")
    host = (asked.headers.get("x-forwarded-host") or asked.headers.get("host", "")).split(",")[0].strip()
    return asked.headers.get("sec-fetch-site") == "cross-site" or (origin is not None and urlsplit(origin).netloc != host)


def _known(asked: HTTPConnection) -> bool:
    """Whether the visitor is logged in, as Gradio knows it; true where no login is asked for."""
    app = asked.scope["app"]
    if getattr(app, "auth", None) is None:
        return True
    cookies = (asked.cookies.get(f"{name}-{app.cookie_id}") for name in ("access-token", "access-token-unsecure"))
    return any(cookie is not None and cookie in app.tokens for cookie in cookies)
