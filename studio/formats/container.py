"""A safetensors file as bytes. The same content gives the same bytes, so that files can be compared by their hash."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def pack(tensors: Mapping[str, "Tensor"]) -> tuple[dict[str, Any], bytes]:
    """The entries of the header and the bytes of all tensors."""
    from safetensors.torch import save

    packed = save({name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()})
    length = int.from_bytes(packed[:8], "little")
    return json.loads(packed[8 : 8 + length]), packed[8 + length :]


def join(entries: Mapping[str, Any], metadata: Mapping[str, str], data: bytes) -> bytes:
    """The whole file. The library writes metadata in an order that changes from call to call, hence this."""
    content = {"__metadata__": dict(metadata), **entries} if metadata else dict(entries)
    header = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data
