"""Models from the Hub, each in a fresh process: its library reads the environment once, when it is imported."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from studio.families import POCKET

ASK = """
import json, sys, time
from studio import families
from studio.errors import StudioError
import huggingface_hub
began = time.monotonic()
try:
    answer = {"found": str(families.find(sys.argv[1]))}
except StudioError as error:
    answer = {"error": type(error).__name__, "what": error.what, "fix": error.fix}
print(json.dumps({**answer, "seconds": time.monotonic() - began}))
"""
Ask = Callable[..., dict[str, Any]]


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    """Where a name leads, or what is said of it, and the seconds it took."""

    def run(name: str, **environment: str) -> dict[str, Any]:
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING", "STUDIO_"))}
        settings = {"HF_HOME": str(tmp_path / "hub"), "STUDIO_HOME": str(tmp_path / "home"), "PYTHONPATH": str(Path(__file__).parents[2])}
        done = subprocess.run([sys.executable, "-c", ASK, name], env={**clean, **settings, **environment}, capture_output=True, text=True, check=True)
        return dict(json.loads(done.stdout.splitlines()[-1]))

    return run


@pytest.fixture
def hub() -> Iterator[Callable[[int, str], str]]:
    """A Hub that answers everything with one status; gives its address."""
    servers = []

    def start(status: int, code: str) -> str:
        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.send_header("X-Error-Code", code)
                self.send_header("X-Error-Message", "as told")
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_HEAD = do_GET  # noqa: N815 - the library's name

            def log_message(self, *_: object) -> None:
                """Quiet."""

        servers.append(HTTPServer(("127.0.0.1", 0), Answer))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def cached(hub: Path) -> Path:
    """A model that was downloaded earlier, in the layout of the Hub's own cache."""
    repository = hub / "hub" / "models--org--tiny"
    snapshot = repository / "snapshots" / ("c" * 40)
    shutil.copytree(POCKET, snapshot)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("c" * 40)
    return snapshot


def test_a_model_in_the_cache_is_used_without_the_hub(tmp_path: Path, ask: Ask) -> None:
    snapshot = cached(tmp_path / "hub")
    assert ask("org/tiny", HF_HUB_OFFLINE="1")["found"] == str(snapshot)
    assert ask("org/tiny", HF_ENDPOINT="http://127.0.0.1:9")["found"] == str(snapshot)


def test_offline_a_model_that_is_not_in_the_cache_is_said_within_a_second(ask: Ask) -> None:
    answer = ask("org/absent", HF_HUB_OFFLINE="1")
    assert (answer["error"], "org/absent" in answer["what"]) == ("MachineError", True)
    assert "local path" in answer["fix"]
    assert answer["seconds"] < 1


@pytest.mark.parametrize(
    ("status", "code", "kind", "words"),
    [
        (404, "RepoNotFound", "ModelError", "no such public model"),
        (403, "GatedRepo", "ModelError", "consent"),
    ],
)
def test_what_the_hub_refuses_is_said(status: int, code: str, kind: str, words: str, ask: Ask, hub: Callable[[int, str], str]) -> None:
    answer = ask("org/absent", HF_ENDPOINT=hub(status, code))
    assert answer["error"] == kind
    assert words in answer["what"]
    assert "HF_TOKEN" in answer["fix"]


def test_a_proxy_that_is_not_there_is_said(ask: Ask) -> None:
    answer = ask("org/absent", HF_ENDPOINT="http://hub.invalid", HTTP_PROXY="http://127.0.0.1:9", http_proxy="http://127.0.0.1:9", no_proxy="")
    assert (answer["error"], "can't be reached" in answer["what"]) == ("MachineError", True)
