"""Is a model file sound? Its content decides, not its name; only the header is read, and nothing in the file can run."""

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from studio.errors import ModelError
from studio.language import say

HEADER_LIMIT = 10_000_000
TENSOR_LIMIT = 20_000
DIMENSION_LIMIT = 16  # the product of millions of dimensions takes hours
BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "I8", "U8", "BOOL"), 8),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}
SPECIAL_NAME = re.compile(r"(^|\.)__\w+__($|\.)")  # __class__, __reduce__: what attribute walkers trip over; no layer is called so


class Entry(NamedTuple):
    """What a header says of one tensor."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Header:
    """What a safetensors file holds: its tensors by name, and the texts that its writer added."""

    tensors: dict[str, Entry]
    metadata: dict[str, str]


def check_safetensors(path: Path) -> Header:
    """The header of a safetensors file, after making sure that it is one, whole, and that its header doesn't lie.

    Raises ModelError with what the file is instead (a Git LFS pointer, a web page, a pickle, GGUF …) or what is broken.
    """
    if path.is_dir():
        raise ModelError(say("{file} is a folder; a file is needed.", file=path.name), fix=say("Choose the .safetensors file in it."))
    if not path.is_file():
        raise ModelError(say("There is no file {file}.", file=path), fix=say("Check the path."))
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(512)
        length = int.from_bytes(start[:8], "little")
        if start[8:9] != b"{":
            raise _something_else(path, start, size)
        if length > HEADER_LIMIT:
            found, limit = f"{length:,}", f"{HEADER_LIMIT:,}"
            raise _damaged(path, say("it claims to be {found} bytes long, and {limit} is the limit", found=found, limit=limit))
        if length + 8 > size:
            raise _cut_off(path, size, length + 8)
        file.seek(8)
        text = file.read(length)
    header, end = _parse(path, text)
    if end > size - 8 - length:
        raise _cut_off(path, size, end + 8 + length)
    if end < size - 8 - length:
        raise _damaged(path, say("{found} bytes follow that belong to no tensor", found=f"{size - 8 - length - end:,}"))
    return header


def _parse(path: Path, text: bytes) -> tuple[Header, int]:
    """The header, and where the last tensor ends: bytes from the first one's beginning."""
    try:
        content = json.loads(text.decode(), object_pairs_hook=_each_once)
    except (ValueError, RecursionError) as error:
        name = error.name if isinstance(error, _RepeatedNameError) else None
        reason = say("the name {name} occurs twice", name=_shown(name)) if name is not None else say("it isn't JSON")
        raise _damaged(path, reason) from error
    metadata = content.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _damaged(path, say("its metadata isn't plain text"))
    if not content:
        raise ModelError(say("{file} holds no tensors.", file=path.name), fix=say("Download it again, or choose another file."))
    if len(content) > TENSOR_LIMIT:
        raise _damaged(path, say("it lists {found} tensors, and {limit} is the limit", found=len(content), limit=TENSOR_LIMIT))
    tensors: dict[str, Entry] = {}
    places: list[tuple[int, int, str]] = []
    for name, entry in content.items():
        if SPECIAL_NAME.search(name) or not name.isprintable() or not name:
            raise ModelError(
                say("{file} holds a tensor that is called {name}; no model has such a layer.", file=path.name, name=_shown(name)),
                fix=say("Don't use this file: it may be made to harm the program that opens it."),
            )
        tensors[name], begin, finish = _entry(path, name, entry)
        places.append((begin, finish, name))
    end = 0
    for begin, finish, name in sorted(places):
        if begin != end:
            raise _damaged(path, say("{name} overlaps another tensor or leaves a gap", name=_shown(name)))
        end = finish
    return Header(tensors, metadata), end


def _entry(path: Path, name: str, entry: Any) -> tuple[Entry, int, int]:
    match entry:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [begin, end]} if dtype in BITS and len(shape) <= DIMENSION_LIMIT:
            numbers = (*shape, begin, end)
        case _:
            numbers = (None,)
    if not all(type(number) is int and 0 <= number < 2**63 for number in numbers):
        raise _damaged(path, say("{name} has no valid type, shape and place", name=_shown(name)))
    needed = math.prod(shape) * BITS[dtype]
    if (end - begin) * 8 != needed:
        claimed, right = f"{end - begin:,}", f"{-(-needed // 8):,}"
        raise _damaged(path, say("{name} claims {claimed} bytes and needs {needed}", name=_shown(name), claimed=claimed, needed=right))
    return Entry(dtype, tuple(shape)), begin, end


class _RepeatedNameError(ValueError):
    """A JSON object with the same name twice: readers would disagree on which one counts."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, value in pairs:
        if name in result:
            raise _RepeatedNameError(name)
        result[name] = value
    return result


def _something_else(path: Path, start: bytes, size: int) -> ModelError:
    """What a file is that is no safetensors file."""
    file, text = path.name, start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    again = say("Download it again.")
    if size == 0:
        return ModelError(say("{file} is empty.", file=file), fix=again)
    if not start.strip(b"\0"):
        return ModelError(say("{file} begins with zeros only: it was never written to its end.", file=file), fix=again)
    if text.startswith(b"version https://git-lfs"):
        return ModelError(
            say("{file} is a Git LFS pointer, not the model.", file=file),
            fix=say("Fetch the model itself: `git lfs pull` in its folder, or the download button on its page."),
        )
    if text.startswith((b"<!doctype", b"<html", b"<head", b"<?xml")):
        return ModelError(
            say("{file} is a web page, not a model.", file=file),
            fix=say("Download it again; its page may ask you to log in or to accept a licence first."),
        )
    if start.startswith(b"GGUF"):
        return ModelError(
            say("{file} is a GGUF file.", file=file),
            fix=say("GGUF files hold language models as a rule, which can't be trained here yet; choose a model in the .safetensors format."),
        )
    if _is_pickle(path, start):
        return ModelError(
            say("{file} is a PyTorch file (pickle), whatever its name says. Opening one can run any program, so it isn't opened.", file=file),
            fix=say(
                "Use the .safetensors file that most models also come as; or convert it on a machine where nothing can be harmed: "
                "torch.load(…, weights_only=True), then safetensors.torch.save_file."
            ),
        )
    if start.startswith(b"PK"):
        return ModelError(say("{file} is a zip archive, not a model.", file=file), fix=say("Unpack it, and choose the .safetensors in it."))
    return ModelError(say("{file} isn't a safetensors file.", file=file), fix=say("Choose a model in the .safetensors format."))


def _is_pickle(path: Path, start: bytes) -> bool:
    protocol = start[:1] == b"\x80" and start[1:2] in {b"\x02", b"\x03", b"\x04", b"\x05"}
    archive = start.startswith(b"PK") and b"data.pkl" in start  # what torch.save writes first
    return protocol or archive or start[257:262] == b"ustar" or path.suffix in {".ckpt", ".pt", ".pth", ".bin"}


def _damaged(path: Path, reason: str) -> ModelError:
    return ModelError(say("{file} has a damaged header: {reason}.", file=path.name, reason=reason), fix=say("Download it again."))


def _cut_off(path: Path, found: int, expected: int) -> ModelError:
    return ModelError(
        say("{file} is cut off: {found} of {expected} bytes are there.", file=path.name, found=f"{found:,}", expected=f"{expected:,}"),
        fix=say("Download it again."),
    )


def _shown(name: str) -> str:
    return name[:80] if name.isprintable() else ascii(name[:80])
