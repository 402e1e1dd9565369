"""Single-file checkpoints of Stable Diffusion and SDXL: weights of diffusers' and transformers' models under the names of the original program."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from studio.families.clip import ASSETS

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
