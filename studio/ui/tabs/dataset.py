"""The Dataset tab: bring pictures or texts in, edit captions and conversations, see what is wrong with them."""

import asyncio
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from studio import fields
from studio.data import album, datasets
from studio.data.datasets import Known
from studio.data.listing import READABLE
from studio.data.text.texts import UnknownColumnsError, text_files
from studio.data.thumbnails import thumbnail
from studio.data.writing import authors, edits
from studio.errors import DataError, InputError, StudioError
from studio.fields import Given
from studio.language import say
from studio.pocket import SAMPLES, STYLES
from studio.ui import access, tasks
from studio.ui.parts import part
from studio.ui.tabs import captions, texts

MOST_FOLDERS = 200
MOST_TOLD = 20


def known(_: dict[str, Any]) -> dict[str, Any]:
    """The datasets that the visitor may open, and the sample sets."""
    return {"datasets": [_named(found) for found in access.datasets()], "samples": list(STYLES)}


def choose(asked: dict[str, Any]) -> dict[str, Any]:
    """Open a dataset by its name, by its folder, or a sample set."""
    if sample := asked.get("sample"):
        if sample not in STYLES:
            raise InputError(say("There is no dataset {name}.", name=sample), say("Choose one from the list."))
        return _named(datasets.copy_of(SAMPLES / sample, access.mine(str(sample))))
    if folder := str(asked.get("folder") or "").strip():
        path = access.path(folder)
        album.open_album(path)
        if not texts.holds_texts(path):
            return _named(datasets.register(path))
        try:
            copied, left_out = texts.copy_of(path, texts.columns_of(asked))
            return _named(copied) | {"left_out": left_out[:MOST_TOLD]}
        except UnknownColumnsError as error:
            return texts.unknown(error)
    return _named(access.dataset(str(asked.get("name"))))


def folders(asked: dict[str, Any]) -> dict[str, Any]:
    """The folders below one, to pick from; the workspace and where the app was started in for none."""
    if not asked.get("at"):
        return {"at": "", "folders": [str(root) for root in access.roots()], "up": ""}
    at = access.path(str(asked["at"]))
    try:
        entries = [entry for entry in at.iterdir() if not entry.name.startswith(".")]
    except OSError as error:
        raise InputError(say("{path}: can't be read: {reason}", path=at, reason=error.strerror), say("Check the path.")) from None
    found = sorted(str(entry) for entry in entries if entry.is_dir())
    pictures = sum(entry.suffix.lower() in READABLE for entry in entries)
    words = len(text_files([entry.name for entry in entries]))
    up = str(at.parent) if any(at.parent.is_relative_to(root) for root in access.roots()) else ""
    return {"at": str(at), "folders": found[:MOST_FOLDERS], "up": up, "pictures": pictures, "texts": words}


def rows(asked: dict[str, Any]) -> dict[str, Any]:
    """Every picture's name, caption, and the captioner whose text it is. With `stamp`: nothing, where that is how it stands still; and nothing of
    texts, which are asked for by the page."""
    folder = access.dataset(str(asked.get("name"))).folder
    opened = album.open_album(folder)
    if not opened.listing.pictures and text_files(opened.listing.others):
        return {"texts": True}
    undoable = edits.undoable(folder)
    if asked.get("stamp") == opened.stamp:
        return {"same": True, "undoable": undoable}
    machine = authors.by_machine(folder, opened.captions.texts)
    return {"rows": [[*row, machine.get(row[0], "")] for row in opened.rows], "stamp": opened.stamp, "source": opened.source, "undoable": undoable}


