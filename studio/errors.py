"""What goes wrong in a way that a person can mend: one sentence that says what and where, one that says what to do."""

from typing import ClassVar


class StudioError(Exception):
    """An error that is shown to the person as it is; anything else is a bug and goes to the log.

    `what` and `fix` are whole sentences in the person's language (through `say`).
    """

    exit_code: ClassVar[int] = 4

    def __init__(self, what: str, fix: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.what}\n{self.fix}" if self.fix else self.what


class InputError(StudioError):
    """A setting, a file or a name that was given can't be used."""

    exit_code = 2


class DataError(InputError):
    """Something is wrong with pictures, captions or their files."""


class ModelError(InputError):
    """A base model or a LoRA file can't be used."""


class MachineError(StudioError):
    """The machine lacks something: a package, a device, disk, a permission."""

    exit_code = 3


class RunError(StudioError):
    """A training began and couldn't be brought to its end."""


class DivergedError(RunError):
    """The loss or the weights are no sensible numbers any more."""


class NoMemoryError(RunError):
    """The device's memory doesn't hold the training."""
