"""Stable Diffusion as it is published: one file in the original layout, or a folder in diffusers' one."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from studio import families
from studio.errors import ModelError
from studio.families import sd
from studio.families.base import Bundle, Prompt

from . import ldm

CPU = torch.device("cpu")
KINDS = {"sd15": "sd1", "sd21": "sd2"}
PARTS = ("unet", "vae", "text_encoder")
Checkpoints = dict[tuple[str, torch.dtype], tuple[Path, dict[str, Any]]]


@pytest.fixture(scope="module")
def assets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped configurations, all blocks and layers, but thin."""
    folder = tmp_path_factory.mktemp("assets")
    for layout in KINDS:
        ldm.narrow(folder, layout)
    return folder


@pytest.fixture(scope="module")
def checkpoints(assets: Path) -> Checkpoints:
    """(layout, type of the numbers) → a checkpoint and the models that it was written from."""
    found = {}
    for layout, kind in KINDS.items():
        for dtype in (torch.float32, torch.float16):
            models = ldm.random_models(assets / layout, dtype)
            found[layout, dtype] = ldm.write(assets / f"{layout}-{dtype}.safetensors", ldm.checkpoint(models, kind)), models
    return found


@pytest.fixture(autouse=True)
def thin(monkeypatch: pytest.MonkeyPatch, assets: Path) -> None:
    monkeypatch.setattr(sd, "ASSETS", assets)


def load(path: Path, dtype: torch.dtype = torch.float32) -> Bundle:
    return families.get("sd").load(path, CPU, dtype)


def damaged(path: Path, checkpoint: Path, *beginnings: str) -> Path:
    """The checkpoint without the tensors whose names begin so."""
    from safetensors.torch import load_file

    return ldm.write(path, {name: tensor for name, tensor in load_file(checkpoint).items() if not name.startswith(beginnings)})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=["fp32", "fp16"])
@pytest.mark.parametrize("layout", KINDS)
def test_a_single_file_opens_with_every_weight_in_its_place(checkpoints: Checkpoints, layout: str, dtype: torch.dtype) -> None:
    path, models = checkpoints[layout, dtype]
    bundle = load(path, dtype)
    for part in PARTS:
        opened, written = bundle[part].state_dict(), models[part].state_dict()
        assert opened.keys() == written.keys()
        assert {name for name in written if not torch.equal(opened[name], written[name].to(opened[name].dtype))} == set()
        assert not any(parameter.requires_grad for parameter in bundle[part].parameters())
    assert bundle["unet"].dtype == bundle["text_encoder"].dtype == dtype
    assert bundle["vae"].dtype == torch.float32


@pytest.mark.parametrize(("layout", "prediction", "resolution", "kind"), [("sd15", "epsilon", 512, "sd1"), ("sd21", "v_prediction", 768, "sd2")])
def test_what_a_published_model_is_follows_from_its_shapes(
    monkeypatch: pytest.MonkeyPatch, checkpoints: Checkpoints, layout: str, prediction: str, resolution: int, kind: str
) -> None:
    monkeypatch.undo()  # the configurations as they ship
    path, _ = checkpoints[layout, torch.float32]
    facts = load(path).facts
    assert (facts["prediction_type"], facts["resolution"], facts["kind"]) == (prediction, resolution, kind)
    assert (facts["factor"], facts["step"], facts["tokens"], facts["scaling"]) == (8, 64, 77, 0.18215)


@pytest.mark.parametrize("layout", KINDS)
def test_it_draws_the_picture_that_diffusers_draws_from_the_same_weights(checkpoints: Checkpoints, assets: Path, layout: str) -> None:
    from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline

    path, models = checkpoints[layout, torch.float32]
    bundle = load(path)
    scheduler = DPMSolverMultistepScheduler.from_config(DPMSolverMultistepScheduler.load_config(assets / layout / "scheduler"))
    pipeline = StableDiffusionPipeline(
        **models, tokenizer=bundle["tokenizer"], scheduler=scheduler, safety_checker=None, feature_extractor=None, requires_safety_checker=False
    )
    pipeline.set_progress_bar_config(disable=True)
    settings = {"guidance_scale": 3.0, "num_inference_steps": 3, "width": 64, "height": 64, "negative_prompt": "grey"}
    theirs = pipeline("a red apple", generator=torch.Generator().manual_seed(5), **settings).images[0]
    pieces = families.get("sd").sample(bundle, [Prompt("a red apple", seed=5, negative="grey", steps=3, guidance=3.0, width=64, height=64)])
    ours = next(piece.image for piece in pieces if piece.image is not None)
    difference = np.abs(np.asarray(ours).astype(int) - np.asarray(theirs).astype(int))
    assert difference.max() <= 1
    assert np.asarray(ours).std() > 2, "an even picture would prove nothing"


