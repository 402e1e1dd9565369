"""A base model's layers in 8 or 4 bits, so that it takes half or a quarter of the memory. Only what is trained stays whole (Dettmers et al. 2023)."""

from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from studio.errors import MachineError
from studio.language import say

WHOLE = "16bit"
OUTLIERS = 6.0
"""Inputs beyond this are multiplied in 16 bits (LLM.int8(), Dettmers et al. 2022)."""


def check(load_in: str, device: torch.device) -> None:
    """Raises MachineError where the base model can't be quantised."""
    if load_in == WHOLE:
        return
    if device.type != "cuda":
        raise MachineError(say("load_in: {load_in} needs a CUDA device.", load_in=load_in), say("Take load_in out, or train on an NVIDIA GPU."))
    if find_spec("bitsandbytes") is None:
        raise MachineError(
            say("load_in: {load_in} needs the package bitsandbytes.", load_in=load_in), say("pip install bitsandbytes, or take load_in out.")
        )


def quantise(model: Any, load_in: str, dtype: torch.dtype) -> None:
    """Put layers of 8 or 4 bits in place of the linear layers in a model's blocks; their numbers are rounded as they come to the device.

    What leads into the blocks and out of them stays whole: it is small, and all goes through it.
    """
    found = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.Linear) and any(map(str.isdigit, name.split(".")[:-1]))]
    for name, layer in found:
        before, _, last = name.rpartition(".")
        setattr(model.get_submodule(before), last, _in_8_bits(layer) if load_in == "8bit" else _in_4_bits(layer, dtype))


def shape_of(layer: nn.Linear | nn.Conv2d) -> torch.Size:
    """[out, in(, k, k)], however the weight is stored."""
    return torch.Size((layer.out_features, layer.in_features)) if isinstance(layer, nn.Linear) else layer.weight.shape


def weight_of(layer: nn.Linear | nn.Conv2d) -> Tensor:
    """The weight in whole numbers of its type: as it is, or what the 8 or 4 bits stand for."""
    weight: Any = layer.weight
    found: Tensor = weight
    if (state := getattr(weight, "quant_state", None)) is not None:
        from bitsandbytes.functional import dequantize_4bit

        found = dequantize_4bit(weight.data, state)
    elif weight.dtype == torch.int8:
        kept: Any = layer
        scale: Tensor = kept.state.SCB if weight.SCB is None else weight.SCB
        found = weight.data * scale.view(-1, 1) / 127
    return found


def _in_8_bits(layer: nn.Linear) -> nn.Linear:
    from bitsandbytes.nn import Int8Params, Linear8bitLt

    with torch.device("meta"):
        made: nn.Linear = Linear8bitLt(layer.in_features, layer.out_features, layer.bias is not None, has_fp16_weights=False, threshold=OUTLIERS)
    made.weight = Int8Params(layer.weight.data, requires_grad=False, has_fp16_weights=False)
    made.bias = layer.bias
    return made


def _in_4_bits(layer: nn.Linear, dtype: torch.dtype) -> nn.Linear:
    from bitsandbytes.nn import Linear4bit, Params4bit

    with torch.device("meta"):
        made: nn.Linear = Linear4bit(layer.in_features, layer.out_features, layer.bias is not None, compute_dtype=dtype, quant_type="nf4")
    made.weight = Params4bit(layer.weight.data, requires_grad=False, quant_type="nf4")
    made.bias = layer.bias
    return made
