"""Single-file checkpoints of all families: weights of diffusers' and transformers' models under the names of the original program."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from studio.families.clip import ASSETS

from .tiny import T5_WORDS

State = dict[str, Tensor]
RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
OUTSIDE = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
}
VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
OPEN_CLIP = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj", "self_attn.out_proj": "attn.out_proj"}
CLIP_L, OPEN_CLIP_G = "conditioner.embedders.0.transformer.text_model.", "conditioner.embedders.1.model."
FLOW_TEXTS = {"text_encoder": "clip_l", "text_encoder_2": "clip_g", "text_encoder_3": "t5xxl"}
STREAM = {
    "": ("to_q", "to_k", "to_v", "to_out.0", "q", "k"),
    "_context": ("add_q_proj", "add_k_proj", "add_v_proj", "to_add_out", "added_q", "added_k"),
}
NARROW = {"block_out_channels": [32, 64, 96, 96]}  # wider where Stable Diffusion is wider, so that shortcuts are where its own are


def checkpoint(models: Mapping[str, Any], kind: str) -> State:
    """All tensors of a checkpoint of `kind` (sd1, sd2, sdxl) from its models."""
    state = {part: dict(model.state_dict()) for part, model in models.items()}
    found = {f"model.diffusion_model.{_unet(name, state['unet'])}": tensor for name, tensor in state["unet"].items()}
    found |= {f"first_stage_model.{_vae(name)}": _square(name, tensor) for name, tensor in state["vae"].items()}
    match kind:
        case "sd1":
            found |= _clip(state["text_encoder"])
        case "sd2":
            found |= _open_clip(state["text_encoder"])
        case "sdxl":
            found |= _clip(state["text_encoder"], CLIP_L) | _open_clip(state["text_encoder_2"], OPEN_CLIP_G, whole=True)
    return {name: tensor.contiguous() for name, tensor in found.items()}


def flow_checkpoint(models: Mapping[str, Any], kind: str, prefix: str = "model.diffusion_model.", vae: str = "first_stage_model.") -> State:
    """All tensors of a checkpoint of `kind` (sd3, flux) that holds these models; `prefix` stands before the transformer's, `vae` before the VAE's."""
    found: State = {}
    texts = FLOW_TEXTS if kind == "sd3" else {"text_encoder": "clip_l", "text_encoder_2": "t5xxl"}
    for part, model in models.items():
        state = dict(model.state_dict())
        if part == "transformer":
            found |= {f"{prefix}{name}": tensor for name, tensor in (_sd3 if kind == "sd3" else _flux)(state).items()}
        elif part == "vae":
            found |= {f"{vae}{_vae(name)}": _square(name, tensor) for name, tensor in state.items()}
        else:
            nested = "" if texts[part] == "t5xxl" or any(name.startswith("text_model.") for name in state) else "text_model."
            kept = {name: tensor for name, tensor in state.items() if name != "encoder.embed_tokens.weight"}
            if texts[part] == "clip_l":
                kept.pop("text_projection.weight", None)
            found |= {f"text_encoders.{texts[part]}.transformer.{nested}{name}": tensor for name, tensor in kept.items()}
    return {name: tensor.contiguous() for name, tensor in found.items()}


def narrow_flow(folder: Path, layout: str) -> Path:
    """A copy of the shipped configurations of SD3 or FLUX.1 in `folder`: all blocks, but thin."""
    shutil.copytree(ASSETS / layout, folder / layout)
    flux = layout.startswith("flux")
    sizes: dict[str, Any] = {"num_attention_heads": 2, "attention_head_dim": 8, "joint_attention_dim": 112}
    sizes |= {"axes_dims_rope": [2, 2, 4], "pooled_projection_dim": 48, "in_channels": 64} if flux else {"pooled_projection_dim": 48 + 64}
    _change(folder / layout / "transformer/config.json", sizes | ({} if flux else {"caption_projection_dim": 16, "pos_embed_max_size": 12}))
    _change(folder / layout / "vae/config.json", NARROW)
    for part, width in (("text_encoder", 48), ("text_encoder_2", 64)):
        if not (flux and part == "text_encoder_2"):
            clip = {"hidden_size": width, "intermediate_size": 64, "projection_dim": width, "num_attention_heads": 4, "num_hidden_layers": 3}
            _change(folder / layout / part / "config.json", clip)
    t5 = {"d_model": 112, "d_ff": 64, "d_kv": 8, "num_heads": 2, "num_layers": 2, "vocab_size": len(T5_WORDS)}
    _change(folder / layout / ("text_encoder_2" if flux else "text_encoder_3") / "config.json", t5)
    return folder / layout


def flow_models(folder: Path, dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    """The models that a folder of configurations of SD3 or FLUX.1 describes, with weights that all differ."""
    from accelerate import init_empty_weights
    from diffusers import AutoencoderKL, FluxTransformer2DModel, SD3Transformer2DModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, T5Config, T5EncoderModel

    flux = not (folder / "text_encoder_3").exists()
    kind: Any = FluxTransformer2DModel if flux else SD3Transformer2DModel
    projected, t5 = CLIPTextModelWithProjection, T5EncoderModel
    texts = (
        {"text_encoder": CLIPTextModel, "text_encoder_2": t5}
        if flux
        else {"text_encoder": projected, "text_encoder_2": projected, "text_encoder_3": t5}
    )
    with init_empty_weights():
        models: dict[str, Any] = {"transformer": kind.from_config(kind.load_config(folder / "transformer"))}
        models["vae"] = AutoencoderKL.from_config(AutoencoderKL.load_config(folder / "vae"))
        for part, made in texts.items():
            models[part] = made((T5Config if made is t5 else CLIPTextConfig).from_pretrained(folder / part))
    rng = torch.Generator().manual_seed(0)
    for model in models.values():
        buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
        model.to_empty(device="cpu").to(dtype).eval()
        for parameter in model.parameters():
            parameter.data.uniform_(-0.1, 0.1, generator=rng)
        for name, buffer in model.named_buffers():
            buffer.copy_(buffers[name])
        if isinstance(model, t5):
            model.tie_weights()
    if not flux:  # the first text's projection is no part of the files: it is none at all
        torch.nn.init.eye_(models["text_encoder"].text_projection.weight)
    return models


def narrow(folder: Path, layout: str) -> Path:
    """A copy of the shipped configurations (sd15, sd21, sdxl) in `folder`: all blocks and layers, but thin."""
    shutil.copytree(ASSETS / layout, folder / layout)
    unet: dict[str, Any] = {**NARROW, "cross_attention_dim": 48, "attention_head_dim": 4 if layout == "sd15" else [2, 4, 6, 6]}
    if layout == "sdxl":
        unet |= {"block_out_channels": [32, 64, 96], "attention_head_dim": [2, 4, 6], "cross_attention_dim": 48 + 64}
        unet |= {"addition_time_embed_dim": 8, "projection_class_embeddings_input_dim": 64 + 6 * 8}
    _change(folder / layout / "unet/config.json", unet)
    _change(folder / layout / "vae/config.json", NARROW)
    for part, width in (("text_encoder", 48), ("text_encoder_2", 64)):
        if (path := folder / layout / part / "config.json").exists():
            layers = min(3, json.loads(path.read_text())["num_hidden_layers"])
            sizes = {"hidden_size": width, "intermediate_size": 64, "projection_dim": width}
            _change(path, {**sizes, "num_attention_heads": 4, "num_hidden_layers": layers})
    return folder / layout


def random_models(folder: Path, dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    """The models that a folder of configurations describes, with weights that all differ."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    with torch.device("meta"):
        models = {
            "unet": UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(folder / "unet")),
            "vae": AutoencoderKL.from_config(AutoencoderKL.load_config(folder / "vae")),
            "text_encoder": CLIPTextModel(CLIPTextConfig.from_pretrained(folder / "text_encoder")),
        }
        if (folder / "text_encoder_2").exists():
            models["text_encoder_2"] = CLIPTextModelWithProjection(CLIPTextConfig.from_pretrained(folder / "text_encoder_2"))
    rng = torch.Generator().manual_seed(0)
    for part, model in models.items():
        models[part] = model.to(dtype).to_empty(device="cpu").eval()
        for parameter in models[part].parameters():
            parameter.data.uniform_(-0.1, 0.1, generator=rng)
        for name, buffer in models[part].named_buffers():
            assert name.endswith("position_ids")
            buffer.copy_(torch.arange(buffer.shape[-1]))
    return models


