"""A complete set of settings for some pictures, a base model and a machine, with the reason for every value. Pure."""

from collections.abc import Callable, Iterator
from typing import Any

from studio import fields
from studio.config import OPTIONAL, Config
from studio.fields import Given
from studio.language import say
from studio.runs.advice import avoiding, rules
from studio.runs.advice.facts import Chosen, Facts, Recommendation
from studio.runs.advice.habits import POCKET

Rule = Callable[[Facts, Chosen], Iterator[Recommendation]]

RULES: tuple[Rule, ...] = (
    rules.resolution,
    rules.shapes,
    rules.texts,
    rules.adapter,
    avoiding.gentler,
    rules.batches,
    avoiding.smaller,
    rules.held,
    rules.length,
    avoiding.shorter,
    rules.rates,
    avoiding.slower,
    rules.watching,
    rules.rest,
)
"""In this order: each sees what those before it chose, and may choose otherwise."""


def recommend(facts: Facts) -> tuple[Recommendation, ...]:
    """Values with reasons, in the order of the settings. Only settings that mean something for the family."""
    chosen: dict[str, Recommendation] = {}
    for rule in RULES:
        for found in rule(facts, chosen):
            if found.key not in OPTIONAL or found.key in facts.base.settings:
                chosen[found.key] = found
    return tuple(chosen[name] for _, name, _ in fields.settings() if name in chosen)


def notes(facts: Facts, found: tuple[Recommendation, ...]) -> list[str]:
    """What a person should know besides."""
    return avoiding.notes(facts, {one.key: one for one in found})


def about(facts: Facts) -> str:
    """What it was recommended for, in a line."""
    machine = facts.machine
    title = say("the pocket model") if facts.base.kind == POCKET else facts.base.title
    return say(
        "{count} pictures, {title}, {machine} with {free} of {total} GB free",
        count=facts.pictures.count,
        title=title,
        machine=machine.name,
        free=f"{machine.free:.1f}",
        total=f"{machine.total:.1f}",
    )


def config(given: Config, found: tuple[Recommendation, ...]) -> Config:
    """The base model and data of `given` with what was recommended: what a run can be started with."""
    values: dict[str, Any] = {key: getattr(given, key) for key in ("base_model", "train_data_dir", "metadata_path") if key in given.model_fields_set}
    values |= {one.key: one.value for one in found}
    return fields.build({key: Given(value, "") for key, value in values.items()})
