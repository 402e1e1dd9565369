"""The Runs tab: all runs, their curves together, what differs, their files, a trash."""

import os
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from studio import home
from studio.data.listing import READABLE
from studio.errors import InputError, MachineError, ModelError, StudioError
from studio.files import write_atomically
from studio.language import say
from studio.runs import curves, overview, result, trash
from studio.runs.result import DIFFUSERS
from studio.runs.run import Run
from studio.ui import access, live, tasks
from studio.ui.parts import part

TEXTS = frozenset({".yaml", ".json", ".jsonl", ".log", ".md", ".txt", ""})
LONGEST_TEXT, LONGEST_NOTES = 300_000, 100_000
MOST_FILES, MOST_RUNS = 1000, 12


def rows(_: dict[str, Any]) -> dict[str, Any]:
    """The table."""
    return {"rows": overview.rows(access.runs()), "trash": len(trash.listed()) if not access.HOUSE.demo else 0}


def chosen(asked: dict[str, Any]) -> dict[str, Any]:
    """Curves of some runs that the page doesn't have, and what differs in the settings of all of them."""
    runs = _several(asked.get("runs"))
    missing = asked.get("missing")
    wanted = missing if isinstance(missing, list) else []
    found = {run.id: {"name": run.name, **live.curve(curves.read(run), {})} for run in runs if run.id in wanted}
    return {"curves": found, "differences": overview.differences(runs) if len(runs) > 1 else []}


def about(asked: dict[str, Any]) -> dict[str, Any]:
    """A run's files, its notes and its settings."""
    run = access.run(str(asked.get("run")))
    files = [[name, path.stat().st_size, _sort(path)] for name, path in _files(run).items()]
    notes = run.folder / "notes.md"
    settings = {key: value for key, value in run.config.model_dump(mode="json").items() if value not in (None, [], "")}
    config = {
        key: settings[key] for key in run.config.model_fields_set if key in settings and key not in ("output_dir", "purpose", "name", "threads")
    }
    return {
        "folder": str(run.folder) if not access.HOUSE.demo else "",
        "files": files,
        "notes": notes.read_text(encoding="utf-8") if notes.is_file() else "",
        "settings": config,
        "downloads": [name for name in (DIFFUSERS, f"exports/{run.name}.safetensors", f"exports/{run.name}.zip") if (run.folder / name).is_file()],
        "loads": _loads(result.places(run)["kohya"]),
        "checkpoints": sorted(int(path.name.removeprefix("step-")) for path in (run.folder / "checkpoints").glob("step-??????")),
    }


def note(asked: dict[str, Any]) -> None:
    """Keep the person's words on a run."""
    run = access.run(str(asked.get("run")))
    try:
        write_atomically(run.folder / "notes.md", str(asked.get("text") or "")[:LONGEST_NOTES])
    except OSError as error:
        raise MachineError(
            say("{path}: can't be written: {reason}", path=run.folder, reason=error.strerror or error), say("Check its permissions.")
        ) from None


def export(asked: dict[str, Any]) -> dict[str, Any]:
    """Write the LoRA files of a checkpoint, in the background."""
    run, step, form, precision = access.run(str(asked.get("run"))), asked.get("step"), asked.get("format"), asked.get("precision")

    def work(_: tasks.Progress) -> dict[str, Any]:
        from studio.results.export import FORMATS, PRECISIONS
        from studio.results.export import export as write

        formats = FORMATS if form == "all" else result.FORMATS
        write(run, step if isinstance(step, int) else None, formats, precision if precision in PRECISIONS else None)
        return {}

    return tasks.start(say("Writing the LoRA's files"), work)


def pack(asked: dict[str, Any]) -> dict[str, Any]:
    """Write a zip to give away, in the background: file, picture, settings, model card."""
    run, step, private = access.run(str(asked.get("run"))), asked.get("step"), bool(asked.get("private"))

    def work(_: tasks.Progress) -> dict[str, Any]:
        from studio.results.card import pack as write

        return {"file": f"exports/{write(run, step if isinstance(step, int) else None, private).name}"}

    return tasks.start(say("Packing"), work)


def send(asked: dict[str, Any]) -> dict[str, Any]:
    """Copy the LoRA to A1111, Forge or ComfyUI, in the background. A folder is taken on the own machine only: elsewhere it is set by its operator."""
    from studio.results import sending

    _refuse_in_demo()
    run, step, folder = access.run(str(asked.get("run"))), asked.get("step"), str(asked.get("folder") or "").strip()
    if folder:
        if not access.HOUSE.open:
            raise InputError(say("Who runs this studio sets the folder: python studio.py export {id} --send FOLDER", id=run.id))
        sending.remember([Path(folder)])
    elif not sending.folders():
        return {"folder": True}

    def work(_: tasks.Progress) -> dict[str, Any]:
        return {"sent": [str(path) for path in sending.send(run, step if isinstance(step, int) else None)]}

    return tasks.start(say("Sending"), work)


