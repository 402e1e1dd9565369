"""The Train tab: start, stop, resume, the queue, and a run while it goes on."""

import os
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from studio import fields
from studio.errors import InputError
from studio.fields import Given, SettingsError
from studio.language import say
from studio.runs import curves, jobs
from studio.runs import run as shelf
from studio.runs.run import Run
from studio.ui import access, form, live, space
from studio.ui.parts import part

EVERY = 3000 if os.environ.get("SPACE_ID") else 1000
MOST = 500


def runs(_: dict[str, Any]) -> dict[str, Any]:
    """All runs that the visitor may see, newest first."""
    return {"runs": [_named(run) for run in reversed(access.runs()[-MOST:])]}


def look(asked: dict[str, Any]) -> dict[str, Any]:
    """The run in view, the queue, and how long to wait before asking again."""
    waits = [run.id for run in jobs.waiting()]
    found = _found(asked.get("run"))
    answer: dict[str, Any] = {"queue": waits, "every": EVERY}
    return answer if found is None else answer | {"run": live.look(found, asked)}


def curve(asked: dict[str, Any]) -> dict[str, Any]:
    """The points of another run that the page doesn't have."""
    found = access.run(str(asked.get("run")))
    return {"name": found.name, "curve": live.curve(curves.read(found), asked)}


def start(asked: dict[str, Any]) -> dict[str, Any]:
    """Put a new run into the queue. What is wrong with a setting comes back as `faults`."""
    from studio.runs.resolve import complete

    try:
        config = access.limited(fields.build({key: Given(value, "") for key, value in _settings(asked).items()}))
    except SettingsError as error:
        return {"faults": {fault.key: fault.text for fault in error.faults}}
    run = shelf.create(complete(config), waits=True) if space.zero() else jobs.submit(complete(config))
    access.own(run)
    return {"run": _named(run), "zero": space.zero()}


def stop(asked: dict[str, Any]) -> None:
    """Let a run save and stop, or take it out of the queue."""
    jobs.stop(access.run(str(asked.get("run"))))


def resume(asked: dict[str, Any]) -> dict[str, Any]:
    """Put a run that was stopped, failed or interrupted back into the queue."""
    run = access.run(str(asked.get("run")))
    if not space.zero():
        jobs.again(run)
        return {"zero": False}
    run.enqueue()
    return {"zero": True}


def board(asked: dict[str, Any]) -> dict[str, Any]:
    """Start TensorBoard over some runs; its address below ours."""
    from studio.ui import tensorboard

    named = asked.get("runs")
    return {"url": tensorboard.start([access.run(str(name)) for name in named[:20]] if isinstance(named, list) else [])}


async def sample(request: Request) -> Response:
    """A preview picture, by run, step and number."""
    with access.answering(request):
        try:
            run = access.run(request.path_params["run"])
        except InputError:
            return Response(status_code=404)
    step, number = request.path_params["step"], request.path_params["number"]
    path: Path = run.folder / "samples" / f"step-{step:06d}" / f"{number:02d}.png"
    return FileResponse(path, headers={"Cache-Control": "private, max-age=86400"}) if path.is_file() else Response(status_code=404)


ROUTES = [Route("/studio/train/{run}/{step:int}/{number:int}.png", sample)]


def build() -> None:
    """Put the tab's part on the page."""
    made = part("train", [runs, look, curve, start, stop, resume, board])
    if space.zero():
        made.zero(space.train, None, None, api_visibility="private")


def _settings(asked: dict[str, Any]) -> dict[str, Any]:
    given = asked.get("settings")
    if not isinstance(given, dict) or not given:
        raise InputError(say("Nothing is said of what to train."), say("Choose a dataset and a preset, or try the sample set."))
    settings = form.typed({str(key): value for key, value in given.items()})
    for key in ("purpose", "name"):
        if text := str(asked.get(key) or "").strip():
            settings[key] = text
    return settings


def _found(name: Any) -> Run | None:
    """The run that is asked for, else the newest one that lives or waits, else the newest."""
    seen = access.runs()
    if name:
        return next((run for run in seen if run.id == name), None)
    return next((run for run in reversed(seen) if run.state.status in ("running", "preparing", "queued")), seen[-1] if seen else None)


def _named(run: Run) -> dict[str, Any]:
    return {"id": run.id, "name": run.name, "status": run.state.status, "purpose": run.config.purpose or ""}
