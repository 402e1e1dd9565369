"""Will it load? The tables of other programs against full lists of names that were written out by the rules."""

import pytest

from studio.formats.gate import Entry, Header
from studio.formats.readers import KINDS, Verdict, will_load

from . import golden

KOHYA = ("lora_down.weight", "lora_up.weight", "alpha")
ENTRY = Entry("F16", (4, 4))


def header(layers: set[str], ends: tuple[str, ...] = KOHYA, **metadata: str) -> Header:
    return Header({f"{layer}.{end}": ENTRY for layer in sorted(layers) for end in ends}, metadata)


def verdicts(file: Header, kind: str) -> dict[str, Verdict]:
    return {verdict.program: verdict for verdict in will_load(file, kind)}


def shares(file: Header, kind: str) -> dict[str, float]:
    return {program: verdict.understood / verdict.total for program, verdict in verdicts(file, kind).items()}


ALL = {"A1111": 1.0, "Forge": 1.0, "ComfyUI": 1.0, "InvokeAI": 1.0, "diffusers": 1.0}
BOTH = {"ComfyUI": 1.0, "diffusers": 1.0}
WHOLE: dict[str, tuple[str, set[str], int, dict[str, float]]] = {
    "SD 1.5": ("sd1", golden.sd15(), 264, ALL),
    "SDXL": ("sdxl", golden.sdxl(), 722 + 72 + 192, ALL),
    "SDXL with convolutions": ("sdxl", golden.sdxl() | golden.sdxl_convolutions(), 986 + 51 + 11 + 4, ALL),
    "FLUX.1": ("flux", golden.flux(), 190 + 114 + 72, {**ALL, "A1111": 0.0}),
    "SD 3.5 Medium": (
        "sd3",
        golden.sd3(24, 13),
        237 + 26 + 72 + 192,
        {"A1111": 0.0, "Forge": 1.0, "ComfyUI": 1.0, "InvokeAI": 0.0, "diffusers": 0.0},
    ),
    "SD 3.5 Large": ("sd3", golden.sd3(38, 0), 377 + 72 + 192, {"A1111": 0.0, "Forge": 1.0, "ComfyUI": 1.0, "InvokeAI": 0.0, "diffusers": 0.0}),
    "FLUX.2 dev": ("flux2", golden.flux2(8, 48), 64 + 96, BOTH),
    "FLUX.2 klein 4B": ("flux2", golden.flux2(5, 20), 40 + 40, BOTH),
    "Qwen-Image": ("qwen-image", golden.qwen_image(), 60 * 14, BOTH),
    "Z-Image": ("z-image", golden.z_image(), 34 * 7, BOTH),
}


@pytest.mark.parametrize(("kind", "layers", "count", "expected"), WHOLE.values(), ids=WHOLE)
def test_whole_models_in_kohya_names(kind: str, layers: set[str], count: int, expected: dict[str, float]) -> None:
    assert len(layers) == count
    assert shares(header(layers), kind) == expected
    for verdict in will_load(header(layers), kind):
        assert verdict.total == 3 * count
        assert (verdict.complete, len(verdict.lost)) == ((True, 0) if expected[verdict.program] == 1 else (False, count))


@pytest.mark.parametrize(("kind", "layers"), [(kind, layers) for kind, layers, *_ in WHOLE.values()], ids=WHOLE)
def test_a_layer_with_a_wrong_name_is_lost_and_named(kind: str, layers: set[str]) -> None:
    right = sorted(layers)[7]
    wrong = right.replace("_attn", "_atn").replace("_mlp", "_mpl").replace("_mod", "_mood").replace("_layers", "_layer")
    assert wrong != right
    for program, verdict in verdicts(header(layers - {right} | {wrong}), kind).items():
        assert not verdict.complete
        assert wrong in verdict.lost
        if verdict.understood:
            assert verdict.lost == (wrong,)
            assert verdict.understood == verdict.total - 3
            assert verdict.why == f"{program} passes over what it doesn't know, such as {wrong}: 1 layers."


