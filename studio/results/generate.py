"""Pictures from a base model and LoRA files: which files a prompt means, how strong each is, and the pictures as they come."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from studio import families, home
from studio.device import device, dtype, opening, precision
from studio.errors import InputError
from studio.families.base import Family, Piece, Prompt
from studio.formats.lora import KINDS, Layer, read_lora
from studio.language import say
from studio.results import export
from studio.runs import run as runs
from studio.runs.result import DIFFUSERS
from studio.runs.run import Run
from studio.training.lora import attach_files, weights

TAG = re.compile(r"<lora:([^:<>]+)(?::([^<>]*))?>")
LARGEST_STRENGTH = 4.0


@dataclass(frozen=True)
class LoraChoice:
    """A LoRA and how strong it is: a file, or with `step` the folder of a run whose checkpoint it is."""

    path: Path
    strength: float = 1.0
    step: int | None = None

    @property
    def source(self) -> tuple[Path, int | None]:
        """Which weights, whatever their strength."""
        return self.path, self.step


@dataclass(frozen=True)
class Request:
    """One picture: its text may hold `<lora:name:0.8>`; `loras` are its own; `factor` scales the strengths of all LoRA in it."""

    text: str
    factor: float = 1.0
    seed: int = 0
    loras: tuple[LoraChoice, ...] = ()


@dataclass(frozen=True)
class Look:
    """How pictures are drawn. 0 for a size, None for steps and guidance mean the base model's own."""

    steps: int | None = None
    guidance: float | None = None
    negative: str = ""
    width: int = 0
    height: int = 0


def settled(look: Look, base_model: str) -> Look:
    """The look with the base model's own steps and guidance where it leaves them open."""
    if look.steps is not None and look.guidance is not None:
        return look
    source = families.find(base_model)
    on = device()
    facts = families.get(families.recognise(source)).load(source, on, dtype(precision(None, on))).facts
    return replace(
        look,
        steps=facts["steps"] if look.steps is None else look.steps,
        guidance=facts["guidance"] if look.guidance is None else look.guidance,
    )


def choice(text: str) -> LoraChoice:
    """`FILE`, `FILE:0.8`, or a run instead of a file."""
    name, _, tail = text.rpartition(":")
    strength = _number(tail) if name and not Path(text).exists() else None
    return LoraChoice(find_lora(text if strength is None else name), 1.0 if strength is None else strength)


def find_lora(name: str) -> Path:
    """The LoRA file that a name means: a path, a run, or a name below models/ or among the runs' exports. Raises InputError."""
    path = Path(name).expanduser()
    if path.is_file():
        return path
    folder = next((run.folder for run in runs.listed() if run.id == name), path)
    if (folder / DIFFUSERS).is_file():
        return folder / DIFFUSERS
    exported = [run.folder / "exports" / f"{name}.safetensors" for run in reversed(runs.listed())]
    below = sorted(home.models().rglob("*.safetensors")) if home.models().is_dir() else []
    for candidate in [*exported, *(found for found in below if found.stem == name)]:
        if candidate.is_file():
            return candidate
    raise InputError(
        say("There is no LoRA called {name}.", name=name),
        say("Give a .safetensors file, a run's id, or the name of a file below {folder}.", folder=home.models()),
    )


def draw(
    base_model: str, loras: Sequence[LoraChoice], requests: Sequence[Request], look: Look, find: Callable[[str], Path] = find_lora
) -> Iterator[Piece]:
    """A picture per request, and progress in between. Opens the base model once; all strengths go through it together.

    `find` says which file a name in a prompt means.
    """
    source = families.find(base_model)
    family = families.get(families.recognise(source))
    on = device()
    bundle = family.load(source, on, dtype(precision(None, on)))
    _refuse_sizes(look, bundle.facts["step"])
    read = [tags(request.text, find) for request in requests]
    wanted = [[*loras, *request.loras, *inside] for request, (_, inside) in zip(requests, read, strict=True)]
    sources = list(dict.fromkeys(lora.source for chosen in wanted for lora in chosen))
    known = weights(bundle) if sources else {}
    layers = [_layers(path, step, family, known, bundle.facts["kind"]) for path, step in sources]
    with opening:  # a model that is opened beside would take the new weights' storage away
        attach_files(bundle, layers)
    prompts = []
    for request, (text, _), chosen in zip(requests, read, wanted, strict=True):
        strong = dict.fromkeys(sources, 0.0)
        for lora in chosen:
            strong[lora.source] += lora.strength * request.factor
        prompts.append(Prompt(text, request.seed, tuple(strong.values()), look.negative, look.steps, look.guidance, look.width, look.height))
    yield from family.sample(bundle, prompts)


def tags(text: str, find: Callable[[str], Path] = find_lora) -> tuple[str, list[LoraChoice]]:
    """A prompt without its `<lora:…>` tags, and what they ask for."""
    found = []
    for name, strength in TAG.findall(text):
        number = _number(strength) if strength else 1.0
        if number is None:
            raise InputError(say("<lora:{name}:{strength}>: the strength is no number.", name=name, strength=strength), say("Write <lora:name:0.8>."))
        found.append(LoraChoice(find(name.strip()), number))
    return re.sub(r"\s{2,}", " ", TAG.sub("", text)).strip(" ,"), found


def _layers(path: Path, step: int | None, family: Family, known: dict[str, Any], kind: str) -> dict[str, Layer]:
    if step is None:
        return read_lora(path, family.names, known, KINDS, kind).all
    return export.layers(Run(path), step)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    if not abs(number) <= LARGEST_STRENGTH:
        raise InputError(say("A LoRA's strength lies between -{most} and {most} (got {value}).", most=f"{LARGEST_STRENGTH:g}", value=text))
    return number


def _refuse_sizes(look: Look, step: int) -> None:
    for name, value in (("width", look.width), ("height", look.height)):
        if value < 0 or value > 4096 or value % step:
            raise InputError(say("{name}: must be a multiple of {step} up to 4096 (got {value}).", name=name, step=step, value=value))
