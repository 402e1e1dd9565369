from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from studio.errors import ModelError
from studio.formats.fingerprints import TITLES, check_base, check_lora, recognise_base, recognise_layers, recognise_lora, recognise_version
from studio.formats.gate import Entry, Header

UNET = "model.diffusion_model."
ATTENTION = f"{UNET}input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"
BASES = {
    "sd1": {ATTENTION: (640, 768)},
    "sd2": {ATTENTION: (640, 1024)},
    "sdxl": {ATTENTION: (640, 2048)},
    "sdxl-refiner": {ATTENTION: (768, 1280)},
    "sd3": {f"{UNET}joint_blocks.0.context_block.adaLN_modulation.1.bias": (9216,)},
    "flux": {"double_blocks.0.img_attn.norm.key_norm.scale": (128,), "double_blocks.0.img_mod.lin.weight": (18432, 3072)},
    "chroma": {"double_blocks.0.img_attn.norm.key_norm.scale": (128,), "distilled_guidance_layer.in_proj.bias": (5120,)},
    "llm": {"model.layers.0.self_attn.q_proj.weight": (2048, 2048)},
}


def header(shapes: dict[str, tuple[int, ...]], **metadata: str) -> Header:
    return Header({name: Entry("F16", shape) for name, shape in shapes.items()}, metadata)


@pytest.mark.parametrize(("kind", "shapes"), BASES.items(), ids=BASES)
def test_a_checkpoint_tells_its_kind(kind: str, shapes: dict[str, tuple[int, ...]]) -> None:
    assert recognise_base(header(shapes)) == kind


def test_a_flux_checkpoint_is_known_with_and_without_its_prefix() -> None:
    assert recognise_base(header({UNET + name: shape for name, shape in BASES["flux"].items()})) == "flux"


SINGLE = "single_transformer_blocks.0.proj_mlp.weight"
JOINT = {"joint_blocks.0.context_block.adaLN_modulation.1.bias": (9216,), "joint_blocks.23.x_block.attn.qkv.weight": (4608, 1536)}
CONTEXT = {"transformer_blocks.0.norm1_context.linear.weight": (9216, 1536)}
VERSIONS = {
    "FLUX.1 dev": ("dev", {**BASES["flux"], "guidance_in.in_layer.weight": (3072, 256)}),
    "FLUX.1 schnell": ("schnell", BASES["flux"]),
    "FLUX.1 dev, diffusers": ("dev", {SINGLE: (12288, 3072), "time_text_embed.guidance_embedder.linear_1.weight": (3072, 256)}),
    "FLUX.1 schnell, diffusers": ("schnell", {SINGLE: (12288, 3072)}),
    "SD 3 Medium": ("3-medium", JOINT),
    "SD 3.5 Medium": ("3.5-medium", {**JOINT, "joint_blocks.0.x_block.attn2.qkv.weight": (4608, 1536)}),
    "SD 3.5 Large": ("3.5-large", {**JOINT, "joint_blocks.24.x_block.attn.qkv.weight": (7296, 2432)}),
    "SD 3 Medium, diffusers": ("3-medium", CONTEXT),
    "SD 3.5 Medium, diffusers": ("3.5-medium", {**CONTEXT, "transformer_blocks.0.attn2.to_q.weight": (1536, 1536)}),
    "SD 3.5 Large, diffusers": ("3.5-large", {**CONTEXT, "transformer_blocks.24.attn.to_q.weight": (2432, 2432)}),
    "SDXL": (None, BASES["sdxl"]),
    "SDXL with velocity": ("v-prediction", {**BASES["sdxl"], "v_pred": ()}),
    "SD 1.5": (None, BASES["sd1"]),
}


@pytest.mark.parametrize(("version", "shapes"), VERSIONS.values(), ids=VERSIONS)
def test_versions_of_a_kind_are_told_apart(version: str | None, shapes: dict[str, tuple[int, ...]]) -> None:
    assert recognise_version(header(shapes)) == version
    assert (
        recognise_version(header({UNET + name if "block" in name or "guidance" in name else name: shape for name, shape in shapes.items()}))
        == version
    )


def test_velocity_is_known_by_the_metadata_too() -> None:
    shapes = {name: Entry("F16", shape) for name, shape in BASES["sdxl"].items()}
    assert recognise_version(Header(shapes, {"modelspec.prediction_type": "v"})) == "v-prediction"
    assert recognise_version(Header(shapes, {"modelspec.prediction_type": "epsilon"})) is None


