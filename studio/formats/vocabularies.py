"""The names of each family's layers, as data: what diffusers calls them on one side, what other programs' files call them on the other."""

from studio.formats.names import Names, Place

CLIP = ("text_model", "self_attn", "q_proj", "k_proj", "v_proj", "out_proj", "text_projection")
OLDER_CLIP = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"}
UNET = (
    *("down_blocks", "mid_block", "up_blocks", "transformer_blocks", "to_q", "to_k", "to_v", "to_out", "proj_in", "proj_out"),
    *("time_emb_proj", "conv_shortcut", "conv_in", "conv_out", "time_embedding", "add_embedding", "linear_1", "linear_2"),
)
TRANSFORMER = (
    *("transformer_blocks", "single_transformer_blocks", "to_q", "to_k", "to_v", "to_out", "add_q_proj", "add_k_proj", "add_v_proj"),
    *("to_add_out", "ff_context", "norm1_context", "norm_out", "proj_mlp", "proj_out", "x_embedder", "context_embedder", "pos_embed"),
    *("time_text_embed", "timestep_embedder", "text_embedder", "guidance_embedder", "linear_1", "linear_2"),
)
T5 = ("wi_0", "wi_1")
CONVOLUTIONS = ("resnets", "downsamplers", "upsamplers")
# In original files a resnet is a list of layers.
RESNET = {"in_layers.2": "conv1", "emb_layers.1": "time_emb_proj", "out_layers.3": "conv2", "skip_connection": "conv_shortcut"}


def _resnet(original: str, path: str) -> list[Place]:
    return [Place(f"{original}.{theirs}", (f"{path}.{ours}",)) for theirs, ours in RESNET.items()]


def _sdxl() -> list[Place]:
    """SDXL's UNet has three levels; on the way down two layers each and a change of size, on the way up three layers each.

    The original numbers all of these in one row, the change of size on the way up with the layer before it.
    """
    places = [Place("input_blocks.0.0", ("conv_in",)), Place("out.2", ("conv_out",))]
    for number, original in enumerate(("time_embed.0", "time_embed.2"), 1):
        places.append(Place(original, (f"time_embedding.linear_{number}",)))
    for number, original in enumerate(("label_emb.0.0", "label_emb.0.2"), 1):
        places.append(Place(original, (f"add_embedding.linear_{number}",)))
    for level in range(3):
        for layer in range(2):
            original, path = f"input_blocks.{3 * level + layer + 1}", f"down_blocks.{level}"
            places += [*_resnet(f"{original}.0", f"{path}.resnets.{layer}"), Place(f"{original}.1", (f"{path}.attentions.{layer}",))]
        places.append(Place(f"input_blocks.{3 * level + 3}.0.op", (f"down_blocks.{level}.downsamplers.0.conv",)))
        for layer in range(3):
            original, path = f"output_blocks.{3 * level + layer}", f"up_blocks.{level}"
            places += [*_resnet(f"{original}.0", f"{path}.resnets.{layer}")]
            if (level, layer) < (2, 0):
                places.append(Place(f"{original}.1", (f"{path}.attentions.{layer}",)))
        places.append(Place(f"output_blocks.{3 * level + 2}.{2 if level < 2 else 1}.conv", (f"up_blocks.{level}.upsamplers.0.conv",)))
    places += [*_resnet("middle_block.0", "mid_block.resnets.0"), Place("middle_block.1", ("mid_block.attentions.0",))]
    return places + _resnet("middle_block.2", "mid_block.resnets.1")


def _joined(original: str, path: str, names: tuple[str, ...], shares: tuple[int, ...] = (1, 1, 1)) -> Place:
    return Place(original, tuple(f"{path}.{name}" for name in names), shares)