def test_a_file_that_says_what_it_predicts_is_believed(tmp_path: Path, checkpoints: Checkpoints) -> None:
    path, models = checkpoints["sd15", torch.float16]
    tensors = ldm.checkpoint(models, "sd1")
    marked = ldm.write(tmp_path / "marked.safetensors", {**tensors, "v_pred": torch.ones(1)})
    told = ldm.write(tmp_path / "told.safetensors", tensors, {"modelspec.prediction_type": "v"})
    assert [load(file).facts["prediction_type"] for file in (path, marked, told)] == ["epsilon", "v_prediction", "v_prediction"]


def test_the_identity_of_a_part_is_that_of_its_weights(tmp_path: Path, checkpoints: Checkpoints) -> None:
    path, models = checkpoints["sd15", torch.float32]
    tensors = ldm.checkpoint(models, "sd1")
    changed = {**tensors, "first_stage_model.quant_conv.bias": torch.zeros(8)}
    same, other = load(ldm.write(tmp_path / "same.safetensors", tensors, {"note": "copied"})), load(ldm.write(tmp_path / "a.safetensors", changed))
    bundle = load(path)
    assert [bundle.identity(part) == same.identity(part) for part in ("vae", "text_encoder")] == [True, True]
    assert [bundle.identity(part) == other.identity(part) for part in ("vae", "text_encoder")] == [False, True]
    assert not bundle.opened


@pytest.mark.parametrize(
    ("part", "beginning"),
    [
        ("unet", "model.diffusion_model.middle_block.1.transformer_blocks.0.ff"),
        ("vae", "first_stage_model.decoder.mid"),
        ("text_encoder", "cond_stage_model.transformer.text_model.encoder.layers.1"),
        ("text_encoder", "cond_stage_model"),
        ("vae", "first_stage_model"),
    ],
)
def test_a_single_file_that_lacks_weights_is_refused_when_they_are_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoints: Checkpoints, part: str, beginning: str
) -> None:
    monkeypatch.setattr(sd.fingerprints, "check_base", lambda _: "sd1")  # of these thin models only the text encoder tells
    path = damaged(tmp_path / "torn.safetensors", checkpoints["sd15", torch.float16][0], beginning)
    bundle = load(path)
    with pytest.raises(ModelError, match=r"torn\.safetensors") as caught:
        bundle[part]
    assert caught.value.fix


def folder_of(folder: Path) -> Path:
    """The pocket model, to be damaged."""
    return Path(shutil.copytree(families.POCKET, folder / "model"))


def refused(path: Path) -> ModelError:
    """What is said of a base model, at the latest when all its parts are opened."""
    with pytest.raises(ModelError) as caught:
        bundle = families.get(families.recognise(path)).load(path, CPU, torch.float32)
        for part in (*PARTS, "tokenizer"):
            bundle[part]
    assert str(path.name) in caught.value.what
    assert caught.value.fix
    return caught.value


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", ""])
def test_a_missing_tokenizer_is_refused(tmp_path: Path, name: str) -> None:
    folder = folder_of(tmp_path)
    for path in folder.glob(f"tokenizer/{name or '*'}"):
        path.unlink()
    assert "tokenizer" in refused(folder).what


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("name", ["diffusion_pytorch_model.bin", "model.ckpt", "pytorch_model.bin"])
def test_weights_that_can_run_code_are_not_opened(tmp_path: Path, part: str, name: str) -> None:
    folder = folder_of(tmp_path)
    next((folder / part).glob("*.safetensors")).rename(folder / part / name)
    said = refused(folder)
    assert f"{part}: holds no .safetensors file" in said.what
    assert ".bin and .ckpt files can run code" in said.fix


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.path, "ran")


