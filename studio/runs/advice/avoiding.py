"""What ended badly in earlier runs on similar data is avoided, and said: `tried in EXP-20261124-02: over-fitted after step 300`."""

import math
from collections.abc import Iterator
from dataclasses import replace

from studio.language import say
from studio.runs.advice import rules
from studio.runs.advice.facts import Chosen, Facts, Recommendation
from studio.runs.advice.habits import WHOLE, memory
from studio.runs.advice.lessons import Lesson

LOWER = 3.0
"""A learning rate that diverged is divided by this."""
LONGER = 1.25
"""How much longer than to its best a run that over-fitted may be repeated."""
LEAST_RANK = 4
MOST_DROPOUT = 0.3


def tried(lesson: Lesson) -> str:
    """How a run ended, in words."""
    match lesson.how:
        case "over-fitted":
            return say("tried in {run}: over-fitted after step {step}", run=lesson.run, step=lesson.step)
        case "diverged" if lesson.step:
            return say("tried in {run}: diverged after step {step}", run=lesson.run, step=lesson.step)
        case "diverged":
            return say("tried in {run}: diverged at once", run=lesson.run)
        case "memory":
            return say("tried in {run}: out of memory", run=lesson.run)
        case "failed":
            return say("tried in {run}: failed ({error})", run=lesson.run, error=lesson.error.partition("\n")[0])


