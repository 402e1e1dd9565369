"""Where in a model a layer sits, from its name in the spelling of whatever program: which part, which block, what sort of layer."""

import re
from typing import NamedTuple

# How a name begins, with "_" for ".", and which part that is; the longer before the shorter.
PARTS = (
    (re.compile(r"(base_model_model_|diffusion_model_|lycoris_(unet_)?|lora_(unet|transformer|prior_unet)_|unet_|transformer_)"), "unet"),
    (re.compile(r"(lora_te3|lycoris_te3|text_encoder_3)_"), "text_encoder_3"),
    (re.compile(r"(lora_te2|lycoris_te2|text_encoder_2)_"), "text_encoder_2"),
    (re.compile(r"(lora_te1?|lycoris_te1?|text_encoder)_"), "text_encoder"),
)
UNET = re.compile(r"(^|_)(down|up|mid|input|middle|output)_blocks?(_|$)")
BLOCK = re.compile(
    r"(?:^|_)(?:(mid_block|middle_block)|(down_blocks|up_blocks|input_blocks|output_blocks|double_blocks|single_blocks|joint_blocks"
    r"|single_transformer_blocks|transformer_blocks|noise_refiner|context_refiner|layers|blocks|block|h)_(\d+))(?=_|$)"
)
SORTS = (
    (re.compile(r"(^|_)(\w*mod|modulation|adaLN|norm\d?)(_|$)|adaLN_modulation"), "modulation"),
    (re.compile(r"attn\d?(_|$)|[aA]ttention(_|$)|(^|_)(to_[qkv]|to_out|[qkvo]_proj|add_[qkv]_proj|qkv)(_|$)"), "attention"),
    (
        re.compile(r"(^|_)(ff|ff_context|mlp|\w+_mlp|fc\d|feed_forward|gate_proj|up_proj|down_proj|w\d|linear\d|proj_in|proj_out)(_|$)"),
        "feed-forward",
    ),
    (re.compile(r"resnets|conv|samplers|(in|out|emb)_layers|skip_connection|time_emb_proj|put_blocks_\d+_\d"), "convolution"),
)


class Place(NamedTuple):
    """Part (`unet`, `transformer`, `text_encoder` …), block (`down_blocks.0`; empty outside of all blocks) and sort of layer."""

    part: str
    block: str
    sort: str


def place(written: str) -> Place:
    """Where the layer sits that a file calls `written`."""
    flat = re.sub(r"[./]", "_", written)
    for beginning, name in PARTS:
        if found := beginning.match(flat):
            part, path = name, flat[found.end() :]
            break
    else:
        part, path = "unet", flat
    block = BLOCK.search(path)
    if part == "unet" and block and not UNET.search(path):
        part = "transformer"  # some programs call the large part a UNet whatever it is
    name = "" if block is None else block[1] or f"{block[2]}.{block[3]}"
    inside = path[block.end() :] if block else path
    return Place(part, name, next((sort for sign, sort in SORTS if sign.search(inside)), "other"))
