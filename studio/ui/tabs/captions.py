"""What the Dataset tab asks of captions: who writes them, changes to many at once, taking the last one back."""

import re
import secrets
import shutil
import time
from pathlib import Path
from typing import Any, get_args
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import FileResponse, Response

from studio import home
from studio.data import album, exporting
from studio.data.album import Edit
from studio.data.looking import fitness
from studio.data.writing import captioners, captioning, edits
from studio.data.writing.captioners import CAPTIONERS, Options
from studio.data.writing.captioning import Job, Overwrite
from studio.errors import InputError
from studio.language import say
from studio.ui import access, tasks

MOST_EDITS = 20_000
MOST_SHOWN = 200
MOST_CHANGES = 20
DAY = 24 * 3600
JUDGES = ("blip-large", "blip", "pocket")


def writers(_: dict[str, Any]) -> dict[str, Any]:
    """The captioners, and the changes that can be made to many captions."""
    kinds = [kind for kind in CAPTIONERS.values() if kind.ready or not access.HOUSE.demo]
    return {
        "writers": [{"name": kind.name, "title": say(kind.title), "about": kind.described, "ready": kind.ready} for kind in kinds],
        "changes": [{"name": name, "about": say(change.about), "needs": change.needs} for name, change in edits.OPERATIONS.items()],
    }


def save(asked: dict[str, Any]) -> dict[str, Any]:
    """Make edits `[name, before, after]`. Those whose caption somebody else changed come back as conflicts."""
    given = asked.get("edits")
    if not isinstance(given, list) or len(given) > MOST_EDITS or not all(isinstance(edit, list) and len(edit) == 3 for edit in given):
        raise InputError(say("That is no list of edits."))
    found = [Edit(*(str(word) for word in edit)) for edit in given]
    saved, conflicts = edits.apply(access.dataset(str(asked.get("name"))).folder, found, say("by hand"))
    return {"stamp": saved.stamp, "conflicts": conflicts}


def preview(asked: dict[str, Any]) -> dict[str, Any]:
    """What changes would do to the captions of the pictures `only` (all when absent): how many, and the first of them."""
    found = _changed(asked)
    return {"count": len(found), "edits": found[:MOST_SHOWN]}


def change(asked: dict[str, Any]) -> dict[str, Any]:
    """Make them."""
    found = _changed(asked)
    folder = access.dataset(str(asked.get("name"))).folder
    saved, conflicts = edits.apply(folder, found, " ".join(map(str, asked["changes"])))
    return {"count": len(found) - len(conflicts), "conflicts": conflicts, "stamp": saved.stamp}


def undo(asked: dict[str, Any]) -> dict[str, Any]:
    """Take the last change back."""
    folder = access.dataset(str(asked.get("name"))).folder
    what, count, conflicts = edits.undo(folder)
    return {"what": what, "count": count, "left": len(conflicts), "undoable": edits.undoable(folder)}


def caption(asked: dict[str, Any]) -> dict[str, Any]:
    """Write captions, in the background."""
    found = access.dataset(str(asked.get("name")))
    kind = captioners.find(str(asked.get("captioner")))
    model = str(asked.get("model") or "")
    if access.HOUSE.demo and (model or not kind.ready):
        raise InputError(say("Nothing is downloaded here."), say("Choose a captioner that needs no download."))
    if model and model.count("/") != 1:
        model = str(access.path(model))
    overwrite: Overwrite = asked["overwrite"] if asked.get("overwrite") in get_args(Overwrite) else "none"
    options = Options(
        model=model,
        threshold=_share(asked.get("threshold"), Options.threshold),
        ratings=bool(asked.get("ratings")),
        without=tuple(edits.tags(str(asked.get("without") or ""))),
        template=str(asked.get("template") or Options.template),
    )
    job = Job(found.folder, kind.name, options, str(asked.get("prefix") or ""), overwrite, resume=True, only=_names(asked))

    def work(progress: tasks.Progress) -> dict[str, Any]:
        outcome = captioning.caption(job, progress)
        problems = [str(problem) for problem in outcome.problems]
        return {"written": outcome.written + outcome.recovered, "kept": outcome.kept, "speed": outcome.speed, "problems": problems}

    return tasks.start(say("Opening {name}", name=say(kind.title)), work)