def merged(asked: dict[str, Any]) -> dict[str, Any]:
    """Write the base model with the LoRA in its weights below models/, in the background."""
    _refuse_in_demo()
    run, step, precision = access.run(str(asked.get("run"))), asked.get("step"), asked.get("precision")
    target = home.models() / f"{run.name}-merged"

    def work(progress: tasks.Progress) -> dict[str, Any]:
        from studio.results import export

        chosen = precision if precision in export.PRECISIONS else None
        return {"sent": [str(export.merged(run, target, step if isinstance(step, int) else None, chosen, progress))]}

    return tasks.start(say("Writing the merged model"), work)


def delete(asked: dict[str, Any]) -> None:
    """Move runs to the trash."""
    for run in _several(asked.get("runs")):
        trash.delete(run)


def deleted(_: dict[str, Any]) -> dict[str, Any]:
    """The trash."""
    _refuse_in_demo()
    return {"deleted": [vars(one) for one in trash.listed()]}


def restore(asked: dict[str, Any]) -> None:
    """Bring runs back."""
    _refuse_in_demo()
    for name in _names(asked.get("runs")):
        trash.restore(name)


def purge(asked: dict[str, Any]) -> None:
    """Delete runs for good."""
    _refuse_in_demo()
    for name in _names(asked.get("runs")):
        trash.purge(name)


def board(asked: dict[str, Any]) -> dict[str, Any]:
    """Start TensorBoard over the chosen runs."""
    from studio.ui import tensorboard

    return {"url": tensorboard.start(_several(asked.get("runs")))}


async def file(request: Request) -> Response:
    """One of a run's files, by the name that its listing gives it. `?text` shows the end of a text."""
    with access.answering(request):
        try:
            path = _files(access.run(request.path_params["run"])).get(request.path_params["name"])
        except StudioError:
            path = None
        if path is None:
            return Response(status_code=404)
        if "text" in request.query_params:
            with path.open("rb") as opened:
                opened.seek(max(0, path.stat().st_size - LONGEST_TEXT))
                return PlainTextResponse(opened.read().decode("utf-8", "replace"))
        shown = path.suffix.lower() in READABLE
        return FileResponse(path, filename=path.name, content_disposition_type="inline" if shown else "attachment")


ROUTES = [Route("/studio/runs/{run}/{name:path}", file)]


def build() -> None:
    """Put the tab's part on the page."""
    part("runs", [rows, chosen, about, note, export, pack, send, merged, delete, deleted, restore, purge, board, tasks.task, tasks.cancel])


def _names(given: Any) -> list[str]:
    if not isinstance(given, list) or not given or len(given) > 1000:
        raise InputError(say("Choose at least one run."))
    return [str(name) for name in given]


def _several(given: Any) -> list[Run]:
    return [access.run(name) for name in _names(given)[:MOST_RUNS]]


def _files(run: Run) -> dict[str, Path]:
    """The run's files by their names in its folder; a link that leads out of it is none."""
    root = run.folder.resolve()
    found: dict[str, Path] = {}
    for folder, below, names in os.walk(root):
        below[:] = sorted(name for name in below if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder, name)
            if not name.startswith(".") and name not in ("lock", "stop", "owner") and path.resolve().is_relative_to(root):
                found[path.relative_to(root).as_posix()] = path
            if len(found) >= MOST_FILES:
                return found
    return found


def _loads(path: Path) -> list[tuple[str, str, str]]:
    """Which program reads how much of a LoRA file, and what is lost."""
    from studio.formats.facts import loading
    from studio.formats.fingerprints import recognise_lora
    from studio.formats.gate import check_safetensors
    from studio.formats.readers import will_load

    try:
        header = check_safetensors(path)
    except ModelError:  # not there yet, or damaged: the row of downloads shows what there is
        return []
    kind = recognise_lora(header)
    return loading(will_load(header, kind)) if kind else []


def _sort(path: Path) -> str:
    suffix = path.suffix.lower()
    return "picture" if suffix in READABLE else "text" if suffix in TEXTS else ""


def _refuse_in_demo() -> None:
    if access.HOUSE.demo:
        raise InputError(say("This demonstration doesn't do that."), say("It works in a studio of your own."))
