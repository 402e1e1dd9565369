"""Stands in for ZeroGPU: a generator runs in a fork, what crosses is pickled, and at its time's end the fork is killed.

As there, what is forked has imported much and computed nothing: a process that has computed leaves its forks thread pools without threads.
"""

import functools
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

CALLS: list[float] = []
context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(["studio.runs.chunks", "studio.runs.execute", "studio.families.sd", "peft", "tests.runs.zero"])


def work(function: Callable[..., Iterator[Any]], arguments: tuple[Any, ...], surroundings: dict[str, str], there: Connection) -> None:
    """In the fork: send what `function` yields, then StopIteration."""
    os.environ.update(surroundings)
    for item in function(*arguments):
        there.send(item)
    there.send(StopIteration)


def GPU(duration: float) -> Callable[[Any], Any]:  # noqa: N802 - the name it stands in for
    """The decorator of the `spaces` package, as far as it is used."""

    def decorate(function: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        @functools.wraps(function)
        def elsewhere(*arguments: Any) -> Iterator[Any]:
            CALLS.append(duration)
            here, there = context.Pipe(duplex=False)
            process = context.Process(target=work, args=(function, arguments, dict(os.environ), there))
            process.start()
            there.close()
            until = time.monotonic() + duration
            try:
                while here.poll(max(0.0, until - time.monotonic())):
                    try:
                        item = here.recv()
                    except EOFError:
                        break
                    if item is StopIteration:
                        return
                    yield item
            finally:
                process.kill()
                process.join()
            raise TimeoutError

        return elsewhere

    return decorate
