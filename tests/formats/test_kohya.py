import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from studio.formats.gate import check_safetensors
from studio.formats.kohya import write_kohya
from studio.formats.lora import LoraLayer, read_lora

from .conftest import outputs
from .sd import NAMES, random_layer, same, shapes

Layers = dict[str, LoraLayer]
Known = dict[str, tuple[int, ...]]


def names_by_the_rules() -> set[str]:
    """kohya's names for all of Stable Diffusion 1.5, from the structure of its blocks and from nothing else."""
    with_attention = [("down_blocks_0", 2), ("down_blocks_1", 2), ("down_blocks_2", 2), ("mid_block", 1)]
    with_attention += [("up_blocks_1", 3), ("up_blocks_2", 3), ("up_blocks_3", 3)]
    names = set()
    for block, count in with_attention:
        for number in range(count):
            transformer = f"lora_unet_{block}_attentions_{number}"
            names |= {f"{transformer}_proj_in", f"{transformer}_proj_out"}
            for attention in ("attn1", "attn2"):
                inside = f"{transformer}_transformer_blocks_0_{attention}"
                names |= {f"{inside}_to_q", f"{inside}_to_k", f"{inside}_to_v", f"{inside}_to_out_0"}
            names |= {f"{transformer}_transformer_blocks_0_ff_net_0_proj", f"{transformer}_transformer_blocks_0_ff_net_2"}
    resnets = [(f"down_blocks_{block}", number) for block in range(4) for number in range(2)]
    resnets += [("mid_block", number) for number in range(2)]
    resnets += [(f"up_blocks_{block}", number) for block in range(4) for number in range(3)]
    for block, number in resnets:
        names |= {f"lora_unet_{block}_resnets_{number}_{part}" for part in ("conv1", "conv2", "time_emb_proj")}
    # A shortcut is there where the width changes: 320 → 640 → 1280 on the way down, everywhere on the way up (skip connections).
    widening = [("down_blocks_1", 0), ("down_blocks_2", 0), *(place for place in resnets if place[0].startswith("up"))]
    names |= {f"lora_unet_{block}_resnets_{number}_conv_shortcut" for block, number in widening}
    names |= {f"lora_unet_down_blocks_{block}_downsamplers_0_conv" for block in range(3)}
    names |= {f"lora_unet_up_blocks_{block}_upsamplers_0_conv" for block in range(3)}
    for layer in range(12):
        encoder = f"lora_te_text_model_encoder_layers_{layer}"
        names |= {f"{encoder}_self_attn_{part}_proj" for part in ("q", "k", "v", "out")}
        names |= {f"{encoder}_mlp_fc1", f"{encoder}_mlp_fc2"}
    return names


@pytest.fixture(scope="session")
def full_size() -> Known:
    """The layers of Stable Diffusion 1.5 that kohya trains with conv_dim, from models without memory."""
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    with torch.device("meta"):
        unet = UNet2DConditionModel(cross_attention_dim=768, attention_head_dim=8, sample_size=64)
        encoder = CLIPTextModel(CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12))
    trained = {"Transformer2DModel", "ResnetBlock2D", "Downsample2D", "Upsample2D", "CLIPAttention", "CLIPMLP"}
    inside = {
        f"{part}.{name}"
        for part, model in (("unet", unet), ("text_encoder", encoder))
        for name, module in model.named_modules()
        if type(module).__name__ in trained
    }
    layers = shapes(unet=unet, text_encoder=encoder)
    return {name: shape for name, shape in layers.items() if any(name.startswith(f"{block}.") for block in inside)}


def test_the_names_of_a_whole_sd15_are_those_of_the_rules(tmp_path: Path, full_size: Known) -> None:
    layers = {name: random_layer(shape, rank=1, alpha=0.5) for name, shape in full_size.items()}
    write_kohya(tmp_path / "full.safetensors", layers, NAMES, {})
    expected = names_by_the_rules()
    assert len(expected) == 16 * 12 + 22 * 3 + 14 + 6 + 12 * 6 == 350
    tensors = check_safetensors(tmp_path / "full.safetensors").tensors
    assert tensors.keys() == {f"{name}.{end}" for name in expected for end in ("lora_down.weight", "lora_up.weight", "alpha")}
    for known in (full_size, None):
        assert same(read_lora(tmp_path / "full.safetensors", NAMES, known).layers, layers)


def test_a_kohya_file_comes_back_unchanged(tmp_path: Path, layers: Layers, known: Known) -> None:
    write_kohya(tmp_path / "a.safetensors", layers, NAMES, {"ss_seed": "7"})
    back = read_lora(tmp_path / "a.safetensors", NAMES, known)
    assert same(back.layers, layers)
    assert (back.format, back.warnings, back.metadata["ss_seed"]) == ("kohya", (), "7")


