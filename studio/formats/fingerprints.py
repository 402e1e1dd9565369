"""Which kind of model is a file made for? Names and shapes of its tensors tell, so the wrong pair is refused before it is loaded."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from studio.errors import ModelError
from studio.formats.gate import Header, check_safetensors
from studio.language import say

TITLES = {
    "sd1": "Stable Diffusion 1.x",
    "sd2": "Stable Diffusion 2.x",
    "sdxl": "SDXL",
    "sdxl-refiner": "SDXL Refiner",
    "sd3": "Stable Diffusion 3",
    "flux": "FLUX.1",
    "flux2": "FLUX.2",
    "chroma": "Chroma",
    "lumina2": "Lumina 2",
    "z-image": "Z-Image",
    "qwen-image": "Qwen-Image",
    "wan": "Wan",
    "llm": "LLM",
    "vae": "VAE",
    "controlnet": "ControlNet",
    "embedding": "Textual Inversion",
    "unet": "UNet",
    "flux-transformer": "FLUX.1 Transformer",
    "sd3-transformer": "Stable Diffusion 3 Transformer",
}
PARTIAL = {"vae", "controlnet", "embedding", "unet", "flux-transformer", "sd3-transformer"}

WIDTHS = {768: "sd1", 1024: "sd2", 2048: "sdxl", 1280: "sdxl-refiner"}
"""Width of the texts that a UNet attends to."""

# The text encoder inside a checkpoint, where the width is unusual: small models made for tests and demonstrations.
ENCODERS = {"conditioner.embedders.1.": "sdxl", "cond_stage_model.model.": "sd2", "cond_stage_model.transformer.": "sd1"}

# A tensor that only this kind has (without "model.diffusion_model."), the special before the general.
SIGNS = {
    "single_stream_modulation.lin.weight": "flux2",
    "distilled_guidance_layer.in_proj.bias": "chroma",
    "double_blocks.0.img_attn.norm.key_norm.scale": "flux",
    "joint_blocks.0.context_block.adaLN_modulation.1.bias": "sd3",
    "transformer_blocks.0.img_mod.1.weight": "qwen-image",
    "layers.0.adaLN_modulation.0.weight": "z-image",
    "cap_embedder.0.weight": "lumina2",
    "head.modulation": "wan",
    "model.layers.0.self_attn.q_proj.weight": "llm",
    "model.layers.0.self_attn.qkv_proj.weight": "llm",
    "transformer.h.0.attn.c_attn.weight": "llm",
    "control_model.time_embed.0.weight": "controlnet",
    "controlnet_cond_embedding.conv_in.weight": "controlnet",
    "emb_params": "embedding",
    "clip_l": "embedding",
    "down_blocks.0.resnets.0.conv1.weight": "unet",
    "single_transformer_blocks.0.proj_mlp.weight": "flux-transformer",
    "transformer_blocks.0.norm1_context.linear.weight": "sd3-transformer",
    "decoder.conv_in.weight": "vae",
}

ADAPTER = re.compile(r"lora_(down|up|A|B)\b|lora\.(down|up)\.|lora_linear_layer|\.(hada|lokr|oft)_|lora_magnitude|dora_scale")
DOWN = re.compile(r"[._](lora_down|lora_A(\.\w+)?|lora\.down|lora_linear_layer\.down)\.weight$")
LOKR = re.compile(r"\.lokr_w[12](_b)?$")

# What the layers of a LoRA are called, with "_" for "." so that all spellings agree, and whose they are.
LAYERS = (
    (
        re.compile(r"(single|double)_stream_modulation|single_transformer_blocks_\d+_attn_to_qkv_mlp|transformer_blocks_\d+_ff(_context)?_linear_"),
        "flux2",
    ),
    (re.compile(r"distilled_guidance_layer"), "chroma"),
    (re.compile(r"(^|_)(double_blocks|single_blocks|single_transformer_blocks)_\d"), "flux"),
    (re.compile(r"(^|_)joint_blocks_\d"), "sd3"),
    (re.compile(r"(^|_)transformer_blocks_(\d+_img_m|(3[89]|[45]\d)_attn_(to|add)_)"), "qwen-image"),
    (re.compile(r"(attentions_\d+|put_blocks_\d+_1|middle_block_1)_transformer_blocks_[1-9]"), "sdxl"),
    (re.compile(r"model_layers_\d+_(self_attn|mlp)_"), "llm"),
)

# FLUX's layers whose input is as wide as a block; and those whose input is that of the feed-forward, with how many times it is that in FLUX.2.
INTO_BLOCK = re.compile(r"single_blocks_\d+_linear1$|double_blocks_\d+_(img|txt)_(attn_qkv|mlp_0)$")
OUT_OF_BLOCK = ((re.compile(r"single_blocks_\d+_linear2$"), 4), (re.compile(r"double_blocks_\d+_(img|txt)_mlp_2$"), 3))

# Layers whose input is as wide as this kind's; the surest first.
INPUTS = (
    (re.compile(r"(attentions_\d+|put_blocks_\d+_1|middle_block_1)_transformer_blocks_\d+_attn2_(processor_)?to_[kv]$"), WIDTHS),
    (re.compile(r"transformer_blocks_\d+_attn_(to|add)_[qkv](_proj)?$"), {1536: "sd3", 2432: "sd3"}),
    (re.compile(r"transformer_blocks_\d+_(norm1_context_linear|ff_context_net_0_proj)$"), {3072: "flux", 1536: "sd3", 2432: "sd3"}),
    (re.compile(r"(layers|refiner)_\d+_(attention_(qkv|to_[qkv])|feed_forward_w[13])$"), {3840: "z-image", 2304: "lumina2"}),
    (re.compile(r"^(lora_te2|text_encoder_2)_text_model_encoder_layers_\d+_(self_attn|mlp_fc1)"), {1280: "sdxl"}),
    (re.compile(r"^(lora_te|text_encoder)_(text_model_)?encoder_layers_\d+_(self_attn|mlp_fc1)"), {768: "sd1", 1024: "sd2"}),
)

# What the training program wrote, where names and shapes leave it open.
WRITTEN = {
    "ss_base_model_version": {
        "sd_v1": "sd1",
        "sd_v2": "sd2",
        "sdxl": "sdxl",
        "sd3": "sd3",
        "flux": "flux",
        "qwen_image": "qwen-image",
        "z_image": "z-image",
    },
    "modelspec.architecture": {
        "stable-diffusion-v1": "sd1",
        "stable-diffusion-v2": "sd2",
        "stable-diffusion-xl": "sdxl",
        "stable-diffusion-3": "sd3",
        "flux-1": "flux",
        "Flux.2": "flux2",
        "Qwen-Image": "qwen-image",
        "Z-Image": "z-image",
    },
}


# What tells versions of one kind apart (the surest first), in original names and in those of diffusers; else the last one's word.
VERSIONS: dict[str, tuple[tuple[str, str], ...]] = {
    "sdxl": (("v_pred", "v-prediction"),),
    "flux": (("guidance_in.in_layer.weight", "dev"), ("time_text_embed.guidance_embedder.linear_1.weight", "dev"), ("", "schnell")),
    "sd3": (
        ("joint_blocks.24.x_block.attn.qkv.weight", "3.5-large"),
        ("transformer_blocks.24.attn.to_q.weight", "3.5-large"),
        ("joint_blocks.0.x_block.attn2.qkv.weight", "3.5-medium"),
        ("transformer_blocks.0.attn2.to_q.weight", "3.5-medium"),
        ("", "3-medium"),
    ),
}


def recognise_version(header: Header) -> str | None:
    """Which version of its kind a base model or its transformer is: dev, schnell, 3-medium, 3.5-medium, 3.5-large, v-prediction; None: the usual."""
    kind = (_content(header) or "").removesuffix("-transformer")
    names = {name.removeprefix("model.diffusion_model.") for name in header.tensors}
    if kind == "sdxl" and header.metadata.get("modelspec.prediction_type", "").startswith("v"):
        return "v-prediction"
    return next((version for sign, version in VERSIONS.get(kind, ()) if not sign or sign in names), None)


def recognise_base(header: Header) -> str | None:
    """The kind of a base model in one file, a key of TITLES; None: unknown, or no base model."""
    kind = _content(header)
    return None if kind in PARTIAL else kind


def recognise_lora(header: Header) -> str | None:
    """The kind of base model that a LoRA file is made for, a key of TITLES; None: it doesn't tell, or is no LoRA."""
    downs = {DOWN.sub("", name): entry.shape for name, entry in header.tensors.items() if DOWN.search(name)}
    for name, entry in header.tensors.items():
        if LOKR.search(name) and len(entry.shape) > 1:  # the inputs of a Kronecker product are those of its matrices, multiplied
            layer = LOKR.sub("", name)
            downs[layer] = (1, downs.get(layer, (1, 1))[1] * entry.shape[1])
    if not downs:
        return None
    found, written = _kind(downs.items()), _written(header.metadata)
    return written if found is None or (found, written) == ("flux", "flux2") else found


