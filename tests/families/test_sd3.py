"""Stable Diffusion 3 and 3.5 as they are published: one file in the original layout, with its text encoders inside, beside it, or nowhere."""

from pathlib import Path
from typing import Any

import pytest
import torch

from studio import families
from studio.errors import ModelError
from studio.families import sd3
from studio.families.base import Bundle

from . import ldm, tiny

CPU = torch.device("cpu")
LAYOUTS = ("sd3-medium", "sd35-medium", "sd35-large")
CLIPS = ("text_encoder", "text_encoder_2")
PARTS = ("transformer", "vae", *CLIPS, "text_encoder_3")
WITHOUT_TEXTS = ("transformer", "vae")


@pytest.fixture(scope="module")
def assets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped configurations, all blocks, but thin."""
    folder = tmp_path_factory.mktemp("assets")
    for layout in LAYOUTS:
        ldm.narrow_flow(folder, layout)
    return folder


@pytest.fixture(scope="module")
def models(assets: Path) -> dict[str, Any]:
    """Stable Diffusion 3.5 Medium, thin."""
    return ldm.flow_models(assets / "sd35-medium")


@pytest.fixture(autouse=True)
def thin(monkeypatch: pytest.MonkeyPatch, assets: Path) -> None:
    monkeypatch.setattr(sd3, "ASSETS", assets)


def load(path: Path, dtype: torch.dtype = torch.float32) -> Bundle:
    return families.get(families.recognise(path)).load(path, CPU, dtype)


def written(path: Path, models: dict[str, Any], *parts: str) -> Path:
    return ldm.write(path, ldm.flow_checkpoint({part: models[part] for part in parts}, "sd3"))


def differing(bundle: Bundle, models: dict[str, Any], *parts: str) -> set[str]:
    """Weights that aren't those of the models."""
    found = set()
    for part in parts:
        opened, expected = bundle[part].state_dict(), models[part].state_dict()
        assert opened.keys() == expected.keys()
        found |= {f"{part}.{name}" for name in expected if not torch.equal(opened[name], expected[name].to(opened[name].dtype))}
    return found


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_single_file_opens_with_every_weight_in_its_place(tmp_path: Path, assets: Path, layout: str) -> None:
    dtype = torch.float16 if layout == "sd3-medium" else torch.float32
    models = ldm.flow_models(assets / layout, dtype)
    bundle = load(written(tmp_path / "whole.safetensors", models, *PARTS), dtype)
    assert bundle.encoders == (*CLIPS, "text_encoder_3")
    assert differing(bundle, models, *PARTS) == set()
    assert (bundle["transformer"].dtype, bundle["vae"].dtype) == (dtype, torch.float32)
    assert not any(parameter.requires_grad for part in PARTS for parameter in bundle[part].parameters())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_a_published_model_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, assets: Path, layout: str) -> None:
    path = written(tmp_path / "a.safetensors", ldm.flow_models(assets / layout), "transformer")
    monkeypatch.undo()  # the configurations as they ship
    facts = load(path).facts
    assert facts["transformer"]["num_layers"] == {"sd35-large": 38}.get(layout, 24)
    assert (facts["kind"], facts["resolution"], facts["factor"], facts["channels"], facts["scaling"]) == ("sd3", 1024, 8, 16, 1.5305)


def test_text_encoders_are_found_beside_the_file_and_t5_may_be_left_out(tmp_path: Path, models: dict[str, Any]) -> None:
    path = written(tmp_path / "sd3.5_medium.safetensors", models, *WITHOUT_TEXTS)
    for part in CLIPS:
        models[part].save_pretrained(tmp_path / part)
    bundle = load(path)
    assert bundle.encoders == CLIPS
    assert "without T5" in bundle.facts["notes"][0]
    assert differing(bundle, models, *WITHOUT_TEXTS, *CLIPS) == set()
    models["text_encoder_3"].save_pretrained(tmp_path / "text_encoder_3")
    tiny.t5_tokenizer(tmp_path / "tokenizer_3")
    bundle = load(path)
    assert differing(bundle, models, *PARTS) == set()
    assert len(bundle["tokenizer_3"]) == len(tiny.T5_WORDS)


@pytest.mark.parametrize("part", CLIPS)
def test_a_part_that_is_nowhere_is_named_with_its_folder(tmp_path: Path, models: dict[str, Any], part: str) -> None:
    bundle = load(written(tmp_path / "sd3.5_medium.safetensors", models, *WITHOUT_TEXTS))
    with pytest.raises(ModelError) as caught:
        bundle[part]
    assert caught.value.what == f"sd3.5_medium.safetensors comes without {part}."
    assert f"folder {part}" in caught.value.fix
    assert str(tmp_path) in caught.value.fix


