"""Where things lie: datasets, models, runs and cache below the workspace ($STUDIO_HOME, else ./workspace)."""

import os
from pathlib import Path


def home() -> Path:
    """The workspace. Read anew each time, so that tests and servers can move it."""
    return Path(os.environ.get("STUDIO_HOME") or "workspace").expanduser().absolute()


def datasets() -> Path:
    """One folder a dataset; for one that lies elsewhere the folder holds one file, `where`."""
    return home() / "datasets"


def runs() -> Path:
    """One folder a run."""
    return home() / "runs"


def trash() -> Path:
    """Runs that were deleted and can come back."""
    return home() / "trash"


def models() -> Path:
    """Base models and LoRA files that the user put there."""
    return home() / "models"


def cache() -> Path:
    """Encoded rows and unpacked archives, by content. Safe to delete."""
    return home() / "cache"


def about() -> Path:
    """What the studio knows of datasets, a folder each and never among the pictures: who wrote which caption, changes that can be taken back."""
    return home() / "about"


def own_presets() -> Path:
    """The presets that the person has saved."""
    return home() / "presets"


def presets() -> Path:
    """The presets that ship with the project."""
    return Path(__file__).parent.parent / "presets"
