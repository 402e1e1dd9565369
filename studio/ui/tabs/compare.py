"""The Compare tab: the base model and LoRA at the same seed, by prompt, strength and checkpoint."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from studio import home
from studio.errors import InputError, StudioError
from studio.language import say
from studio.runs import verdicts
from studio.runs.result import DIFFUSERS
from studio.runs.run import Run
from studio.ui import access, drawing, space
from studio.ui.parts import part
from studio.ui.visitor import visitor

if TYPE_CHECKING:
    from studio.results.generate import LoraChoice

MOST_PROMPTS, MOST_COLUMNS, MOST_LORAS, MOST_STEPS = 24, 24, 8, 150
LARGEST_LORA = 3 * 1024**3
LONGEST = 2000


def sources(_: dict[str, Any]) -> dict[str, Any]:
    """What can be drawn with: runs with a checkpoint or a result, LoRA files and base models below models/."""
    runs = [found for run in reversed(access.runs()) if (found := _run(run))]
    files = sorted(home.models().rglob("*.safetensors")) if home.models().is_dir() and not access.HOUSE.demo else []
    bases = {"pocket", *(run["base"] for run in runs), *(str(path) for path in files if path.stat().st_size > LARGEST_LORA // 2)}
    return {"runs": runs, "files": [path.stem for path in files if path.stat().st_size <= LARGEST_LORA], "bases": sorted(bases)}


def suggest(asked: dict[str, Any]) -> dict[str, Any]:
    """Prompts that suit a run: what it draws while it trains, else what the demonstration draws, else its first captions."""
    config = access.run(str(asked.get("run"))).config
    if config.sample_prompts:
        return {"prompts": list(config.sample_prompts)}
    if config.base_model == "pocket":
        from studio.results import demo

        return {"prompts": demo.prompts()[:4]}
    from studio.data.album import open_album

    try:
        return {"prompts": [text for _, text in open_album(config.train_data_dir).rows[:4] if text]}
    except StudioError:
        return {"prompts": []}


def draw(asked: dict[str, Any]) -> dict[str, Any]:
    """Begin to draw prompts × (checkpoints ×) strengths."""
    from studio.results.generate import Look

    prompts = [line.strip()[:LONGEST] for line in str(asked.get("prompts") or "").splitlines() if line.strip()]
    if not prompts:
        raise InputError(say("Write at least one prompt."))
    columns = _columns(asked)
    if len(prompts) > MOST_PROMPTS or len(columns) > MOST_COLUMNS:
        raise InputError(
            say("That is too much for one sheet: at most {prompts} prompts and {columns} columns.", prompts=MOST_PROMPTS, columns=MOST_COLUMNS)
        )
    whole, most = (64, 512) if access.HOUSE.demo else (MOST_STEPS, 4096)
    look = Look(
        _whole(asked, "steps", 1, whole, 0) or None,
        None if asked.get("guidance") in (None, "") else real(asked, "guidance", 0, 50, 0),
        str(asked.get("negative") or "")[:LONGEST],
        _whole(asked, "width", 0, most, 0),
        _whole(asked, "height", 0, most, 0),
    )
    seed = _whole(asked, "seed", 0, 2**32 - 1, 0)
    base = str(asked.get("base") or "pocket")
    if base != "pocket" and base not in [run.config.base_model for run in access.runs()]:
        if access.HOUSE.demo:
            raise InputError(say("In this demonstration only the small model inside is used."))
        if base.startswith((".", "/", "~")) or Path(base).exists():
            base = str(access.path(base))
    about = {
        "base_model": base,
        "prompts": prompts,
        "columns": [column.name for column in columns],
        "loras": [{"name": str(one.get("run") or one.get("file")), "weight": real(one, "weight", -1, 2, 1.0)} for one in asked["loras"]],
        "seed": seed,
        **asdict(look),
        "run": asked.get("run"),
    }
    job = drawing.Job(visitor().session, prompts, [column.name for column in columns], about)
    drawing.prepare(job, base, columns, seed, look, finder(access.runs()))
    if not space.zero():
        drawing.start(job)
    return {"job": job.id, "zero": space.zero()}


def look(asked: dict[str, Any]) -> dict[str, Any]:
    """How far a job is."""
    job = drawing.job(str(asked.get("job")), visitor().session)
    names = ("id", "prompts", "columns", "about", "images", "part", "waits", "ended", "cancelled", "error", "fix", "total")
    return {"job": {name: getattr(job, name) for name in names}}


def cancel(asked: dict[str, Any]) -> None:
    """Draw no more."""
    drawing.job(str(asked.get("job")), visitor().session).cancelled = True


def keep(asked: dict[str, Any]) -> dict[str, Any]:
    """Keep a picture with its run, with a note and a verdict."""
    job, number = drawing.job(str(asked.get("job")), visitor().session), asked.get("number")
    if number not in job.images or not isinstance(number, int):
        raise InputError(say("That picture is not drawn yet."))
    if asked.get("verdict") not in verdicts.VERDICTS:
        raise InputError(say("Say what you think of it: good, so-so or bad."))
    row, column = divmod(number, len(job.columns))
    about = {key: value for key, value in job.about.items() if key not in ("prompts", "columns", "run")}
    about |= {"prompt": job.prompts[row], "column": job.columns[column]}
    image = (job.folder / f"{number}.png").read_bytes()
    kept = verdicts.keep(access.run(str(asked.get("run"))), image, about, str(asked["verdict"]), str(asked.get("note") or "")[:LONGEST])
    return {"kept": asdict(kept)}


def kept(asked: dict[str, Any]) -> dict[str, Any]:
    """The pictures that were kept of a run, newest first."""
    return {"kept": [asdict(one) for one in reversed(verdicts.listed(access.run(str(asked.get("run")))))]}


async def image(request: Request) -> Response:
    """A picture of a job, or its contact sheet."""
    with access.answering(request):
        try:
            job = drawing.job(request.path_params["job"], visitor().session)
            if request.path_params["name"] == "sheet":
                headers = {"Content-Disposition": 'attachment; filename="comparison.png"'}
                return Response(drawing.sheet(job), media_type="image/png", headers=headers)
            number = int(request.path_params["name"])
            if number in job.images:
                return FileResponse(job.folder / f"{number}.png", headers={"Cache-Control": "private, max-age=86400"})
        except (StudioError, OSError, ValueError):
            pass
        return Response(status_code=404)


async def kept_image(request: Request) -> Response:
    """A picture that was kept."""
    with access.answering(request):
        try:
            path = verdicts.picture(access.run(request.path_params["run"]), request.path_params["number"])
        except StudioError:
            return Response(status_code=404)
        return FileResponse(path) if path.is_file() else Response(status_code=404)


ROUTES = [
    Route("/studio/compare/kept/{run}/{number:int}.png", kept_image),
    Route("/studio/compare/{job}/{name}.png", image),
]


def build() -> None:
    """Put the tab's parts on the page."""
    from studio.ui.tabs import files

    made = part("compare", [sources, suggest, draw, look, cancel, keep, kept])
    if space.zero():
        made.zero(space.draw, None, None, api_visibility="private")
    files.build()


