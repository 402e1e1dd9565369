"""The LoRA of any checkpoint of a run, as files for other programs."""

from pathlib import Path

from studio.errors import InputError
from studio.formats.lora import LoraLayer
from studio.language import say
from studio.runs import result
from studio.runs.resolve import open_base
from studio.runs.run import Run
from studio.training import checkpoints
from studio.training.lora import scale_of


def export(run: Run, step: int | None = None) -> tuple[Path, Path]:
    """Write the result files of a run from its newest checkpoint, or from that of `step`. Raises InputError."""
    config = run.config
    folder = run.folder / "checkpoints"
    whole = [path for path in checkpoints.listed(folder) if checkpoints.is_whole(path)]
    steps = [int(path.name.removeprefix("step-")) for path in whole]
    if not steps:
        raise InputError(say("Run {id} has no checkpoint yet.", id=run.id), say("Resume it, or wait until it has saved one."))
    if step is not None and step not in steps:
        known = ", ".join(map(str, steps))
        raise InputError(say("Run {id} has no checkpoint of step {step}.", id=run.id, step=step), say("There are: {known}.", known=known))
    chosen = steps[-1] if step is None else step
    tensors = checkpoints.load(whole[steps.index(chosen)]).adapter
    names = sorted({name.rpartition(".")[0] for name in tensors})
    scale = scale_of(config)
    layers = {name: LoraLayer(down := tensors[f"{name}.down"], tensors[f"{name}.up"], scale * len(down)) for name in names}
    family, bundle = open_base(config)
    return result.write(run, family, bundle, layers, chosen)
