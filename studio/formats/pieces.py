"""The tensors of an adapter file by layer and by role, whatever program wrote it and whatever kind of adapter it is."""

import math
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

ROLES = (
    (re.compile(r"\.lora_down\.weight$|\.lora_A(\.\w+)?\.weight$|[._]lora\.down\.weight$|\.lora_linear_layer\.down\.weight$"), "down"),
    (re.compile(r"\.lora_up\.weight$|\.lora_B(\.\w+)?\.weight$|[._]lora\.up\.weight$|\.lora_linear_layer\.up\.weight$"), "up"),
    (re.compile(r"\.alpha$"), "alpha"),
    (re.compile(r"\.dora_scale$|\.lora_magnitude_vector(\.\w+)*$"), "magnitude"),
    (re.compile(r"\.(lora_mid)\.weight$|\.(hada_\w+|lokr_\w+|oft_\w+|diff|diff_b|w_norm|b_norm|on_input)$"), ""),
)
# A tensor that only this kind of adapter has.
KINDS = (("magnitude", "DoRA"), ("hada_", "LoHa"), ("lokr_", "LoKr"), ("oft_", "OFT"), ("on_input", "IA3"), ("down", "LoRA"), ("diff", "full"))


def split(names: Iterable[str]) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Layer as the file calls it → role → tensor; and the tensors that are part of no adapter."""
    layers: dict[str, dict[str, str]] = {}
    strange: list[str] = []
    for name in names:
        for sign, role in ROLES:
            if found := sign.search(name):
                layers.setdefault(name[: found.start()], {})[role or next(group for group in found.groups() if group)] = name
                break
        else:
            strange.append(name)
    return layers, strange


def kind(layers: Mapping[str, Mapping[str, str]]) -> str:
    """What kind of adapter it is: LoRA, DoRA, LoHa, LoKr, OFT, IA3 or full."""
    roles = {role for tensors in layers.values() for role in tensors}
    return next((name for sign, name in KINDS if any(role.startswith(sign) for role in roles)), "")


def rank(tensors: "Mapping[str, Tensor]") -> int | None:
    """The inner width of one layer's adapter; None where it has none."""
    for role, dimension in (("down", 0), ("hada_w1_b", 0), ("lokr_w2_b", 0), ("lokr_w1_b", 0)):
        if role in tensors and tensors[role].dim() > 1:
            return int(tensors[role].shape[dimension])
    return None


def size(tensors: "Mapping[str, Tensor]", alpha: float | None) -> float | None:
    """The Frobenius norm of what is added to one layer's weight; None where it can't be known without the base model.

    ‖s · U D‖² = s² · tr(Uᵀ U D Dᵀ), and ‖A ⊗ B‖ = ‖A‖ ‖B‖: no product of the layer's size is made.
    """
    if "magnitude" in tensors or any(tensor.dim() < 2 for role, tensor in tensors.items() if role != "alpha"):
        return None
    inner = rank(tensors)
    scale = 1.0 if alpha is None or not inner else abs(alpha) / inner
    if {"down", "up"} <= tensors.keys() and "lora_mid" not in tensors:
        square = _product(tensors["up"], tensors["down"])
        return None if square is None else scale * math.sqrt(square)
    if any(role.startswith("lokr_w1") for role in tensors) and "lokr_t2" not in tensors:
        first, second = _factor(tensors, "lokr_w1"), _factor(tensors, "lokr_w2")
        return None if first is None or second is None else scale * math.sqrt(first * second)
    return float(tensors["diff"].double().norm()) if "diff" in tensors else None


def _factor(tensors: "Mapping[str, Tensor]", name: str) -> float | None:
    """‖A‖² of one of the two matrices of LoKr, which is whole or a product itself."""
    if name in tensors:
        return float(tensors[name].double().square().sum())
    return _product(tensors.get(f"{name}_a"), tensors.get(f"{name}_b"))


def _product(left: "Tensor | None", right: "Tensor | None") -> float | None:
    """‖L R‖²; None where they don't fit."""
    if left is None or right is None:
        return None
    left, right = left.double().flatten(1), right.double().flatten(1)
    if left.shape[1] != len(right):
        return None
    if left.shape[1] ** 2 > len(left) * right.shape[1]:  # wider inside than outside: then the product is the smaller way
        return float((left @ right).square().sum())
    return max(float(((left.T @ left) * (right @ right.T)).sum()), 0.0)