def test_a_small_checkpoint_of_unusual_width_is_known_by_its_text_encoder() -> None:
    small = {f"{UNET}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (32, 128)}
    assert recognise_base(header(small)) is None
    assert recognise_base(header({**small, "cond_stage_model.transformer.text_model.final_layer_norm.weight": (128,)})) == "sd1"
    assert recognise_base(header({**small, "cond_stage_model.model.ln_final.weight": (128,)})) == "sd2"


KOHYA = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight"
DIFFUSERS = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.lora_A.weight"
LORAS = [
    ("sd1", KOHYA, (8, 768)),
    ("sd2", KOHYA, (8, 1024)),
    ("sdxl", KOHYA, (8, 2048)),
    ("sdxl", "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_v.lora_down.weight", (8, 2048)),
    ("sdxl", "lora_unet_input_blocks_8_1_transformer_blocks_9_attn1_to_q.lora_down.weight", (8, 1280)),
    ("sdxl", "lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_down.weight", (8, 1280)),
    ("sd1", "lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight", (8, 768)),
    ("sd2", "lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight", (8, 1024)),
    ("sd1", DIFFUSERS, (8, 768)),
    ("sd2", DIFFUSERS, (8, 1024)),
    ("sdxl", DIFFUSERS, (8, 2048)),
    ("sdxl", "unet.down_blocks.2.attentions.0.transformer_blocks.3.attn1.to_q.lora_A.weight", (8, 1280)),
    ("sd1", "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.processor.to_k_lora.down.weight", (8, 768)),
    ("sd1", "down_blocks.1.attentions.0.transformer_blocks.0.attn2.processor.to_v_lora.down.weight", (8, 768)),
    ("sd1", "text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_linear_layer.down.weight", (8, 768)),
    ("sd3", "lora_unet_joint_blocks_0_x_block_attn_qkv.lora_down.weight", (8, 1536)),
    ("sd3", "transformer.transformer_blocks.0.attn.to_q.lora_A.weight", (8, 1536)),
    ("flux", "lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight", (8, 3072)),
    ("flux", "lora_unet_single_blocks_0_linear1.lora_down.weight", (8, 3072)),
    ("flux", "transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight", (8, 3072)),
    ("flux", "transformer.transformer_blocks.0.ff_context.net.0.proj.lora_A.weight", (8, 3072)),
    ("flux", "lora_transformer_single_transformer_blocks_0_attn_to_q.lora_down.weight", (8, 3072)),
    ("flux", "diffusion_model.double_blocks.0.img_attn.qkv.lora_A.weight", (8, 3072)),
    ("sd3", "lora_transformer_transformer_blocks_0_attn_add_q_proj.lora_down.weight", (8, 2432)),
    ("sdxl", "text_encoder_2.text_model.encoder.layers.0.mlp.fc1.lora_A.weight", (8, 1280)),
    ("llm", "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight", (8, 2048)),
    ("z-image", "diffusion_model.layers.0.attention.to_q.lora_down.weight", (8, 3840)),
    ("z-image", "lora_unet_layers_0_attention_qkv.lora_down.weight", (8, 3840)),
    ("lumina2", "lora_unet_layers_0_attention_qkv.lora_down.weight", (8, 2304)),
    ("qwen-image", "lora_unet_transformer_blocks_59_attn_to_q.lora_down.weight", (8, 3072)),
    ("flux2", "transformer.single_transformer_blocks.0.attn.to_qkv_mlp_proj.lora_A.weight", (8, 3072)),
    ("flux2", "lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight", (8, 6144)),
]


@pytest.mark.parametrize(("kind", "name", "shape"), LORAS)
def test_a_lora_tells_what_it_is_made_for(kind: str, name: str, shape: tuple[int, ...]) -> None:
    assert recognise_lora(header({name: shape})) == kind
    assert recognise_base(header({name: shape})) is None


@pytest.mark.parametrize(("kind", "linear2", "mlp"), [("flux", 15360, 12288), ("flux2", 12288, 9216)])
def test_flux_1_and_flux_2_of_one_width_are_told_apart_by_their_feed_forward(kind: str, linear2: int, mlp: int) -> None:
    single = {"lora_unet_single_blocks_0_linear1.lora_down.weight": (8, 3072), "lora_unet_single_blocks_0_linear2.lora_down.weight": (8, linear2)}
    double = {"lora_unet_double_blocks_0_txt_mlp_0.lora_down.weight": (8, 3072), "lora_unet_double_blocks_0_txt_mlp_2.lora_down.weight": (8, mlp)}
    assert recognise_lora(header(single)) == recognise_lora(header(double)) == kind


def test_where_only_attention_was_trained_flux_2_is_known_by_the_metadata() -> None:
    layer = {"lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight": (8, 3072)}
    assert recognise_lora(Header(header(layer).tensors, {"modelspec.architecture": "Flux.2/lora"})) == "flux2"
    assert recognise_lora(header(layer)) == "flux"


def test_a_lokr_tells_it_by_the_product_of_its_matrices() -> None:
    layer = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"
    whole = {f"{layer}.lokr_w1": (8, 8), f"{layer}.lokr_w2": (40, 96)}
    parted = {f"{layer}.lokr_w1": (8, 8), f"{layer}.lokr_w2_a": (40, 4), f"{layer}.lokr_w2_b": (4, 128)}
    assert [recognise_lora(header(shapes)) for shapes in (whole, parted)] == ["sd1", "sd2"]


def test_what_the_layers_leave_open_the_metadata_tell() -> None:
    plain = {"lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q.lora_down.weight": (8, 1280)}
    assert recognise_lora(header(plain)) is None
    assert recognise_lora(header(plain, ss_base_model_version="sdxl_base_v1-0")) == "sdxl"
    assert recognise_lora(Header(header(plain).tensors, {"modelspec.architecture": "stable-diffusion-v1/lora"})) == "sd1"
    assert recognise_lora(header({KOHYA: (8, 768)}, ss_base_model_version="sdxl_base_v1-0")) == "sd1"


def test_an_open_base_model_tells_its_kind_by_its_layers() -> None:
    assert recognise_layers({"unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k": (640, 768)}) == "sd1"
    assert recognise_layers({"unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k": (64, 128)}) is None


def saved(folder: Path, name: str, shape: tuple[int, ...]) -> Path:
    save_file({name: torch.zeros(shape)}, folder / "file.safetensors")
    return folder / "file.safetensors"


def test_a_base_model_passes_as_one_and_is_no_lora(tmp_path: Path) -> None:
    path = saved(tmp_path, ATTENTION, (640, 768))
    assert check_base(path) == "sd1"
    with pytest.raises(ModelError, match=r"file.safetensors is no LoRA; it holds this: Stable Diffusion 1.x."):
        check_lora(path)


def test_a_lora_passes_as_one_and_is_no_base_model(tmp_path: Path) -> None:
    path = saved(tmp_path, KOHYA, (8, 768))
    assert check_lora(path, "sd1").tensors.keys() == {KOHYA}
    with pytest.raises(ModelError, match=r"file.safetensors is a LoRA for Stable Diffusion 1.x, not a base model.") as error:
        check_base(path)
    assert "init_lora" in error.value.fix


@pytest.mark.parametrize(("kind", "name", "shape"), [row for row in LORAS if row[0] not in {"sd2"}])
def test_a_lora_for_another_model_is_refused_by_both_names(tmp_path: Path, kind: str, name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError) as error:
        check_lora(saved(tmp_path, name, shape), "sd2")
    assert error.value.what == f"file.safetensors is a LoRA for {TITLES[kind]}, but the base model is Stable Diffusion 2.x."


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("decoder.conv_in.weight", "VAE"),
        ("control_model.time_embed.0.weight", "ControlNet"),
        ("emb_params", "Textual Inversion"),
        ("down_blocks.0.resnets.0.conv1.weight", "UNet"),
        (SINGLE, "FLUX.1 Transformer"),
        ("transformer_blocks.0.norm1_context.linear.weight", "Stable Diffusion 3 Transformer"),
    ],
)
def test_a_part_of_a_model_is_no_base_model(tmp_path: Path, name: str, title: str) -> None:
    with pytest.raises(ModelError, match=f"no whole base model but a part or an addition: {title}"):
        check_base(saved(tmp_path, name, (4, 4)))


def test_an_unknown_model_is_named_by_its_first_tensor(tmp_path: Path) -> None:
    path = saved(tmp_path, "mystery.weight", (4, 4))
    for check in (check_base, check_lora):
        with pytest.raises(ModelError, match=r"its first tensor is mystery.weight"):
            check(path)
