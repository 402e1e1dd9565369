"""On what a run was trained: versions, device, and hashes of base model and data, so that a resumed run knows whether it is the same."""

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from studio import __version__

if TYPE_CHECKING:
    import torch

    from studio.data.examples import Dataset
    from studio.families.base import Bundle

PACKAGES = ("torch", "diffusers", "transformers", "safetensors")
SAME = ("data", "base_model", "device", "threads", *PACKAGES)
ESSENTIAL = ("data", "base_model")


def describe(bundle: "Bundle", dataset: "Dataset", threads: int) -> dict[str, Any]:
    """Plain values for `Started`."""
    return {
        "studio": __version__,
        "python": platform.python_version(),
        **{name: package(name) for name in PACKAGES},
        "device": device_name(bundle.device),
        "threads": threads,
        "data": dataset.fingerprint,
        "base_model": bundle.identity("vae")[:16] + bundle.identity("text_encoder")[:16],
    }


def device_name(device: "torch.device") -> str:
    """What the device is called: `NVIDIA GeForce RTX 4090`, `cpu x86_64`."""
    import torch

    return str(torch.cuda.get_device_name(device)) if device.type == "cuda" else f"{device.type} {platform.machine()}"


def package(name: str) -> str:
    """An installed package's version, or nothing."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def changes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What differs between two environments that an exact repetition needs to be the same."""
    return [name for name in SAME if before.get(name) != now.get(name)]
