"""Opens Gradio without the editor stubs that it would write beside each component at import: half of its opening time.

This replaces one function of the standard library while Gradio is imported, and only then: Gradio skips a component's stub when its file can't be
found. Should a later version do without, nothing happens here.
"""

import inspect
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # before Gradio looks: no request leaves the machine
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")


@contextmanager
def _without_stubs() -> Iterator[None]:
    real: Any = inspect.getfile

    def getfile(thing: Any) -> str:
        if isinstance(thing, type) and (thing.__module__ or "").startswith("gradio"):
            raise OSError
        found: str = real(thing)
        return found

    inspect.getfile = getfile  # type: ignore[assignment]
    try:
        yield
    finally:
        inspect.getfile = real


with _without_stubs():
    import gradio as gradio