def test_a_t5_without_its_tokenizer_says_which_folder_is_missing(tmp_path: Path, models: dict[str, Any]) -> None:
    bundle = load(written(tmp_path / "whole.safetensors", models, *PARTS))
    with pytest.raises(ModelError, match=r"whole\.safetensors comes without tokenizer_3"):
        bundle["tokenizer_3"]
    tiny.t5_tokenizer(tmp_path / "tokenizer_3")
    assert len(load(tmp_path / "whole.safetensors")["tokenizer_3"]) == len(tiny.T5_WORDS)


def test_a_tokenizer_that_knows_next_to_nothing_is_refused(tmp_path: Path, models: dict[str, Any]) -> None:
    from transformers import T5TokenizerFast

    path = written(tmp_path / "whole.safetensors", models, *PARTS)
    T5TokenizerFast(vocab=[("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)], extra_ids=0).save_pretrained(tmp_path / "tokenizer_3")
    with pytest.raises(ModelError, match=f"tokenizer_3: knows 3 tokens, the text encoder {len(tiny.T5_WORDS)}"):
        load(path)["tokenizer_3"]


def test_weights_in_fp8_are_read_as_the_numbers_that_they_are(tmp_path: Path, models: dict[str, Any]) -> None:
    tensors = ldm.flow_checkpoint(models, "sd3")
    small = {name: tensor.to(torch.float8_e4m3fn) if tensor.ndim == 2 else tensor for name, tensor in tensors.items()}
    bundle = load(ldm.write(tmp_path / "fp8.safetensors", small), torch.bfloat16)
    query = bundle["transformer"].transformer_blocks[3].attn.to_q.weight
    expected = models["transformer"].transformer_blocks[3].attn.to_q.weight.to(torch.float8_e4m3fn).to(torch.bfloat16)
    assert torch.equal(query, expected)
    assert bundle["text_encoder"].dtype == bundle["text_encoder_3"].dtype == torch.bfloat16


def test_weights_that_need_a_scale_are_refused(tmp_path: Path, models: dict[str, Any]) -> None:
    tensors = ldm.flow_checkpoint({"transformer": models["transformer"]}, "sd3")
    name = "model.diffusion_model.joint_blocks.0.x_block.attn.qkv.scale_weight"
    bundle = load(ldm.write(tmp_path / "scaled.safetensors", {**tensors, name: torch.ones(1)}))
    with pytest.raises(ModelError, match=r"scaled\.safetensors: its weights are quantised.*qkv\.scale_weight"):
        bundle["transformer"]


def test_a_transformer_without_its_table_of_places_is_refused(tmp_path: Path, models: dict[str, Any]) -> None:
    tensors = ldm.flow_checkpoint({"transformer": models["transformer"]}, "sd3")
    del tensors["model.diffusion_model.pos_embed"]
    bundle = load(ldm.write(tmp_path / "torn.safetensors", tensors))
    with pytest.raises(ModelError, match=r"torn\.safetensors.*pos_embed"):
        bundle["transformer"]


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_lacks_weights_is_refused_when_it_is_needed(tmp_path: Path, models: dict[str, Any], part: str) -> None:
    lost = {
        "transformer": "model.diffusion_model.joint_blocks.5.x_block.mlp",
        "vae": "first_stage_model.decoder.mid",
        "text_encoder": "text_encoders.clip_l.transformer.text_model.encoder.layers.1",
        "text_encoder_2": "text_encoders.clip_g.transformer.text_model.encoder.layers.1",
        "text_encoder_3": "text_encoders.t5xxl.transformer.encoder.block.1",
    }[part]
    tensors = {name: tensor for name, tensor in ldm.flow_checkpoint(models, "sd3").items() if not name.startswith(lost)}
    bundle = load(ldm.write(tmp_path / "torn.safetensors", tensors))
    with pytest.raises(ModelError, match=r"torn\.safetensors") as caught:
        bundle[part]
    assert caught.value.fix


@pytest.mark.parametrize(
    ("text", "said"), [("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "Git LFS"), ("<!DOCTYPE html><html>", "web page")]
)
def test_what_is_no_model_is_called_what_it_is(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "sd3.safetensors").write_text(text)
    with pytest.raises(ModelError, match=said):
        load(tmp_path / "sd3.safetensors")


def test_another_kind_of_checkpoint_is_refused_by_name(tmp_path: Path) -> None:
    path = ldm.write(tmp_path / "flux.safetensors", {"double_blocks.0.img_attn.norm.key_norm.scale": torch.zeros(8)})
    with pytest.raises(ModelError, match="no Stable Diffusion 3 checkpoint"):
        families.get("sd3").load(path, CPU, torch.float32)
