"""Datasets from the Hugging Face Hub: files as they are, and pictures or texts that lie in Parquet files, taken out."""

import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from studio import home, hub
from studio.data.listing import READABLE, scan
from studio.data.tables import TEXTS
from studio.errors import DataError, MachineError
from studio.files import write_atomically
from studio.language import say

OTHERS = (".csv", ".jsonl", ".json", ".txt", ".caption", ".zip", ".parquet")
WANTED = hub.Wanted((*(f"*{suffix}" for suffix in sorted(READABLE)), *(f"*{ending}" for ending in OTHERS)), "*", "dataset")
ENDINGS = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"RIFF": ".webp", b"GIF8": ".gif", b"BM": ".bmp"}
ROWS = 64

Progress = Callable[[int, int], None]


def fetch(name: str, progress: Progress) -> list[tuple[str, Path]]:
    """The files of a dataset, as `datasets.bring` takes them. Raises DataError, ModelError, MachineError."""
    folder = hub.download(name, WANTED, "SOURCE")
    packed = [path for path in sorted(folder.rglob("*.parquet")) if "validation" not in path.name and "test" not in path.name]
    if packed and not scan(folder).pictures:
        folder = unpacked(packed, home.cache() / "hub" / name.replace("/", "--"), progress)
    listing = scan(folder)
    return [(file, folder / file) for file in (*listing.pictures, *listing.others) if not file.endswith(".parquet")]


def unpacked(files: list[Path], target: Path, progress: Progress) -> Path:
    """Pictures and captions of Parquet files as a folder with metadata.csv. The caption is the first column of text that is called like one,
    else the only one. Without pictures, all columns as JSON lines. Raises DataError where no texts are there either, MachineError without
    pyarrow."""
    try:
        import pyarrow.parquet as parquet
    except ImportError:
        raise MachineError(say("The dataset lies in Parquet files, and the package pyarrow is missing."), say("pip install pyarrow")) from None
    try:
        opened = [parquet.ParquetFile(file) for file in files]
    except (OSError, ValueError) as error:
        raise DataError(say("{path}: can't be read: {reason}", path=files[0].name, reason=str(error)[:200]), say("Download it again.")) from None
    total = sum(file.metadata.num_rows for file in opened)
    image, text = _columns(opened[0].schema_arrow)
    target.mkdir(parents=True, exist_ok=True)
    if not image:
        write_atomically(target / "texts.jsonl", lambda path: _write_texts(path, opened, total, progress))
        return target
    rows = [("file_name", "text")]
    for number, row in enumerate(_rows(opened, [image, *([text] if text else [])])):
        content = (row[image] or {}).get("bytes") or b""
        ending = next((ending for start, ending in ENDINGS.items() if content.startswith(start)), ".png")
        file = f"{number:06}{ending}"
        if content:
            write_atomically(target / file, content, durable=False)
            rows.append((file, " ".join(str(row[text] or "").split()) if text else ""))
        progress(number + 1, total)
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    write_atomically(target / "metadata.csv", out.getvalue())
    return target


def _columns(schema: Any) -> tuple[str, str]:
    import pyarrow

    images = [field.name for field in schema if pyarrow.types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0]
    texts = [field.name for field in schema if pyarrow.types.is_string(field.type) or pyarrow.types.is_large_string(field.type)]
    if not images:
        lists = [field.name for field in schema if pyarrow.types.is_list(field.type) or pyarrow.types.is_large_list(field.type)]
        if not texts and not lists:
            message = say("The dataset holds no pictures and no texts: its columns are {names}.", names=", ".join(schema.names))
            raise DataError(message, say("Choose a dataset of pictures or texts."))
        return "", ""
    known = [name for name in texts if name.lower() in TEXTS]
    return images[0], (known or (texts if len(texts) == 1 else [""]))[0]


def _write_texts(path: Path, opened: list[Any], total: int, progress: Progress) -> None:
    with path.open("w", encoding="utf-8") as file:
        for number, row in enumerate(_rows(opened, None), 1):
            file.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")
            progress(number, total)


def _rows(opened: list[Any], columns: list[str] | None) -> Iterator[dict[str, Any]]:
    for file in opened:
        for batch in file.iter_batches(ROWS, columns=columns):
            yield from batch.to_pylist()
