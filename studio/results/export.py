"""The LoRA of any checkpoint of a run, as files for other programs."""

from pathlib import Path

from studio.errors import InputError
from studio.formats.lora import Layer
from studio.language import say
from studio.runs import result
from studio.runs.resolve import open_base
from studio.runs.run import Run
from studio.training import checkpoints
from studio.training.lora import records, scale_of


def export(run: Run, step: int | None = None) -> tuple[Path, Path]:
    """Write the result files of a run from its newest checkpoint, or from that of `step`. Raises InputError."""
    step = _step(run, step)
    family, bundle = open_base(run.config)
    return result.write(run, family, bundle, layers(run, step), step)


def layers(run: Run, step: int) -> dict[str, Layer]:
    """The LoRA as it was at a checkpoint."""
    tensors = checkpoints.load(checkpoints.place(run.folder / "checkpoints", step)).shown
    return records(tensors, scale_of(run.config))


def steps(run: Run) -> list[int]:
    """The steps of which there is a whole checkpoint."""
    return [int(path.name.removeprefix("step-")) for path in checkpoints.listed(run.folder / "checkpoints") if checkpoints.is_whole(path)]


def _step(run: Run, step: int | None) -> int:
    known = steps(run)
    if not known:
        raise InputError(say("Run {id} has no checkpoint yet.", id=run.id), say("Resume it, or wait until it has saved one."))
    if step is not None and step not in known:
        there = ", ".join(map(str, known))
        raise InputError(say("Run {id} has no checkpoint of step {step}.", id=run.id, step=step), say("There are: {known}.", known=there))
    return known[-1] if step is None else step