def fit(asked: dict[str, Any]) -> dict[str, Any]:
    """Look whether captions fit their pictures and pictures the set, in the background, by the best BLIP that is there."""
    found = access.dataset(str(asked.get("name")))
    kind = next((CAPTIONERS[name] for name in JUDGES if CAPTIONERS[name].ready), None)
    if kind is None:
        raise InputError(say("No captioner that could judge is here."), say("Let BLIP write a caption once: then it is."))

    def work(progress: tasks.Progress) -> dict[str, Any]:
        captions = dict(album.open_album(found.folder).rows)
        fits = fitness.judge(found.folder, captions, kind.name, Options(), progress)
        problems = [[p.file, p.line, p.message, p.fix, p.severity, p.kind, p.also] for p in fitness.findings(fits)]
        return {"problems": problems, "judged": sum(one.misfit is not None for one in fits), "total": len(fits), "by": say(kind.title)}

    return tasks.start(say("Comparing captions and pictures"), work)


def export(asked: dict[str, Any]) -> dict[str, Any]:
    """Pack the set into a zip as other trainers read it, in the background; the page then fetches it."""
    found = access.dataset(str(asked.get("name")))
    form: exporting.Form = asked["form"] if asked.get("form") in exporting.FORMS else "csv"
    repeats = asked.get("repeats")

    def work(progress: tasks.Progress) -> dict[str, Any]:
        _forget_old()
        token = secrets.token_hex(16)
        target = _packed() / token / f"{found.name}.zip"
        done = exporting.export(found.folder, target, form, repeats if isinstance(repeats, int) else 1, found.name, progress)
        renamed = [say("{old} is called {new} there.", old=old, new=new) for new, old in done.renamed.items()]
        return {"url": f"studio/packed/{token}/{quote(target.name)}", "pictures": done.pictures, "renamed": renamed[:20]}

    return tasks.start(say("Copying"), work)


async def packed(request: Request) -> Response:
    """What `export` has packed, for whoever knows its token."""
    token, name = request.path_params["token"], request.path_params["name"]
    path = _packed() / token / name
    if not re.fullmatch(r"[0-9a-f]{32}", token) or path.parent.name != token or path.suffix != ".zip" or not path.is_file():
        return Response(status_code=404)
    return FileResponse(path, filename=path.name, media_type="application/zip")


def _packed() -> Path:
    return home.cache() / "packed"


def _forget_old() -> None:
    """A download takes no longer than a day."""
    for place in _packed().iterdir() if _packed().is_dir() else ():
        if place.stat().st_mtime < time.time() - DAY:
            shutil.rmtree(place, ignore_errors=True)


ANSWERS = [writers, save, preview, change, undo, caption, fit, export]


def _changed(asked: dict[str, Any]) -> list[Edit]:
    words = asked.get("changes")
    if not isinstance(words, list) or not words or len(words) > MOST_CHANGES:
        raise InputError(say("That is no list of edits."))
    opened = album.open_album(access.dataset(str(asked.get("name"))).folder)
    only = set(_names(asked))
    return edits.preview({name: text for name, text in opened.rows if not only or name in only}, edits.parse(map(str, words)))


def _names(asked: dict[str, Any]) -> tuple[str, ...]:
    only = asked.get("only")
    return tuple(map(str, only[:MOST_EDITS])) if isinstance(only, list) else ()


def _share(value: object, usual: float) -> float:
    return float(value) if isinstance(value, (int, float)) and 0 < value < 1 else usual
