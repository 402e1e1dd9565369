"""Runs side by side: a row each, and what differs in their settings."""

import json
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from studio.runs import curves
from studio.runs.run import LIVE, Run

NOT_COMPARED = frozenset({"output_dir", "threads"})
MOST = 4000
_rows: dict[Path, tuple[tuple[float, float], dict[str, Any]]] = {}


def row(run: Run) -> dict[str, Any]:
    """What a table shows of a run. Read again only when its state or its events have changed."""
    key = (_changed(run.folder / "state.json"), _changed(run.folder / "events.jsonl"))
    known = _rows.get(run.folder)
    if known and known[0] == key and known[1]["status"] not in LIVE:
        return known[1]
    config, state, read = run.config, run.state, curves.read(run)
    best = read.best
    made = {
        "id": state.id,
        "name": run.name,
        "status": state.status,
        "purpose": config.purpose,
        "data": config.train_data_dir.name,
        "base": config.base_model.rsplit("/", 1)[-1],
        "rank": config.lora_rank,
        "rate": config.learning_rate,
        "batch": config.batch_size * config.gradient_accumulation_steps,
        "step": len(read.loss),
        "steps": read.steps,
        "loss": read.smoothed(),
        "final": read.final,
        "best": best[1] if best else None,
        "best_step": best[0] if best else None,
        "created": state.created,
        "took": (state.finished or time.time()) - state.started if state.started else None,
        "error": state.error,
    }
    if len(_rows) > MOST:
        _rows.clear()
    _rows[run.folder] = (key, made)
    return made


def rows(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Newest first. A run that can't be read is passed over."""
    found = []
    for run in reversed(runs):
        with suppress(Exception):  # a folder that somebody is deleting, a config of another version
            found.append(row(run))
    return found


def differences(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """Each setting that isn't the same in all of the runs, and its values."""
    dumped = [run.config.model_dump(mode="json") for run in runs]
    keys = [key for key in (dumped[0] if dumped else ()) if key not in NOT_COMPARED]
    shown = {key: [_shown(one.get(key)) for one in dumped] for key in keys}
    return [(key, values) for key, values in shown.items() if len(set(values)) > 1]


def _shown(value: Any) -> str:
    return (
        "–"
        if value in (None, [], {}, "")
        else value
        if isinstance(value, str)
        else f"{value:g}"
        if isinstance(value, float)
        else json.dumps(value, ensure_ascii=False)
    )


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