@pytest.mark.parametrize(
    "name", ["lora_unet_double_blocks_19_img_attn_qkv", "lora_unet_single_blocks_38_linear1", "lora_unet_double_blocks_0_img_attn_q"]
)
def test_a_block_that_the_model_lacks_is_no_layer(name: str) -> None:
    assert verdicts(header(golden.flux() | {name}), "flux")["ComfyUI"].lost == (name,)


def test_some_programs_refuse_the_whole_file_for_one_strange_layer() -> None:
    found = verdicts(header(golden.sdxl() | {"lora_unet_nowhere"}), "sdxl")
    for program in ("InvokeAI", "diffusers"):
        assert found[program].understood == 0
        assert found[program].why == f"{program} refuses the whole file because of lora_unet_nowhere, which it doesn't know."
    assert found["A1111"].lost == ("lora_unet_nowhere",)


def test_the_stranger_is_named_in_either_way_to_write() -> None:
    file = Header({**header(DIFFUSERS_SD, PEFT).tensors, "unet.nowhere.lora_A.weight": ENTRY}, {})
    assert verdicts(file, "sdxl")["diffusers"].why == "diffusers refuses the whole file because of unet.nowhere, which it doesn't know."


def test_a_tensor_that_is_no_part_of_a_lora_is_seen() -> None:
    file = Header({**header(golden.sd15()).tensors, "emb_params": ENTRY}, {})
    assert verdicts(file, "sd1")["A1111"].lost == ("emb_params",)
    assert verdicts(file, "sd1")["diffusers"].understood == 0


PEFT = ("lora_A.weight", "lora_B.weight")
BLOCK = "unet.down_blocks.0.attentions.0.transformer_blocks.0"
DIFFUSERS_SD = {f"{BLOCK}.attn1.to_q", f"{BLOCK}.attn2.to_out.0", f"{BLOCK}.ff.net.2", "text_encoder.text_model.encoder.layers.3.mlp.fc1"}


def test_a_file_with_the_names_of_diffusers_is_nothing_to_a1111_and_half_a_one_to_comfyui() -> None:
    for kind in ("sd1", "sdxl"):
        found = verdicts(header(DIFFUSERS_SD, PEFT), kind)
        assert (found["A1111"].understood, found["A1111"].why) == (0, f"A1111 doesn't know layers by such names: {min(DIFFUSERS_SD)}.")
        assert found["ComfyUI"].lost == (f"{BLOCK}.attn1.to_q", f"{BLOCK}.attn2.to_out.0")
        assert found["Forge"].lost == found["ComfyUI"].lost
        assert found["diffusers"].complete


def test_older_names_of_diffusers_are_known_to_comfyui() -> None:
    assert verdicts(header({f"{BLOCK}.attn1.processor.to_q"}, PEFT), "sd1")["ComfyUI"].complete
    old = Header({f"{BLOCK}.attn1.processor.to_q_lora.{end}.weight": ENTRY for end in ("down", "up")}, {})
    assert verdicts(old, "sd1")["ComfyUI"].complete
    assert verdicts(old, "sd1")["diffusers"].complete


@pytest.mark.parametrize("kind", ["flux", "sd3"])
def test_transformers_in_the_names_of_diffusers(kind: str) -> None:
    file = header(
        {"transformer.transformer_blocks.0.attn.to_q", "transformer.transformer_blocks.3.ff_context.net.2", "transformer.norm_out.linear"}, PEFT
    )
    found = verdicts(file, kind)
    assert found["ComfyUI"].complete
    assert found["diffusers"].complete
    assert found["Forge"].complete == (kind == "flux")
    assert found["A1111"].why.startswith("A1111 reads no LoRA for")


def test_lokr_of_z_image_is_read_by_diffusers_in_the_general_names() -> None:
    layer = "diffusion_model.layers.0.attention.to_q"
    tensors = ("lokr_w1", "lokr_w2", "alpha")
    assert [verdict.complete for verdict in will_load(header({layer}, tensors), "z-image")] == [True, True]
    other = "lora_unet_transformer_blocks_0_attn_to_q"
    assert [verdict.program for verdict in will_load(header({other}, tensors), "qwen-image") if verdict.complete] == ["ComfyUI"]