def _flux() -> list[Place]:
    places = []
    double, single = "transformer_blocks.{}", "single_transformer_blocks.{}"
    for stream, added, names in (("img", "", ("to_q", "to_k", "to_v")), ("txt", "_context", ("add_q_proj", "add_k_proj", "add_v_proj"))):
        original = f"double_blocks.{{}}.{stream}"
        places += [
            _joined(f"{original}_attn.qkv", f"{double}.attn", names),
            Place(f"{original}_attn.proj", (f"{double}.attn.{'to_add_out' if added else 'to_out.0'}",)),
            Place(f"{original}_mlp.0", (f"{double}.ff{added}.net.0.proj",)),
            Place(f"{original}_mlp.2", (f"{double}.ff{added}.net.2",)),
            Place(f"{original}_mod.lin", (f"{double}.norm1{added}.linear",)),
        ]
    places += [
        _joined("single_blocks.{}.linear1", single, ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"), (1, 1, 1, 4)),
        Place("single_blocks.{}.linear2", (f"{single}.proj_out",)),
        Place("single_blocks.{}.modulation.lin", (f"{single}.norm.linear",)),
        Place("img_in", ("x_embedder",)),
        Place("txt_in", ("context_embedder",)),
        Place("final_layer.linear", ("proj_out",), plain=True),
        Place("final_layer.adaLN_modulation.1", ("norm_out.linear",), swapped=True, plain=True),
    ]
    for original, path in {"time_in": "timestep_embedder", "vector_in": "text_embedder", "guidance_in": "guidance_embedder"}.items():
        places.append(Place(f"{original}.in_layer", (f"time_text_embed.{path}.linear_1",)))
        places.append(Place(f"{original}.out_layer", (f"time_text_embed.{path}.linear_2",)))
    return places


def _sd3() -> list[Place]:
    places = []
    block, image, text = "transformer_blocks.{}", "joint_blocks.{}.x_block", "joint_blocks.{}.context_block"
    for original, added in ((image, ""), (text, "_context")):
        places += [
            Place(f"{original}.attn.proj", (f"{block}.attn.{'to_add_out' if added else 'to_out.0'}",)),
            Place(f"{original}.mlp.fc1", (f"{block}.ff{added}.net.0.proj",)),
            Place(f"{original}.mlp.fc2", (f"{block}.ff{added}.net.2",)),
            # The last block's makes only a shift and a scale for the text.
            Place(f"{original}.adaLN_modulation.1", (f"{block}.norm1{added}.linear",), swapped=bool(added)),
        ]
    places += [
        _joined(f"{image}.attn.qkv", f"{block}.attn", ("to_q", "to_k", "to_v")),
        _joined(f"{text}.attn.qkv", f"{block}.attn", ("add_q_proj", "add_k_proj", "add_v_proj")),
        _joined(f"{image}.attn2.qkv", f"{block}.attn2", ("to_q", "to_k", "to_v")),
        Place(f"{image}.attn2.proj", (f"{block}.attn2.to_out.0",)),
        Place("x_embedder.proj", ("pos_embed.proj",)),
        Place("final_layer.linear", ("proj_out",)),
        Place("final_layer.adaLN_modulation.1", ("norm_out.linear",), swapped=True),
    ]
    for original, path in {"t_embedder": "timestep_embedder", "y_embedder": "text_embedder"}.items():
        places.append(Place(f"{original}.mlp.0", (f"time_text_embed.{path}.linear_1",)))
        places.append(Place(f"{original}.mlp.2", (f"time_text_embed.{path}.linear_2",)))
    return places


def _flux2() -> list[Place]:
    """As FLUX.1, with one modulation for all blocks, and all inputs of a single block in one layer in diffusers too."""
    places = []
    double, single = "transformer_blocks.{}", "single_transformer_blocks.{}"
    for stream, added, names in (("img", "", ("to_q", "to_k", "to_v")), ("txt", "_context", ("add_q_proj", "add_k_proj", "add_v_proj"))):
        original = f"double_blocks.{{}}.{stream}"
        places += [
            _joined(f"{original}_attn.qkv", f"{double}.attn", names),
            Place(f"{original}_attn.proj", (f"{double}.attn.{'to_add_out' if added else 'to_out.0'}",)),
            Place(f"{original}_mlp.0", (f"{double}.ff{added}.linear_in",)),
            Place(f"{original}_mlp.2", (f"{double}.ff{added}.linear_out",)),
            Place(f"double_stream_modulation_{stream}.lin", (f"double_stream_modulation_{stream}.linear",)),
        ]
    places += [
        Place("single_blocks.{}.linear1", (f"{single}.attn.to_qkv_mlp_proj",)),
        Place("single_blocks.{}.linear2", (f"{single}.attn.to_out",)),
        Place("single_stream_modulation.lin", ("single_stream_modulation.linear",)),
        Place("img_in", ("x_embedder",)),
        Place("txt_in", ("context_embedder",)),
        Place("final_layer.linear", ("proj_out",)),
        Place("final_layer.adaLN_modulation.1", ("norm_out.linear",), swapped=True),
    ]
    for original, path in {"time_in": "timestep_embedder", "guidance_in": "guidance_embedder"}.items():
        places.append(Place(f"{original}.in_layer", (f"time_guidance_embed.{path}.linear_1",)))
        places.append(Place(f"{original}.out_layer", (f"time_guidance_embed.{path}.linear_2",)))
    return places


def _z_image() -> list[Place]:
    """Attention as the original keeps it, in the blocks of all three kinds."""
    places = []
    for blocks in ("layers.{}", "noise_refiner.{}", "context_refiner.{}"):
        places.append(_joined(f"{blocks}.attention.qkv", f"{blocks}.attention", ("to_q", "to_k", "to_v")))
        places.append(Place(f"{blocks}.attention.out", (f"{blocks}.attention.to_out.0",)))
    return places


SD = Names(
    kohya={"unet": "lora_unet", "text_encoder": "lora_te"},
    inserted={"text_encoder": "text_model."},
    words=(*UNET, *CLIP),
    also={"lora_te1": "text_encoder", "lycoris": "unet"},
    older={"unet": {"to_out": "to_out.0"}, "text_encoder": OLDER_CLIP},
    apart=CONVOLUTIONS,
)

SDXL = Names(
    kohya={"unet": "lora_unet", "text_encoder": "lora_te1", "text_encoder_2": "lora_te2"},
    inserted={"text_encoder": "text_model."},
    words=(*UNET, *CLIP),
    also={"lycoris": "unet"},
    older={"unet": {"to_out": "to_out.0"}, "text_encoder": OLDER_CLIP, "text_encoder_2": OLDER_CLIP},
    places={"unet": tuple(_sdxl())},
    apart=CONVOLUTIONS,
)

SD3 = Names(
    kohya={"transformer": "lora_unet", "text_encoder": "lora_te1", "text_encoder_2": "lora_te2", "text_encoder_3": "lora_te3"},
    words=(*TRANSFORMER, *CLIP, *T5),
    also={"lora_transformer": "transformer", "lycoris": "transformer"},
    places={"transformer": tuple(_sd3())},
    single="lora_transformer",
)

FLUX = Names(
    kohya={"transformer": "lora_unet", "text_encoder": "lora_te1", "text_encoder_2": "lora_te3"},
    inserted={"text_encoder": "text_model."},
    words=(*TRANSFORMER, *CLIP, *T5),
    also={"lora_transformer": "transformer", "lycoris": "transformer"},
    places={"transformer": tuple(_flux())},
    single="lora_transformer",
)

Z_IMAGE = Names(
    kohya={"transformer": "lora_unet"},
    words=("to_q", "to_k", "to_v", "to_out", "feed_forward", "noise_refiner", "context_refiner", "adaLN_modulation", "cap_embedder", "t_embedder"),
    also={"lycoris": "transformer"},
    places={"transformer": tuple(_z_image())},
    generic=True,
)

QWEN_IMAGE = Names(
    kohya={"transformer": "lora_unet"},
    words=(*TRANSFORMER, "img_in", "txt_in", "img_mod", "txt_mod", "img_mlp", "txt_mlp"),
    also={"lora_transformer": "transformer", "lycoris": "transformer"},
)

FLUX2 = Names(
    kohya={"transformer": "lora_unet"},
    words=(
        *(*TRANSFORMER, "linear_in", "linear_out", "to_qkv_mlp_proj", "time_guidance_embed"),
        *("single_stream_modulation", "double_stream_modulation_img", "double_stream_modulation_txt"),
    ),
    also={"lora_transformer": "transformer", "lycoris": "transformer"},
    places={"transformer": tuple(_flux2())},
    single="lora_transformer",
)