def gentler(facts: Facts, chosen: Chosen) -> Iterator[Recommendation]:
    """Less to over-fit with than the newest run that did: half its rank, and more dropout."""
    for lesson in _of(facts, "over-fitted")[:1]:
        rank, dropout = lesson.config.lora_rank, lesson.config.lora_dropout
        if chosen["lora_rank"].value >= rank > LEAST_RANK:
            yield _instead(chosen["lora_rank"], max(LEAST_RANK, rank // 2), rank, lesson)
            yield replace(chosen["lora_alpha"], value=max(LEAST_RANK, rank // 2))
        if "lora_dropout" not in chosen or (chosen["lora_dropout"].value <= dropout < MOST_DROPOUT):
            before = chosen.get("lora_dropout", Recommendation("lora_dropout", 0.0, ""))
            yield _instead(before, round(min(MOST_DROPOUT, dropout + 0.1), 2), f"{dropout:g}", lesson)


def smaller(facts: Facts, chosen: Chosen) -> Iterator[Recommendation]:
    """Less memory than every run that had too little: a smaller batch, then checkpointing, then a lower resolution."""
    base, precision, load_in = facts.base, chosen["mixed_precision"].value, bits(chosen)
    together = chosen["batch_size"].value * chosen["gradient_accumulation_steps"].value
    at = batch, twice, side = chosen["batch_size"].value, chosen["gradient_checkpointing"].value, chosen["resolution"].value
    ladder = [at]
    while batch > 1:
        batch //= 2
        ladder.append((batch, twice, side))
    ladder += [(batch, True, lower) for lower in rules.sides(base) if lower < side or (lower == side and not twice)]
    for lesson in _of(facts, "memory"):
        took = lesson.config
        there, kind = took.resolution or base.resolution, took.mixed_precision or precision
        limit = memory(base.size, there, took.batch_size, took.gradient_checkpointing, kind, took.load_in)
        found = next((step for step in ladder if memory(base.size, step[2], step[0], step[1], precision, load_in) < limit), ladder[-1])
        ladder = ladder[ladder.index(found) :]
        batch, twice, side = found
        if found != at:
            yield _instead(chosen["batch_size"], batch, took.batch_size, lesson)
            reason = say("{batch} × {times}: each step averages {together} pictures.", batch=batch, times=together // batch, together=together)
            yield Recommendation("gradient_accumulation_steps", together // batch, reason)
            if twice and not chosen["gradient_checkpointing"].value:
                yield Recommendation("gradient_checkpointing", True, say("It saves memory: {tried}.", tried=tried(lesson)))
            if side < chosen["resolution"].value:
                yield _instead(chosen["resolution"], side, took.resolution or base.resolution, lesson)


def shorter(facts: Facts, chosen: Chosen) -> Iterator[Recommendation]:
    """Not much longer than until the best of a run that over-fitted, in pictures shown; a quarter of the usual at least."""
    together = chosen["batch_size"].value * chosen["gradient_accumulation_steps"].value
    total = rules.steps(facts, chosen)
    for lesson in sorted(_of(facts, "over-fitted"), key=lambda lesson: lesson.pictures)[:1]:
        most = max(1, math.ceil(LONGER * lesson.pictures / together), total // 4)
        if "max_steps" in chosen:
            key, repeats, value = "max_steps", 1, most
        else:
            passes = chosen["epochs"].value * chosen["num_repeats"].value * most / total
            key, repeats = "epochs", max(1, int(passes / chosen["epochs"].value))
            value = max(1, int(passes / repeats))
        if most < total:
            yield _instead(chosen[key], min(value, chosen[key].value), "", lesson)
            times = say("Each picture is shown {times} times in all.", times=repeats * value) if key == "epochs" else chosen["num_repeats"].reason
            yield replace(chosen["num_repeats"], value=repeats, reason=times)
        else:
            besides = say("It is shorter than what was {tried}.", tried=tried(lesson))
            yield replace(chosen[key], reason=say("{one} {two}", one=chosen[key].reason, two=besides))


def slower(facts: Facts, chosen: Chosen) -> Iterator[Recommendation]:
    """A third of every learning rate that diverged, at most."""
    for lesson in sorted(_of(facts, "diverged"), key=lambda lesson: lesson.config.learning_rate)[:1]:
        rate = lesson.config.learning_rate
        value = min(chosen["learning_rate"].value, float(f"{rate / LOWER:.1e}"))
        yield _instead(chosen["learning_rate"], value, f"{rate:g}", lesson)


def notes(facts: Facts, chosen: Chosen) -> list[str]:
    """What a person should know besides: faults of the data, memory that doesn't suffice, earlier runs that failed for other reasons."""
    pictures, machine, found = facts.pictures, facts.machine, []
    if pictures.faults:
        found.append(say("{count} faults of the data stop a run: `python studio.py check` names them.", count=pictures.faults))
    if pictures.trigger and pictures.triggered < pictures.captioned:
        missing = pictures.captioned - pictures.triggered
        found.append(say("The trigger {trigger} is missing in {count} captions.", trigger=pictures.trigger, count=missing))
    if pictures.cut_off:
        found.append(say("{count} captions are longer than the {limit} tokens that are seen.", count=pictures.cut_off, limit=facts.base.tokens))
    side, batch, twice, precision = (chosen[key].value for key in ("resolution", "batch_size", "gradient_checkpointing", "mixed_precision"))
    need = memory(facts.base.size, side, batch, twice, precision, bits(chosen))
    if need > machine.free:
        found.append(say("About {need} GB are needed and {free} are free: it may not fit.", need=f"{need:.1f}", free=f"{machine.free:.1f}"))
    found += [tried(lesson)[0].upper() + tried(lesson)[1:] for lesson in _of(facts, "failed")[:3]]
    return found


def bits(chosen: Chosen) -> str:
    """`load_in` as it was chosen."""
    return str(chosen["load_in"].value) if "load_in" in chosen else WHOLE


def _of(facts: Facts, how: str) -> list[Lesson]:
    return [lesson for lesson in facts.lessons if lesson.how == how]


def _instead(before: Recommendation, value: object, other: object, lesson: Lesson) -> Recommendation:
    """Another value than `other`, which was tried."""
    if other == "":
        return replace(before, value=value, reason=say("Fewer than usual: {tried}.", tried=tried(lesson)))
    return replace(before, value=value, reason=say("Not {other}: {tried}.", other=other, tried=tried(lesson)))
