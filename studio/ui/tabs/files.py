"""The lower part of the Compare tab: LoRA files looked into, merged, made smaller, and taken out of a tuned model."""

import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from studio import home
from studio.errors import InputError
from studio.language import say
from studio.runs import result
from studio.ui import access, tasks
from studio.ui.parts import part
from studio.ui.tabs import compare

if TYPE_CHECKING:
    from studio.results.generate import LoraChoice
    from studio.results.lorafile import Made

MOST_FILES, MOST_RANK, LONGEST_NAME = 12, 4096, 80
NAME = re.compile(r"[\w][\w .+-]*")


def inspect(asked: dict[str, Any]) -> dict[str, Any]:
    """Look into a file, in the background."""
    path = _file(asked.get("file"))

    def work(progress: tasks.Progress) -> dict[str, Any]:
        from studio.formats.facts import facts, loading, sort
        from studio.formats.inspect import inspect as look

        found = look(path, progress)
        groups = [{**asdict(group), "sort": sort(group.sort)} for group in found.groups]
        return {
            "file": found.file,
            "facts": facts(found),
            "groups": groups,
            "norms": found.norms,
            "notes": found.notes,
            "programs": loading(found.programs),
        }

    return tasks.start(say("Looking into the file"), work)


def merge(asked: dict[str, Any]) -> dict[str, Any]:
    """Put several files into one, in the background."""
    given = asked.get("files")
    if not isinstance(given, list) or len(given) > MOST_FILES:
        raise InputError(say("Choose a LoRA and strengths."))
    choices, rank, target, base = [_choice(one) for one in given], _rank(asked), _target(asked), _base(asked)

    def work(progress: tasks.Progress) -> dict[str, Any]:
        from studio.results.merge import merge as put_together

        return _written(put_together(choices, rank, progress, base), target, asked)

    return tasks.start(say("Merging"), work)


def resize(asked: dict[str, Any]) -> dict[str, Any]:
    """Make a file smaller, in the background."""
    path, rank, keep, target = _file(asked.get("file")), _rank(asked), compare.real(asked, "keep", 0.01, 1, 1.0), _target(asked)
    base = _base(asked)

    def work(progress: tasks.Progress) -> dict[str, Any]:
        from studio.results.resize import resize as smaller

        return _written(smaller(path, rank, None if asked.get("keep") in (None, "") else keep, progress, base), target, asked)

    return tasks.start(say("Making it smaller"), work)


def extract(asked: dict[str, Any]) -> dict[str, Any]:
    """Take a LoRA out of a tuned model, in the background."""
    tuned, base, rank, target = _model(asked.get("tuned")), _model(asked.get("base")), _rank(asked), _target(asked)
    if rank is None:
        raise InputError(say("Say which rank the LoRA shall have."))

    def work(progress: tasks.Progress) -> dict[str, Any]:
        from studio.results.extract import extract as difference

        return _written(difference(tuned, base, rank, progress), target, asked)

    return tasks.start(say("Comparing the models"), work)


async def file(request: Request) -> Response:
    """A LoRA file below models/, by its name."""
    with access.answering(request):
        path = home.models() / request.path_params["name"]
        if access.HOUSE.demo or not path.is_file() or path.suffix != ".safetensors":
            return Response(status_code=404)
        return FileResponse(path, filename=path.name)


ROUTES = [Route("/studio/files/{name}", file)]


def build() -> None:
    """Put the part on the page."""
    part("files", [compare.sources, inspect, merge, resize, extract, tasks.task, tasks.cancel])


def _written(made: "Made", target: Path, asked: dict[str, Any]) -> dict[str, Any]:
    from studio.results.export import PRECISIONS
    from studio.results.lorafile import FORMATS, write

    form, precision = str(asked.get("format")), asked.get("precision")
    paths = write(made, target, form if form in FORMATS else FORMATS[0], precision if precision in PRECISIONS else None)
    ranks = "–".join(str(rank) for rank in dict.fromkeys((made.ranks[0], made.ranks[-1])))
    said = say("Rank {ranks}; {share} of the change is kept.", ranks=ranks, share=f"{made.kept:.2%}")
    return {"files": [[path.name, path.stat().st_size] for path in paths], "said": [said, *made.notes]}


def _file(given: Any) -> Path:
    """The file that `{run}`, `{file}` or `{upload}` means to this visitor."""
    if isinstance(given, dict) and given.get("upload"):
        return access.uploaded(given["upload"])
    if isinstance(given, dict) and given.get("run"):
        run = access.run(str(given["run"]))
        for path in reversed(result.places(run).values()):  # the one for most programs first
            if path.is_file():
                return path
        raise InputError(say("Run {id} has no LoRA file yet.", id=run.id), say("Export one of its checkpoints on the Runs tab."))
    if isinstance(given, dict) and given.get("file"):
        return compare.finder(access.runs())(str(given["file"]))
    raise InputError(say("Choose a LoRA file."))


def _choice(given: Any) -> "LoraChoice":
    from studio.results.generate import LoraChoice

    return LoraChoice(_file(given), compare.real(given, "weight", -2, 2, 1.0))


def _model(given: Any) -> str:
    """A base model that the visitor may open."""
    name = str(given or "").strip()
    if not name:
        raise InputError(say("Give both models."))
    if name != "pocket" and (name.startswith((".", "/", "~")) or Path(name).exists()):
        return str(access.path(name))
    return name


def _base(asked: dict[str, Any]) -> str | None:
    """The base model beside which DoRA and LoKr become LoRA, where one is given."""
    return _model(asked["base"]) if asked.get("base") else None


def _rank(asked: dict[str, Any]) -> int | None:
    return int(compare.real(asked, "rank", 1, MOST_RANK, 0)) or None


def _target(asked: dict[str, Any]) -> Path:
    """Where the new file goes: below models/, where every list of LoRA files finds it."""
    if access.HOUSE.demo:
        raise InputError(say("In this demonstration LoRA files are looked into, not made."))
    name = str(asked.get("name") or "").strip().removesuffix(".safetensors")
    if not NAME.fullmatch(name) or len(name) > LONGEST_NAME:
        raise InputError(say("Give the new file a name of letters, digits and dashes."))
    target = home.models() / f"{name}.safetensors"
    if target.exists():
        raise InputError(say("{name} is there already.", name=target.name), say("Choose another name."))
    return target