def write(path: Path, tensors: State, metadata: dict[str, str] | None = None) -> Path:
    """Write a checkpoint."""
    save_file(tensors, path, metadata)
    return path


def _change(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def _replaced(name: str, words: Mapping[str, str]) -> str:
    for old, new in words.items():
        name = name.replace(f"{old}.", f"{new}.")
    return name


def _unet(name: str, known: State) -> str:
    match name.split("."):
        case ["down_blocks", block, "resnets", number, *rest]:
            return f"input_blocks.{3 * int(block) + int(number) + 1}.0.{_replaced('.'.join(rest), RESNET)}"
        case ["down_blocks", block, "attentions", number, *rest]:
            return f"input_blocks.{3 * int(block) + int(number) + 1}.1.{'.'.join(rest)}"
        case ["down_blocks", block, "downsamplers", _, _, kind]:
            return f"input_blocks.{3 * int(block) + 3}.0.op.{kind}"
        case ["mid_block", "resnets", number, *rest]:
            return f"middle_block.{2 * int(number)}.{_replaced('.'.join(rest), RESNET)}"
        case ["mid_block", "attentions", _, *rest]:
            return f"middle_block.1.{'.'.join(rest)}"
        case ["up_blocks", block, "resnets", number, *rest]:
            return f"output_blocks.{3 * int(block) + int(number)}.0.{_replaced('.'.join(rest), RESNET)}"
        case ["up_blocks", block, "attentions", number, *rest]:
            return f"output_blocks.{3 * int(block) + int(number)}.1.{'.'.join(rest)}"
        case ["up_blocks", block, "upsamplers", _, _, kind]:
            attends = any(other.startswith(f"up_blocks.{block}.attentions.") for other in known)
            return f"output_blocks.{3 * int(block) + 2}.{2 if attends else 1}.conv.{kind}"
    return _replaced(name, OUTSIDE)


def _vae(name: str) -> str:
    match name.split("."):
        case ["encoder", "down_blocks", block, "resnets", number, *rest]:
            return f"encoder.down.{block}.block.{number}.{_replaced('.'.join(rest), {'conv_shortcut': 'nin_shortcut'})}"
        case ["encoder", "down_blocks", block, "downsamplers", _, *rest]:
            return f"encoder.down.{block}.downsample.{'.'.join(rest)}"
        case ["decoder", "up_blocks", block, "resnets", number, *rest]:
            return f"decoder.up.{3 - int(block)}.block.{number}.{_replaced('.'.join(rest), {'conv_shortcut': 'nin_shortcut'})}"
        case ["decoder", "up_blocks", block, "upsamplers", _, *rest]:
            return f"decoder.up.{3 - int(block)}.upsample.{'.'.join(rest)}"
        case [side, "mid_block", "resnets", number, *rest]:
            return f"{side}.mid.block_{int(number) + 1}.{'.'.join(rest)}"
        case [side, "mid_block", "attentions", _, *rest]:
            return f"{side}.mid.attn_1.{_replaced('.'.join(rest), VAE_ATTENTION)}"
    return name.replace("conv_norm_out", "norm_out")


def _joined(state: State, names: Mapping[str, tuple[str, ...]]) -> State:
    """Original name → what lies there: the tensors of these names, one below the other. Names that aren't there are passed over."""
    return {
        f"{original}.{kind}": torch.cat([state[f"{name}.{kind}"] for name in parts])
        for original, parts in names.items()
        for kind in ("weight", "bias")
        if f"{parts[0]}.{kind}" in state
    }


def _exchanged(state: State, name: str, width: int) -> State:
    """The original makes the shift first, then the scale."""
    return {f"{name}.{kind}": torch.cat([state[f"{name}.{kind}"][width:], state[f"{name}.{kind}"][:width]]) for kind in ("weight", "bias")}


def _sd3(state: State) -> State:
    width = state["proj_out.weight"].shape[1]
    depth = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("transformer_blocks."))
    names: dict[str, tuple[str, ...]] = {"context_embedder": ("context_embedder",), "x_embedder.proj": ("pos_embed.proj",)}
    names |= {"final_layer.linear": ("proj_out",), "final_layer.adaLN_modulation.1": ("norm_out.linear",)}
    for theirs, ours in (("t_embedder", "timestep_embedder"), ("y_embedder", "text_embedder")):
        names |= {f"{theirs}.mlp.{2 * (end - 1)}": (f"time_text_embed.{ours}.linear_{end}",) for end in (1, 2)}
    state = state | _exchanged(state, "norm_out.linear", width) | _exchanged(state, f"transformer_blocks.{depth - 1}.norm1_context.linear", width)
    found = {"pos_embed": state["pos_embed.pos_embed"]}
    for number in range(depth):
        block = f"transformer_blocks.{number}"
        for added, (q, k, v, out, norm_q, norm_k) in STREAM.items():
            there = f"joint_blocks.{number}.{'context' if added else 'x'}_block"
            names |= {f"{there}.attn.qkv": tuple(f"{block}.attn.{name}" for name in (q, k, v)), f"{there}.attn.proj": (f"{block}.attn.{out}",)}
            names |= {f"{there}.mlp.fc1": (f"{block}.ff{added}.net.0.proj",), f"{there}.mlp.fc2": (f"{block}.ff{added}.net.2",)}
            names |= {f"{there}.adaLN_modulation.1": (f"{block}.norm1{added}.linear",)}
            names |= {f"{there}.attn.ln_q": (f"{block}.attn.norm_{norm_q}",), f"{there}.attn.ln_k": (f"{block}.attn.norm_{norm_k}",)}
        second, there = f"{block}.attn2", f"joint_blocks.{number}.x_block.attn2"
        names |= {f"{there}.qkv": tuple(f"{second}.to_{letter}" for letter in "qkv"), f"{there}.proj": (f"{second}.to_out.0",)}
        names |= {f"{there}.ln_{letter}": (f"{second}.norm_{letter}",) for letter in "qk"}
    return found | _joined(state, names)


