"""kohya files for models of the real size: every name, and the outputs and inputs that belong to it, by rules and from nothing else."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from studio import families
from studio.families.clip import ASSETS
from studio.formats.gate import Entry, check_safetensors
from studio.formats.kohya import write_kohya

from . import golden
from .sd import random_layer, shapes

LAYOUTS = {
    "sd15": ("sd", golden.sd15),
    "sdxl": ("sdxl", golden.sdxl),
    "sd35-medium": ("sd3", lambda: golden.sd3(24, 13)),
    "sd35-large": ("sd3", lambda: golden.sd3(38, 0)),
    "flux-dev": ("flux", golden.flux),
    "flux-schnell": ("flux", golden.flux),
}
COUNTS = {"sd15": 264, "sdxl": 986, "sd35-medium": 527, "sd35-large": 641, "flux-dev": 376, "flux-schnell": 376}
INSIDE = ("attentions", "transformer_blocks", "text_model.encoder", "text_encoder.encoder")
ENCODERS = {"lora_te_": 768, "lora_te1_": 768, "lora_te2_": 1280}
SD15 = {
    "down_blocks_0": 320,
    "down_blocks_1": 640,
    "down_blocks_2": 1280,
    "mid_block": 1280,
    "up_blocks_1": 1280,
    "up_blocks_2": 640,
    "up_blocks_3": 320,
}
SDXL = {f"input_blocks_{number}_": 640 if number < 6 else 1280 for number in (4, 5, 7, 8)}
SDXL |= {"middle_block": 1280, **{f"output_blocks_{number}_": 1280 if number < 3 else 640 for number in range(6)}}
TEXTS = {"sd15": 768, "sdxl": 2048}
WIDTHS = {"sd35-medium": 1536, "sd35-large": 2432, "flux-dev": 3072, "flux-schnell": 3072}


def models(layout: str) -> dict[str, Any]:
    """The models that take LoRA, without memory, from the configurations that ship."""
    from diffusers import FluxTransformer2DModel, SD3Transformer2DModel, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    folder = ASSETS / layout
    kinds = {"sd15": UNet2DConditionModel, "sdxl": UNet2DConditionModel}
    kind: Any = kinds.get(layout) or (FluxTransformer2DModel if layout.startswith("flux") else SD3Transformer2DModel)
    part = "unet" if layout in kinds else "transformer"
    with torch.device("meta"):
        found: dict[str, Any] = {part: kind.from_config(kind.load_config(folder / part))}
        for encoder in ("text_encoder", "text_encoder_2"):
            if (folder / encoder).exists() and not (layout.startswith("flux") and encoder == "text_encoder_2"):
                projected = layout.startswith("sd3") or encoder == "text_encoder_2"
                config = CLIPTextConfig.from_pretrained(folder / encoder)
                found[encoder] = (CLIPTextModelWithProjection if projected else CLIPTextModel)(config)
    return found


def sides(layout: str, name: str) -> tuple[int, int]:
    """Outputs and inputs of the layer of this name."""
    if encoder := next((width for beginning, width in ENCODERS.items() if name.startswith(beginning)), 0):
        return {"fc1": (4 * encoder, encoder), "fc2": (encoder, 4 * encoder)}.get(name[-3:], (encoder, encoder))
    if layout in TEXTS:
        width = next(width for place, width in (SD15 if layout == "sd15" else SDXL).items() if name.startswith(f"lora_unet_{place}"))
        if re.search("attn2_to_[kv]$", name):
            return width, TEXTS[layout]
        return {"ff_net_0_proj": (8 * width, width), "_ff_net_2": (width, 4 * width)}.get(
            re.search(r"ff_net_0_proj$|_ff_net_2$|$", name)[0], (width, width)
        )  # type: ignore[index]
    width = WIDTHS[layout]
    ends = {"qkv": 3, "mlp_0": 4, "mlp_fc1": 4, "mod_lin": 6, "linear1": 7, "modulation_lin": 3, "adaLN_modulation_1": 6}
    outputs = next((times for end, times in ends.items() if name.endswith(end)), 1)
    inputs = 4 if name.endswith(("mlp_2", "mlp_fc2")) else 5 if name.endswith("linear2") else 1
    block = re.search(r"joint_blocks_(\d+)_(x|context)_block_adaLN", name)
    if block and block[2] == "x" and layout == "sd35-medium" and int(block[1]) < 13:
        outputs = 9  # a second attention has a shift, a scale and a gate of its own
    if block and block[2] == "context" and int(block[1]) == {"sd35-medium": 23, "sd35-large": 37}[layout]:
        outputs = 2
    return outputs * width, inputs * width


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_file_for_a_model_of_the_real_size_has_each_name_and_shape(tmp_path: Path, layout: str) -> None:
    family, names = LAYOUTS[layout]
    known = {
        layer: shape
        for layer, shape in shapes(**models(layout)).items()
        if any(place in layer for place in INSIDE) and not layer.endswith("text_projection")
    }
    layers = {layer: random_layer(shape, rank=1, alpha=0.5, seed=number) for number, (layer, shape) in enumerate(known.items())}
    write_kohya(tmp_path / "full.safetensors", layers, families.get(family).names, {})
    tensors = check_safetensors(tmp_path / "full.safetensors").tensors
    assert tensors.keys() == {f"{name}.{end}" for name in names() for end in ("lora_down.weight", "lora_up.weight", "alpha")}
    assert len(tensors) == 3 * COUNTS[layout]
    for name in names():
        outputs, inputs = sides(layout, name)
        convolution = (1, 1) if layout == "sd15" and name.endswith(("proj_in", "proj_out")) else ()
        down, up, alpha = (tensors[f"{name}.{end}"] for end in ("lora_down.weight", "lora_up.weight", "alpha"))
        rank = down.shape[0]
        assert (name, down.shape, up.shape) == (name, (rank, inputs, *convolution), (outputs, rank, *convolution))
        assert (name, rank) == (name, {"qkv": 3, "ar1": 4}.get(name[-3:], 1)), "joined layers have the ranks of all"
        assert alpha == Entry("F32", ())
