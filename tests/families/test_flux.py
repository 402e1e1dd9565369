"""FLUX.1 as it is published: the transformer alone, with other parts beside it, or all in one file."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from studio import families
from studio.errors import ModelError
from studio.families import flux
from studio.families.base import Bundle

from . import ldm, tiny

CPU = torch.device("cpu")
PARTS = ("transformer", "vae", "text_encoder", "text_encoder_2")
WHOLE = "model.diffusion_model."


@pytest.fixture(scope="module")
def assets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped configurations, all blocks, but thin."""
    folder = tmp_path_factory.mktemp("assets")
    for layout in ("flux-dev", "flux-schnell"):
        ldm.narrow_flow(folder, layout)
    return folder


@pytest.fixture(scope="module")
def models(assets: Path) -> dict[str, Any]:
    """FLUX.1 dev, thin."""
    return ldm.flow_models(assets / "flux-dev")


@pytest.fixture(autouse=True)
def thin(monkeypatch: pytest.MonkeyPatch, assets: Path) -> None:
    monkeypatch.setattr(flux, "ASSETS", assets)


def load(path: Path, dtype: torch.dtype = torch.float32) -> Bundle:
    return families.get(families.recognise(path)).load(path, CPU, dtype)


def written(path: Path, models: dict[str, Any], *parts: str, prefix: str = "") -> Path:
    return ldm.write(path, ldm.flow_checkpoint({part: models[part] for part in parts}, "flux", prefix, "vae."))


def differing(bundle: Bundle, models: dict[str, Any], *parts: str) -> set[str]:
    """Weights that aren't those of the models."""
    found = set()
    for part in parts:
        opened, expected = bundle[part].state_dict(), models[part].state_dict()
        assert opened.keys() == expected.keys()
        found |= {f"{part}.{name}" for name in expected if not torch.equal(opened[name], expected[name].to(opened[name].dtype))}
    return found


@pytest.mark.parametrize("prefix", ["", WHOLE])
@pytest.mark.parametrize("layout", ["flux-dev", "flux-schnell"])
def test_a_transformer_alone_opens_with_every_weight_in_its_place(tmp_path: Path, assets: Path, layout: str, prefix: str) -> None:
    models = ldm.flow_models(assets / layout, torch.bfloat16)
    bundle = load(written(tmp_path / "flux1.safetensors", models, "transformer", prefix=prefix), torch.bfloat16)
    assert differing(bundle, models, "transformer") == set()
    assert bundle["transformer"].dtype == torch.bfloat16
    assert bundle.facts["guided"] == (layout == "flux-dev")


def test_a_file_that_holds_all_parts_opens_with_every_weight_in_its_place(tmp_path: Path, models: dict[str, Any]) -> None:
    bundle = load(written(tmp_path / "all.safetensors", models, *PARTS, prefix=WHOLE))
    assert differing(bundle, models, *PARTS) == set()


@pytest.mark.parametrize(("layout", "steps", "tokens"), [("flux-dev", 28, 512), ("flux-schnell", 4, 256)])
def test_what_a_published_model_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, assets: Path, layout: str, steps: int, tokens: int) -> None:
    path = written(tmp_path / "a.safetensors", ldm.flow_models(assets / layout), "transformer")
    monkeypatch.undo()  # the configurations as they ship
    facts = load(path).facts
    assert (facts["kind"], facts["resolution"], facts["factor"], facts["channels"], facts["scaling"]) == ("flux", 1024, 8, 16, 0.3611)
    assert (facts["steps"], facts["tokens"]) == (steps, tokens)


@pytest.mark.parametrize("original", [True, False])
def test_other_parts_are_found_beside_the_file(tmp_path: Path, models: dict[str, Any], original: bool) -> None:
    path = written(tmp_path / "flux1-dev.safetensors", models, "transformer")
    if original:
        ldm.write(tmp_path / "ae.safetensors", ldm.flow_checkpoint({"vae": models["vae"]}, "flux", vae=""))
    else:
        models["vae"].save_pretrained(tmp_path / "vae")
    for part in PARTS[2:]:
        models[part].save_pretrained(tmp_path / part)
    tiny.t5_tokenizer(tmp_path / "tokenizer_2")
    bundle = load(path)
    assert differing(bundle, models, *PARTS) == set()
    assert len(bundle["tokenizer_2"]) == len(tiny.T5_WORDS)
    assert len({bundle.identity(part) for part in PARTS[1:]}) == 3
    before = bundle.identity("vae")
    changed = next(tmp_path.glob("ae.safetensors" if original else "vae/*.safetensors"))
    ldm.write(changed, {name: tensor + 1 for name, tensor in load_file(changed).items()})
    assert load(path).identity("vae") != before


