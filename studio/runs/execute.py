"""Carries one run to its end, whatever that is. Whoever iterates it sees what happens; the run's folder remembers it."""

import time
import traceback
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from filelock import Timeout

from studio import home
from studio.config import Config, unusual
from studio.data.examples import Dataset, gather, split
from studio.data.problems import Problem, lines
from studio.data.report import too_long
from studio.device import device_lock, free_memory, keep_freed_memory, opening, set_threads
from studio.errors import InputError, NoMemoryError, RunError, StudioError
from studio.events import Event, Finding, Note, Progress, Started
from studio.families.base import Bundle, Family
from studio.formats.lora import KINDS, read_lora
from studio.language import say
from studio.runs import environment, result
from studio.runs.board import Board
from studio.runs.resolve import open_base
from studio.runs.run import Run
from studio.training import checkpoints
from studio.training.continuing import continue_from
from studio.training.lora import Lora, attach, weights
from studio.training.memory import let_go, recompute
from studio.training.prepare import prepare
from studio.training.trainer import Trainer

T = TypeVar("T")


class Stopped(Exception):  # noqa: N818 - no error
    """Somebody asked for it."""


def execute(run: Run, anyway: bool = False) -> Iterator[list[Event]]:
    """Train a run, from its newest whole checkpoint where it has one.

    Ends with the run `finished` or `stopped`; raises StudioError with the run `failed`. `anyway` goes on although data or base model are not
    what they were.
    """
    with run.claim():
        run.update(status="preparing", started=time.time())
        board = Board(run.folder)
        try:
            for happened in _attempt(run, run.config, anyway):
                lasting = [event for event in happened if not isinstance(event, Progress)]
                run.log(lasting)
                broken = board.log(lasting)
                run.log(broken)
                if any(isinstance(event, Started) for event in happened):
                    run.update(status="running")
                yield [*happened, *broken]
            run.update(status="finished", finished=time.time())
        except Stopped:
            run.update(status="stopped", finished=time.time())
        except StudioError as error:
            run.log(board.log([Note(text=str(error))]))
            run.update(status="failed", finished=time.time(), error=error.what, fix=error.fix, cause=type(error).__name__)
            raise
        except Exception as error:
            board.error(traceback.format_exc())
            known = _translated(error, run)
            run.update(status="failed", finished=time.time(), error=known.what, fix=known.fix, cause=type(known).__name__)
            raise known from error
        finally:
            board.close()


def _attempt(run: Run, config: Config, anyway: bool) -> Iterator[list[Event]]:
    set_threads(config.threads)
    keep_freed_memory()
    family, bundle = open_base(config)
    yield [Finding(text=text) for text in (*unusual(config), *bundle.facts.get("notes", ()))]
    with _device(run, bundle) as waiting:
        yield from waiting
        dataset = yield from _dataset(run, config)
        yield [Finding(text=text) for text in lines([*dataset.findings, *_cut_off(bundle, dataset)])]
        sets = split(dataset.examples, config.validation_split if config.validation_steps else 0.0, config.seed)
        data = yield from _until_stopped(run, prepare(config, family, bundle, sets, home.cache(), dataset.prior))
        if sets[1]:
            text = say("{train} pictures are trained on, {held} are held out.", train=len(sets[0]), held=len(sets[1]))
            if sets[2]:
                text = say("Too few pictures to hold any out: the validation loss is measured on {share} trained ones.", share=f"{sets[2]:.0%}")
            yield [Note(text=text)]
        if dataset.prior:
            yield [Note(text=say("{count} class pictures are in prior_data_dir; as many are shown as training pictures.", count=len(dataset.prior)))]
        lora = _lora(config, family, bundle)
        yield [Finding(text=text) for text in lora.notes]
        trainer = Trainer(config, family, bundle, lora, data, run.folder)
        yield from _restore(run, trainer, environment.describe(bundle, dataset, torch.get_num_threads()), anyway)
        try:
            yield from _until_stopped(run, iter(trainer))
        except Stopped:
            yield from trainer.save()
            raise
        result.write(run, family, bundle, trainer.result(), trainer.step)


def _cut_off(bundle: Bundle, dataset: Dataset) -> list[Problem]:
    """Captions whose end the model won't see."""
    limit = bundle.facts["tokens"]
    every = (*dataset.examples, *dataset.prior)
    suspects = [example for example in every if len(example.caption.encode()) + 2 > limit]  # no token is shorter than a byte
    tokenizer = bundle.facts.get("counted_by", "tokenizer")
    return too_long(suspects, lambda text: len(bundle[tokenizer](text).input_ids), limit)


