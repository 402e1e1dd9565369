"""What became of the settings in somebody's file: taken, adapted, or left out, each with its reason."""

import json
import re
import typing
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from studio import fields
from studio.config import Config
from studio.fields import Given, SettingsError
from studio.language import say

NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,3})?")
PRIVATE = re.compile(r"token$|api_key|password|secret")
UNSET: tuple[Any, ...] = ("", None, [])


class Note(NamedTuple):
    """One setting: its name in the file, its value, and why it isn't taken as it is."""

    key: str
    value: str
    reason: str


@dataclass
class Imported:
    """A settings file, read. `taken` says which setting of the file each of ours comes from."""

    program: str
    title: str = ""
    about: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    taken: dict[str, str] = field(default_factory=dict)
    adapted: list[Note] = field(default_factory=list)
    left_out: list[Note] = field(default_factory=list)


@dataclass
class Reading:
    """A file of other settings while it is translated. What was asked for is `done`."""

    given: dict[str, Any]
    made: Imported
    family: str = ""
    done: set[str] = field(default_factory=set)

    def take(self, *keys: str) -> Any:
        """The first of `keys` that the file sets to something."""
        self.done |= set(keys)
        return next((self.given[key] for key in keys if self.says(key)), None)

    def says(self, key: str) -> bool:
        """Whether the file sets `key` to something."""
        return self.given.get(key) not in UNSET

    def number(self, key: str) -> float | None:
        """The value of `key` as a number; of several the first. One that is none is left out."""
        value = self.take(key)
        found = as_number(value[0] if isinstance(value, list) else value)
        if found is None and value is not None:
            self.leave(key, say("Is no number."))
        return found

    def on(self, *keys: str) -> bool:
        """Whether one of these switches is on."""
        self.done |= set(keys)
        return any(str(self.given.get(key)).lower() in ("true", "1", "yes") for key in keys)

    def put(self, ours: str, value: Any, theirs: str, reason: str = "") -> None:
        """Take a setting over, and say what was changed about it."""
        if ours not in Config.model_fields:
            self.leave(theirs, say("There is no such setting here."))
            return
        self.made.settings[ours] = fitted(ours, value)
        self.made.taken[ours] = theirs
        if reason:
            self.adapt(theirs, reason)

    def adapt(self, theirs: str, reason: str) -> None:
        """Say what was changed about a setting."""
        self.made.adapted.append(Note(theirs, self.shown(theirs), reason))

    def leave(self, theirs: str, reason: str, value: str = "") -> None:
        """Leave a setting out."""
        self.made.left_out.append(Note(theirs, value or self.shown(theirs), reason))

    def drop(self, ours: str, reason: str) -> None:
        """Leave a setting out that was taken."""
        value, theirs = self.made.settings.pop(ours), self.made.taken.pop(ours)
        self.made.adapted = [note for note in self.made.adapted if note.key != theirs]
        self.leave(theirs, reason, "" if theirs in self.given else json.dumps(value))

    def shown(self, key: str) -> str:
        """The value as the file has it, in short; never one that opens somebody's account."""
        value = self.given.get(key, "")
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
        return "…" if PRIVATE.search(key) else text[:80]

    def check(self) -> None:
        """Leave out what can't be used here. Raises SettingsError where it can't be told which that is."""
        while True:
            values = {"base_model": "pocket", "train_data_dir": "."} | self.made.settings
            try:
                fields.build({key: Given(value, "") for key, value in values.items()})
                return
            except SettingsError as error:
                wrong = [fault for fault in error.faults if fault.key in self.made.settings]
                if not wrong:
                    raise
                for fault in wrong:
                    self.drop(fault.key, f"{fault.key}: {fault.text}")


def as_number(value: Any) -> float | None:
    """A number, also one that is written as text; None where it is none."""
    if isinstance(value, str) and len(value) < 40 and NUMBER.fullmatch(value.strip()):
        return float(value) if set(value.lower()) & set(".e") else int(value)
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def fitted(ours: str, value: Any) -> Any:
    """`value` in the type that our setting takes, where that loses nothing."""
    bare = fields.kind(Config.model_fields[ours])[0]
    if bare in (int, float) and not isinstance(value, bool):
        number = as_number(value)
        return int(number) if bare is int and isinstance(number, float) and number.is_integer() else value if number is None else number
    if bare is bool and str(value).lower() in ("true", "false", "0", "1"):
        return str(value).lower() in ("true", "1")
    return value


def choices(ours: str) -> tuple[Any, ...]:
    """What our setting may be chosen from."""
    bare = fields.kind(Config.model_fields[ours])[0] if ours in Config.model_fields else None
    return typing.get_args(bare) if typing.get_origin(bare) is typing.Literal else ()
