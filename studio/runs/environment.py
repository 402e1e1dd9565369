"""On what a run was trained: versions, device, and hashes of base model and data, so that a resumed run knows whether it is the same."""

import platform
import shutil
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio import __version__, home
from studio.language import say

if TYPE_CHECKING:
    import torch

    from studio.data.examples import Dataset
    from studio.families.base import Bundle

NEEDED = ("torch", "diffusers", "transformers", "peft", "accelerate", "safetensors", "gradio", "tensorboard", "matplotlib", "pydantic", "Pillow")
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
        "base_model": "".join(bundle.identity(part)[:16] for part in ("vae", *bundle.encoders)),
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


def examine() -> tuple[list[str], bool]:
    """What this machine has, a line each, and whether a run could start on it."""
    fine = True
    lines = [f"LoRA Studio {__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}"]
    for name in NEEDED:
        found = package(name)
        fine &= bool(found)
        lines.append(f"{name:<16} {found or say('missing: pip install -r requirements.txt')}")
    if package("torch"):
        import torch

        lines.append(_cuda(torch))
        lines.append(say("{threads} CPU threads", threads=torch.get_num_threads()))
    place = home.home()
    while not place.exists():
        place = place.parent
    usage = shutil.disk_usage(place)
    lines.append(say("Workspace {path}: {free} GB free", path=home.home(), free=f"{usage.free / 1e9:.1f}"))
    if not _writable(place):
        fine = False
        lines.append(say("The workspace can't be written. Set STUDIO_HOME to a folder that can."))
    lines.append(say("Ready.") if fine else say("Something is missing."))
    return lines, fine


def _writable(place: Path) -> bool:
    """Whether a file can be made there; permissions alone don't tell."""
    try:
        with tempfile.TemporaryFile(dir=place):
            return True
    except OSError:
        return False


def _cuda(torch: Any) -> str:
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        name = torch.cuda.get_device_name()
        return say(
            "{name}: {free} of {total} GB free, CUDA {version}",
            name=name,
            free=f"{free / 1e9:.1f}",
            total=f"{total / 1e9:.1f}",
            version=torch.version.cuda,
        )
    if torch.version.cuda is None:
        return say("No CUDA: this PyTorch is a CPU build ({build}). Small models train on the CPU.", build=torch.__version__)
    driver = say("an NVIDIA driver answers") if shutil.which("nvidia-smi") else say("no NVIDIA driver is found")
    return say("No CUDA: PyTorch is built for CUDA {version}, {driver}.", version=torch.version.cuda, driver=driver)
