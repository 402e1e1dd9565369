import io
import json
import os
import pickle
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from studio.errors import ModelError
from studio.formats.gate import Entry, check_safetensors

GOOD = save({"a.weight": torch.ones(2, 3), "b": torch.zeros(4, dtype=torch.float16)}, {"note": "hello"})


def file_with(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def tensor(begin: int, end: int, shape: list[int] | None = None, dtype: str = "U8") -> dict[str, Any]:
    return {"dtype": dtype, "shape": [end - begin] if shape is None else shape, "data_offsets": [begin, end]}


class Payload:
    """Unpickled, it leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.mark),)


def refusal(path: Path) -> ModelError:
    began = time.process_time()
    with pytest.raises(ModelError) as error:
        check_safetensors(path)
    assert time.process_time() - began < 1
    assert error.value.fix
    return error.value


def test_a_sound_file_shows_its_header(tmp_path: Path) -> None:
    (tmp_path / "good").write_bytes(GOOD)
    header = check_safetensors(tmp_path / "good")
    assert header.tensors == {"a.weight": Entry("F32", (2, 3)), "b": Entry("F16", (4,))}
    assert header.metadata == {"note": "hello"}


def test_tensors_without_numbers_are_fine(tmp_path: Path) -> None:
    (tmp_path / "good").write_bytes(file_with({"a": tensor(0, 0), "b": tensor(0, 4), "c": tensor(4, 4), "d": tensor(4, 8, [], "F32")}, bytes(8)))
    assert check_safetensors(tmp_path / "good").tensors["d"].shape == ()


SOMETHING_ELSE = {
    "is a Git LFS pointer, not the model": b"version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 4265146304\n",
    "is a web page, not a model": b"\n  <!DOCTYPE html><html><body>Log in</body></html>",
    "is empty": b"",
    "begins with zeros only": bytes(100_000),
    "is a GGUF file": b"GGUF\x03\0\0\0" + bytes(64),
    "isn't a safetensors file": b"\x89PNG\r\n\x1a\n" + bytes(64),
}


@pytest.mark.parametrize(("sentence", "content"), SOMETHING_ELSE.items(), ids=SOMETHING_ELSE)
def test_what_is_no_model_is_called_by_its_name(tmp_path: Path, sentence: str, content: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    assert refusal(path).what.startswith(f"model.safetensors {sentence}")


def test_a_zip_archive_is_told(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.safetensors", "w") as archive:
        archive.writestr("model.txt", "x")
    assert refusal(tmp_path / "model.safetensors").what == "model.safetensors is a zip archive, not a model."


def saved_by_torch(value: Any, zipped: bool) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["model.ckpt", "model.pt", "model.bin", "model.safetensors"])
@pytest.mark.parametrize("kind", ["zip", "legacy", "pickle", "text pickle"])
def test_a_pickle_is_refused_whatever_its_name_and_never_opened(tmp_path: Path, name: str, kind: str) -> None:
    mark = tmp_path / "mark"
    evil = {"weights": Payload(mark)}
    contents = {
        "zip": saved_by_torch(evil, zipped=True),
        "legacy": saved_by_torch(evil, zipped=False),
        "pickle": pickle.dumps(evil),
        "text pickle": pickle.dumps(evil, protocol=0),
    }
    (tmp_path / name).write_bytes(contents[kind])
    error = refusal(tmp_path / name)
    assert not mark.exists()
    if kind != "text pickle" or not name.endswith(".safetensors"):
        assert error.what.startswith(f"{name} is a PyTorch file (pickle), whatever its name says.")
        assert "safetensors.torch.save_file" in error.fix


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.5, 0.99])
def test_a_file_that_is_cut_off_is_refused(tmp_path: Path, share: float) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(GOOD[: int(len(GOOD) * share)])
    assert any(words in refusal(path).what for words in ("is cut off", "is empty", "isn't a safetensors file"))


def test_a_cut_says_how_much_is_there(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(GOOD[:-3])
    assert refusal(tmp_path / "model.safetensors").what == (f"model.safetensors is cut off: {len(GOOD) - 3} of {len(GOOD)} bytes are there.")


DAMAGED = {
    "it claims to be 9,000,000,000 bytes long": struct.pack("<Q", 9_000_000_000) + b"{" + bytes(100),
    "it claims to be 10,000,001 bytes long": file_with(b"{" + b" " * 10_000_000),
    "it isn't JSON": file_with(b"{not json}"),
    "it isn't JSON ": file_with(b'{"a":' * 1_000_000),
    "it isn't JSON  ": file_with(b'{"a": ' + b"9" * 1_000_000 + b"}"),
    "it isn't JSON   ": file_with(b'{"\xff\xfe": 1}'),
    "the name a occurs twice": file_with(b'{"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}, "a": {}}', b"x"),
    "its metadata isn't plain text": file_with({"__metadata__": {"a": 1}, "a": tensor(0, 1)}, b"x"),
    "it lists 20001 tensors, and 20000 is the limit": file_with({f"t{i}": tensor(0, 0) for i in range(20_001)}),
    "a has no valid type, shape and place": file_with({"a": {"dtype": "U8", "shape": [-1], "data_offsets": [0, 1]}}, b"x"),
    "a has no valid type, shape and place ": file_with({"a": tensor(0, 1, dtype="object")}, b"x"),
    "a has no valid type, shape and place  ": file_with({"a": tensor(0, 1, [True])}, b"x"),
    "a has no valid type, shape and place   ": file_with({"a": 3}),
    "a has no valid type, shape and place    ": file_with({"a": tensor(0, 10**20)}),
    "a has no valid type, shape and place     ": file_with({"a": tensor(0, 1, [9] * 2_000_000)}, b"x"),
    "a claims 4 bytes and needs 40": file_with({"a": tensor(0, 4, [10], "F32")}, bytes(4)),
    "a claims -4 bytes and needs 0": file_with({"a": tensor(4, 0, [0])}, bytes(4)),
    "a claims 1 bytes and needs 10,000,000,000,000,000,000,000": file_with({"a": tensor(0, 1, [10**11, 10**11])}, b"x"),
    "b overlaps another tensor or leaves a gap": file_with({"a": tensor(0, 4), "b": tensor(2, 6)}, bytes(6)),
    "b overlaps another tensor or leaves a gap ": file_with({"a": tensor(0, 4), "b": tensor(6, 8)}, bytes(8)),
    "3 bytes follow that belong to no tensor": GOOD + b"abc",
}


@pytest.mark.parametrize(("reason", "content"), DAMAGED.items(), ids=DAMAGED)
def test_a_header_that_lies_is_refused_at_once(tmp_path: Path, reason: str, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    assert refusal(tmp_path / "model.safetensors").what.startswith(f"model.safetensors has a damaged header: {reason.strip()}")


def test_a_promise_of_more_data_than_the_disk_holds_is_a_cut(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(file_with({"a": tensor(0, 10**18)}))
    assert "is cut off: 104 of 1,000,000,000,000,000,104 bytes" in refusal(tmp_path / "model.safetensors").what


@pytest.mark.parametrize("name", ["__class__", "unet.__init__.__globals__", "a.__reduce__.weight", "bell\x07", ""])
def test_names_that_no_layer_has_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "model.safetensors").write_bytes(file_with({name: tensor(0, 1)}, b"x"))
    what = refusal(tmp_path / "model.safetensors").what
    assert "no model has such a layer" in what
    assert what.isprintable()


def test_a_file_without_tensors_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(file_with({"__metadata__": {"a": "b"}}))
    assert refusal(tmp_path / "model.safetensors").what == "model.safetensors holds no tensors."


def test_a_folder_and_nothing_at_all_are_told(tmp_path: Path) -> None:
    assert "is a folder" in refusal(tmp_path).what
    assert "There is no file" in refusal(tmp_path / "nowhere.safetensors").what
