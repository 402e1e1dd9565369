"""Small pictures for the page, made when they are first asked for and kept in the cache."""

import hashlib
from pathlib import Path

from studio import home
from studio.data.images import load
from studio.files import write_atomically

SIDE = 320


def thumbnail(path: Path) -> Path:
    """A webp of at most 320 pixels a side. Raises FaultyDataError where the picture can't be read, OSError."""
    facts = path.stat()
    key = hashlib.sha256(f"{path.resolve()} {facts.st_mtime_ns} {facts.st_size}".encode()).hexdigest()[:32]
    target = home.cache() / "thumbnails" / key[:2] / f"{key}.webp"
    if not target.exists():
        picture = load(path)
        picture.thumbnail((SIDE, SIDE))
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, lambda temporary: picture.save(temporary, "WEBP", quality=82), durable=False)
    return target
