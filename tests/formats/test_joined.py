"""Layers that other programs keep as one."""

import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from studio.errors import ModelError
from studio.formats import vocabularies
from studio.formats.adapter import write_diffusers
from studio.formats.gate import check_safetensors
from studio.formats.kohya import write_kohya
from studio.formats.lora import LokrLayer, LoraLayer, read_lora
from studio.formats.readers import will_load

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


ALL = ("lora", "dora", "lokr")


def with_magnitude(lora: LoraLayer, seed: int) -> LoraLayer:
    return dataclasses.replace(lora, magnitude=torch.rand(len(lora.up), generator=torch.Generator().manual_seed(seed)))


def test_dora_of_all_parts_is_joined_and_comes_back(tmp_path: Path) -> None:
    layers = {name: with_magnitude(layer(seed), seed) for seed, name in enumerate((QUERY, KEY, VALUE))}
    tensors = written(tmp_path, layers)
    assert torch.equal(tensors[f"{JOINED}.dora_scale"], torch.cat([lora.magnitude for lora in layers.values()])[:, None])
    back = read_lora(tmp_path / "a.safetensors", vocabularies.FLUX, kinds=ALL).layers
    assert same(back, layers)
    assert all(torch.equal(back[name].magnitude, lora.magnitude) for name, lora in layers.items())


def test_dora_as_it_is_written_for_diffusers_is_read_by_diffusers(tmp_path: Path) -> None:
    layers = {name: with_magnitude(layer(seed), seed) for seed, name in enumerate((QUERY, VALUE))}
    write_diffusers(tmp_path / "a.safetensors", layers, vocabularies.FLUX, {})
    found = will_load(check_safetensors(tmp_path / "a.safetensors"), "flux")
    assert [verdict.program for verdict in found if verdict.complete] == ["diffusers"]
    assert same(read_lora(tmp_path / "a.safetensors", vocabularies.FLUX, kinds=ALL).layers, layers)


def test_dora_of_some_parts_is_written_layer_by_layer(tmp_path: Path) -> None:
    layers = {QUERY: with_magnitude(layer(1), 1), VALUE: with_magnitude(layer(2), 2)}
    tensors = written(tmp_path, layers)
    assert {name.split(".")[0] for name in tensors} == {f"lora_transformer_transformer_blocks_0_attn_to_{letter}" for letter in "qv"}
    for known in (None, dict.fromkeys((QUERY, KEY, VALUE), (WIDTH, WIDTH))):
        assert same(read_lora(tmp_path / "a.safetensors", vocabularies.FLUX, known, ALL).layers, layers)


def test_where_one_layer_cannot_be_joined_all_are_written_one_by_one(tmp_path: Path) -> None:
    random = torch.Generator().manual_seed(1)
    w1, w2, w2_b = (torch.randn(*shape, generator=random) for shape in ((2, 3), (6, 2), (2, 4)))
    layers = {QUERY: LokrLayer(w1, w2, 3.0, w2_b), f"{BLOCK}.ff.net.2": LokrLayer(w1, w2 @ w2_b, 1.0)}
    write_kohya(tmp_path / "a.safetensors", layers, vocabularies.FLUX, {})
    names = {name.split(".")[0] for name in load_file(tmp_path / "a.safetensors")}
    found = {verdict.program: verdict.complete for verdict in will_load(check_safetensors(tmp_path / "a.safetensors"), "flux")}
    assert found == {"A1111": False, "Forge": False, "ComfyUI": True, "InvokeAI": True, "diffusers": False}
    assert names == {f"lora_transformer_transformer_blocks_0_{end}" for end in ("attn_to_q", "ff_net_2")}
    back = read_lora(tmp_path / "a.safetensors", vocabularies.FLUX, dict.fromkeys(layers, (WIDTH, WIDTH)), ALL).lokr
    assert back.keys() == layers.keys()
    assert torch.equal(back[QUERY].w1, w1)
    assert torch.equal(back[QUERY].w2_b, w2_b)
    assert back[QUERY].alpha == 3.0
    assert torch.equal(back[f"{BLOCK}.ff.net.2"].w2, w2 @ w2_b)


LOKR = {"lokr_w1": (2, 3), "lokr_w2_a": (6, 2), "lokr_w2_b": (2, 4)}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"lokr_w2_b": (2, 5)}, r"lokr_w2_b has the shape \[2, 5\], expected is \[2, 4\]"),
        ({"lokr_w2_a": (6, 3)}, r"lokr_w2_a has the shape \[6, 3\], expected is \[6, 2\]"),
        ({"lokr_w1": (5, 3)}, r"lokr_w1 has the shape \[5, 3\], expected is \[12, 12\]"),
        ({"lokr_w1": (0, 3)}, r"lokr_w1 has the shape \[0, 3\]"),
        ({"lokr_w2_b": None}, "has no lokr_w2_b weight"),
        ({"lokr_w1": None}, "has no lokr_w1 weight"),
        ({"dora_scale": (12, 1)}, "dora_scale has no place beside the layer's other tensors"),
    ],
)
def test_lokr_that_does_not_fit_is_refused_by_its_tensor(tmp_path: Path, change: dict[str, tuple[int, ...] | None], problem: str) -> None:
    name = "lora_unet_double_blocks_0_img_mlp_2"
    shapes = {key: shape for key, shape in {**LOKR, **change}.items() if shape is not None}
    save_file({f"{name}.{key}": torch.ones(shape) for key, shape in shapes.items()}, tmp_path / "a.safetensors")
    with pytest.raises(ModelError, match=problem):
        read_lora(tmp_path / "a.safetensors", vocabularies.FLUX, {f"{BLOCK}.ff.net.2": (WIDTH, WIDTH)}, ALL)


def test_lokr_of_query_key_and_value_in_one_is_refused(tmp_path: Path) -> None:
    save_file({f"{JOINED}.{key}": torch.ones(shape) for key, shape in LOKR.items()}, tmp_path / "a.safetensors")
    with pytest.raises(ModelError, match="is LoKr of several layers in one"):
        read_lora(tmp_path / "a.safetensors", vocabularies.FLUX, kinds=ALL)


def test_lengths_of_inputs_are_no_magnitude(tmp_path: Path) -> None:
    lora = layer(1, outputs=2 * WIDTH)
    name = "lora_unet_double_blocks_0_img_mlp_2"
    tensors = {f"{name}.lora_down.weight": lora.down, f"{name}.lora_up.weight": lora.up}
    save_file({**tensors, f"{name}.dora_scale": torch.ones(1, WIDTH)}, tmp_path / "a.safetensors")
    with pytest.raises(ModelError, match=r"dora_scale has the shape \[1, 12\], expected is \[24, 1\]"):
        read_lora(tmp_path / "a.safetensors", vocabularies.FLUX, kinds=ALL)
