"""A LoRA file as the tools for LoRA take and give it: gated, of a known family, with what it was made from in its metadata."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from studio import families
from studio.errors import InputError, MachineError, ModelError
from studio.families.base import Family
from studio.formats import pieces
from studio.formats.adapter import write_diffusers
from studio.formats.fingerprints import TITLES, check_lora, recognise_lora
from studio.formats.kohya import write_kohya
from studio.formats.lora import LoraLayer, read_lora
from studio.formats.metadata import VERSIONS, kohya_metadata
from studio.language import say
from studio.results.export import PRECISIONS, in_precision
from studio.results.plain import plain

FORMATS = ("kohya", "diffusers", "both")
RESOLUTIONS = {"sd1": 512, "sd2": 768}  # what models are made for, where nothing says it; all newer ones for 1024


@dataclass(frozen=True)
class Opened:
    """A LoRA file in memory. `kind` is a key of TITLES."""

    path: Path
    kind: str
    family: Family
    layers: dict[str, LoraLayer]
    metadata: Mapping[str, str]
    lost: float = 0.0
    """The energy of the change that is in none of the layers: what turning a DoRA into LoRA costs."""

    @property
    def dtype(self) -> torch.dtype:
        """The type of its numbers, the widest where they differ."""
        return max((layer.down.dtype for layer in self.layers.values()), key=lambda kind: kind.itemsize)


@dataclass(frozen=True)
class Made:
    """What a tool made: layers by their names in the studio, and the share of the wanted change that they keep."""

    kind: str
    family: Family
    layers: dict[str, LoraLayer]
    kept: float
    merged_from: str
    resolution: int
    dtype: torch.dtype
    facts: dict[str, Any]
    notes: tuple[str, ...] = ()

    @property
    def ranks(self) -> list[int]:
        """The ranks that occur, from the lowest."""
        return sorted({layer.rank for layer in self.layers.values()})


def opened(path: Path, base_model: str | None = None, rank: int | None = None) -> Opened:
    """Read a LoRA of a family that the studio knows. DoRA and LoKr become LoRA of `rank`, which takes their base model.

    Raises ModelError for anything else.
    """
    header = check_lora(path)
    adapter, kind = pieces.kind(pieces.split(header.tensors)[0]), recognise_lora(header)
    other = adapter in ("DoRA", "LoKr")
    if other and not (base_model and rank):
        raise ModelError(
            say("{file} is a DoRA: what it changes depends on the weights of the base model, so it can't be taken apart by itself.", file=path.name)
            if adapter == "DoRA"
            else say("{file} is a LoKr: what it changes has no rank of its own.", file=path.name),
            say("Give its base model and a rank."),
        )
    if adapter != "LoRA" and not other:
        raise ModelError(
            say("{file} is a {kind}; only a plain LoRA is a product of two matrices that can be merged and resized.", file=path.name, kind=adapter),
            say("Choose a LoRA."),
        )
    if kind not in families.BASES:
        title = TITLES[kind] if kind else say("not recognised")
        raise ModelError(
            say("{file} is made for a kind of model that the tools don't know ({title}).", file=path.name, title=title),
            say("Known are: {known}.", known=", ".join(TITLES[known] for known in families.BASES)),
        )
    family = families.get(families.BASES[kind])
    if other and base_model and rank:
        layers, metadata, lost = plain(path, family, base_model, rank)
        return Opened(path, kind, family, layers, metadata, lost)
    read = read_lora(path, family.names)
    return Opened(path, kind, family, read.layers, read.metadata)


def together(files: Sequence[Opened]) -> None:
    """Raises ModelError where two files are made for different kinds of models."""
    first = files[0]
    for other in files[1:]:
        if other.kind != first.kind:
            raise ModelError(
                say(
                    "{one} is made for {this}, {other} for {that}: they can't be put together.",
                    one=first.path.name,
                    this=TITLES[first.kind],
                    other=other.path.name,
                    that=TITLES[other.kind],
                ),
                say("Choose LoRA files for the same kind of model."),
            )


def facts_of(metadata: Mapping[str, str]) -> dict[str, Any]:
    """What of a file's metadata still holds for a file that is made from it."""
    velocity = metadata.get("modelspec.prediction_type", "").startswith("v") or metadata.get("ss_base_model_version", "").endswith("_v")
    names = {"base_model": "ss_sd_model_name", "trigger_phrase": "modelspec.trigger_phrase"}
    architecture = metadata.get("modelspec.architecture", "").removesuffix("/lora")
    return {
        "version": next((version for version, ending in VERSIONS.items() if architecture.endswith(ending)), None),
        "prediction_type": "v_prediction" if velocity else None,
        **{key: metadata.get(name) for key, name in names.items()},
    }


def resolution_of(metadata: Mapping[str, str], kind: str) -> int:
    """The side in pixels that a LoRA was trained at."""
    said = re.search(r"\d+", metadata.get("ss_resolution", "") or metadata.get("modelspec.resolution", ""))
    return int(said[0]) if said else RESOLUTIONS.get(kind, 1024)


def write(made: Made, output: Path, form: str = "kohya", precision: str | None = None) -> list[Path]:
    """Write what was made as `output`; in both formats with the one for diffusers beside it. Raises InputError, MachineError."""
    if output.suffix != ".safetensors":
        raise InputError(say("{path}: a LoRA file ends in .safetensors.", path=output), say("Choose another --output."))
    if output.exists():
        raise InputError(say("{path} is there already.", path=output), say("Choose another --output."))
    if not made.layers:
        raise InputError(say("Nothing is left to write: there is no change in any layer."))
    dtype = PRECISIONS[precision] if precision else made.dtype
    layers = {name: in_precision(layer, dtype) for name, layer in made.layers.items()}
    ranks, alphas = (Counter(values).most_common(1)[0][0] for values in zip(*((layer.rank, layer.alpha) for layer in layers.values()), strict=True))
    now = datetime.now(UTC)
    facts = {
        **made.facts,
        "kind": made.kind,
        "name": output.stem,
        "resolution": made.resolution,
        "lora_rank": ranks,
        "lora_alpha": alphas,
        "finished": now.timestamp(),
        "date": now.isoformat(timespec="seconds"),
    }
    metadata = {**kohya_metadata(facts), "modelspec.merged_from": made.merged_from}
    written = []
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        if form in ("kohya", "both"):
            write_kohya(output, layers, made.family.names, metadata)
            written.append(output)
        if form in ("diffusers", "both"):
            path = output if form == "diffusers" else output.with_name(f"{output.stem}_diffusers.safetensors")
            write_diffusers(path, layers, made.family.names, metadata)
            written.append(path)
    except OSError as error:
        raise MachineError(
            say("{path}: can't be written: {reason}", path=output, reason=error.strerror or error), say("Choose another --output.")
        ) from None
    return written
