"""The app as a process of its own, and Chromium to look at it with. Both are found or the browser tests say that they are skipped."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run")


@dataclass
class App:
    """A server that runs, and where."""

    process: subprocess.Popen[bytes]
    url: str
    home: Path
    started: float

    def end(self, how: signal.Signals = signal.SIGTERM, seconds: float = 60) -> int:
        """Tell it to end, and wait until it has."""
        self.process.send_signal(how)
        return self.process.wait(seconds)


def chromium() -> str | None:
    """Chromium's path."""
    return os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def start(home: Path, *words: str, port: int | None = None, **surroundings: str) -> App:
    """Start `python studio.py` with its workspace at `home` and wait until it answers. `seconds` from start to answer are in `.started`."""
    port = port or free_port()
    command = [sys.executable, str(ROOT / "studio.py"), "--port", str(port), *words]
    temporary = home / "temporary"  # holds the device's lock: somebody may be training on this machine
    temporary.mkdir(parents=True, exist_ok=True)
    surroundings = {"STUDIO_HOME": str(home), "STUDIO_LANGUAGE": "en", "STUDIO_DEVICE": "cpu", "TMPDIR": str(temporary), **surroundings}
    began = time.monotonic()
    with (home / "server.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **surroundings}, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    while time.monotonic() < began + 90 and process.poll() is None:
        with suppress(OSError), urllib.request.urlopen(f"{url}/health", timeout=5):
            return App(process, url, home, time.monotonic() - began)
        time.sleep(0.05)
    process.kill()
    raise RuntimeError((home / "server.log").read_text(errors="replace")[-4000:])


@contextmanager
def running(home: Path, *words: str, **surroundings: str) -> Iterator[App]:
    """The app for as long as the block lasts."""
    app = start(home, *words, **surroundings)
    try:
        yield app
    finally:
        if app.process.poll() is None:
            try:
                app.end()
            except subprocess.TimeoutExpired:
                app.process.kill()
                app.process.wait()
                raise


@contextmanager
def browser() -> Iterator[Any]:
    """Chromium, driven by Playwright."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium(), args=list(FLAGS))
        try:
            yield opened
        finally:
            opened.close()


def open_tab(page: Any, name: str) -> None:
    """Open a tab by its English name and wait for its part."""
    page.wait_for_function("name => document.querySelector(`#tabs [data-tab-id=${name}]`)", arg=name.lower())
    page.evaluate("name => window.studio.show(name)", name.lower())
    page.wait_for_selector(f"#{name.lower()}", state="visible")


def settle(page: Any, script: str, seconds: float = 60) -> None:
    """Wait until `script` is true; where it never is, say what the page shows."""
    try:
        page.wait_for_function(script, timeout=seconds * 1000)
    except Exception as error:
        shown = page.evaluate("[...document.querySelectorAll('.studio, .toast')].filter(e => e.offsetParent).map(e => e.innerText).join('\\n---\\n')")
        raise AssertionError(f"{script}\n{shown[:3000]}") from error