def _run(run: Run) -> dict[str, Any] | None:
    steps = sorted(int(path.name.removeprefix("step-")) for path in (run.folder / "checkpoints").glob("step-??????"))
    if not steps and not (run.folder / DIFFUSERS).is_file():
        return None
    return {"id": run.id, "name": run.name, "base": run.config.base_model, "steps": steps, "finished": (run.folder / DIFFUSERS).is_file()}


def _columns(asked: dict[str, Any]) -> list[drawing.Column]:
    """Strength by strength; with several checkpoints of the run, checkpoint by checkpoint at full strength times the strengths."""
    given, strengths = asked.get("loras"), asked.get("strengths")
    if not isinstance(given, list) or not isinstance(strengths, list) or len(given) > MOST_LORAS:
        raise InputError(say("Choose a LoRA and strengths."))
    chosen = {round(real({"strength": value}, "strength", -1, 2, 1.0), 3) for value in strengths}
    factors = [0.0, *sorted(chosen - {0.0})]  # the base model is always beside it
    rest = tuple(_lora(one) for one in given[1:])
    steps = asked.get("steps_of") if isinstance(asked.get("steps_of"), list) else []
    if not given:
        return [drawing.Column(f"{factor:g}", (), factor) for factor in factors]
    if not steps:
        first = _lora(given[0])
        return [drawing.Column(f"{factor:g}", (first, *rest), factor) for factor in factors]
    columns = [drawing.Column("0", (), 0.0)]
    for step in steps:
        first = _lora({**given[0], "step": step})
        columns += [drawing.Column(say("step {step}", step=step) + f" × {factor:g}", (first, *rest), factor) for factor in factors[1:]]
    return columns


def _lora(given: Any) -> "LoraChoice":
    """`{run, step}` or `{file}`, and its weight."""
    from studio.results.generate import LoraChoice

    if not isinstance(given, dict):
        raise InputError(say("Choose a LoRA and strengths."))
    weight = real(given, "weight", -1, 2, 1.0)
    if name := given.get("run"):
        run = access.run(str(name))
        step = given.get("step")
        if isinstance(step, int) and step > 0:
            return LoraChoice(run.folder, weight, step)
        if (run.folder / DIFFUSERS).is_file():
            return LoraChoice(run.folder / DIFFUSERS, weight)
        found = _run(run)
        if not found:
            raise InputError(say("Run {id} has no checkpoint yet.", id=run.id), say("Resume it, or wait until it has saved one."))
        return LoraChoice(run.folder, weight, found["steps"][-1])
    return LoraChoice(finder(access.runs())(str(given.get("file"))), weight)


def finder(runs: list[Run]) -> Callable[[str], Path]:
    """Which file a name means to this visitor: a run's id or name, a file below models/, or a path where it may go."""

    def find(name: str) -> Path:
        for run in reversed(runs):
            if name in (run.id, run.name) and (run.folder / DIFFUSERS).is_file():
                return run.folder / DIFFUSERS
        if not access.HOUSE.demo:
            for path in sorted(home.models().rglob("*.safetensors")) if home.models().is_dir() else ():
                if path.stem == name:
                    return path
            if name.endswith(".safetensors") and (path := access.path(name)).is_file():
                return path
        raise InputError(say("There is no LoRA called {name}.", name=name[:80]), say("Give the name of a run or of a file below models/."))

    return find


def _whole(asked: dict[str, Any], name: str, low: int, high: int, otherwise: int) -> int:
    return int(real(asked, name, low, high, otherwise))


def real(asked: dict[str, Any], name: str, low: float, high: float, otherwise: float) -> float:
    value = asked.get(name)
    if value in (None, ""):
        return otherwise
    try:
        number = float(str(value))
    except ValueError:
        number = float("nan")
    if not low <= number <= high:
        raise InputError(
            say("{name}: {low} to {high} is possible (got {value}).", name=name, low=f"{low:g}", high=f"{high:g}", value=str(value)[:40])
        )
    return number
