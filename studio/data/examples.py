"""The room's front door: from a folder or zip and its captions to examples, or to all that is wrong with them."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context, copy_context
from dataclasses import dataclass, field, replace
from pathlib import Path

from studio.config import Config
from studio.data.captions import SIDECARS, Captions, joined, read_captions
from studio.data.images import Look, examine, is_transparent
from studio.data.importing import archive_findings, open_folder
from studio.data.listing import Listing, scan
from studio.data.looking.looks import Looks
from studio.data.looking.sameness import kept_apart, same_content
from studio.data.masks import Mask, masks_missing, masks_unused, other_shape
from studio.data.problems import FaultyDataError, Problem, Severity, shown
from studio.data.text.texts import text_files
from studio.language import say

MOST_THREADS = 16
"""A picture of 64 million pixels takes 256 MB while it is decoded, in each thread."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Example:
    """One picture and its text, ready to be encoded.

    `name` is relative to the dataset's folder; `content` is the sha256 of the file's bytes in hex; `size` is width and height
    with the picture upright; `caption` has caption_prefix and caption_suffix on it; `mask` says where it is learned from, None: everywhere.
    """

    path: Path
    name: str
    content: str
    size: tuple[int, int]
    caption: str
    mask: Mask | None = None


@dataclass(frozen=True)
class Dataset:
    """What a run learns from, in the order of the names. `findings` are warnings: they stop nothing. `prior` are pictures of the class, which
    the model shall draw as before."""

    folder: Path
    examples: tuple[Example, ...]
    findings: tuple[Problem, ...]
    prior: tuple[Example, ...] = ()

    @property
    def fingerprint(self) -> str:
        """sha256 over the pictures' bytes, the captions and masks, in order: other names or folders change nothing."""
        total = hashlib.sha256(b"prior" if self.prior else b"")
        for example in (*self.prior, *self.examples):
            text = hashlib.sha256(example.caption.encode("utf-8", "surrogatepass")).hexdigest()
            mask = f" {example.mask.identity}" if example.mask else ""
            total.update(f"{example.content} {text}{mask}\n".encode())
        return total.hexdigest()


@dataclass(frozen=True)
class Survey:
    """A whole look at a dataset: what can be trained on, and everything that is wrong. `found` counts pictures,
    `captioned` those with a caption that isn't empty; `looks` are what each picture showed, by name."""

    folder: Path
    found: int
    captioned: int
    examples: tuple[Example, ...]
    problems: tuple[Problem, ...]
    looks: Mapping[str, Look] = field(default_factory=dict)


def unwatched(done: int, total: int) -> None:
    """Progress that nobody watches."""


def gather(config: Config, progress: Progress = unwatched, extract_to: Path | None = None) -> Dataset:
    """The examples that `config` describes. Every picture is decoded once, in threads; `progress(done, total)` counts them.

    `extract_to` is where a zip is unpacked. Raises FaultyDataError (a DataError) with all errors there are.
    """
    seen, prior = survey(config, progress, extract_to), _class_pictures(config, progress, extract_to)
    problems = (*seen.problems, *prior.problems) if prior else seen.problems
    if errors := [problem for problem in problems if problem.severity == "error"]:
        raise FaultyDataError(errors)
    return Dataset(seen.folder, seen.examples, problems, prior.examples if prior else ())


def _class_pictures(config: Config, progress: Progress, extract_to: Path | None) -> Survey | None:
    """The pictures in prior_data_dir, with their own captions or else prior_prompt."""
    if config.prior_data_dir is None:
        return None
    own = {"train_data_dir": config.prior_data_dir, "metadata_path": None, "caption_prefix": "", "caption_suffix": "", "masked_loss": False}
    seen = survey(config.model_copy(update=own | ({"missing_captions": "empty"} if config.prior_prompt else {})), progress, extract_to)
    fix = say("Write captions, or set prior_prompt to one for all.")
    problems = [
        replace(problem, file=f"{shown(config.prior_data_dir.name)}/{problem.file}", fix=fix if problem.kind == "no-caption" else problem.fix)
        for problem in seen.problems
        if problem.kind != "masks"
    ]
    examples = tuple(replace(example, caption=example.caption or config.prior_prompt) for example in seen.examples)
    return replace(seen, examples=examples, problems=tuple(problems))


