"""What kohya calls all layers of whole models, written out from the structure of their blocks and from nothing else."""

from itertools import product

ATTENTION = ("to_q", "to_k", "to_v", "to_out_0")


def transformer(beginning: str, depth: int) -> set[str]:
    """A transformer of a UNet: a layer before and one after `depth` blocks of self-attention, attention to the text, and feed-forward."""
    names = {f"{beginning}_proj_in", f"{beginning}_proj_out"}
    for block in range(depth):
        inside = f"{beginning}_transformer_blocks_{block}"
        names |= {f"{inside}_{attention}_{layer}" for attention, layer in product(("attn1", "attn2"), ATTENTION)}
        names |= {f"{inside}_ff_net_0_proj", f"{inside}_ff_net_2"}
    return names


def clip(beginning: str, depth: int) -> set[str]:
    """A CLIP text encoder."""
    layers = {f"{beginning}_text_model_encoder_layers_{number}" for number in range(depth)}
    ends = ("self_attn_q_proj", "self_attn_k_proj", "self_attn_v_proj", "self_attn_out_proj", "mlp_fc1", "mlp_fc2")
    return {f"{layer}_{end}" for layer, end in product(layers, ends)}


def sd15() -> set[str]:
    """Attention and feed-forward of Stable Diffusion 1.5's UNet, and its text encoder: 264 layers."""
    places = [("down_blocks_0", 2), ("down_blocks_1", 2), ("down_blocks_2", 2), ("mid_block", 1)]
    places += [("up_blocks_1", 3), ("up_blocks_2", 3), ("up_blocks_3", 3)]
    unet = [transformer(f"lora_unet_{block}_attentions_{number}", 1) for block, count in places for number in range(count)]
    return set().union(*unet, clip("lora_te", 12))


def sdxl() -> set[str]:
    """Attention and feed-forward of SDXL's UNet, 722 layers, and its two text encoders, 72 and 192."""
    depths = {"input_blocks_4_1": 2, "input_blocks_5_1": 2, "input_blocks_7_1": 10, "input_blocks_8_1": 10, "middle_block_1": 10}
    depths |= {f"output_blocks_{number}_1": 10 for number in (0, 1, 2)} | {f"output_blocks_{number}_1": 2 for number in (3, 4, 5)}
    unet = [transformer(f"lora_unet_{place}", depth) for place, depth in depths.items()]
    return set().union(*unet, clip("lora_te1", 12), clip("lora_te2", 32))


def sdxl_convolutions() -> set[str]:
    """What kohya trains besides with conv_dim: 17 resnets of SDXL's UNet, four changes of size."""
    resnets = [f"input_blocks_{number}_0" for number in (1, 2, 4, 5, 7, 8)] + ["middle_block_0", "middle_block_2"]
    resnets += [f"output_blocks_{number}_0" for number in range(9)]
    names = {f"lora_unet_{resnet}_{layer}" for resnet, layer in product(resnets, ("in_layers_2", "emb_layers_1", "out_layers_3"))}
    # A shortcut is there where the width changes: 320 → 640 → 1280 on the way down, everywhere on the way up.
    names |= {f"lora_unet_{resnet}_skip_connection" for resnet in resnets if resnet in {"input_blocks_4_0", "input_blocks_7_0"} or "output" in resnet}
    names |= {"lora_unet_input_blocks_3_0_op", "lora_unet_input_blocks_6_0_op"}
    return names | {"lora_unet_output_blocks_2_2_conv", "lora_unet_output_blocks_5_2_conv"}


def flux() -> set[str]:
    """The blocks of FLUX.1's transformer, 19 double ones of ten layers and 38 single ones of three, and its CLIP text encoder."""
    ends = ("attn_qkv", "attn_proj", "mlp_0", "mlp_2", "mod_lin")
    double = {f"lora_unet_double_blocks_{block}_{stream}_{end}" for block, stream, end in product(range(19), ("img", "txt"), ends)}
    single = {f"lora_unet_single_blocks_{block}_{end}" for block, end in product(range(38), ("linear1", "linear2", "modulation_lin"))}
    return double | single | clip("lora_te1", 12)


def sd3(depth: int, second: int) -> set[str]:
    """The blocks of Stable Diffusion 3's transformer, of which the first `second` have a second attention, and its two CLIP text encoders."""
    ends = ("attn_qkv", "attn_proj", "mlp_fc1", "mlp_fc2", "adaLN_modulation_1")
    names = {f"lora_unet_joint_blocks_{block}_{stream}_block_{end}" for block, stream, end in product(range(depth), ("x", "context"), ends)}
    # Nothing follows the last block that would need the text.
    names -= {f"lora_unet_joint_blocks_{depth - 1}_context_block_{end}" for end in ("attn_proj", "mlp_fc1", "mlp_fc2")}
    names |= {f"lora_unet_joint_blocks_{block}_x_block_attn2_{end}" for block, end in product(range(second), ("qkv", "proj"))}
    return names | clip("lora_te1", 12) | clip("lora_te2", 32)


def flux2(double: int, single: int) -> set[str]:
    """The blocks of FLUX.2's transformer: dev has 8 and 48, klein 5 and 20 or 8 and 24."""
    ends = ("attn_qkv", "attn_proj", "mlp_0", "mlp_2")
    names = {f"lora_unet_double_blocks_{block}_{stream}_{end}" for block, stream, end in product(range(double), ("img", "txt"), ends)}
    return names | {f"lora_unet_single_blocks_{block}_{end}" for block, end in product(range(single), ("linear1", "linear2"))}


def qwen_image() -> set[str]:
    """Attention, feed-forward and modulation of Qwen-Image's 60 blocks."""
    attention = (*ATTENTION, "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")
    ends = {f"attn_{layer}" for layer in attention} | {f"{s}_{end}" for s, end in product(("img", "txt"), ("mlp_net_0_proj", "mlp_net_2", "mod_1"))}
    return {f"lora_unet_transformer_blocks_{block}_{end}" for block, end in product(range(60), ends)}


def z_image() -> set[str]:
    """Attention and feed-forward of Z-Image's 30 blocks and of those that read pictures or words alone, two of each."""
    ends = (*(f"attention.{layer}" for layer in ("to_q", "to_k", "to_v", "to_out.0")), *(f"feed_forward.w{number}" for number in (1, 2, 3)))
    blocks = {f"layers.{number}" for number in range(30)} | {f"{kind}_refiner.{number}" for kind, number in product(("noise", "context"), range(2))}
    return {f"diffusion_model.{block}.{end}" for block, end in product(blocks, ends)}
