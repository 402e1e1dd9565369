"""Stands in for ZeroGPU: a generator runs in a fork, what crosses is pickled, and at its time's end the fork is killed."""

import functools
import multiprocessing
import time
from collections.abc import Callable, Iterator
from typing import Any

CALLS: list[float] = []


def GPU(duration: float) -> Callable[[Any], Any]:  # noqa: N802 - the name it stands in for
    """The decorator of the `spaces` package, as far as it is used."""

    def decorate(function: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        @functools.wraps(function)
        def elsewhere(*arguments: Any) -> Iterator[Any]:
            CALLS.append(duration)
            context = multiprocessing.get_context("fork")
            here, there = context.Pipe(duplex=False)

            def work() -> None:
                for item in function(*arguments):
                    there.send(item)
                there.send(StopIteration)

            process = context.Process(target=work)
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
