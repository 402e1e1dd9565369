"""A LoRA to give away: the file, a picture, what A1111 and Forge show of it, and a model card, in one zip."""

import io
import json
import tempfile
import zipfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from studio import __version__, families
from studio.data.album import open_album
from studio.errors import StudioError
from studio.events import Sampled
from studio.files import write_atomically
from studio.formats.fingerprints import TITLES
from studio.formats.kohya import write_kohya
from studio.language import say
from studio.results import export
from studio.results.generate import Look, LoraChoice, Request, draw
from studio.runs import curves, result, verdicts
from studio.runs.resolve import open_base
from studio.runs.run import Run

# What A1111 and Forge call the kinds of base models in a LoRA's own settings.
VERSIONS = {"sd1": "SD1", "sd2": "SD2", "sdxl": "SDXL"}


@dataclass(frozen=True)
class Preview:
    """A picture that the LoRA has drawn, of which prompt, and at which strength where that is known."""

    image: bytes
    prompt: str
    strength: float = 1.0


def pack(run: Run, step: int | None = None, private: bool = False) -> Path:
    """Write `exports/<name>.zip` of the newest checkpoint, or of that of `step`. Raises InputError, OSError.

    Folders and tags of the training's pictures are only in it where `private` asks for them.
    """
    target = run.folder / "exports" / f"{run.name}.zip"
    target.parent.mkdir(exist_ok=True)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for name, data in pieces(run, step, private).items():
            archive.writestr(name, data)
    write_atomically(target, content.getvalue())
    return target


def pieces(run: Run, step: int | None = None, private: bool = False) -> dict[str, bytes]:
    """The files of the pack by their names. Raises InputError."""
    step = export.found_step(run, step)
    family, bundle = open_base(run.config)
    about = result.metadata(run, bundle, step, _private(run) if private else None)
    name, kind = run.name, str(bundle.facts["kind"])
    with tempfile.TemporaryDirectory() as place:
        lora = Path(place) / f"{name}.safetensors"
        write_kohya(lora, export.layers(run, step), family.names, about)
        shown = preview(run, lora)
        return {
            lora.name: lora.read_bytes(),
            f"{name}.png": shown.image,
            f"{name}.json": json.dumps(settings(run, kind, shown), ensure_ascii=False, indent=4).encode(),
            "README.md": card(run, kind, step, shown, private).encode(),
        }


def settings(run: Run, kind: str, shown: Preview) -> dict[str, Any]:
    """What A1111 and Forge keep of a LoRA beside its file, and put into the prompt when it is clicked."""
    return {
        "description": run.config.purpose or "",
        "sd version": VERSIONS.get(kind, "Unknown"),
        "activation text": trigger(run),
        "preferred weight": shown.strength,
        "negative text": "",
        "notes": say("Drawn at strength {strength}: {prompt}", strength=f"{shown.strength:g}", prompt=shown.prompt),
    }


def card(run: Run, kind: str, step: int, shown: Preview, private: bool) -> str:
    """The README of the model on the Hub: a front matter that it reads, then how to use it and how it was trained."""
    config, name, words = run.config, run.name, trigger(run)
    front: dict[str, Any] = {"tags": ["lora", "text-to-image", "diffusers", "template:sd-lora"], "library_name": "diffusers"}
    if families.HUB_NAME.fullmatch(config.base_model) and not Path(config.base_model).exists():
        front["base_model"] = config.base_model
    if words:
        front["instance_prompt"] = words
    front["widget"] = [{"text": shown.prompt, "output": {"url": f"{name}.png"}}]
    lines = [
        "---",
        yaml.safe_dump(front, sort_keys=False, allow_unicode=True, width=1000).rstrip(),
        "# " + say("license: yours to choose; take the base model\u2019s terms into account"),
        "---",
        f"# {name}",
        "",
        config.purpose or "",
        "",
        f"![{name}]({name}.png)",
        "",
        "## " + say("How to use it"),
        "",
        "- "
        + say("A1111, Forge: put the three files into `models/Lora` and write `{tag}` into the prompt.", tag=f"<lora:{name}:{shown.strength:g}>"),
        "- " + say("ComfyUI: put the .safetensors file into `models/loras`."),
    ]
    if words:
        lines.append("- " + say("Trigger words: `{words}`", words=words))
    lines += ["", "## " + say("How it was trained"), "", "| | |", "|---|---|"]
    lines += [f"| {what} | {value} |" for what, value in _facts(run, kind, step, private)]
    return "\n".join(lines) + "\n"


