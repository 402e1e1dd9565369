import json
import time
from pathlib import Path
from typing import Any

import pytest

from studio.errors import ModelError
from studio.formats.folder import check_folder

from .sd import POCKET

GOOD = {"_class_name": "FluxPipeline", "unet": ["diffusers", "UNet2DConditionModel"], "safety_checker": [None, None], "requires_safety_checker": True}


def folder(place: Path, index: Any = GOOD, shards: dict[str, str] | None = None, files: tuple[str, ...] = ()) -> Path:
    (place / "unet").mkdir()
    (place / "model_index.json").write_text(index if isinstance(index, str) else json.dumps(index), encoding="utf-8")
    if shards is not None:
        (place / "unet" / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    for name in files:
        (place / name).write_bytes(b"")
    return place


def refusal(place: Path) -> str:
    began = time.process_time()
    with pytest.raises(ModelError) as error:
        check_folder(place)
    assert time.process_time() - began < 1
    assert error.value.fix
    return error.value.what


def test_a_sound_folder_says_what_it_is(tmp_path: Path) -> None:
    assert check_folder(POCKET)["_class_name"] == "StableDiffusionPipeline"
    good = {**GOOD, "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"]}
    place = folder(tmp_path, good, {"a": "model-1-of-1.safetensors"}, ("unet/model-1-of-1.safetensors",))
    assert check_folder(place) == good


@pytest.mark.parametrize("name", ["pipeline.py", "unet/my_unet.py"])
def test_a_program_in_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    assert refusal(folder(tmp_path, files=(name,))) == f"{tmp_path / name}: is a program. Models that bring their own programs aren't opened."


@pytest.mark.parametrize("change", [{"unet": ["os", "system"]}, {"unet": ["my_unet", "MyUnet"]}, {"_class_name": ["pipeline", "MyPipeline"]}])
def test_a_foreign_library_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    assert "which is none of diffusers and transformers" in refusal(folder(tmp_path, {**GOOD, **change}))


def test_a_missing_part_of_the_weights_is_named(tmp_path: Path) -> None:
    shards = {"a": "model-1-of-2.safetensors", "b": "model-2-of-2.safetensors"}
    place = folder(tmp_path, shards=shards, files=("unet/model-1-of-2.safetensors",))
    assert refusal(place) == f"{tmp_path / 'unet' / 'model-2-of-2.safetensors'}: is missing."


@pytest.mark.parametrize("name", ["../x.safetensors", "/etc/passwd", "..\\x", "a/b.safetensors", "..", ""])
def test_a_list_that_leads_out_of_its_folder_is_refused(tmp_path: Path, name: str) -> None:
    assert "which is no file beside it" in refusal(folder(tmp_path, shards={"a": name}))


@pytest.mark.parametrize("index", ["no json", "[]", "[" * 100_000, '"text"'])
def test_an_index_that_is_none_is_refused(tmp_path: Path, index: str) -> None:
    assert refusal(folder(tmp_path, index)) == f"{tmp_path / 'model_index.json'}: can't be read."


def test_a_folder_without_an_index_is_none(tmp_path: Path) -> None:
    assert "is no diffusers folder" in refusal(tmp_path)
