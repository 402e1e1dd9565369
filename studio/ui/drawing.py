"""Drawing in the background: pictures of prompts × columns as they come, one job at a time, which can be cancelled within a denoising step."""

import contextvars
import io
import json
import logging
import secrets
import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio import home
from studio.errors import InputError, StudioError
from studio.files import write_atomically
from studio.language import say

if TYPE_CHECKING:
    from studio.families.base import Piece
    from studio.results.generate import Look, LoraChoice, Request

KEPT = 30
log = logging.getLogger("studio")
_turn = threading.Lock()


@dataclass(frozen=True)
class Column:
    """One picture of every prompt: with these LoRA, all of them times `factor`."""

    name: str
    loras: "tuple[LoraChoice, ...]"
    factor: float


@dataclass(frozen=True)
class Work:
    """What a job draws with: plain values, so that another process can do it."""

    base_model: str
    requests: "list[Request]"
    look: "Look"


@dataclass
class Job:
    """What is drawn, and how far it is. Its pictures lie in the cache, by their number: prompt × columns + column."""

    session: str
    prompts: list[str]
    columns: list[str]
    about: dict[str, Any]
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    images: list[int] = field(default_factory=list)
    part: float = 0.0
    waits: str = ""
    ended: bool = False
    cancelled: bool = False
    error: str = ""
    fix: str = ""
    work: "Work | None" = None

    @property
    def folder(self) -> Path:
        """Where its pictures are."""
        return home.cache() / "drawings" / self.id

    @property
    def total(self) -> int:
        """How many pictures it is."""
        return len(self.prompts) * len(self.columns)


_known: OrderedDict[str, Job] = OrderedDict()


def prepare(job: Job, base_model: str, columns: Sequence[Column], seed: int, look: "Look", find: Callable[[str], Path]) -> None:
    """Make a job ready to be drawn. `find` says which LoRA a name in a prompt means. Raises InputError."""
    from studio.results.generate import Request, tags

    read = [tags(text, find) for text in job.prompts]
    requests = [Request(text, column.factor, seed, (*column.loras, *inside)) for text, inside in read for column in columns]
    for other in _known.values():
        if other.session == job.session and not other.ended:
            other.cancelled = True  # one at a time for each visitor
    job.work = Work(base_model, requests, look)
    _known[job.id] = job
    job.folder.mkdir(parents=True, exist_ok=True)
    _sweep()


def start(job: Job) -> None:
    """Begin to draw, in a thread of its own and in the visitor's language."""
    threading.Thread(target=contextvars.copy_context().run, args=(carry_out, job), name="drawing", daemon=True).start()


def job(name: str, session: str) -> Job:
    """A job by its id, if it is the visitor's; also one from before a restart. Raises InputError."""
    found = _known.get(name)
    if found is None and name.isalnum():
        path = home.cache() / "drawings" / name / "job.json"
        if path.is_file():
            found = Job(**json.loads(path.read_text(encoding="utf-8")))
            _known[name] = found
    if found is None or found.session != session:
        raise InputError(say("These pictures are gone."), say("Draw them again."))
    return found


def sheet(found: Job) -> bytes:
    """All pictures of a job on one PNG, with what they were made from inside. Raises InputError while some are missing."""
    from PIL import Image

    from studio.results import compare

    if len(found.images) < found.total:
        raise InputError(say("Not all pictures are drawn yet."))
    width = len(found.columns)
    pictures = [
        [Image.open(found.folder / f"{row * width + column}.png").convert("RGB") for column in range(width)] for row in range(len(found.prompts))
    ]
    out = found.folder / "sheet.png"
    compare.save(compare.sheet(pictures, found.prompts, found.columns), out, json.dumps(found.about, ensure_ascii=False))
    return out.read_bytes()


def pieces(work: Work) -> "Iterator[Piece]":
    """What is drawn, as it comes."""
    from studio.results.generate import draw

    yield from draw(work.base_model, [], work.requests, work.look)


def carry_out(job: Job, by: "Callable[[Work], Iterator[Piece]]" = pieces) -> None:
    """Draw a job to its end, whatever that is. `by` does it, elsewhere perhaps."""
    work = job.work
    if work is None:
        return
    try:
        while not _turn.acquire(timeout=0.2):
            job.waits = say("Waiting: other pictures are being drawn.")
            if job.cancelled:
                return
        try:
            _wait_for_room(job, work.base_model)
            if not job.cancelled:
                job.about |= _settled(work)
                _draw(job, by(work))
        finally:
            _turn.release()
    except StudioError as error:
        job.error, job.fix = error.what, error.fix
    except Exception as error:
        log.exception("drawing")
        known = "out of memory" in str(error).lower() or isinstance(error, MemoryError)
        job.error = say("There is not enough memory to draw this.") if known else say("Something went wrong in the studio itself.")
        job.fix = (
            say("Draw smaller or fewer pictures, or wait until the training is over.") if known else say("Try again; the server's log says more.")
        )
    finally:
        job.ended, job.waits, job.work = True, "", None
        write_atomically(job.folder / "job.json", json.dumps(asdict(job), ensure_ascii=False), durable=False)


def _settled(work: Work) -> dict[str, Any]:
    """Steps and guidance as they will be, the model's own where they were left open."""
    from studio.results.generate import settled

    look = settled(work.look, work.base_model)
    return {"steps": look.steps, "guidance": look.guidance}


def _draw(job: Job, coming: "Iterator[Piece]") -> None:
    from studio.device import device, free_memory

    try:
        for piece in coming:
            if job.cancelled:
                return
            if piece.image is not None:
                data = io.BytesIO()
                piece.image.save(data, "PNG")
                write_atomically(job.folder / f"{piece.index}.png", data.getvalue(), durable=False)
                job.images.append(piece.index)
            job.part = piece.done / piece.total if piece.total else 0.0
    finally:
        if isinstance(coming, Generator):
            coming.close()
        free_memory(device())


def _wait_for_room(job: Job, base_model: str) -> None:
    """On a CUDA device that trains: wait until the model fits beside it, and say so."""
    from studio import families
    from studio.device import device

    if device().type != "cuda":
        return
    import torch

    source = families.find(base_model)
    files = [source] if source.is_file() else list(source.rglob("*.safetensors"))
    needed = 1.3 * sum(path.stat().st_size for path in files) + 1e9
    while not job.cancelled and torch.cuda.mem_get_info()[0] < needed:
        if torch.cuda.memory_allocated() == 0:
            return  # nothing of ours holds it: the attempt says what is wrong
        job.waits = say("Waiting: the training holds the GPU's memory ({needed} GB are needed).", needed=f"{needed / 1e9:.1f}")
        time.sleep(1)
    job.waits = ""


def _sweep() -> None:
    while len(_known) > KEPT:
        _known.popitem(last=False)
    folders = sorted((home.cache() / "drawings").iterdir(), key=lambda folder: folder.stat().st_mtime)
    for folder in folders[:-KEPT]:
        shutil.rmtree(folder, ignore_errors=True)
