"""One TensorBoard over chosen runs, as a child process that is reached through the app's own port."""

import atexit
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from studio.errors import InputError, MachineError
from studio.language import say
from studio.runs.run import Run

PREFIX = "/tensorboard"
PATIENCE = 60
NOT_PASSED = frozenset({"host", "connection", "content-length", "transfer-encoding", "keep-alive", "cookie", "authorization"})
# Ends with the studio, however that ends.
CHILD = """
import os, sys, threading, time
parent = os.getppid()
def watch():
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(0)
threading.Thread(target=watch, daemon=True).start()
from tensorboard.main import run_main
sys.argv[0] = "tensorboard"
run_main()
"""


@dataclass
class Board:
    """The child, and which runs it shows."""

    busy: threading.Lock = field(default_factory=threading.Lock)
    process: subprocess.Popen[bytes] | None = None
    port: int = 0
    shown: tuple[str, ...] = ()
    links: tempfile.TemporaryDirectory[str] | None = None


_board = Board()


def start(runs: Sequence[Run]) -> str:
    """Show these runs, once it answers. Returns the address below the app's own. Raises InputError, MachineError."""
    names = tuple(run.id for run in runs if (run.folder / "logs").is_dir())
    if not names:
        raise InputError(say("There are no logs yet."), say("Start a run first."))
    with _board.busy:
        if _board.shown != names or _board.process is None or _board.process.poll() is not None:
            _end()
            _begin({run.id: run.folder / "logs" for run in runs if run.id in names})
            _board.shown = names
    return f"{PREFIX[1:]}/"


def end() -> None:
    """End the child."""
    with _board.busy:
        _end()


def _begin(logs: dict[str, Path]) -> None:
    _board.links = tempfile.TemporaryDirectory(prefix="studio-board-")
    for name, folder in logs.items():
        (Path(_board.links.name) / name).symlink_to(folder, target_is_directory=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        _board.port = free.getsockname()[1]
    words = ["--logdir", _board.links.name, "--host", "127.0.0.1", "--port", str(_board.port), "--path_prefix", PREFIX, "--reload_interval", "5"]
    _board.process = subprocess.Popen(
        [sys.executable, "-c", CHILD, *words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and _board.process.poll() is None:
        with suppress(httpx.HTTPError):
            if httpx.get(f"http://127.0.0.1:{_board.port}{PREFIX}/", timeout=2, trust_env=False).status_code == 200:
                return
        time.sleep(0.2)
    _end()
    raise MachineError(say("TensorBoard doesn't start."), say("`python -m tensorboard.main --logdir` on the run's logs folder says why."))


def _end() -> None:
    if _board.process is not None:
        _board.process.terminate()
        try:
            _board.process.wait(5)
        except subprocess.TimeoutExpired:
            _board.process.kill()
    if _board.links is not None:
        _board.links.cleanup()
    _board.process, _board.links, _board.shown = None, None, ()


atexit.register(end)


async def _pass_on(request: Request) -> Response:
    """Whatever TensorBoard's page asks, from TensorBoard."""
    if _board.process is None or _board.process.poll() is not None:
        return PlainTextResponse(say("TensorBoard is not running. Start it from the Train or the Runs tab."), 404)
    client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{_board.port}", timeout=60, trust_env=False)
    headers = {name: value for name, value in request.headers.items() if name.lower() not in NOT_PASSED}
    path = f"{PREFIX}/{request.path_params['path']}"
    asked = client.build_request(request.method, path, params=request.url.query.encode() or None, headers=headers, content=await request.body())
    try:
        answer = await client.send(asked, stream=True)
    except httpx.HTTPError:
        await client.aclose()
        return PlainTextResponse(say("TensorBoard doesn't answer."), 502)

    async def close() -> None:
        await answer.aclose()
        await client.aclose()

    passed = {name: value for name, value in answer.headers.items() if name.lower() not in NOT_PASSED | {"content-security-policy"}}
    return StreamingResponse(answer.aiter_raw(), answer.status_code, passed, background=BackgroundTask(close))


ROUTES = [Route(f"{PREFIX}/{{path:path}}", _pass_on, methods=["GET", "POST"])]