def survey(config: Config, progress: Progress = unwatched, extract_to: Path | None = None, remember: bool = False) -> Survey:
    """Look at everything. Faults are in the result; only a source that can't be opened raises (FaultyDataError, MachineError).

    With `remember`, pictures are looked at closely, and one whose file is as it was is not decoded again.
    """
    folder = open_folder(config.train_data_dir, extract_to)
    listing = scan(folder)
    captions = read_captions(folder, listing, config.metadata_path)
    names = sorted({*listing.pictures, *captions.texts})
    problems = [*archive_findings(config.train_data_dir), *listing.problems, *captions.problems]
    problems += _without_caption(config, names, captions, listing)
    wanted = [name for name in names if config.missing_captions != "skip" or captions.texts.get(name)]
    known = Looks.of(folder) if remember else None
    looks, unreadable = _examine(folder, wanted, config, progress, known)
    masks, at_fault = _masks(folder, {name: mask for name, mask in listing.masks.items() if mask not in captions.texts}, looks, config, progress)
    examples = tuple(
        Example(folder / name, name, looks[name].content, looks[name].size, _caption(config, captions.texts.get(name, "")), mask)
        for name, mask in masks.items()
    )
    problems += [*unreadable, *at_fault]
    problems += [_animated(name) for name, look in looks.items() if look.animated]
    problems += kept_apart(names)
    problems += same_content([(example.name, example.content, example.caption) for example in examples])
    problems += _too_few(folder, names, examples, listing)
    return Survey(folder, len(names), sum(1 for name in names if captions.texts.get(name)), examples, tuple(problems), looks)