@pytest.mark.parametrize("name", ["model.ckpt", "model.bin", "model.pt", "model.safetensors"])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_is_refused_and_never_runs(tmp_path: Path, name: str, zipped: bool) -> None:
    torch.save(Payload(tmp_path / "ran"), tmp_path / name, _use_new_zipfile_serialization=zipped)
    assert "torch.load" in refused(tmp_path / name).fix
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("share", [0, 0.3, 0.99])
def test_a_part_that_is_cut_off_is_named(tmp_path: Path, part: str, share: float) -> None:
    folder = folder_of(tmp_path)
    path = next((folder / part).glob("*.safetensors"))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ModelError, match=path.name.replace(".", r"\.")) as caught:
        load(folder)[part]
    assert "cut off" in caught.value.what if share else "is empty" in caught.value.what
    assert caught.value.fix == "Download it again."


@pytest.mark.parametrize("share", [0.3, 0.99])
def test_a_single_file_that_is_cut_off_is_named(tmp_path: Path, checkpoints: Checkpoints, share: float) -> None:
    whole = checkpoints["sd15", torch.float16][0].read_bytes()
    (tmp_path / "half.safetensors").write_bytes(whole[: int(share * len(whole))])
    assert "half.safetensors is cut off" in refused(tmp_path / "half.safetensors").what


def test_an_sdxl_file_is_refused_by_name(tmp_path: Path) -> None:
    beginning, inner = "model.diffusion_model.input_blocks", "transformer_blocks.0.attn2.to_k.weight"
    path = ldm.write(tmp_path / "sd_xl_base_1.0.safetensors", {f"{beginning}.4.1.{inner}": torch.zeros(640, 2048)})
    with pytest.raises(ModelError, match=r"no Stable Diffusion 1\.x or 2\.x checkpoint"):
        load(path)


def test_a_git_lfs_pointer_is_called_that(tmp_path: Path) -> None:
    path = tmp_path / "v1-5-pruned.safetensors"
    path.write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:6ce0161689b3853acaa03779ec93eafe75a02f4ced659bee03f50797806fa2fa\nsize 7\n"
    )
    assert "Git LFS pointer" in refused(path).what
    folder = folder_of(tmp_path)
    shutil.copy(path, folder / "unet" / "diffusion_pytorch_model.safetensors")
    with pytest.raises(ModelError, match=r"diffusion_pytorch_model\.safetensors.*Git LFS pointer"):
        load(folder)["unet"]


def test_a_web_page_saved_as_a_model_is_called_that(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_text("<!DOCTYPE html><html><body>Please log in</body></html>")
    assert "web page" in refused(path).what


@pytest.mark.parametrize("part", ["unet/config.json", "vae/config.json", "scheduler/scheduler_config.json", "text_encoder/config.json"])
@pytest.mark.parametrize("text", ["", "[]", "{}", None])
def test_a_configuration_that_is_missing_or_damaged_is_named(tmp_path: Path, part: str, text: str | None) -> None:
    folder = folder_of(tmp_path)
    (folder / part).unlink()
    if text is not None:
        (folder / part).write_text(text)
    if (part.startswith("scheduler"), text) == (True, "{}"):
        return  # an empty schedule is the usual one
    with pytest.raises(ModelError) as caught:
        bundle = load(folder)
        for name in PARTS:
            bundle[name]
    assert part.partition("/")[0] in caught.value.what


def test_code_in_a_models_folder_is_not_run(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    (folder / "unet" / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Evil: ...\n")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "unet": ["evil", "Evil"]}))
    bundle = load(folder)
    for part in PARTS:
        bundle[part]
    assert not (tmp_path / "ran").exists()


def test_a_half_precision_variant_is_found_where_there_is_no_other(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    for part in PARTS:
        path = next((folder / part).glob("*.safetensors"))
        path.rename(path.with_name(f"{path.stem}.fp16.safetensors"))
    plain, variant = load(families.POCKET), load(folder)
    for part in PARTS:
        assert all(torch.equal(one, other) for one, other in zip(plain[part].parameters(), variant[part].parameters(), strict=True))