def preview(run: Run, lora: Path) -> Preview:
    """The newest picture that was called good, else the newest that was drawn while training, else one that is drawn now."""
    for kept in reversed(verdicts.listed(run)):
        path = verdicts.picture(run, kept.number)
        if kept.verdict == "good" and path.is_file():
            return Preview(path.read_bytes(), str(kept.picture.get("prompt", "")), _strength(kept.picture.get("column")))
    for sampled in reversed([record.event for record in run.events() if isinstance(record.event, Sampled)]):
        for name, prompt in zip(sampled.files, sampled.prompts, strict=False):
            if (run.folder / name).is_file():
                return Preview((run.folder / name).read_bytes(), prompt)
    config = run.config
    prompt = config.sample_prompts[0] if config.sample_prompts else trigger(run) or run.name
    images = [piece.image for piece in draw(config.base_model, [LoraChoice(lora)], [Request(prompt, seed=config.seed)], Look()) if piece.image]
    return Preview(_png(images[0]), prompt)


def trigger(run: Run) -> str:
    """The words that stand before every caption."""
    return run.config.caption_prefix.strip(" ,")


def _facts(run: Run, kind: str, step: int, private: bool) -> list[tuple[str, object]]:
    config, read = run.config, curves.read(run)
    facts: list[tuple[str, object]] = [
        (say("Base model"), Path(config.base_model).name if Path(config.base_model).exists() else config.base_model),
        (say("Kind"), TITLES[kind]),
        (say("LoRA rank"), config.lora_rank),
        (say("LoRA alpha"), f"{config.alpha:g}"),
        (say("Steps"), step),
        (say("Batch size"), config.batch_size * config.gradient_accumulation_steps),
        (say("Learning rate"), f"{config.learning_rate:g}"),
        (say("Optimizer"), config.optimizer),
        (say("Learning rate scheduler"), config.lr_scheduler),
        (say("Resolution"), config.resolution),
        (say("Mixed precision"), config.mixed_precision),
        (say("Seed"), config.seed),
    ]
    if read.final is not None:
        facts.append((say("Validation loss"), f"{read.final:.4f}"))
    if private:
        facts.append((say("Trained on"), config.train_data_dir))
    return [*facts, (say("Run"), run.id), (say("Made with"), f"LoRA Studio {__version__}")]


def _private(run: Run) -> dict[str, object]:
    """The folder and the tags of the pictures, as kohya notes them."""
    config = run.config
    try:
        captions = [caption for _, caption in open_album(config.train_data_dir, config.metadata_path).rows]
    except (StudioError, OSError):  # the pictures have moved: then there is nothing to tell
        return {}
    counted = Counter(tag for caption in captions for tag in (part.strip() for part in caption.split(",")) if tag)
    name = config.train_data_dir.name
    folder = {"n_repeats": config.num_repeats, "img_count": len(captions)}
    return {"dataset_dirs": {name: folder}, "tag_frequency": {name: dict(counted.most_common())}}


def _strength(column: Any) -> float:
    """The number that a column of the comparison is called by: `0.8`, `step 500 × 0.8`."""
    try:
        return float(str(column).rpartition(" ")[2])
    except ValueError:
        return 1.0


def _png(image: Image.Image) -> bytes:
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()