def held_out(count: int, share: float) -> int:
    """How many of `count` pictures are held out: at least 2, and at least 4 and half of all stay to train on; 0 where that can't be."""
    wanted = min(max(2, round(share * count)), count - max(4, (count + 1) // 2)) if share else 0
    return wanted if wanted >= 2 else 0


def split(examples: Sequence[Example], share: float, seed: int) -> tuple[tuple[Example, ...], tuple[Example, ...], float]:
    """Examples to train on, examples to measure the loss on, and the share of the latter that is trained on too.

    The same for the same seed and pictures, whatever their names. Pictures of the same content stay together. At least 2 are held
    out, and at least 4, and at least half of all, are left to train on. Where there are too few for that, all are trained on,
    and up to 4 of them are measured: the last number is 1 then, else 0. With `share` 0 nothing is held out.
    """
    everything = tuple(examples)
    if share == 0 or not everything:
        return everything, (), 0.0
    wanted, most = held_out(len(everything), share), len(everything) - max(4, (len(everything) + 1) // 2)
    counts = Counter(example.content for example in everything)
    held: set[str] = set()
    size = 0
    for content in sorted(counts, key=lambda content: hashlib.sha256(f"{seed} {content}".encode()).digest()):
        if size < wanted and size + counts[content] <= most:
            held.add(content)
            size += counts[content]
    if size < 2:
        count = min(4, len(everything))
        return everything, tuple(everything[index * len(everything) // count] for index in range(count)), 1.0
    train = tuple(example for example in everything if example.content not in held)
    return train, tuple(example for example in everything if example.content in held), 0.0


def _examine(folder: Path, names: Sequence[str], config: Config, progress: Progress, known: Looks | None) -> tuple[dict[str, Look], list[Problem]]:
    severity: Severity = "warning" if config.bad_images == "skip" else "error"

    def look(name: str) -> Look | Problem:
        try:
            if known is None:
                return examine(folder / name, config.resolution)
            file = (folder / name).stat()
            if (seen := known.find(name, file)) and min(seen.size) * 4 >= (config.resolution or 0):
                return seen
            found = examine(folder / name, config.resolution, closely=True)
            known.keep(name, file, found)
            return found
        except OSError as error:
            return Problem(shown(name), None, say("The file can't be read: {reason}", reason=error.strerror), say("Check its permissions."), severity)
        except FaultyDataError as refused:
            return replace(refused.problems[0], file=shown(name), severity=severity)

    def said(name: str, surroundings: Context) -> Look | Problem:
        """In the language of whoever asks: a thread of the pool knows of no visitor."""
        return surroundings.run(look, name)

    looks: dict[str, Look] = {}
    problems = []
    pool = ThreadPoolExecutor(min(os.cpu_count() or 1, MOST_THREADS), "picture")
    try:
        for done, (name, result) in enumerate(zip(names, pool.map(said, names, (copy_context() for _ in names)), strict=True), 1):
            if isinstance(result, Look):
                looks[name] = result
            else:
                problems.append(result)
            progress(done, len(names))
    finally:
        pool.shutdown(cancel_futures=True)
    if known:
        known.save()
    if problems and severity == "error":
        problems[0] = replace(problems[0], fix=f"{problems[0].fix} {say('Or set bad_images: skip.')}")
    return looks, problems


def _masks(
    folder: Path, files: Mapping[str, str], looks: Mapping[str, Look], config: Config, progress: Progress
) -> tuple[dict[str, Mask | None], list[Problem]]:
    """The mask of each picture that can be trained on: a file, else its alpha channel, else None; None for all without masked_loss."""
    if not config.masked_loss:
        return dict.fromkeys(looks), masks_unused(folder, len(files))
    seen, problems = _examine(folder, sorted(set(files.values())), config.model_copy(update={"resolution": None}), progress, None)
    found: dict[str, Mask | None] = {}
    for name, look in looks.items():
        file = files.get(name)
        if file is None:
            found[name] = Mask(folder / name, look.content, alpha=True) if is_transparent(folder / name) else None
        elif file in seen:
            found[name] = Mask(folder / file, seen[file].content)
            problems += other_shape(file, seen[file].size, look.size)
    return found, [*problems, *masks_missing(folder, found)]


def _caption(config: Config, text: str) -> str:
    return joined(config.caption_prefix, text, config.caption_suffix)


def _without_caption(config: Config, names: Iterable[str], captions: Captions, listing: Listing) -> list[Problem]:
    """A problem for each picture without a caption, or with an empty one: an error, unless the settings say what happens."""
    if config.missing_captions == "empty" or (config.missing_captions == "refuse" and config.caption_prefix.strip()):
        severity: Severity | None = None
    else:
        severity = "warning" if config.missing_captions == "skip" else "error"
    at_fault = not captions.texts and any(problem.severity == "error" for problem in captions.problems)
    if severity is None or at_fault:  # no list of all pictures when the one file with captions can't be read
        return []
    fix = _caption_fix(captions, listing)
    problems = []
    for name in names:
        if name in captions.faulty:
            continue
        if name not in captions.texts:
            message = say("The picture has no caption.")
            if name in captions.elsewhere:
                message = say("The picture has no caption in {source}; another source has one.", source=captions.source)
            problems.append(Problem(shown(name), None, message, fix, severity, "no-caption"))
        elif not captions.texts[name]:
            problems.append(Problem(shown(name), None, say("The caption is empty."), fix, severity, "no-caption"))
    return problems


def _caption_fix(captions: Captions, listing: Listing) -> str:
    tables = [name for name in listing.others if name.lower().endswith((".csv", ".jsonl")) and "/" not in name]
    if captions.source == SIDECARS and tables:
        return say("Set metadata_path if the captions are in {file}.", file=shown(tables[0]))
    return say("Write captions on the Dataset tab, or set caption_prefix to use one phrase for all, or missing_captions: skip or empty.")


def _animated(name: str) -> Problem:
    return Problem(shown(name), None, say("It has several frames; the first is used."), "", "warning", "animated")


def _too_few(folder: Path, names: Sequence[str], examples: Sequence[Example], listing: Listing) -> list[Problem]:
    if not names and text_files(listing.others):
        message = say("There are texts in the folder and no pictures.")
        return [Problem(shown(folder), None, message, say("Give a folder with pictures; texts are for language models."), kind="empty")]
    if not names:
        message = say("There are no pictures in the folder.")
        return [Problem(shown(folder), None, message, say("Put the pictures there, or correct train_data_dir."), kind="empty")]
    if not examples:
        return [Problem(shown(folder), None, say("No picture is left to train on."), say("Mend the pictures or captions named above."), kind="empty")]
    if len(examples) == 1:
        message = say("There is only one picture: the LoRA will mostly learn to repeat it.")
        return [Problem(shown(folder), None, message, say("Five or more different pictures are better."), "warning", "few")]
    return []
