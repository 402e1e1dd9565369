"""Who writes captions: one small protocol, and behind it models, taggers, and names of files and folders."""

import csv
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Protocol

from studio import home, hub
from studio.data.writing.blip import Blip, Model, sentence
from studio.data.writing.tagger import Tagger
from studio.device import device, opening
from studio.errors import InputError, ModelError, StudioError
from studio.language import say
from studio.pocket import CAPTIONER, FIGURES

if TYPE_CHECKING:
    from PIL.Image import Image

CONFIGURED = hub.Wanted(("*.json", "*.txt", "*.safetensors", "*.model"), "config.json")
TAGGED = hub.Wanted(("model.onnx", "selected_tags.csv"), "model.onnx")


@dataclass(frozen=True)
class Shot:
    """A picture to describe: its name in the dataset, and how to read it (RGB, upright)."""

    name: str
    read: Callable[[], "Image"]


class Captioner(Protocol):
    """Writes captions. `batch` is how many pictures it takes at once."""

    batch: int

    def write(self, shots: Sequence[Shot]) -> list[str]:
        """One caption a picture. Raises FaultyDataError for a picture that can't be read."""


@dataclass(frozen=True)
class Options:
    """What a person may choose. `model` is a folder or a Hub id in place of the captioner's own; the tagger's thresholds are probabilities;
    `template` may hold {name}, {folder} and {number}."""

    model: str = ""
    tokens: int = 75
    beams: int = 3
    batch: int = 0
    threshold: float = 0.35
    character_threshold: float = 0.85
    underscores: bool = False
    ratings: bool = False
    characters: bool = True
    without: tuple[str, ...] = ()
    template: str = "{name}"


@dataclass(frozen=True)
class Kind:
    """A captioner that can be chosen: what it is called, what it is good for, the Hub id it comes from, how it is opened."""

    name: str
    title: str
    about: str
    open: Callable[["Kind", Options], Captioner]
    source: str = ""
    wanted: hub.Wanted = CONFIGURED
    settings: dict[str, Any] = field(default_factory=dict)

    def place(self, options: Options) -> Path | None:
        """The local folder of its model, without downloading; None where there is none yet."""
        asked = options.model or self.source
        for path in (Path(asked).expanduser(), home.models() / asked):
            if asked and path.is_dir():
                return path
        return hub.cached(asked, self.wanted) if asked.count("/") == 1 else None

    @property
    def described(self) -> str:
        """What it is good for, with how often it is right where that was measured."""
        measured = Path(self.source) / FIGURES
        if self.source != str(CAPTIONER) or not measured.is_file():
            return say(self.about)
        found = json.loads(measured.read_text(encoding="utf-8"))
        seen, unseen = f"{found['trained_noun']:.0%}", f"{found['held_out_noun']:.0%}"
        return f"{say(self.about)} " + say(
            "It names the thing right in {seen} of pictures whose manner it learned with this thing, in {unseen} of others.", seen=seen, unseen=unseen
        )

    @property
    def ready(self) -> bool:
        """Whether it works without a download."""
        return not self.source or self.place(Options()) is not None


def opened(name: str, options: Options = Options()) -> Captioner:
    """The captioner of that name, ready to write. Raises InputError, ModelError, MachineError."""
    return find(name).open(find(name), options)


def find(name: str) -> Kind:
    """The captioner of that name. Raises InputError."""
    if name not in CAPTIONERS:
        raise InputError(say("There is no captioner {name}.", name=name), say("Choose one of {names}.", names=", ".join(CAPTIONERS)))
    return CAPTIONERS[name]


@dataclass
class Names:
    """No model: the caption follows from where the picture lies."""

    template: str
    batch: int
    seen: int = 0

    def write(self, shots: Sequence[Shot]) -> list[str]:
        """The template with {name}, {folder} and {number} filled in."""
        texts = []
        for shot in shots:
            path = PurePosixPath(shot.name)
            self.seen += 1
            values = {"name": words_of(path.stem), "folder": words_of(re.sub(r"^\d+_", "", path.parent.name)), "number": str(self.seen)}
            parts = re.split(r"\{(name|folder|number)\}", self.template)
            texts.append(sentence("".join(values[part] if place % 2 else part for place, part in enumerate(parts))))
        return texts


def words_of(name: str) -> str:
    """A file's or folder's name as words: `red_car-02` → "red car"; copies' numbers and dates go."""
    text = re.sub(r"[_\-.+]+", " ", name)
    text = re.sub(r"\s*\(\d+\)$|(?<=\D)\s\d+$|^\d+\s+(?=\D)", "", text)
    return " ".join(text.split())


def _names(kind: Kind, options: Options) -> Captioner:
    template = kind.settings.get("template") or options.template
    unknown = set(re.findall(r"\{([^{}]*)\}", template)) - {"name", "folder", "number"}
    if unknown:
        raise InputError(
            say("The template has no {name}.", name=", ".join(sorted(unknown))), say("It may hold {names}.", names="{name} {folder} {number}")
        )
    return Names(template, options.batch or 512)