def test_alpha_is_a_number_beside_every_layer(tmp_path: Path, layers: Layers) -> None:
    write_kohya(tmp_path / "a.safetensors", layers, NAMES, {})
    tensors = load_file(tmp_path / "a.safetensors")
    for name, lora in layers.items():
        assert tensors[f"{NAMES.in_kohya(name)}.alpha"].item() == lora.alpha
        assert tensors[f"{NAMES.in_kohya(name)}.alpha"].shape == ()


def with_alphas(layers: Layers, alpha: Callable[[str], float]) -> Layers:
    return {name: dataclasses.replace(lora, alpha=alpha(name)) for name, lora in layers.items()}


ALPHAS: dict[str, Callable[[str], float]] = {
    "one for all": lambda name: 3.0,
    "convolutions have their own": lambda name: 1.0 if "resnets" in name else 8.0,
    "attention differs within": lambda name: 6.0 if name.endswith(("to_q", "fc1", "v_proj")) else 2.0,
    "attention is in the minority": lambda name: 6.0 if "attn" in name else 2.0,
    "every layer has its own": lambda name: 1.0 + len(name) % 7,
    "some are silent": lambda name: 0.0 if "to_k" in name else 2.0,
}


@pytest.mark.parametrize("alpha", ALPHAS.values(), ids=ALPHAS)
def test_diffusers_computes_what_the_file_means(
    tmp_path: Path, layers: Layers, pipeline: Any, by_hand: Any, loaded: Callable[[Path], Any], alpha: Callable[[str], float]
) -> None:
    mixed = with_alphas(layers, alpha)
    base = outputs(pipeline.unet, pipeline.text_encoder)
    write_kohya(tmp_path / "a.safetensors", mixed, NAMES, {})
    opened = loaded(tmp_path / "a.safetensors")
    for before, after, expected in zip(base, outputs(opened.unet, opened.text_encoder), by_hand(mixed), strict=True):
        assert (after - before).abs().max() > 0.05
        assert (after - expected).abs().max() < 1e-5


def test_where_convolutions_outnumber_attention_diffusers_is_right_too(
    tmp_path: Path, layers: Layers, by_hand: Any, loaded: Callable[[Path], Any]
) -> None:
    few = {name: lora for name, lora in layers.items() if "resnets" in name or "mid_block" in name}
    write_kohya(tmp_path / "a.safetensors", few, NAMES, {})
    opened = loaded(tmp_path / "a.safetensors")
    expected = by_hand(few)[1]
    assert (outputs(opened.unet, opened.text_encoder)[1] - expected).abs().max() < 1e-5


def test_a_missing_alpha_means_the_rank(tmp_path: Path, known: Known) -> None:
    layer = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    lora = random_layer(known[layer], rank=4, alpha=4)
    name = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
    save_file({f"{name}.lora_down.weight": lora.down, f"{name}.lora_up.weight": lora.up}, tmp_path / "a.safetensors")
    back = read_lora(tmp_path / "a.safetensors", NAMES, known)
    assert same(back.layers, {layer: lora})
    assert back.warnings == ()


def test_both_hashes_are_those_that_a1111_computes(tmp_path: Path, known: Known) -> None:
    layer = "text_encoder.encoder.layers.0.mlp.fc1"
    big = random_layer(known[layer], rank=512, alpha=1)
    write_kohya(tmp_path / "a", {layer: big}, NAMES, {"ss_seed": "7", "other": "x", "modelspec.sai_model_spec": "1.0.1"})
    content = (tmp_path / "a").read_bytes()
    metadata = check_safetensors(tmp_path / "a").metadata
    data = content[8 + int.from_bytes(content[:8], "little") :]
    assert metadata["sshs_model_hash"] == hashlib.sha256(data).hexdigest()
    assert metadata["modelspec.hash_sha256"] == "0x" + metadata["sshs_model_hash"]
    assert (metadata["ss_seed"], metadata["other"]) == ("7", "x")
    save_file(load_file(tmp_path / "a"), tmp_path / "trained", {"ss_seed": "7"})
    legacy = hashlib.sha256((tmp_path / "trained").read_bytes()[0x100000:0x110000]).hexdigest()[:8]
    assert metadata["sshs_legacy_hash"] == legacy != hashlib.sha256(b"").hexdigest()[:8]


def test_the_same_lora_gives_the_same_bytes(tmp_path: Path, layers: Layers) -> None:
    for name, content in (("a", layers), ("b", dict(reversed(layers.items())))):
        write_kohya(tmp_path / name, content, NAMES, {"ss_x": "1", "ss_y": "2", "ss_z": "3"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