def recognise_layers(known: Mapping[str, tuple[int, ...]]) -> str | None:
    """The kind of a base model that is open, from its layers: name in the studio → shape of the weight."""
    return _kind((name, (1, *shape[1:])) for name, shape in known.items())


def check_base(path: Path) -> str:
    """The kind of the base model in a single file. Raises ModelError when it is unsound, no base model, or of no known kind."""
    header = check_safetensors(path)
    if is_lora(header):
        kind = recognise_lora(header)
        what = (
            say("{file} is a LoRA for {title}, not a base model.", file=path.name, title=TITLES[kind])
            if kind
            else say("{file} is a LoRA, not a base model.", file=path.name)
        )
        raise ModelError(what, fix=say("Give a checkpoint as base_model; a LoRA to go on from belongs into init_lora."))
    kind = _content(header)
    if kind is None:
        raise ModelError(
            say("{file} is no model of a known kind; its first tensor is {name}.", file=path.name, name=next(iter(header.tensors))),
            fix=say("Choose a checkpoint of one of these: {titles}.", titles="Stable Diffusion, SDXL, SD3, FLUX.1"),
        )
    if kind in PARTIAL:
        raise ModelError(
            say("{file} is no whole base model but a part or an addition: {title}.", file=path.name, title=TITLES[kind]),
            fix=say("Choose the whole checkpoint, or the folder in diffusers format that this file lies in."),
        )
    return kind


