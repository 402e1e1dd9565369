"""Hashes of weights on disk. Those of large files are remembered, so that nine gigabytes aren't read again at each start."""

import hashlib
import json
import mmap
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from studio import home
from studio.files import write_atomically

LARGE = 64_000_000
"""Bytes from which on reading takes longer than looking up."""


def remembered(paths: Sequence[Path], what: str, make: Callable[[], str]) -> str:
    """What `make` finds out about `what` in these files, kept below cache/ for as long as none of them changes in size or time."""
    states = [(str(path.resolve()), (state := path.stat()).st_size, state.st_mtime_ns) for path in paths]
    if sum(size for _, size, _ in states) < LARGE:
        return make()
    place = home.cache() / "hashes" / hashlib.sha256(json.dumps([what, states]).encode()).hexdigest()[:32]
    with suppress(OSError):
        return place.read_text(encoding="ascii")
    found = make()
    with suppress(OSError):  # a full disk is no reason to fail
        place.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(place, found, durable=False)
    return found


def of_tensors(path: Path, wanted: Callable[[str], bool] = bool) -> str:
    """sha256 over names, shapes and bytes of the wanted tensors of a safetensors file, which is mapped and not loaded."""
    digest = hashlib.sha256()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        (length,) = struct.unpack("<Q", data[:8])
        header = json.loads(data[8 : 8 + length])
        for name in sorted(header):
            if name != "__metadata__" and wanted(name):
                start, end = header[name]["data_offsets"]
                digest.update(f"{name}{header[name]['dtype']}{header[name]['shape']}".encode())
                with memoryview(data) as view, view[8 + length + start : 8 + length + end] as part:
                    digest.update(part)
    return digest.hexdigest()


def of_files(paths: Sequence[Path]) -> str:
    """sha256 over the contents of files, in order."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
