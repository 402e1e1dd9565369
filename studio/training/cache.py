"""Encoded rows on disk, by what they were made of. A row that can't be read is simply made again."""

import hashlib
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from studio.families.base import Row
from studio.files import write_atomically

SCHEME = 1  # part of every key: raise it when rows change their meaning


def key(*parts: object) -> str:
    """The name of a row: a hash of everything that it depends on."""
    return hashlib.sha256("\n".join(map(str, (SCHEME, *parts))).encode()).hexdigest()


class RowCache:
    """Rows below a folder, one safetensors file each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, name: str) -> Row | None:
        """The row called `name`, or None."""
        try:
            return dict(load_file(self._path(name)))
        except (OSError, SafetensorError):
            return None

    def put(self, name: str, row: Row) -> None:
        """Keep a row. A full disk is no reason to fail: it is encoded again next time."""
        path = self._path(name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, lambda temporary: save_file({key: value.contiguous() for key, value in row.items()}, temporary), durable=False)
        except (OSError, SafetensorError):
            return

    def _path(self, name: str) -> Path:
        return self.folder / "rows" / name[:2] / f"{name}.safetensors"
