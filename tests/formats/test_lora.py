import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from studio.errors import ModelError
from studio.formats.adapter import write_diffusers
from studio.formats.lora import LoraLayer, read_lora

from .conftest import outputs
from .sd import NAMES, POCKET, random_layer, same

Layers = dict[str, LoraLayer]
Known = dict[str, tuple[int, ...]]
QUERY = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
ATTENTION = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1"


def written(folder: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None = None) -> Path:
    path = folder / "lora.safetensors"
    save_file(tensors, path, metadata)
    return path


def refusal(path: Path, known: Known | None = None) -> str:
    with pytest.raises(ModelError) as error:
        read_lora(path, NAMES, known)
    assert error.value.fix
    return error.value.what


def test_a_diffusers_file_comes_back_unchanged(tmp_path: Path, layers: Layers, known: Known) -> None:
    write_diffusers(tmp_path / "a.safetensors", layers, NAMES, {"purpose": "a test"})
    back = read_lora(tmp_path / "a.safetensors", NAMES, known)
    assert same(back.layers, layers)
    assert (back.format, back.warnings, back.metadata["purpose"]) == ("diffusers", (), "a test")
    assert same(read_lora(tmp_path / "a.safetensors", NAMES).layers, layers)


def test_the_same_lora_gives_the_same_bytes(tmp_path: Path, layers: Layers) -> None:
    for name, content in (("a", layers), ("b", dict(reversed(layers.items())))):
        write_diffusers(tmp_path / name, content, NAMES, {"x": "1", "y": "2", "z": "3"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_diffusers_holds_every_weight_and_strength_exactly(tmp_path: Path, layers: Layers, loaded: Callable[[Path], Any]) -> None:
    write_diffusers(tmp_path / "a.safetensors", layers, NAMES, {})
    pipeline = loaded(tmp_path / "a.safetensors")
    for name, lora in layers.items():
        part, path = name.split(".", 1)
        module = getattr(pipeline, part).get_submodule(path)
        assert torch.equal(module.lora_A["probe"].weight, lora.down), name
        assert torch.equal(module.lora_B["probe"].weight, lora.up), name
        assert module.scaling["probe"] == lora.alpha / len(lora.down), name
    wrapped = [name for name, module in pipeline.unet.named_modules() if hasattr(module, "lora_A")]
    assert len(wrapped) == sum(name.startswith("unet.") for name in layers)


def test_diffusers_computes_what_the_file_means(tmp_path: Path, layers: Layers, pipeline: Any, by_hand: Any, loaded: Callable[[Path], Any]) -> None:
    base = outputs(pipeline.unet, pipeline.text_encoder)
    write_diffusers(tmp_path / "a.safetensors", layers, NAMES, {})
    opened = loaded(tmp_path / "a.safetensors")
    for before, after, expected in zip(base, outputs(opened.unet, opened.text_encoder), by_hand(layers), strict=True):
        assert (after - before).abs().max() > 0.05
        assert (after - expected).abs().max() < 1e-5


def test_a_file_of_diffusers_own_keeps_patterns_and_rslora(tmp_path: Path) -> None:
    from diffusers import StableDiffusionPipeline, UNet2DConditionModel
    from peft import LoraConfig, get_peft_model_state_dict

    unet = UNet2DConditionModel.from_pretrained(POCKET / "unet", torch_dtype=torch.float32)
    config = LoraConfig(
        r=4,
        lora_alpha=8,
        target_modules=["to_q", "to_k", "conv1"],
        rank_pattern={"conv1": 2, "mid_block.attentions.0.transformer_blocks.0.attn1.to_q": 3},
        alpha_pattern={"^mid_block.attentions.0.transformer_blocks.0.attn1.to_q": 5},
        use_rslora=True,
    )
    unet.add_adapter(config)
    StableDiffusionPipeline.save_lora_weights(tmp_path, get_peft_model_state_dict(unet), unet_lora_adapter_metadata=config.to_dict())
    found = read_lora(tmp_path / "pytorch_lora_weights.safetensors", NAMES).layers
    for name, lora in found.items():
        module = unet.get_submodule(name.removeprefix("unet."))
        assert torch.equal(module.lora_A["default"].weight, lora.down), name
        assert lora.alpha / lora.rank == pytest.approx(module.scaling["default"]), name
    assert found["unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"].alpha == pytest.approx(5 * math.sqrt(3))
    assert len(found) == sum(hasattr(module, "lora_A") for module in unet.modules())


def test_without_metadata_alpha_is_the_rank_and_that_is_said(tmp_path: Path, known: Known) -> None:
    lora = random_layer(known[QUERY], rank=4, alpha=4)
    back = read_lora(written(tmp_path, {f"{QUERY}.lora_A.weight": lora.down, f"{QUERY}.lora_B.weight": lora.up}), NAMES, known)
    assert back.layers[QUERY].alpha == 4
    assert back.warnings == ("lora.safetensors says nothing about alpha; alpha = rank is assumed, which is strength 1.",)


@pytest.mark.parametrize(
    ("down", "up", "layer"),
    [
        (f"{ATTENTION}.to_q.lora.down.weight", f"{ATTENTION}.to_q.lora.up.weight", f"{ATTENTION}.to_q"),
        (f"{ATTENTION}.processor.to_q_lora.down.weight", f"{ATTENTION}.processor.to_q_lora.up.weight", f"{ATTENTION}.to_q"),
        (f"{ATTENTION[5:]}.processor.to_out_lora.down.weight", f"{ATTENTION[5:]}.processor.to_out_lora.up.weight", f"{ATTENTION}.to_out.0"),
        (f"{ATTENTION}.to_q.lora_A.default.weight", f"{ATTENTION}.to_q.lora_B.default.weight", f"{ATTENTION}.to_q"),
        (
            "text_encoder.text_model.encoder.layers.0.mlp.fc1.lora_linear_layer.down.weight",
            "text_encoder.text_model.encoder.layers.0.mlp.fc1.lora_linear_layer.up.weight",
            "text_encoder.encoder.layers.0.mlp.fc1",
        ),
    ],
)
def test_older_spellings_are_read(tmp_path: Path, known: Known, down: str, up: str, layer: str) -> None:
    lora = random_layer(known[layer], rank=2, alpha=2)
    back = read_lora(written(tmp_path, {down: lora.down, up: lora.up}), NAMES, known)
    assert same(back.layers, {layer: lora})


def test_a_matrix_serves_where_the_base_has_a_convolution_of_size_1(tmp_path: Path, known: Known) -> None:
    layer = "unet.down_blocks.0.attentions.0.proj_in"
    lora = random_layer(known[layer], rank=2, alpha=2)
    tensors = {f"{layer}.lora_A.weight": lora.down.flatten(1), f"{layer}.lora_B.weight": lora.up.flatten(1)}
    assert len(known[layer]) == 4
    assert same(read_lora(written(tmp_path, tensors), NAMES, known).layers, {layer: lora})


def broken(known: Known, **changes: torch.Tensor) -> dict[str, torch.Tensor]:
    """Two good layers, of which `changes` (down, up) spoil the query."""
    good, bad = (random_layer(known[f"{ATTENTION}.{name}"], rank=4, alpha=4) for name in ("to_k", "to_q"))
    return {
        f"{ATTENTION}.to_k.lora_A.weight": good.down,
        f"{ATTENTION}.to_k.lora_B.weight": good.up,
        f"{QUERY}.lora_A.weight": changes.get("down", bad.down),
        f"{QUERY}.lora_B.weight": changes.get("up", bad.up),
    }


def test_a_wrong_shape_names_tensor_expected_found_and_how_many_fit(tmp_path: Path, known: Known) -> None:
    assert refusal(written(tmp_path, broken(known, down=torch.ones(4, 33))), known) == (
        f"lora.safetensors can't be used: {QUERY}.lora_A.weight has the shape [4, 33], expected is [4, 32]. 1 of its 2 layers are right."
    )


def test_ranks_that_disagree_are_refused_with_and_without_a_base_model(tmp_path: Path, known: Known) -> None:
    path = written(tmp_path, broken(known, up=torch.ones(32, 3)))
    for base in (known, None):
        assert f"{QUERY}.lora_B.weight has the shape [32, 3], expected is [32, 4]. 1 of its 2 layers are right." in refusal(path, base)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_that_are_none_are_refused(tmp_path: Path, known: Known, value: float) -> None:
    up = torch.zeros(32, 4)
    up[3, 1] = value
    assert f"{QUERY}.lora_B.weight holds NaN or infinite numbers. 1 of its 2 layers" in refusal(written(tmp_path, broken(known, up=up)), known)


def test_an_alpha_that_is_no_number_is_refused(tmp_path: Path, known: Known) -> None:
    tensors = broken(known) | {f"{QUERY}.alpha": torch.tensor(math.nan)}
    assert f"{QUERY}.alpha holds NaN" in refusal(written(tmp_path, tensors), known)


def test_a_layer_that_the_base_model_lacks_is_named(tmp_path: Path, known: Known) -> None:
    tensors = broken(known) | {"unet.nowhere.lora_A.weight": torch.ones(1, 2), "unet.nowhere.lora_B.weight": torch.ones(2, 1)}
    assert refusal(written(tmp_path, tensors), known) == (
        "lora.safetensors can't be used: unet.nowhere.lora_A.weight belongs to no layer of the base model. 2 of its 3 layers are right."
    )


def test_a_layer_under_two_names_is_refused(tmp_path: Path, known: Known) -> None:
    twice = {f"{ATTENTION}.processor.to_q_lora.down.weight": torch.ones(4, 32), f"{ATTENTION}.processor.to_q_lora.up.weight": torch.ones(32, 4)}
    assert "is another name for a layer that is already there" in refusal(written(tmp_path, broken(known) | twice), known)


def test_numbers_of_another_type_are_refused(tmp_path: Path, known: Known) -> None:
    path = written(tmp_path, broken(known, down=torch.ones(4, 32, dtype=torch.int8)))
    assert f"{QUERY}.lora_A.weight is of the type I8. 1 of its 2 layers" in refusal(path, known)


def test_a_layer_of_rank_0_is_refused(tmp_path: Path, known: Known) -> None:
    path = written(tmp_path, broken(known, down=torch.ones(0, 32), up=torch.ones(32, 0)))
    assert f"{QUERY}.lora_A.weight has the shape [0, 32]" in refusal(path, known)


def test_an_alpha_that_is_a_whole_number_is_read(tmp_path: Path, known: Known) -> None:
    path = written(tmp_path, broken(known) | {f"{QUERY}.alpha": torch.tensor(2)})
    assert read_lora(path, NAMES, known).layers[QUERY].alpha == 2


def test_half_a_layer_is_refused(tmp_path: Path, known: Known) -> None:
    tensors = broken(known)
    del tensors[f"{QUERY}.lora_B.weight"]
    assert f"{QUERY} has no up weight" in refusal(written(tmp_path, tensors), known)


@pytest.mark.parametrize("name", ["lora_magnitude_vector", "dora_scale", "hada_w1_a", "lokr_w1", "lora_mid.weight"])
def test_other_kinds_of_adapters_are_refused_by_the_tensor(tmp_path: Path, known: Known, name: str) -> None:
    tensors = broken(known) | {f"{QUERY}.{name}": torch.ones(2, 2)}
    assert refusal(written(tmp_path, tensors), known) == f"lora.safetensors holds {QUERY}.{name}, which is no part of a plain LoRA."


@pytest.mark.parametrize("settings", ["no json", "[1]", '{"unet.lora_alpha": "8"}', '{"unet.lora_alpha": NaN}', "[" * 100_000])
def test_damaged_settings_are_refused(tmp_path: Path, known: Known, settings: str) -> None:
    assert "damaged metadata: lora_adapter_metadata" in refusal(written(tmp_path, broken(known), {"lora_adapter_metadata": settings}), known)


def test_a_lora_for_another_kind_of_model_is_refused_by_both_names(tmp_path: Path) -> None:
    layer = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"
    path = written(tmp_path, {f"{layer}.lora_A.weight": torch.ones(4, 2048), f"{layer}.lora_B.weight": torch.ones(640, 4)})
    assert refusal(path, {layer: (640, 768)}) == "lora.safetensors is a LoRA for SDXL, but the base model is Stable Diffusion 1.x."


def test_a_base_model_is_no_lora(tmp_path: Path) -> None:
    path = written(tmp_path, {"model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": torch.ones(320, 768)})
    assert refusal(path) == "lora.safetensors is no LoRA; it holds this: Stable Diffusion 1.x."


def test_a_name_that_ends_another_ones_name_keeps_its_own_rank(tmp_path: Path) -> None:
    layers = {"unet.conv": random_layer((8, 8), 2, 1), "unet.a.conv": random_layer((8, 8), 4, 8), "unet.b.conv": random_layer((8, 8), 4, 8)}
    write_diffusers(tmp_path / "a.safetensors", layers, NAMES, {})
    settings = json.loads(read_lora(tmp_path / "a.safetensors", NAMES).metadata["lora_adapter_metadata"])
    assert (settings["unet.rank_pattern"], settings["unet.alpha_pattern"]) == ({"^conv": 2}, {"^conv": 1})
    assert same(read_lora(tmp_path / "a.safetensors", NAMES).layers, layers)


def test_text_encoder_names_carry_text_model_for_readers_of_older_libraries(tmp_path: Path, layers: Layers) -> None:
    write_diffusers(tmp_path / "a.safetensors", layers, NAMES, {})
    names = load_file(tmp_path / "a.safetensors")
    assert "text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_A.weight" in names
