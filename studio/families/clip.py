"""The CLIP tokenizer, from the vocabulary that ships with the studio."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.device import opening

if TYPE_CHECKING:
    from torch import Tensor

ASSETS = Path(__file__).parent / "assets"
LIMIT = 77


def tokenizer(pad_token: str = "<|endoftext|>", limit: int = LIMIT) -> Any:
    """OpenAI's CLIP tokenizer; `limit` counts the two tokens around the text."""
    with opening:
        from transformers import CLIPTokenizer

    folder = ASSETS / "clip"
    return CLIPTokenizer(vocab=str(folder / "vocab.json"), merges=str(folder / "merges.txt"), pad_token=pad_token, model_max_length=limit)


def tokens(tokenizer: Any, texts: Sequence[object], limit: int | None = None) -> "Tensor":
    """[B, limit]: the texts as numbers, cut off or filled up to `limit`, the tokenizer's own when absent."""
    settings = {"padding": "max_length", "truncation": True, "max_length": limit, "return_tensors": "pt"}
    found: Tensor = tokenizer([str(text) for text in texts], **settings).input_ids
    return found
