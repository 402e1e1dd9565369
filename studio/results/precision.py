"""In how many bits a model's files hold its weights."""

from collections import Counter
from pathlib import Path

import torch

from studio.formats.gate import check_safetensors

TYPES = {"F16": torch.float16, "BF16": torch.bfloat16}


def stored(source: Path) -> torch.dtype:
    """The type of most of a base model's weights: a single file, or a diffusers folder, whose largest file decides."""
    files = [source] if source.is_file() else sorted(source.rglob("*.safetensors"), key=lambda path: path.stat().st_size)
    if not files:
        return torch.float32
    counted = Counter(entry.dtype for entry in check_safetensors(files[-1]).tensors.values())
    return TYPES.get(counted.most_common(1)[0][0], torch.float32)