def test_diffusers_passes_over_the_outer_layers_of_flux_in_kohya_names() -> None:
    outer = {"lora_unet_img_in", "lora_unet_time_in_in_layer", "lora_unet_final_layer_linear", "lora_unet_guidance_in_out_layer"}
    found = verdicts(header(golden.flux() | outer), "flux")
    assert found["diffusers"].lost == tuple(sorted(outer))
    assert found["ComfyUI"].complete
    assert found["InvokeAI"].understood == 0


def test_layers_of_flux_one_by_one_are_read_by_some() -> None:
    found = verdicts(header({"lora_transformer_transformer_blocks_0_attn_to_q"}), "flux")
    assert [program for program, verdict in found.items() if verdict.complete] == ["ComfyUI", "InvokeAI"]


def test_a_mixture_of_two_ways_to_write_is_refused_by_some() -> None:
    mixed = header({"lora_transformer_transformer_blocks_0_attn_to_q", "lora_unet_double_blocks_0_img_mlp_2"})
    found = verdicts(mixed, "flux")
    assert found["ComfyUI"].complete
    assert (found["InvokeAI"].understood, found["diffusers"].understood) == (0, 0)


def test_dora_in_kohyas_names_is_read_by_nobody_as_it_was_trained() -> None:
    found = verdicts(header(golden.sdxl(), (*KOHYA, "dora_scale")), "sdxl")
    assert not any(verdict.complete for verdict in found.values())
    for program in ("Forge", "ComfyUI"):
        assert (found[program].understood, found[program].lost) == (found[program].total, ())
        assert found[program].why == f"{program} reads DoRA in a way of its own: the pictures come near what was trained."
    assert found["A1111"].understood == 3 * len(golden.sdxl())
    assert found["A1111"].why == "A1111 doesn't read DoRA as this file has it: the pictures would be others."
    assert len(found["diffusers"].lost) == len(golden.sdxl())


@pytest.mark.parametrize("end", ["lora_magnitude_vector", "lora_magnitude_vector.weight"])
def test_dora_in_the_names_of_diffusers_is_read_by_diffusers_alone(end: str) -> None:
    found = verdicts(header(DIFFUSERS_SD, (*PEFT, end)), "sd1")
    assert [program for program, verdict in found.items() if verdict.complete] == ["diffusers"]


def test_lokr_is_refused_by_diffusers_alone() -> None:
    found = verdicts(header(golden.sd15(), ("lokr_w1", "lokr_w2_a", "lokr_w2_b", "alpha")), "sd1")
    assert [program for program, verdict in found.items() if not verdict.complete] == ["diffusers"]


@pytest.mark.parametrize(("alpha", "right"), [(4, True), (8, False)])
def test_alpha_that_only_the_metadata_hold_is_read_by_diffusers_alone(alpha: int, right: bool) -> None:
    file = header(
        {"transformer.transformer_blocks.0.attn.to_q"}, PEFT, lora_adapter_metadata=f'{{"transformer.r": 4, "transformer.lora_alpha": {alpha}}}'
    )
    found = verdicts(file, "flux")
    assert found["diffusers"].complete
    assert found["ComfyUI"].complete == right
    assert found["ComfyUI"].understood == found["ComfyUI"].total


def test_kinds_without_tables_have_no_verdicts() -> None:
    assert will_load(header({"a"}), "llm") == ()
    assert set(KINDS) == {"sd1", "sd2", "sdxl", "sd3", "flux", "flux2", "qwen-image", "z-image"}


def test_a_thousand_layers_are_judged_at_once() -> None:
    import time

    began = time.process_time()
    will_load(header(golden.sdxl() | golden.sdxl_convolutions()), "sdxl")
    assert time.process_time() - began < 1
