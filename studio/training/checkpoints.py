"""Checkpoints: folders that are whole or not there. Written beside, synced, renamed; a manifest of hashes proves each; no pickle."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors.torch import load_file, save_file
from torch import Tensor

from studio.errors import RunError
from studio.files import sync
from studio.language import say

VERSION = 1
AVERAGE = "average.safetensors"


class Checkpoint(NamedTuple):
    """What a checkpoint holds: the adapter's tensors, the optimizer's, plain numbers, and the adapter's average where one is kept."""

    adapter: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    state: dict[str, Any]
    average: dict[str, Tensor] = {}  # noqa: RUF012 - never changed

    @property
    def shown(self) -> dict[str, Tensor]:
        """The adapter as it leaves the run."""
        return self.adapter | self.average

    @property
    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """Its files of tensors."""
        found = {"adapter.safetensors": self.adapter, "optimizer.safetensors": self.optimizer}
        return found | ({AVERAGE: self.average} if self.average else {})


def save(folder: Path, step: int, checkpoint: Checkpoint) -> Path:
    """Write `step-000500` below `folder` and read it back. Raises RunError when the disk is full or fails; older ones stay as they are."""
    target = place(folder, step)
    if target.exists() and is_whole(target):
        return target
    size = sum(tensor.nbytes for tensors in checkpoint.tensors.values() for tensor in tensors.values())
    part = folder / f"step-{step:06d}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _make_room(folder, size)
        _remove(part)
        part.mkdir()
        for name, tensors in checkpoint.tensors.items():
            _write(part / name, tensors)
        (part / "state.json").write_text(json.dumps({**checkpoint.state, "step": step}), encoding="utf-8")
        names = (*checkpoint.tensors, "state.json")
        manifest = {
            "version": VERSION,
            "files": {name: {"size": (part / name).stat().st_size, "sha256": _sha256(part / name)} for name in names},
        }
        (part / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        for name in (*names, "manifest.json"):
            sync(part / name)
        sync(part)
        if not is_whole(part):
            raise OSError("what was written can't be read back")
        if target.exists():
            _set_aside(target)
        part.rename(target)
        sync(folder)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        raise RunError(
            say(
                "The checkpoint of step {step} can't be written to {folder}: {reason}.",
                step=step,
                folder=folder,
                reason=error.strerror or str(error),
            ),
            say("Make room or mend the disk, then resume the run; earlier checkpoints are untouched."),
        ) from error
    return target


def place(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step is."""
    return folder / f"step-{step:06d}"


def load(path: Path) -> Checkpoint:
    """The contents of a whole checkpoint."""
    state = json.loads((path / "state.json").read_text(encoding="utf-8"))
    average = load_file(path / AVERAGE) if (path / AVERAGE).exists() else {}
    return Checkpoint(load_file(path / "adapter.safetensors"), load_file(path / "optimizer.safetensors"), state, average)


def is_whole(path: Path) -> bool:
    """Whether every file that the manifest names is there with its size and hash."""
    try:
        files = json.loads((path / "manifest.json").read_text(encoding="utf-8"))["files"]
        return bool(files) and all(
            (path / name).stat().st_size == facts["size"] and _sha256(path / name) == facts["sha256"] for name, facts in files.items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def listed(folder: Path) -> list[Path]:
    """The checkpoints below `folder` by step, oldest first, unchecked."""
    return sorted(path for path in folder.glob("step-*") if path.is_dir() and path.name.removeprefix("step-").isdigit())


def newest(folder: Path) -> tuple[Path | None, list[Path]]:
    """The newest whole checkpoint, and the broken ones that were newer: these are set aside as `….corrupt`. Sweeps unfinished ones."""
    for part in [*folder.glob("step-*.part"), *folder.glob(".del-*")]:
        shutil.rmtree(part, ignore_errors=True)
    broken: list[Path] = []
    for path in reversed(listed(folder)):
        if is_whole(path):
            return path, broken
        broken.append(_set_aside(path))
    return None, broken


def prune(folder: Path, keep: int) -> None:
    """Keep the newest `keep` checkpoints (0: all). Called after a newer one has been written and verified."""
    if keep:
        for path in listed(folder)[:-keep]:
            doomed = path.rename(path.with_name(f".del-{path.name}"))  # so that a half-deleted one is never taken for a checkpoint
            shutil.rmtree(doomed, ignore_errors=True)


def _write(path: Path, tensors: Mapping[str, Tensor]) -> None:
    try:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path)
    except Exception as error:  # safetensors raises an error of its own kind for a full disk, with the system's number in its text
        number = re.search(r"\(os error (\d+)\)", str(error))
        raise (OSError(int(number[1]), os.strerror(int(number[1]))) if number else OSError(str(error))) from error


def _make_room(folder: Path, size: int) -> None:
    free, needed = shutil.disk_usage(folder).free, 2 * size + 1_000_000
    if free < needed:
        raise OSError(say("{free} MB are free, {needed} MB are needed", free=free // 1_000_000, needed=needed // 1_000_000))


def _set_aside(path: Path) -> Path:
    aside = path.with_name(path.name + ".corrupt")
    _remove(aside)
    return path.rename(aside)


def _remove(path: Path) -> None:
    if path.exists():
        shutil.rmtree(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
