"""What is in a LoRA file, of whatever program: for which model, how large, how it came about, how much it changes each block."""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.errors import ModelError
from studio.formats import pieces
from studio.formats.adapter import stored_alpha, stored_settings
from studio.formats.blocks import place
from studio.formats.fingerprints import TITLES, check_lora, recognise_lora
from studio.formats.gate import Header
from studio.formats.names import PEFT, Names
from studio.formats.readers import Verdict, will_load
from studio.language import say

if TYPE_CHECKING:
    from torch import Tensor

Progress = Callable[[int, int], None]
LONGEST = 400  # characters of a text from a file of unknown origin
TAGS = 20
READ = {"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2", "I64", "I32", "I16", "I8", "U8", "BOOL"}
CHUNK = 1 << 20
FORMATS = (
    ("lycoris_", "LyCORIS"),
    ("lora_transformer_", "OneTrainer"),
    (("lora_unet_", "lora_te"), "kohya"),
    ("diffusion_model.", "ComfyUI"),
    (PEFT, "PEFT"),
    (("unet.", "transformer.", "text_encoder"), "diffusers"),
)
# What a person asks of a training → where programs write it, the surest first.
TRAINING = {
    "title": ("modelspec.title", "ss_output_name"),
    "base_model": ("ss_sd_model_name", "ss_base_model_version"),
    "base_version": ("ss_base_model_version", "modelspec.architecture"),
    "prediction_type": ("modelspec.prediction_type",),
    "steps": ("ss_steps",),
    "epochs": ("ss_epoch",),
    "learning_rate": ("ss_learning_rate", "ss_unet_lr"),
    "text_encoder_lr": ("ss_text_encoder_lr",),
    "optimizer": ("ss_optimizer",),
    "lr_scheduler": ("ss_lr_scheduler",),
    "batch_size": ("ss_total_batch_size", "ss_batch_size_per_device"),
    "mixed_precision": ("ss_mixed_precision",),
    "seed": ("ss_seed",),
    "resolution": ("ss_resolution", "modelspec.resolution"),
    "pictures": ("ss_num_train_images",),
    "clip_skip": ("ss_clip_skip", "modelspec.encoder_layer"),
    "date": ("modelspec.date",),
    "author": ("modelspec.author",),
    "license": ("modelspec.license",),
    "merged_from": ("modelspec.merged_from",),
    "description": ("modelspec.description", "ss_training_comment"),
}


@dataclass(frozen=True)
class Group:
    """Layers of one part, one kind of block and one sort, with the ranks and alphas that occur and the norm of their change."""

    name: str
    sort: str
    layers: int
    ranks: list[int]
    alphas: list[float]
    norm: float | None


@dataclass(frozen=True)
class Inspection:
    """What was found. `norms` are by block, in the file's order of blocks."""

    file: str
    size: int
    family: str | None
    title: str
    format: str
    adapter: str
    layers: int
    parts: list[str]
    groups: list[Group]
    norms: list[tuple[str, float]]
    training: dict[str, str]
    trigger_words: list[str]
    tags: list[tuple[str, int]]
    data: list[dict[str, Any]]
    hashes: dict[str, str]
    types: dict[str, int]
    finite: bool
    programs: list[Verdict]
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def unwatched(_done: int, _total: int) -> None:
    """For who doesn't want to know how far it is."""


def inspect(path: Path, progress: Progress = unwatched) -> Inspection:
    """Look at a LoRA file. Raises ModelError when it is unsound or no LoRA; `progress` hears layers done and in all."""
    header = check_lora(path)
    layers, strange = pieces.split(header.tensors)
    if unread := next((name for name, entry in header.tensors.items() if entry.dtype not in READ), None):
        problem = say("{tensor} is of the type {found}", tensor=_plain(unread), found=header.tensors[unread].dtype)
        raise ModelError(say("{file} can't be used: {problem}.", file=path.name, problem=problem), fix=say("Choose another copy of this LoRA."))
    metadata = {key: _plain(value) for key, value in header.metadata.items()}
    family = recognise_lora(header)
    notes = [say("{count} tensors are part of no adapter, {name} for example.", count=len(strange), name=_plain(strange[0]))] if strange else []
    groups, norms, broken = _measured(path, header, layers, progress)
    if broken:
        notes.append(say("{count} tensors hold NaN or infinite numbers, {name} for example.", count=len(broken), name=broken[0]))
    tags, data = _tags(header.metadata), _data(header.metadata)
    phrase = metadata.get("modelspec.trigger_phrase", "")
    return Inspection(
        file=path.name,
        size=path.stat().st_size,
        family=family,
        title=TITLES[family] if family else say("not recognised"),
        format=_format(header),
        adapter=pieces.kind(layers),
        layers=len(layers),
        parts=list(dict.fromkeys(place(layer).part for layer in layers)),
        groups=groups,
        norms=norms,
        training={name: value for name, keys in TRAINING.items() if (value := _first(metadata, keys))},
        trigger_words=[phrase] if phrase else [],
        tags=tags,
        data=data,
        hashes=_hashes(path, metadata),
        types=dict(Counter(entry.dtype for name, entry in header.tensors.items() if not name.endswith(".alpha")).most_common()),
        finite=not broken,
        programs=list(will_load(header, family)) if family else [],
        notes=notes,
    )


