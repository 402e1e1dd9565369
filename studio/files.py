"""Writing files so that a reader sees the old one or the new one, whole, whatever happens in between."""

import os
import secrets
from collections.abc import Callable
from pathlib import Path


def write_atomically(path: Path, content: bytes | str | Callable[[Path], object], durable: bool = True) -> None:
    """Write `content` (text as UTF-8; or a function that writes the file it is given) beside `path` and move it there.

    `durable`: on disk before this returns, so that it survives a power cut. Raises OSError; then `path` is as it was.
    """
    temporary = path.parent / f".{secrets.token_hex(6)}.part"  # short: a long name plus a suffix would not fit
    try:
        if callable(content):
            content(temporary)
        else:
            temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        if durable:
            sync(temporary)
        temporary.replace(path)
        if durable:
            sync(path.parent)
    except OSError as error:
        if error.filename in (None, str(temporary), temporary):  # of no use to anybody: it is gone
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
