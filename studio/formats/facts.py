"""What was found in a LoRA file, in a person's words: the same lines on a terminal and on the page."""

from collections.abc import Iterable

from studio.formats.inspect import Inspection
from studio.formats.readers import Verdict
from studio.language import say

SHOWN = 3  # layers that are named


def facts(found: Inspection) -> list[tuple[str, str]]:
    """Name and value, line by line: what it is, how it came about, what it was trained on, by what it is known."""
    kind = say("whole weights") if found.adapter == "full" else found.adapter
    lines = [
        (say("Made for"), found.title),
        (say("Kind"), f"{kind}, {found.format}" if found.format else kind),
        (say("Layers"), f"{found.layers} ({', '.join(found.parts)})"),
        (say("Size"), f"{found.size / 1e6:.2f} MB, {', '.join(found.types)}"),
        (say("Numbers"), say("all finite") if found.finite else say("NaN or infinite ones among them")),
    ]
    if found.trigger_words:
        lines.append((say("Trigger words"), ", ".join(found.trigger_words)))
    if found.tags:
        lines.append((say("Frequent tags"), ", ".join(f"{tag} ({count})" for tag, count in found.tags)))
    known = _names()
    lines += [(known[key], value) for key, value in found.training.items()]
    for folder in found.data:
        lines.append((say("Trained on"), say("{folder}: {pictures} pictures, {repeats} ×", **folder)))
    return [*lines, *found.hashes.items()]


def loading(verdicts: Iterable[Verdict]) -> list[tuple[str, str, str]]:
    """Program, share of the file that it reads, and what is lost: which layers, and why."""
    lines = []
    for verdict in verdicts:
        some, more = ", ".join(verdict.lost[:SHOWN]), len(verdict.lost) - SHOWN
        lost = say("Lost: {layers}", layers=some + (f" … (+{more})" if more > 0 else "")) if verdict.lost and verdict.understood else ""
        share = "100 %" if verdict.complete else f"{100 * verdict.understood / verdict.total:.1f} %"
        lines.append((verdict.program, share, " ".join(filter(None, (verdict.why, lost)))))
    return lines


def sort(name: str) -> str:
    """A sort of layer in a person's language."""
    return {
        "attention": say("attention"),
        "feed-forward": say("feed-forward"),
        "convolution": say("convolution"),
        "modulation": say("modulation"),
    }.get(name, say("other"))


def _names() -> dict[str, str]:
    """What the facts of a training are called."""
    return {
        "title": say("Title"),
        "base_model": say("Base model"),
        "base_version": say("Version of the base"),
        "prediction_type": say("Prediction type"),
        "steps": say("Steps"),
        "epochs": say("Epochs"),
        "learning_rate": say("Learning rate"),
        "text_encoder_lr": say("Text encoder learning rate"),
        "optimizer": say("Optimizer"),
        "lr_scheduler": say("Learning rate scheduler"),
        "batch_size": say("Batch size"),
        "mixed_precision": say("Mixed precision"),
        "seed": say("Seed"),
        "resolution": say("Resolution"),
        "pictures": say("Pictures"),
        "clip_skip": say("Clip skip"),
        "date": say("Made"),
        "author": say("Author"),
        "license": say("Licence"),
        "merged_from": say("Made from"),
        "description": say("Description"),
    }