def check_lora(path: Path, base: str | None = None) -> Header:
    """The header of a LoRA file. Raises ModelError when it is unsound, no LoRA, or made for another kind than `base` (a key of TITLES)."""
    header = check_safetensors(path)
    if not is_lora(header):
        kind = _content(header)
        what = (
            say("{file} is no LoRA; it holds this: {title}.", file=path.name, title=TITLES[kind])
            if kind
            else say("{file} is no LoRA; its first tensor is {name}.", file=path.name, name=next(iter(header.tensors)))
        )
        raise ModelError(what, fix=say("Choose a LoRA file; a checkpoint belongs into base_model."))
    kind = recognise_lora(header)
    if base and kind and kind != base:
        raise ModelError(
            say("{file} is a LoRA for {found}, but the base model is {expected}.", file=path.name, found=TITLES[kind], expected=TITLES[base]),
            fix=say("Choose a LoRA for {expected}, or a base model of the kind {found}.", found=TITLES[kind], expected=TITLES[base]),
        )
    return header


def is_lora(header: Header) -> bool:
    """Whether the file holds additions to a model's layers, of whatever kind, and not the layers themselves."""
    return any(ADAPTER.search(name) for name in header.tensors)


def _content(header: Header) -> str | None:
    tensors = header.tensors
    names = {name.removeprefix("model.diffusion_model.") for name in tensors}
    if cross := next((name for name in tensors if name.startswith("model.diffusion_model.") and name.endswith(".attn2.to_k.weight")), None):
        unusual = (kind for beginning, kind in ENCODERS.items() if any(name.startswith(beginning) for name in tensors))
        return WIDTHS.get(tensors[cross].shape[-1]) or next(unusual, None)
    return next((kind for sign, kind in SIGNS.items() if sign in names), None)


def _kind(layers: Iterable[tuple[str, tuple[int, ...]]]) -> str | None:
    """The kind, from layers' names in any spelling and the shapes of their down weights: [rank, width of the input, …]."""
    inputs = [(re.sub(r"[./]", "_", name), shape[1] if len(shape) > 1 else 0) for name, shape in layers]
    for pattern, kind in LAYERS:
        if any(pattern.search(name) for name, _ in inputs):
            return "flux2" if kind == "flux" and _of_flux2(inputs) else kind
    for pattern, widths in INPUTS:
        for name, width in inputs:
            if width in widths and pattern.search(name):
                return widths[width]
    return None


def _of_flux2(inputs: list[tuple[str, int]]) -> bool:
    """Whether layers in the names of FLUX.1 are those of FLUX.2, which has the same. Its feed-forward is 3 times as wide as what goes into a
    block, that of FLUX.1 4 times; and only it is 4096 or 6144 wide."""
    first = next((width for name, width in inputs if INTO_BLOCK.search(name)), 0)
    last = next(((width, times) for name, width in inputs for sign, times in OUT_OF_BLOCK if sign.search(name)), None)
    return first in {4096, 6144} or (last is not None and last[0] == first * last[1])


def _written(metadata: Mapping[str, str]) -> str | None:
    for field, beginnings in WRITTEN.items():
        value = metadata.get(field, "")
        for beginning, kind in beginnings.items():
            if value.startswith(beginning):
                return kind
    return None