@contextmanager
def _device(run: Run, bundle: Bundle) -> Iterator[Iterator[list[Event]]]:
    """Hold the device; what is given is to be iterated first, and says that the run waits while another one trains."""
    lock = device_lock(bundle.device)

    def waiting() -> Iterator[list[Event]]:
        while True:
            try:
                lock.acquire(timeout=0)
                return
            except Timeout:
                run.update(status="queued")
                yield [Progress(what=say("Waiting for the device: another run is training"), done=0, total=0)]
                if run.stop_requested:
                    raise Stopped from None
                time.sleep(1)

    try:
        yield waiting()
    finally:
        lock.release()
        free_memory(bundle.device)


def _dataset(run: Run, config: Config) -> Generator[list[Event], None, Dataset]:
    """Look at the data in a thread, so that it shows how far it is and can be stopped."""
    done = (0, 0)

    def progress(number: int, total: int) -> None:
        nonlocal done
        done = (number, total)
        if run.stop_requested:
            raise Stopped

    with ThreadPoolExecutor(1) as pool:
        future: Future[Dataset] = pool.submit(gather, config, progress, home.cache() / "archives")
        while not wait([future], timeout=0.5).done:
            yield [Progress(what=say("Looking at the pictures"), done=done[0], total=done[1])]
        return future.result()


def _lora(config: Config, family: Family, bundle: Bundle) -> Lora:
    targets = family.targets(bundle, config)
    with opening:  # a model that is opened beside would take the new weights' storage away
        lora = attach(bundle, targets, config)
    match config.adapter:
        case "dora":
            lora.notes.append(say("DoRA: diffusers draws what was trained, ComfyUI nearly that, A1111 something else. The merged model serves all."))
        case "lokr":
            lora.notes.append(say("LoKr: ComfyUI and A1111 load it, diffusers doesn't. The merged model serves all."))
    if config.init_lora:
        found = read_lora(config.init_lora, family.names, weights(bundle), KINDS, bundle.facts["kind"])
        lora.notes += found.warnings
        continue_from(lora, found.all)
    if let_go(bundle):
        free_memory(bundle.device)
    if config.gradient_checkpointing:
        recompute(bundle)
    return lora


def _restore(run: Run, trainer: Trainer, now: dict[str, Any], anyway: bool) -> Iterator[list[Event]]:
    """Go on from the newest whole checkpoint, and say what isn't as it was."""
    newest, broken = checkpoints.newest(run.folder / "checkpoints")
    starts = [record.event for record in run.events() if isinstance(record.event, Started)]
    notes: list[Event] = [
        Finding(text=say("Checkpoint {name} is damaged; it was set aside, and an earlier one is used.", name=path.stem)) for path in broken if newest
    ]
    if newest is None and any((run.folder / "checkpoints").glob("*.corrupt")) and not anyway:
        raise RunError(
            say("No valid checkpoint is left in {path}.", path=run.folder / "checkpoints"),
            say("Start a new run, or add --anyway to begin this one anew; the damaged ones are kept beside as .corrupt."),
        )
    if newest and starts and (changed := environment.changes(starts[0].environment, now)):
        if set(changed) & set(environment.ESSENTIAL) and not anyway:
            raise InputError(
                say("Since this run began, this has changed: {what}.", what=", ".join(changed)),
                say("Start a new run with init_lora, or add --anyway to go on with what is there now."),
            )
        notes.append(Finding(text=say("Not an exact continuation: {what} changed since the run began.", what=", ".join(changed))))
    if newest:
        trainer.restore(newest)
    yield [*notes, Started(step=trainer.step, steps=trainer.steps, epoch=trainer.epoch, environment=now)]


def _until_stopped(run: Run, events: Generator[list[Event], None, T]) -> Generator[list[Event], None, T]:
    while True:
        try:
            happened = next(events)
        except StopIteration as end:
            result: T = end.value
            return result
        yield happened
        if run.stop_requested:
            raise Stopped


def _translated(error: Exception, run: Run) -> RunError:
    """What a person can do about an error that torch or the system raised."""
    text = str(error)
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in text:
        return NoMemoryError(
            say("There is not enough memory for this run."),
            say("Halve batch_size and double gradient_accumulation_steps; then gradient_checkpointing: true, a lower resolution, a lower lora_rank."),
        )
    if isinstance(error, OSError):
        return RunError(
            say("{path}: {reason}", path=error.filename or run.folder, reason=error.strerror or text), say("Mend this, then resume the run.")
        )
    log = run.folder / "logs" / "train.log"
    return RunError(say("Something unexpected happened ({kind}).", kind=type(error).__name__), say("{log} says more. Resuming is safe.", log=log))