def check(asked: dict[str, Any]) -> dict[str, Any]:
    """Look for everything that is wrong, in the background."""
    found = access.dataset(str(asked.get("name")))
    resolution = asked.get("resolution")

    def work(progress: tasks.Progress) -> dict[str, Any]:
        from studio.data import datasheet, report
        from studio.families import clip

        given: dict[str, Any] = {"base_model": "pocket", "train_data_dir": str(found.folder)}
        if isinstance(resolution, int):
            given["resolution"] = resolution
        config = fields.build({key: Given(value, "") for key, value in given.items()})
        tokenizer = clip.tokenizer()
        seen = report.check(config, progress, count_tokens=lambda text: len(tokenizer(text, verbose=False).input_ids), limit=clip.LIMIT)
        problems = [[p.file, p.line, p.message, p.fix, p.severity, p.kind, p.also] for p in seen.problems]
        facts = datasheet.read(found.folder)
        guessed = facts.captioning or datasheet.captioning(found.folder, album.open_album(found.folder).captions.texts)
        sheet = datasheet.markdown(seen, replace(facts, captioning=guessed))
        about = {**asdict(seen.description), "facts": asdict(facts), "guessed": guessed, "markdown": sheet}
        return {"problems": problems, "about": about, "usable": seen.usable, "pictures": seen.pictures, "captions": seen.captions}

    return tasks.start(say("Looking at the pictures"), work)


def say_of(asked: dict[str, Any]) -> None:
    """Keep what the person says of a dataset: source, preprocessing, captioning."""
    from studio.data import datasheet

    facts = datasheet.Facts(
        *(" ".join(str(asked.get(name) or "").split())[: datasheet.LONGEST] for name in ("source", "preprocessing", "captioning"))
    )
    datasheet.write(access.dataset(str(asked.get("name"))).folder, facts)


def bring(asked: dict[str, Any]) -> dict[str, Any]:
    """Copy uploaded files into a dataset, in the background."""
    given = asked.get("files")
    if not isinstance(given, list) or not given:
        raise DataError(say("No file was given."))
    files = [(str(file["name"]), access.uploaded(file["path"])) for file in given if isinstance(file, dict) and "name" in file and "path" in file]
    into = str(asked.get("into") or "")
    if into:
        into = access.dataset(into).name
    columns = texts.columns_of(asked)
    kind = "texts" if len(text_files([name for name, _ in files])) == len(files) else "pictures"

    def work(progress: tasks.Progress) -> dict[str, Any]:
        try:
            brought, left_out = datasets.bring(files, into or (access.mine(kind) if access.HOUSE.demo else ""), progress, columns)
        except UnknownColumnsError as error:
            return texts.unknown(error)
        return _named(brought) | {"left_out": left_out[:MOST_TOLD]}

    return tasks.start(say("Copying"), work)


def try_it(_: dict[str, Any]) -> dict[str, Any]:
    """The demonstration: the sample set, the pocket model and the preset for it, into the queue."""

    def work(_: tasks.Progress) -> dict[str, Any]:
        from studio.results import demo
        from studio.runs import jobs
        from studio.runs.resolve import complete

        chosen = choose({"sample": demo.STYLE})
        config = demo.config().model_copy(update={"train_data_dir": Path(chosen["folder"])})
        run = jobs.submit(complete(access.limited(config)))
        access.own(run)
        return {"dataset": chosen, "run": run.id}

    return tasks.start(say("Preparing"), work)


async def picture(request: Request) -> Response:
    """A thumbnail, or with `?whole` the picture itself, by dataset and name."""
    with access.answering(request):
        try:
            found = access.dataset(request.path_params["dataset"])
            path = (found.folder / request.path_params["name"]).resolve()
            if not path.is_relative_to(found.folder.resolve()) or path.suffix.lower() not in READABLE or not path.is_file():
                return Response(status_code=404)
            shown = path if "whole" in request.query_params else await asyncio.to_thread(thumbnail, path)
            return FileResponse(shown, headers={"Cache-Control": "private, max-age=3600"})
        except (StudioError, OSError):
            return Response(status_code=404)


ROUTES = [Route("/studio/dataset/{dataset}/{name:path}", picture), Route("/studio/packed/{token}/{name}", captions.packed)]


def build() -> None:
    """Put the tab's part on the page."""
    part(
        "dataset",
        [known, choose, folders, rows, *captions.ANSWERS, *texts.ANSWERS, check, say_of, bring, try_it, tasks.task, tasks.cancel],
        "captions",
        "report",
        "texts",
    )


def _named(found: Known) -> dict[str, Any]:
    return {"name": found.name, "folder": str(found.folder)}