@pytest.mark.parametrize("part", [*PARTS[1:], "tokenizer_2"])
def test_a_part_that_is_nowhere_is_named_with_its_folder(tmp_path: Path, models: dict[str, Any], part: str) -> None:
    bundle = load(written(tmp_path / "flux1-dev.safetensors", models, "transformer"))
    with pytest.raises(ModelError) as caught:
        bundle[part]
    assert caught.value.what == f"flux1-dev.safetensors comes without {part}."
    assert f"folder {part}" in caught.value.fix
    assert str(tmp_path) in caught.value.fix


def test_a_tokenizer_that_knows_next_to_nothing_is_refused(tmp_path: Path, models: dict[str, Any]) -> None:
    from transformers import T5TokenizerFast

    path = written(tmp_path / "all.safetensors", models, *PARTS, prefix=WHOLE)
    T5TokenizerFast(vocab=[("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)], extra_ids=0).save_pretrained(tmp_path / "tokenizer_2")
    with pytest.raises(ModelError, match=f"tokenizer_2: knows 3 tokens, the text encoder {len(tiny.T5_WORDS)}"):
        load(path)["tokenizer_2"]


def test_weights_in_fp8_are_read_as_the_numbers_that_they_are(tmp_path: Path, models: dict[str, Any]) -> None:
    tensors = ldm.flow_checkpoint(models, "flux", WHOLE, "vae.")
    small = {name: tensor.to(torch.float8_e4m3fn) if tensor.ndim == 2 else tensor for name, tensor in tensors.items()}
    bundle = load(ldm.write(tmp_path / "fp8.safetensors", small), torch.bfloat16)
    layer = models["transformer"].single_transformer_blocks[37].proj_mlp.weight
    assert torch.equal(bundle["transformer"].single_transformer_blocks[37].proj_mlp.weight, layer.to(torch.float8_e4m3fn).to(torch.bfloat16))
    assert bundle["text_encoder_2"].dtype == torch.bfloat16


def test_weights_that_need_a_scale_are_refused(tmp_path: Path, models: dict[str, Any]) -> None:
    tensors = ldm.flow_checkpoint({"transformer": models["transformer"]}, "flux", "")
    bundle = load(ldm.write(tmp_path / "nf4.safetensors", {**tensors, "double_blocks.0.img_attn.qkv.weight.absmax": torch.ones(1)}))
    with pytest.raises(ModelError, match=r"nf4\.safetensors: its weights are quantised.*absmax"):
        bundle["transformer"]


@pytest.mark.parametrize("lost", ["double_blocks.3.txt_mlp.0", "single_blocks.37.linear1", "single_blocks.9.norm", "final_layer"])
def test_a_transformer_that_lacks_weights_is_refused(tmp_path: Path, models: dict[str, Any], lost: str) -> None:
    tensors = ldm.flow_checkpoint({"transformer": models["transformer"]}, "flux", "")
    bundle = load(ldm.write(tmp_path / "torn.safetensors", {name: tensor for name, tensor in tensors.items() if not name.startswith(lost)}))
    with pytest.raises(ModelError, match=r"torn\.safetensors"):
        bundle["transformer"]


def test_a_transformer_of_another_shape_is_refused(tmp_path: Path, models: dict[str, Any]) -> None:
    tensors = ldm.flow_checkpoint({"transformer": models["transformer"]}, "flux", "")
    bundle = load(ldm.write(tmp_path / "odd.safetensors", {**tensors, "img_in.weight": torch.zeros(16, 32)}))
    with pytest.raises(ModelError, match=r"odd\.safetensors.*x_embedder"):
        bundle["transformer"]


@pytest.mark.parametrize(
    ("text", "said"), [("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "Git LFS"), ("<!DOCTYPE html><html>", "web page")]
)
def test_what_is_no_model_is_called_what_it_is(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "flux.safetensors").write_text(text)
    with pytest.raises(ModelError, match=said):
        load(tmp_path / "flux.safetensors")


def test_another_kind_of_checkpoint_is_refused_by_name(tmp_path: Path) -> None:
    path = ldm.write(tmp_path / "sd3.safetensors", {"joint_blocks.0.context_block.adaLN_modulation.1.bias": torch.zeros(8)})
    with pytest.raises(ModelError, match=r"no FLUX\.1 checkpoint"):
        families.get("flux").load(path, CPU, torch.float32)
