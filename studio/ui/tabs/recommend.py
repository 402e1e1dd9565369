"""What the Presets tab answers when it is asked for settings: values for the form, with their reasons in every language."""

from pathlib import Path
from typing import Any

from studio import fields
from studio.config import Config
from studio.errors import InputError
from studio.fields import Given
from studio.language import LANGUAGES, say, speaking
from studio.ui import access, tasks


def recommend(asked: dict[str, Any]) -> dict[str, Any]:
    """Look at a dataset and find settings for it, in the background."""
    config = _config(asked)
    runs = access.runs()

    def work(progress: tasks.Progress) -> dict[str, Any]:
        from studio.runs.advice import facts

        known = facts.gather(config, facts.base_of(config), runs, progress)
        return {"said": {code: _said(code, known) for code in LANGUAGES}, **_values(known)}

    return tasks.start(say("Looking at the pictures"), work)


def _config(asked: dict[str, Any]) -> Config:
    if not (folder := str(asked.get("folder") or "").strip()):
        raise InputError(say("There are no pictures to recommend settings for."), say("Choose a dataset on the Dataset tab."))
    given = {"base_model": str(asked.get("base_model") or "pocket").strip(), "train_data_dir": folder}
    if metadata := str(asked.get("metadata_path") or "").strip():
        given["metadata_path"] = metadata
    known = {str(known.folder) for known in access.datasets()}
    config = fields.build({key: Given(value, "") for key, value in given.items()})
    limited = access.limited(config)
    return limited.model_copy(update={"train_data_dir": Path(folder)}) if folder in known else limited


def _values(known: Any) -> dict[str, Any]:
    from studio.runs.advice import recommend as adviser

    return {"values": {one.key: one.value for one in adviser.recommend(known)}}


def _said(code: str, known: Any) -> dict[str, Any]:
    """The sentences in one language: what it was recommended for, the reason of each value, and what to know besides."""
    from studio.runs.advice import recommend as adviser

    with speaking(code):
        found = adviser.recommend(known)
        return {"about": adviser.about(known), "reasons": {one.key: one.reason for one in found}, "besides": adviser.notes(known, found)}