def _flux(state: State) -> State:
    names: dict[str, tuple[str, ...]] = {"img_in": ("x_embedder",), "txt_in": ("context_embedder",), "final_layer.linear": ("proj_out",)}
    names |= {"final_layer.adaLN_modulation.1": ("norm_out.linear",)}
    for theirs, ours in (("time_in", "timestep"), ("vector_in", "text"), ("guidance_in", "guidance")):
        names |= {f"{theirs}.{end}_layer": (f"time_text_embed.{ours}_embedder.linear_{number}",) for number, end in ((1, "in"), (2, "out"))}
    found: State = {}
    for number in range(19):
        block = f"transformer_blocks.{number}"
        for added, (q, k, v, out, norm_q, norm_k) in STREAM.items():
            there = f"double_blocks.{number}.{'txt' if added else 'img'}"
            names |= {f"{there}_attn.qkv": tuple(f"{block}.attn.{name}" for name in (q, k, v)), f"{there}_attn.proj": (f"{block}.attn.{out}",)}
            names |= {f"{there}_mlp.0": (f"{block}.ff{added}.net.0.proj",), f"{there}_mlp.2": (f"{block}.ff{added}.net.2",)}
            names |= {f"{there}_mod.lin": (f"{block}.norm1{added}.linear",)}
            for word, norm in (("query", norm_q), ("key", norm_k)):
                found[f"{there}_attn.norm.{word}_norm.scale"] = state[f"{block}.attn.norm_{norm}.weight"]
    for number in range(38):
        block, there = f"single_transformer_blocks.{number}", f"single_blocks.{number}"
        names |= {f"{there}.linear1": tuple(f"{block}.{name}" for name in ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"))}
        names |= {f"{there}.linear2": (f"{block}.proj_out",), f"{there}.modulation.lin": (f"{block}.norm.linear",)}
        for word, letter in (("query", "q"), ("key", "k")):
            found[f"{there}.norm.{word}_norm.scale"] = state[f"{block}.attn.norm_{letter}.weight"]
    state = state | _exchanged(state, "norm_out.linear", state["proj_out.weight"].shape[1])
    return found | _joined(state, names)


def _square(name: str, tensor: Tensor) -> Tensor:
    """The original VAE's attention is made of 1 × 1 convolutions."""
    return tensor[:, :, None, None] if "attentions" in name and tensor.ndim == 2 else tensor


def _clip(state: State, prefix: str = "cond_stage_model.transformer.text_model.") -> State:
    found = {f"{prefix}{name.removeprefix('text_model.')}": tensor for name, tensor in state.items()}
    return found | {f"{prefix}embeddings.position_ids": torch.arange(77)[None]}


def _open_clip(state: State, prefix: str = "cond_stage_model.model.", whole: bool = False) -> State:
    """OpenCLIP keeps query, key and value in one matrix, and a last layer that Stable Diffusion 2 leaves out."""
    state = {name.removeprefix("text_model."): tensor for name, tensor in state.items()}
    found = {
        "positional_embedding": state["embeddings.position_embedding.weight"],
        "token_embedding.weight": state["embeddings.token_embedding.weight"],
        "ln_final.weight": state["final_layer_norm.weight"],
        "ln_final.bias": state["final_layer_norm.bias"],
        "text_projection": state["text_projection.weight"].T if whole else torch.eye(len(state["final_layer_norm.bias"])),
        "logit_scale": torch.tensor(4.6),
    }
    layers = 1 + max(int(name.split(".")[2]) for name in state if name.startswith("encoder.layers."))
    for layer in range(layers if whole else layers + 1):
        here, there = f"encoder.layers.{min(layer, layers - 1)}", f"transformer.resblocks.{layer}"
        for ours, theirs in OPEN_CLIP.items():
            for kind in ("weight", "bias"):
                found[f"{there}.{theirs}.{kind}"] = state[f"{here}.{ours}.{kind}"].clone()
        for kind in ("weight", "bias"):
            found[f"{there}.attn.in_proj_{kind}"] = torch.cat([state[f"{here}.self_attn.{part}_proj.{kind}"] for part in "qkv"])
    return {f"{prefix}{name}": tensor for name, tensor in found.items()}
