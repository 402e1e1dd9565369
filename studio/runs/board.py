"""What others read while a run goes on: TensorBoard events and train.log below logs/. Neither can stop a training."""

import logging
import os
import platform
import time
from collections.abc import Sequence
from contextlib import suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, BinaryIO

from studio.events import Event, Finding, Note, Sampled, Saved, Started, Steps, Validated
from studio.language import say


class Board:
    """Writes events of one attempt below `<run>/logs`. The first failure (a full disk, say) is returned as a Finding; then it is silent."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.curves: Curves | None = None
        self.broken = False
        (folder / "logs").mkdir(parents=True, exist_ok=True)
        self.handler = _TrainLog(folder / "logs" / "train.log", maxBytes=10_000_000, backupCount=5, encoding="utf-8", delay=True)
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

    def error(self, text: str) -> None:
        """A traceback for train.log, where that can be written."""
        with suppress(OSError):
            self.logger.error("%s", text)

    def close(self) -> None:
        """Give the files back. A full disk has been told by then."""
        with suppress(OSError):
            self.handler.close()
        with suppress(OSError):
            if self.curves is not None:
                self.curves.close()

    def _log(self, event: Event) -> None:
        if isinstance(event, Started):
            self.curves = Curves(self.folder / "logs", event.step)
        if self.curves is None:
            return
        match event:
            case Steps():
                for step, loss, norm, rate in zip(range(event.first, event.last + 1), event.loss, event.grad_norm, event.learning_rate, strict=True):
                    self.curves.numbers(step, {"Loss/train": loss, "grad_norm": norm, "lr": rate})
            case Validated():
                self.curves.numbers(event.step, {"Loss/val": event.loss, **{f"Loss/val_at_{band}": loss for band, loss in event.bands.items()}})
            case Sampled():
                for number, file in enumerate(event.files):
                    self.curves.picture(event.step, f"samples/{number:02d}", self.folder / file)
        self.curves.flush()


class Curves:
    """A file of TensorBoard events. Written here and now: TensorBoard's own writer has a thread, whose errors can't be caught."""

    def __init__(self, folder: Path, step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter

        name = f"events.out.tfevents.{time.time():.6f}.{platform.node()}.{os.getpid()}"
        self.file: BinaryIO = (folder / name).open("xb")
        self.records = RecordWriter(self.file)
        self._write(file_version="brain.Event:2")
        self._write(step=step, session_log=SessionLog(status=SessionLog.START))  # supersedes what earlier files say of later steps

    def numbers(self, step: int, named: dict[str, float | None]) -> None:
        """One point on each curve; None is a gap."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=name, simple_value=value) for name, value in named.items() if value is not None]
        self._write(step=step, summary=Summary(value=values))

    def picture(self, step: int, name: str, path: Path) -> None:
        """A PNG as it is."""
        from PIL import Image
        from tensorboard.compat.proto.summary_pb2 import Summary

        with Image.open(path) as opened:
            image = Summary.Image(width=opened.width, height=opened.height, colorspace=3, encoded_image_string=path.read_bytes())
        self._write(step=step, summary=Summary(value=[Summary.Value(tag=name, image=image)]))

    def flush(self) -> None:
        """Let readers see what was written."""
        self.file.flush()

    def close(self) -> None:
        """Give the file back."""
        self.file.close()

    def _write(self, **values: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event as Entry

        self.records.write(Entry(wall_time=time.time(), **values).SerializeToString())


class _TrainLog(RotatingFileHandler):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        """Let the error out: logging would print a traceback and go on."""
        raise


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
