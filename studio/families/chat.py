"""Texts through a language model that stands before a transformer: what its layers make of every token."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def states(encoder: Any, tokenizer: Any, text: str, limit: int, layers: Sequence[int], padded: bool = False) -> "Tensor":
    """[L, D]: what the layers say of the text's first `limit` tokens, side by side; -1 is the last one, 0 what the first one is given.

    One text at a time, so that there is nothing to fill up; `padded`: to the limit all the same, where the transformer reads that, too.
    """
    import torch

    filled: dict[str, Any] = {"padding": "max_length"} if padded else {}
    read = tokenizer(text, truncation=True, max_length=limit, add_special_tokens=False, return_tensors="pt", **filled).to(encoder.device)
    given = {"input_ids": read.input_ids} | ({"attention_mask": read.attention_mask} if padded else {})
    with torch.no_grad():
        said = encoder(**given, output_hidden_states=True, use_cache=False).hidden_states
    return torch.cat([said[layer][0] for layer in layers], dim=-1).cpu()
