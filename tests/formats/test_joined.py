"""Layers that other programs keep as one."""

import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from studio.errors import ModelError
from studio.formats import vocabularies
from studio.formats.kohya import write_kohya
from studio.formats.lora import LoraLayer, read_lora

from .sd import delta, random_layer, same

BLOCK = "transformer.transformer_blocks.0"
QUERY, KEY, VALUE = (f"{BLOCK}.attn.to_{letter}" for letter in "qkv")
JOINED = "lora_unet_double_blocks_0_img_attn_qkv"
WIDTH = 12


def layer(seed: int, rank: int = 2, alpha: float = 3.0, outputs: int = WIDTH) -> LoraLayer:
    return random_layer((outputs, WIDTH), rank, alpha, seed)


def written(folder: Path, layers: dict[str, LoraLayer]) -> dict[str, torch.Tensor]:
    write_kohya(folder / "a.safetensors", layers, vocabularies.FLUX, {})
    return load_file(folder / "a.safetensors")


def change(tensors: dict[str, torch.Tensor], name: str) -> torch.Tensor:
    return delta(LoraLayer(tensors[f"{name}.lora_down.weight"], tensors[f"{name}.lora_up.weight"], tensors[f"{name}.alpha"].item()))


def test_ranks_add_up_and_the_change_is_the_parts_one_below_the_other(tmp_path: Path) -> None:
    layers = {QUERY: layer(1, rank=2, alpha=3.0), KEY: layer(2, rank=4, alpha=1.0), VALUE: layer(3, rank=1, alpha=1.0)}
    tensors = written(tmp_path, layers)
    assert tensors[f"{JOINED}.lora_down.weight"].shape == (7, WIDTH)
    assert torch.allclose(change(tensors, JOINED), torch.cat([delta(lora) for lora in layers.values()]), atol=1e-7)
    back = read_lora(tmp_path / "a.safetensors", vocabularies.FLUX).layers
    assert {name: lora.rank for name, lora in back.items()} == {QUERY: 2, KEY: 4, VALUE: 1}
    assert all(torch.allclose(delta(back[name]), delta(lora), atol=1e-7) for name, lora in layers.items())


def test_a_shared_down_keeps_its_rank(tmp_path: Path) -> None:
    first = layer(1)
    layers = {QUERY: first, KEY: dataclasses.replace(layer(2), down=first.down), VALUE: dataclasses.replace(layer(3), down=first.down)}
    tensors = written(tmp_path, layers)
    assert tensors[f"{JOINED}.lora_down.weight"].shape == (2, WIDTH)
    assert same(read_lora(tmp_path / "a.safetensors", vocabularies.FLUX).layers, layers)


def test_what_is_not_trained_stays_as_it_is(tmp_path: Path) -> None:
    layers = {KEY: layer(2)}
    tensors = written(tmp_path, layers)
    found = change(tensors, JOINED)
    assert found.shape == (3 * WIDTH, WIDTH)
    assert torch.allclose(found[WIDTH : 2 * WIDTH], delta(layers[KEY]))
    assert not found[:WIDTH].any()
    assert not found[2 * WIDTH :].any()
    assert same(read_lora(tmp_path / "a.safetensors", vocabularies.FLUX).layers, layers)


def test_a_lora_that_changes_nothing_yet_keeps_all_its_layers(tmp_path: Path) -> None:
    layers = {name: dataclasses.replace(layer(1), up=torch.zeros(WIDTH, 2)) for name in (QUERY, KEY, VALUE)}
    written(tmp_path, layers)
    assert read_lora(tmp_path / "a.safetensors", vocabularies.FLUX).layers.keys() == layers.keys()


def test_a_layer_of_a_single_block_has_four_shares_of_seven(tmp_path: Path) -> None:
    single = "transformer.single_transformer_blocks.5"
    layers = {f"{single}.attn.to_q": layer(1), f"{single}.proj_mlp": layer(2, outputs=4 * WIDTH)}
    tensors = written(tmp_path, layers)
    assert tensors["lora_unet_single_blocks_5_linear1.lora_up.weight"].shape == (7 * WIDTH, 4)
    assert same(read_lora(tmp_path / "a.safetensors", vocabularies.FLUX).layers, layers)


def test_a_joined_layer_of_the_wrong_size_is_refused(tmp_path: Path) -> None:
    written(tmp_path, {QUERY: layer(1)})
    known = dict.fromkeys((QUERY, KEY, VALUE), (WIDTH + 1, WIDTH))
    with pytest.raises(ModelError, match=r"lora_up.weight has the shape \[36, 2\], expected is \[39, 2\]"):
        read_lora(tmp_path / "a.safetensors", vocabularies.FLUX, known)


def test_a_shift_and_a_scale_change_places(tmp_path: Path) -> None:
    name = "transformer.norm_out.linear"
    lora = layer(1, outputs=2 * WIDTH)
    tensors = written(tmp_path, {name: lora})
    assert torch.allclose(
        change(tensors, "lora_unet_final_layer_adaLN_modulation_1"),
        torch.roll(delta(lora), WIDTH, 0),
    )
    assert torch.allclose(delta(read_lora(tmp_path / "a.safetensors", vocabularies.FLUX).layers[name]), delta(lora))


@pytest.mark.parametrize(("outputs", "moves"), [(2 * WIDTH, True), (6 * WIDTH, False)])
def test_only_the_last_block_of_sd3_has_a_shift_and_a_scale_alone(tmp_path: Path, outputs: int, moves: bool) -> None:
    lora = layer(1, outputs=outputs)
    write_kohya(tmp_path / "a.safetensors", {f"{BLOCK}.norm1_context.linear": lora}, vocabularies.SD3, {})
    up = load_file(tmp_path / "a.safetensors")["lora_unet_joint_blocks_0_context_block_adaLN_modulation_1.lora_up.weight"]
    assert torch.equal(up, lora.up.roll(WIDTH, 0) if moves else lora.up)
    assert same(read_lora(tmp_path / "a.safetensors", vocabularies.SD3).layers, {f"{BLOCK}.norm1_context.linear": lora})
