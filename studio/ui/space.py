"""What is different on a Hugging Face Space: the disk is lost at restart, and on ZeroGPU a GPU is lent for minutes, to the visitor's own request."""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from studio.events import Event
from studio.language import say
from studio.runs import chunks
from studio.runs.mirror import Mirror
from studio.runs.run import Run
from studio.ui import access, visitor

SECONDS = 110  # of a piece of training: below the two minutes a day that a visitor without an account has


def zero() -> bool:
    """Whether this is a ZeroGPU Space."""
    return bool(os.environ.get("SPACES_ZERO_GPU"))


def lent(seconds: float) -> Callable[[Any], Any]:
    """The decorator under which a function may use the GPU; does nothing elsewhere."""
    if not zero():
        return lambda function: function
    import spaces

    decorator: Callable[[Any], Any] = spaces.GPU(duration=round(seconds))
    return decorator


def settle() -> Mirror | None:
    """On a Space: work on the local disk, and bring back what the bucket ($STUDIO_HOME) holds. None where there is no bucket."""
    if "SPACE_ID" not in os.environ:
        return None
    named = os.environ.get("STUDIO_HOME")
    local = Path(tempfile.gettempdir()) / "studio"
    local.mkdir(parents=True, exist_ok=True)
    os.environ["STUDIO_HOME"] = str(local)
    if not named or not Path(named).is_dir() or Path(named) == local:
        return None
    mirror = Mirror(local, Path(named))
    mirror.bring_back()
    return mirror


def notices(mirror: Mirror | None) -> list[str]:
    """What a visitor of a Space should know."""
    if "SPACE_ID" not in os.environ:
        return []
    found = []
    if mirror is None:
        found.append(say("This Space has no bucket: what is made here is lost when it restarts. Download what you want to keep."))
    elif mirror.trouble:
        found.append(say("The bucket can't be written ({reason}): download what you want to keep.", reason=mirror.trouble))
    if zero():
        found.append(say("ZeroGPU lends a GPU for minutes: short demonstrations are possible here, hours of training are not."))
    return found


_piece = lent(SECONDS)(chunks.piece)


def train(event: gr.EventData, request: gr.Request) -> Iterator[None]:
    """Train a run in pieces, for the request that asks for it."""
    with visitor.answering(request):
        run: Run = access.run(str(event.run))

        def carry(folder: str, seconds: float) -> Iterator[list[Event]]:
            try:
                yield from _piece(folder, seconds)
            except gr.Error as error:  # how the package says that the time was up
                raise TimeoutError from error

        for _ in chunks.train(run, SECONDS, carry):
            yield


def draw(event: gr.EventData, request: gr.Request) -> Iterator[None]:
    """Draw a job's pictures, for the request that asks for it."""
    from studio.ui import drawing

    with visitor.answering(request):
        drawing.carry_out(drawing.job(str(event.job), visitor.visitor().session), lent(SECONDS)(drawing.pieces))
        yield
