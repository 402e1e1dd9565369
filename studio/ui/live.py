"""A run as the page shows it: a pure function of its folder and of what the page has already."""

import time
from dataclasses import asdict
from typing import Any

from studio.events import Finding, Note, Saved, Started
from studio.language import say
from studio.runs import curves, jobs
from studio.runs.curves import Curves
from studio.runs.run import LIVE, Run

LINES = 400


def look(run: Run, since: dict[str, Any]) -> dict[str, Any]:
    """Where a run stands, and what is new since `{reset, loss, told}`: how often it had stepped back, how many steps and lines the page has."""
    state, read = run.state, curves.read(run)
    same = since.get("reset") == read.reset and since.get("id") == state.id
    told = _number(since.get("told")) if same else 0
    before = jobs.progress(run)
    newest, step = read.newest, len(read.loss)
    left = (read.steps - step) * newest.seconds if newest and state.status == "running" else None
    return {
        "id": state.id,
        "status": "stopping" if state.status in LIVE and run.stop_requested else state.status,
        "error": state.error,
        "fix": state.fix,
        "took": (state.finished or time.time()) - state.started if state.started else None,
        "before": asdict(before) if before else None,
        "step": step,
        "steps": read.steps,
        "epoch": step / read.epoch if read.epoch else None,
        "loss": read.smoothed(),
        "final": read.final,
        "shared": read.trained_share,
        "rate": read.learning_rate[-1] if read.learning_rate else None,
        "speed": newest and newest.seconds,
        "examples": newest and newest.examples,
        "left": left,
        "memory": newest and newest.memory,
        "curve": curve(read, since if same else {}),
        "samples": [[event.step, len(event.files)] for event in read.samples],
        "told": [line(record.event) | {"time": record.time} for record in read.told[told:][-LINES:]],
        "lines": len(read.told),
    }


def curve(read: Curves, since: dict[str, Any]) -> dict[str, Any]:
    """Points that the page doesn't have: losses from step `from` on; validation and checkpoints, which are few, whole."""
    start = _number(since.get("loss")) if since.get("reset") == read.reset else 0
    start = min(start, len(read.loss))
    return {
        "reset": read.reset,
        "from": start,
        "loss": [None if loss is None else float(f"{loss:.5g}") for loss in read.loss[start:]],
        **({"validation": read.validation, "marks": read.saved} if since.get("few") != few(read) or not start else {}),
        "few": few(read),
    }


def few(read: Curves) -> int:
    """Changes with the number of validations and checkpoints."""
    return 1000 * len(read.validation) + len(read.saved)


def line(event: Any) -> dict[str, str]:
    """An event as a line of the log."""
    match event:
        case Started(step=0):
            return {"kind": "", "text": say("Training begins: {steps} steps", steps=event.steps)}
        case Started():
            return {"kind": "", "text": say("Goes on from step {step}", step=event.step)}
        case Saved():
            return {"kind": "", "text": say("Checkpoint of step {step} saved", step=event.step)}
        case Finding():
            return {"kind": "warning", "text": event.text}
        case Note():
            return {"kind": "", "text": event.text}
        case _:
            return {"kind": "", "text": ""}


def _number(given: Any) -> int:
    return given if isinstance(given, int) and given >= 0 else 0
