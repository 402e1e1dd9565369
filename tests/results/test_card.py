"""A pack holds what a stranger needs, and of the data nothing unless it is asked for."""

import io
import json
import zipfile
from pathlib import Path

import pytest
import yaml
from PIL import Image
from safetensors import safe_open

from studio.cli import main
from studio.formats.lora import read_lora
from studio.results import card
from studio.runs import verdicts
from studio.runs.run import Run
from tests.formats.sd import NAMES

from . import small


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("moss")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STUDIO_HOME", str(folder / "home"))
        patch.setenv("STUDIO_DEVICE", "cpu")
        data = small.pictures(folder / "secret-data")
        return small.made(
            data, name="moss", caption_prefix="ohwx moss, ", purpose="Walls with moss.", resolution=32, max_steps=2, sample_prompts=["a tree"]
        )


def opened(path: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(path.read_bytes()))


def metadata(archive: zipfile.ZipFile, folder: Path) -> dict[str, str]:
    with safe_open(archive.extract("moss.safetensors", folder), framework="pt") as file:
        return dict(file.metadata())


def test_the_pack_holds_file_picture_settings_and_card(run: Run, tmp_path: Path):
    archive = opened(card.pack(run))
    assert sorted(archive.namelist()) == ["README.md", "moss.json", "moss.png", "moss.safetensors"]
    assert Image.open(io.BytesIO(archive.read("moss.png"))).size == (64, 64)
    settings = json.loads(archive.read("moss.json"))
    assert set(settings) == {"description", "sd version", "activation text", "preferred weight", "negative text", "notes"}
    assert (settings["sd version"], settings["activation text"], settings["preferred weight"]) == ("SD1", "ohwx moss", 1.0)
    _, front, body = archive.read("README.md").decode().split("---\n", 2)
    head = yaml.safe_load(front)
    assert (head["instance_prompt"], head["widget"]) == ("ohwx moss", [{"text": "a tree", "output": {"url": "moss.png"}}])
    assert "license" not in head
    assert "lora" in head["tags"]
    assert "| Steps | 2 |" in body
    assert "Walls with moss." in body
    assert read_lora(Path(archive.extract("moss.safetensors", tmp_path)), NAMES).layers


def test_nothing_of_the_data_is_in_it_unless_asked_for(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    plain = opened(card.pack(run))
    assert not {"ss_tag_frequency", "ss_dataset_dirs"} & metadata(plain, tmp_path).keys()
    assert b"secret-data" not in plain.read("README.md")
    assert main(["export", str(run.folder), "--pack", "--private"]) == 0
    whole = opened(Path(capsys.readouterr().out.strip()))
    about = metadata(whole, tmp_path)
    assert json.loads(about["ss_dataset_dirs"]) == {"secret-data": {"n_repeats": 1, "img_count": 4}}
    assert sum(json.loads(about["ss_tag_frequency"])["secret-data"].values()) == 4
    assert b"secret-data" in whole.read("README.md")
    assert main(["export", str(run.folder), "--private"]) == 2


def test_the_picture_that_was_called_good_comes_first(run: Run):
    data = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(data, "PNG")
    verdicts.keep(run, data.getvalue(), {"prompt": "a wall", "column": "step 2 \u00d7 0.8"}, "good", "")
    shown = card.preview(run, run.folder / "none")
    assert (shown.image, shown.prompt, shown.strength) == (data.getvalue(), "a wall", 0.8)


def test_where_nothing_was_drawn_a_picture_is_drawn(run: Run):
    (run.folder / "verdicts.jsonl").unlink(missing_ok=True)
    for path in (run.folder / "samples").rglob("*.png"):
        path.unlink()
    shown = card.preview(run, run.folder / "pytorch_lora_weights.safetensors")
    assert shown.prompt == "a tree"
    assert Image.open(io.BytesIO(shown.image)).size == (64, 64)
