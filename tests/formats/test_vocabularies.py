"""The names of all layers of whole models, built without memory from their public configurations, and what diffusers makes of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from studio.formats import vocabularies
from studio.formats.adapter import write_diffusers
from studio.formats.gate import check_safetensors
from studio.formats.kohya import write_kohya
from studio.formats.lora import LoraLayer, read_lora
from studio.formats.names import Names
from studio.formats.readers import will_load

from . import golden
from .sd import random_layer, same, shapes

Known = dict[str, tuple[int, ...]]
OUTER = ("time_", "context_embedder", "x_embedder", "pos_embed", "norm_out", "proj_out", "conv_in", "conv_out", "add_embedding")


def clip(width: int, depth: int, projected: bool = False) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(hidden_size=width, intermediate_size=4 * width, num_hidden_layers=depth, num_attention_heads=4, vocab_size=64)
    return (CLIPTextModelWithProjection if projected else CLIPTextModel)(config)


def unet(width: int) -> Any:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        block_out_channels=(width, 2 * width, 4 * width),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2, 10),
        attention_head_dim=(2, 4, 8),
        cross_attention_dim=64,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=64,
    )


def sdxl(width: int) -> dict[str, Any]:
    return {"unet": unet(width), "text_encoder": clip(16, 12), "text_encoder_2": clip(32, 32, projected=True)}


def flux(width: int) -> dict[str, Any]:
    from diffusers import FluxTransformer2DModel

    transformer = FluxTransformer2DModel(guidance_embeds=True, num_attention_heads=2, attention_head_dim=width // 2)
    return {"transformer": transformer, "text_encoder": clip(16, 12)}


def sd3(width: int, depth: int, second: int) -> dict[str, Any]:
    from diffusers import SD3Transformer2DModel

    transformer = SD3Transformer2DModel(
        num_layers=depth,
        num_attention_heads=2,
        attention_head_dim=width // 2,
        caption_projection_dim=width,
        dual_attention_layers=tuple(range(second)),
        qk_norm="rms_norm",
    )
    return {"transformer": transformer, "text_encoder": clip(16, 12, projected=True), "text_encoder_2": clip(32, 32, projected=True)}


def with_real_outputs(known: Known) -> Known:
    """FLUX's single blocks with the width of the real one's outputs, which diffusers takes for granted in kohya files."""
    real = {"attn.to_q": 3072, "attn.to_k": 3072, "attn.to_v": 3072, "proj_mlp": 12288}
    return {name: (real.get(name.split(".", 3)[-1], shape[0]) if "single" in name else shape[0], *shape[1:]) for name, shape in known.items()}


# Every block of the real models, but narrow.
MODELS: dict[str, tuple[Names, Callable[[], dict[str, Any]], set[str]]] = {
    "SDXL": (vocabularies.SDXL, lambda: sdxl(32), golden.sdxl() | golden.sdxl_convolutions()),
    "FLUX.1": (vocabularies.FLUX, lambda: flux(16), golden.flux()),
    "SD 3.5 Medium": (vocabularies.SD3, lambda: sd3(16, 24, 13), golden.sd3(24, 13)),
    "SD 3.5 Large": (vocabularies.SD3, lambda: sd3(16, 38, 0), golden.sd3(38, 0)),
}


class Model:
    """A whole model's layers, and a LoRA on each of them whose alpha isn't its rank."""

    def __init__(self, name: str) -> None:
        self.names, build, self.golden = MODELS[name]
        with torch.device("meta"):
            known = shapes(**build())
        self.build = build
        self.known = with_real_outputs({layer: shape for layer, shape in known.items() if not layer.endswith("text_projection")})
        self.layers = {layer: random_layer(shape, rank=2, alpha=3.0, seed=number) for number, (layer, shape) in enumerate(self.known.items())}
        self.inner = {layer: lora for layer, lora in self.layers.items() if not layer.split(".")[1].startswith(OUTER)}


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest) -> Model:
    return Model(request.param)


def test_all_layers_of_the_blocks_have_the_names_of_the_rules(tmp_path: Path, model: Model) -> None:
    write_kohya(tmp_path / "full.safetensors", model.inner, model.names, {})
    tensors = check_safetensors(tmp_path / "full.safetensors").tensors
    assert tensors.keys() == {f"{name}.{end}" for name in model.golden for end in ("lora_down.weight", "lora_up.weight", "alpha")}


def test_programs_read_all_that_is_written_for_them(tmp_path: Path, model: Model) -> None:
    kinds = ((vocabularies.SDXL, "sdxl"), (vocabularies.FLUX, "flux"), (vocabularies.SD3, "sd3"))
    kind = next(kind for names, kind in kinds if names is model.names)
    for write, programs in ((write_kohya, {"Forge", "ComfyUI"}), (write_diffusers, {"diffusers"})):
        write(tmp_path / "full.safetensors", model.layers, model.names, {})
        found = will_load(check_safetensors(tmp_path / "full.safetensors"), kind)
        assert programs <= {verdict.program for verdict in found if verdict.complete}


def test_a_whole_model_comes_back_unchanged_in_both_formats(tmp_path: Path, model: Model) -> None:
    exact = {layer: lora for layer, lora in model.layers.items() if not model.names.place(layer).plain}
    for write in (write_kohya, write_diffusers):
        write(tmp_path / "full.safetensors", model.layers, model.names, {})
        for known in (model.known, None):
            back = read_lora(tmp_path / "full.safetensors", model.names, known).layers
            assert same(back, model.layers, exact)
            assert equal(back, model.layers)


def equal(left: dict[str, LoraLayer], right: dict[str, LoraLayer]) -> bool:
    return left.keys() == right.keys() and all(torch.allclose(answer(left[name]), answer(right[name]), atol=1e-5) for name in right)


def answer(lora: LoraLayer) -> torch.Tensor:
    """What the change of the weight makes of an input."""
    given = torch.randn(lora.down[0].numel(), generator=torch.Generator().manual_seed(0))
    return lora.up.flatten(1) @ (lora.down.flatten(1) @ given) * (lora.alpha / lora.rank)


def loaded_into(part: str, model: Any, adapter: str = "probe") -> dict[str, LoraLayer]:
    """The LoRA that diffusers has put on a model, as it acts."""
    return {
        f"{part}.{name}": LoraLayer(module.lora_A[adapter].weight, module.lora_B[adapter].weight, module.scaling[adapter] * module.r[adapter])
        for name, module in model.named_modules()
        if hasattr(module, "lora_A")
    }


def opened_by_diffusers(path: Path, kind: str, parts: dict[str, Any]) -> dict[str, LoraLayer]:
    """What is on the parts of a model after diffusers has loaded the file."""
    import diffusers

    pipeline = getattr(diffusers, kind)
    options = {"unet_config": parts["unet"].config} if "unet" in parts else {}
    state, *alphas, metadata = pipeline.lora_state_dict(path.parent, weight_name=path.name, return_lora_metadata=True, **options)
    for part, model in parts.items():
        known = {"network_alphas": alphas[0] if alphas else None, "adapter_name": "probe", "metadata": metadata}
        if part == "unet":
            pipeline.load_lora_into_unet(state, unet=model, **known)
        elif part == "transformer":
            known.pop("network_alphas") if kind.startswith("StableDiffusion3") else None
            pipeline.load_lora_into_transformer(state, transformer=model, **known)
        else:
            pipeline.load_lora_into_text_encoder(state, text_encoder=model, prefix=part, **known)
    return {layer: lora for part, model in parts.items() for layer, lora in loaded_into(part, model).items()}


@pytest.mark.parametrize(
    ("name", "kind"), [("SDXL", "StableDiffusionXLPipeline"), ("SD 3.5 Medium", "StableDiffusion3Pipeline"), ("FLUX.1", "FluxPipeline")]
)
def test_diffusers_puts_the_same_on_every_layer(tmp_path: Path, name: str, kind: str) -> None:
    model = Model(name)
    parts = model.build()
    layers = {
        layer: random_layer(shape, rank=2, alpha=3.0, seed=number)
        for number, (layer, shape) in enumerate(shapes(**parts).items())
        if not layer.endswith("text_projection")
    }
    write_diffusers(tmp_path / "d.safetensors", layers, model.names, {})
    assert equal(opened_by_diffusers(tmp_path / "d.safetensors", kind, parts), layers)
    if kind == "StableDiffusionXLPipeline":
        write_kohya(tmp_path / "k.safetensors", layers, model.names, {})
        assert equal(opened_by_diffusers(tmp_path / "k.safetensors", kind, model.build()), layers)
        assert all(verdict.complete for verdict in will_load(check_safetensors(tmp_path / "k.safetensors"), "sdxl"))


def test_diffusers_understands_joined_layers_of_flux(tmp_path: Path) -> None:
    from diffusers import FluxPipeline

    model = Model("FLUX.1")
    write_kohya(tmp_path / "k.safetensors", model.inner, model.names, {})
    state = FluxPipeline.lora_state_dict(tmp_path, weight_name="k.safetensors")
    found = {
        name: LoraLayer(state[f"{name}.lora_A.weight"], state[f"{name}.lora_B.weight"], 2.0)
        for name in {key.rpartition(".lora_")[0] for key in state if key.startswith("transformer.")}
    }
    assert equal(found, {layer: lora for layer, lora in model.inner.items() if layer.startswith("transformer.")})
    encoder = clip(16, 12)
    FluxPipeline.load_lora_into_text_encoder(state, None, encoder, prefix="text_encoder", adapter_name="probe")
    assert equal(loaded_into("text_encoder", encoder), {layer: lora for layer, lora in model.inner.items() if layer.startswith("text_encoder.")})


def test_what_diffusers_loses_of_a_flux_file_is_what_the_table_says(tmp_path: Path) -> None:
    from diffusers import FluxPipeline

    model = Model("FLUX.1")
    write_kohya(tmp_path / "k.safetensors", model.layers, model.names, {})
    state = FluxPipeline.lora_state_dict(tmp_path, weight_name="k.safetensors")
    lost = {key.rpartition(".lora_")[0] for key in state if not key.startswith(("transformer.", "text_encoder."))}
    verdict = next(verdict for verdict in will_load(check_safetensors(tmp_path / "k.safetensors"), "flux") if verdict.program == "diffusers")
    assert verdict.lost == tuple(sorted(model.names.in_kohya(f"transformer.{layer}") for layer in lost))
    assert len(lost) == 10


@pytest.mark.parametrize(
    ("names", "written", "layers"),
    [
        (
            vocabularies.SDXL,
            "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_k",
            "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_k",
        ),
        (vocabularies.SDXL, "diffusion_model.input_blocks.4.0.in_layers.2", "unet.down_blocks.1.resnets.0.conv1"),
        (vocabularies.SDXL, "lora_te2_text_model_encoder_layers_31_mlp_fc1", "text_encoder_2.text_model.encoder.layers.31.mlp.fc1"),
        (vocabularies.SDXL, "text_encoder.text_model.encoder.layers.3.mlp.fc1", "text_encoder.encoder.layers.3.mlp.fc1"),
        (vocabularies.FLUX, "diffusion_model.double_blocks.18.txt_attn.proj", "transformer.transformer_blocks.18.attn.to_add_out"),
        (vocabularies.FLUX, "base_model.model.double_blocks.3.img_mlp.0", "transformer.transformer_blocks.3.ff.net.0.proj"),
        (vocabularies.FLUX, "base_model.model.transformer_blocks.3.ff.net.2", "transformer.transformer_blocks.3.ff.net.2"),
        (vocabularies.FLUX, "transformer.single_blocks.3.linear2", "transformer.single_transformer_blocks.3.proj_out"),
        (vocabularies.FLUX, "lora_transformer_single_transformer_blocks_3_proj_mlp", "transformer.single_transformer_blocks.3.proj_mlp"),
        (vocabularies.FLUX, "lycoris_transformer_blocks_0_ff_context_net_0_proj", "transformer.transformer_blocks.0.ff_context.net.0.proj"),
        (vocabularies.FLUX, "diffusion_model.time_in.in_layer", "transformer.time_text_embed.timestep_embedder.linear_1"),
        (vocabularies.SD3, "diffusion_model.joint_blocks.3.x_block.attn2.proj", "transformer.transformer_blocks.3.attn2.to_out.0"),
        (vocabularies.SD3, "lora_transformer_transformer_blocks_3_attn_add_k_proj", "transformer.transformer_blocks.3.attn.add_k_proj"),
        (vocabularies.SD3, "lora_te3_encoder_block_5_layer_1_DenseReluDense_wi_0", "text_encoder_3.encoder.block.5.layer.1.DenseReluDense.wi_0"),
        (vocabularies.FLUX2, "diffusion_model.double_blocks.3.txt_mlp.0", "transformer.transformer_blocks.3.ff_context.linear_in"),
        (vocabularies.FLUX2, "lora_unet_single_blocks_47_linear1", "transformer.single_transformer_blocks.47.attn.to_qkv_mlp_proj"),
        (vocabularies.FLUX2, "lora_transformer_single_transformer_blocks_3_attn_to_out", "transformer.single_transformer_blocks.3.attn.to_out"),
        (vocabularies.QWEN_IMAGE, "lora_unet_transformer_blocks_59_img_mlp_net_0_proj", "transformer.transformer_blocks.59.img_mlp.net.0.proj"),
        (vocabularies.QWEN_IMAGE, "transformer_blocks.7.txt_mod.1", "transformer.transformer_blocks.7.txt_mod.1"),
        (vocabularies.Z_IMAGE, "lora_unet_layers_29_attention_out", "transformer.layers.29.attention.to_out.0"),
        (vocabularies.Z_IMAGE, "diffusion_model.noise_refiner.1.feed_forward.w2", "transformer.noise_refiner.1.feed_forward.w2"),
        (vocabularies.Z_IMAGE, "lycoris_layers_3_attention_to_q", "transformer.layers.3.attention.to_q"),
    ],
)
def test_other_programs_spellings_are_understood(names: Names, written: str, layers: str) -> None:
    for known in (None, [layers]):
        place = names.reader(known)(written)
        assert place is not None
        assert place.layers == (layers,)