def _measured(
    path: Path, header: Header, layers: Mapping[str, Mapping[str, str]], progress: Progress
) -> tuple[list[Group], list[tuple[str, float]], list[str]]:
    """Groups, the norm of each block's change, and the tensors that aren't finite. One layer is in memory at a time."""
    from safetensors import safe_open

    settings = stored_settings(path, header.metadata)
    squares: dict[str, float] = {}
    grouped: dict[tuple[str, str], dict[str, list[Any]]] = {}
    broken: list[str] = []
    with safe_open(path, framework="pt") as file:
        for number, (layer, names) in enumerate(layers.items()):
            tensors = {role: file.get_tensor(name) for role, name in names.items()}
            faulty = [_plain(names[role]) for role, tensor in tensors.items() if not _finite(tensor)]
            broken += faulty
            rank = pieces.rank(tensors)
            alpha = _alpha(path, settings, layer, tensors, rank)
            norm = None if faulty else pieces.size(tensors, alpha)
            norm = norm if norm is not None and math.isfinite(norm) else None
            part, block, sort = place(layer)
            kept = grouped.setdefault((".".join(filter(None, (part, block.partition(".")[0]))), sort), {"ranks": [], "alphas": [], "norms": []})
            kept["ranks"].append(rank)
            kept["alphas"].append(alpha if alpha is not None else rank)
            kept["norms"].append(norm)
            if norm is not None:
                name = ".".join(filter(None, (part, block)))
                squares[name] = squares.get(name, 0.0) + norm**2
            progress(number + 1, len(layers))
    groups = [
        Group(name, sort, len(found["ranks"]), _values(found["ranks"]), _values(found["alphas"]), _joined(found["norms"]))
        for (name, sort), found in sorted(grouped.items())
    ]
    return groups, [(name, math.sqrt(square)) for name, square in sorted(squares.items(), key=lambda item: _order(item[0]))], broken


def _alpha(path: Path, settings: Mapping[str, Any], layer: str, tensors: "Mapping[str, Tensor]", rank: int | None) -> float | None:
    if "alpha" in tensors:
        return float(tensors["alpha"].flatten()[0]) if tensors["alpha"].numel() else None
    inner = layer.removeprefix(PEFT)
    return stored_alpha(path, settings, Names(kohya={}), inner if inner == layer else f"model.{inner}", rank) if rank and "." in inner else None


def _hashes(path: Path, metadata: Mapping[str, str]) -> dict[str, str]:
    """By what Civitai, A1111 and Forge know the file: of all its bytes, and of those behind the header."""
    whole, weights = hashlib.sha256(), hashlib.sha256()
    with path.open("rb") as file:
        start = file.read(8)
        whole.update(start)
        whole.update(file.read(int.from_bytes(start, "little")))
        while chunk := file.read(CHUNK):
            whole.update(chunk)
            weights.update(chunk)
        file.seek(0x100000)
        middle = file.read(0x10000)
    found = {"sha256": whole.hexdigest(), "AutoV2": whole.hexdigest()[:10], "AutoV3": weights.hexdigest()[:12]}
    if legacy := metadata.get("sshs_legacy_hash") or (hashlib.sha256(middle).hexdigest()[:8] if middle else ""):
        found["legacy"] = legacy
    if (stored := metadata.get("sshs_model_hash", "")) not in ("", weights.hexdigest()):
        found["sshs_model_hash"] = stored[:12]
    return found


def _format(header: Header) -> str:
    names = list(header.tensors)
    return next((title for beginning, title in FORMATS if any(name.startswith(beginning) for name in names)), "")


def _tags(metadata: Mapping[str, str]) -> list[tuple[str, int]]:
    """The most frequent tags of the captions, over all folders."""
    counted: Counter[str] = Counter()
    for folder in _object(metadata.get("ss_tag_frequency")).values():
        for tag, count in folder.items() if isinstance(folder, dict) else ():
            if isinstance(count, int):
                counted[_plain(str(tag)).strip()] += count
    return counted.most_common(TAGS)


def _data(metadata: Mapping[str, str]) -> list[dict[str, Any]]:
    """The folders that it was trained on: name, pictures, repeats."""
    folders = _object(metadata.get("ss_dataset_dirs"))
    return [
        {"folder": _plain(str(name)), "pictures": about.get("img_count"), "repeats": about.get("n_repeats")}
        for name, about in list(folders.items())[:TAGS]
        if isinstance(about, dict)
    ]


def _object(text: str | None) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _first(metadata: Mapping[str, str], keys: tuple[str, ...]) -> str:
    return next((metadata[key] for key in keys if metadata.get(key, "None") not in ("None", "", "null")), "")


def _plain(text: str) -> str:
    """A text from outside, short and without what could steer a terminal."""
    return "".join(character for character in text[:LONGEST] if character.isprintable())


def _finite(tensor: "Tensor") -> bool:
    return not tensor.is_floating_point() or bool(tensor.float().isfinite().all())


def _values(found: list[Any]) -> list[Any]:
    """What occurs, the most frequent first."""
    return [value for value, _ in Counter(value for value in found if value is not None and math.isfinite(value)).most_common()]


def _joined(norms: list[float | None]) -> float | None:
    known = [norm for norm in norms if norm is not None]
    return math.sqrt(sum(norm**2 for norm in known)) if known else None


def _order(name: str) -> tuple[Any, ...]:
    """Text encoders first, then the way a picture takes: down, middle, up; numbers by their value."""
    places = ("text_encoder", "down", "input", "mid", "up", "output", "double", "joint", "transformer_blocks", "single")
    words = name.split(".")
    block = words[1] if len(words) > 1 else ""
    stage = 0 if words[0].startswith("text_encoder") else next((number for number, word in enumerate(places) if block.startswith(word)), len(places))
    return stage, words[0], block, int(words[2]) if len(words) > 2 and words[2].isdigit() else 0
