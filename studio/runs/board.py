"""What others read while a run goes on: TensorBoard events and train.log below logs/. Neither can stop a training."""

import logging
from collections.abc import Sequence
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from studio.events import Event, Finding, Note, Sampled, Saved, Started, Steps, Validated
from studio.language import say


class Board:
    """Writes events of one attempt below `<run>/logs`. The first failure (a full disk, say) is returned as a Finding; then it is silent."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.writer: Any = None
        self.broken = False
        (folder / "logs").mkdir(parents=True, exist_ok=True)
        self.handler = RotatingFileHandler(folder / "logs" / "train.log", maxBytes=10_000_000, backupCount=5, encoding="utf-8", delay=True)
        self.handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        self.logger = logging.Logger(f"run {folder}")
        self.logger.addHandler(self.handler)

    def log(self, happened: Sequence[Event]) -> list[Event]:
        """Write events down."""
        if self.broken:
            return []
        try:
            for event in happened:
                self._log(event)
                if line := _line(event):
                    self.logger.info(line)
        except OSError as error:
            self.broken = True
            return [Finding(text=say("Logs can't be written any more ({reason}); the training goes on.", reason=error.strerror or error))]
        return []

    def close(self) -> None:
        """Give the files back."""
        if self.writer is not None:
            self.writer.close()
        self.handler.close()

    def _log(self, event: Event) -> None:
        match event:
            case Started():
                from torch.utils.tensorboard import SummaryWriter

                self.writer = SummaryWriter(str(self.folder / "logs"), purge_step=event.step)
            case Steps():
                for step, loss, norm, rate in zip(range(event.first, event.last + 1), event.loss, event.grad_norm, event.learning_rate, strict=True):
                    for name, value in (("Loss/train", loss), ("grad_norm", norm), ("lr", rate)):
                        if value is not None:
                            self.writer.add_scalar(name, value, step)
            case Validated():
                self.writer.add_scalar("Loss/val", event.loss, event.step)
                for band, loss in event.bands.items():
                    self.writer.add_scalar(f"Loss/val_at_{band}", loss, event.step)
            case Sampled():
                import numpy
                from PIL import Image

                for number, file in enumerate(event.files):
                    with Image.open(self.folder / file) as picture:
                        self.writer.add_image(f"samples/{number:02d}", numpy.asarray(picture.convert("RGB")), event.step, dataformats="HWC")
        if self.writer is not None:
            self.writer.flush()


def _line(event: Event) -> str:
    match event:
        case Started():
            return say("Step {step} of {steps}. {environment}", step=event.step, steps=event.steps, environment=event.environment)
        case Steps():
            loss = event.loss[-1]
            shown = f"{loss:.4f}" if loss is not None else "NaN"
            return say("step {step} loss {loss} {seconds} s/step", step=event.last, loss=shown, seconds=f"{event.seconds:.3f}")
        case Validated():
            return say("step {step} validation loss {loss}", step=event.step, loss=f"{event.loss:.4f}")
        case Saved():
            return say("step {step} saved {folder}", step=event.step, folder=event.folder)
        case Finding() | Note():
            return event.text
        case _:
            return ""
