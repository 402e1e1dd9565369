"""The CLIP tokenizer, from the vocabulary that ships with the studio."""

from pathlib import Path
from typing import Any

from studio.device import opening

ASSETS = Path(__file__).parent / "assets"
LIMIT = 77


def tokenizer(pad_token: str = "<|endoftext|>", limit: int = LIMIT) -> Any:
    """OpenAI's CLIP tokenizer; `limit` counts the two tokens around the text."""
    with opening:
        from transformers import CLIPTokenizer

    folder = ASSETS / "clip"
    return CLIPTokenizer(vocab=str(folder / "vocab.json"), merges=str(folder / "merges.txt"), pad_token=pad_token, model_max_length=limit)