def _folder(kind: Kind, options: Options) -> Path:
    """Where the model lies, downloaded if need be. Raises ModelError, MachineError."""
    place = kind.place(options)
    asked = options.model or kind.source
    if place is None and asked.count("/") != 1:
        raise ModelError(
            say("captioner_model: {path} is not there.", path=asked), say("Give a folder or a Hub id such as {example}.", example=kind.source)
        )
    return place or hub.download(asked, kind.wanted, "captioner_model")


def _blip(kind: Kind, options: Options) -> Captioner:
    folder = _folder(kind, options)
    with opening, _readable(folder):
        from transformers import BertTokenizerFast, BlipForConditionalGeneration, BlipProcessor
        from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

        images, words = BlipImageProcessorPil.from_pretrained(folder), BertTokenizerFast.from_pretrained(folder)
        return _model(Blip, BlipForConditionalGeneration, BlipProcessor(images, words), folder, kind, options)


def _florence(kind: Kind, options: Options) -> Captioner:
    folder = _folder(kind, options)
    with opening, _readable(folder):
        from transformers import AutoTokenizer, Florence2ForConditionalGeneration, Florence2Processor
        from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

        processor = Florence2Processor(CLIPImageProcessorPil.from_pretrained(folder), AutoTokenizer.from_pretrained(folder))
        return _model(Model, Florence2ForConditionalGeneration, processor, folder, kind, options)


def _model(made: type[Model], model_class: Any, processor: Any, folder: Path, kind: Kind, options: Options) -> Captioner:
    import torch
    from transformers.utils import logging

    logging.disable_progress_bar()
    on = device()
    model = model_class.from_pretrained(folder, dtype=torch.float16 if on.type == "cuda" else torch.float32, use_safetensors=True)
    settings = kind.settings
    options = replace(options, tokens=settings.get("tokens", options.tokens), beams=settings.get("beams", options.beams))
    batch = options.batch or settings.get("batch") or (16 if on.type == "cuda" else 4)
    return made(processor, model.to(on).eval(), options, batch, settings.get("task", ""))


def _wd(kind: Kind, options: Options) -> Captioner:
    folder = _folder(kind, options)
    with opening, _readable(folder):
        import onnxruntime

        wanted = [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in onnxruntime.get_available_providers()]
        session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=wanted)
        with (folder / "selected_tags.csv").open(encoding="utf-8", newline="") as file:
            tags = [(row["name"], int(row["category"])) for row in csv.DictReader(file)]
    outputs = session.get_outputs()[0].shape[-1]
    if isinstance(outputs, int) and outputs != len(tags):
        raise ModelError(
            say("{path}: the network has {count} outputs, selected_tags.csv has {tags} tags.", path=folder, count=outputs, tags=len(tags)),
            say("Download both files of the same tagger."),
        )
    return Tagger(session, tags, options, options.batch or (16 if "CUDAExecutionProvider" in wanted else 4))


class _readable:  # noqa: N801 - reads as a word
    """Turns what the libraries raise on opening a model into one sentence that names it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None or isinstance(error, StudioError) or not isinstance(error, Exception):
            return
        reason = str(error).strip().partition("\n")[0][:200]
        if isinstance(error, ImportError):
            raise InputError(say("The captioner needs a package: {reason}", reason=reason), say("pip install -r requirements.txt")) from None
        raise ModelError(
            say("{path}: can't be opened as a captioner: {reason}", path=self.folder, reason=reason),
            say("Give the folder of a whole model of this kind."),
        ) from error


_POCKET = {"tokens": 16, "beams": 1, "batch": 32}
CAPTIONERS = {
    kind.name: kind
    for kind in (
        Kind("blip", "BLIP", "One sentence a picture. A download of 1 GB.", _blip, "Salesforce/blip-image-captioning-base"),
        Kind("blip-large", "BLIP large", "More detail, slower. A download of 1.9 GB.", _blip, "Salesforce/blip-image-captioning-large"),
        Kind("florence", "Florence-2", "One plain sentence.", _florence, "florence-community/Florence-2-base", settings={"task": "<CAPTION>"}),
        Kind(
            "florence-detailed",
            "Florence-2, detailed",
            "A paragraph: often longer than Stable Diffusion reads.",
            _florence,
            "florence-community/Florence-2-base",
            settings={"task": "<DETAILED_CAPTION>"},
        ),
        Kind("wd", "WD tagger", "Tags as anime models know them.", _wd, "SmilingWolf/wd-vit-tagger-v3", TAGGED),
        Kind(
            "pocket",
            "Pocket captioner",
            "Inside, for trying out: knows 174 things, colours and grounds, nothing else.",
            _blip,
            str(CAPTIONER),
            settings=_POCKET,
        ),
        Kind("filename", "File names", "red_car-02.png becomes “red car”.", _names, settings={"template": "{name}"}),
        Kind("folder", "Folder names", "10_red car/01.png becomes “red car”.", _names, settings={"template": "{folder}"}),
        Kind("template", "A text for all", "May hold {name}, {folder} and {number}.", _names),
    )
}
