"""Where the sums are done: the device and its precision, memory in numbers, and the lock that lets one run train per device."""

import contextlib
import ctypes
import gc
import getpass
import os
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from studio.errors import MachineError
from studio.language import say

if TYPE_CHECKING:
    import torch
    from filelock import BaseFileLock

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
PRECISIONS = {"no": "float32", "fp16": "float16", "bf16": "bfloat16"}

opening = threading.RLock()
"""Held while a model or its libraries are opened: opening a model changes how torch makes weights for all threads, and transformers can't be
imported by two at once."""


def device() -> "torch.device":
    """The device to train on: $STUDIO_DEVICE, else the first CUDA device, else the CPU."""
    import torch

    name = os.environ.get("STUDIO_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(name)
    except RuntimeError:
        raise MachineError(say("STUDIO_DEVICE={name}: there is no such kind of device.", name=name), say("Use cpu, cuda or cuda:1.")) from None
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise MachineError(
            say("CUDA was asked for, but this PyTorch ({build}) finds no usable GPU.", build=torch.__version__),
            say("Install the NVIDIA driver and the CUDA build of PyTorch, or set STUDIO_DEVICE=cpu."),
        )
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise MachineError(
            say("STUDIO_DEVICE={name}: this machine has {count} CUDA devices, counted from 0.", name=name, count=torch.cuda.device_count()),
            say("Use cpu, cuda or cuda:1."),
        )
    return chosen


def precision(asked: str | None, on: "torch.device") -> str:
    """`asked`, else what the device is good at: bf16 where it has it, else fp16 on CUDA, else no."""
    import torch

    if asked is not None:
        return asked
    if on.type != "cuda":
        return "no"
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


def dtype(name: str) -> "torch.dtype":
    """The tensor type behind `no`, `fp16`, `bf16`."""
    import torch

    found: torch.dtype = getattr(torch, PRECISIONS[name])
    return found


def usual_threads() -> int:
    """How many CPU threads a run takes where nobody says: what torch takes, 16 at most."""
    import torch

    return min(max(1, torch.get_num_threads()), 16)


def set_threads(number: int | None) -> int:
    """Use `number` CPU threads (absent: the usual ones), and say how many.

    What has to be bit-identical needs the same number, so it is chosen once per run.
    """
    import torch

    chosen = number or usual_threads()
    if torch.get_num_threads() != chosen:
        torch.set_num_threads(chosen)
    return chosen


def keep_freed_memory() -> None:
    """Let glibc keep large freed blocks for the next step, not return them to the system and have them zeroed again: a tenth of a CPU step."""
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        for parameter in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD):
            libc.mallopt(parameter, 1 << 30)


def memory_in_use(on: "torch.device") -> int:
    """Bytes: the most that was taken on a CUDA device, or what the process has now."""
    import torch

    if on.type == "cuda":
        return torch.cuda.max_memory_allocated(on)
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def room(on: "torch.device") -> tuple[int, int]:
    """Bytes that are free on the device, and how many it has; for the CPU those of the machine."""
    import torch

    if on.type == "cuda":
        free, total = torch.cuda.mem_get_info(on)
        return int(free), int(total)
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        free, total = (int(lines[name].split()[0]) * 1024 for name in ("MemAvailable", "MemTotal"))
        return free, total
    except (OSError, KeyError, ValueError):
        return 0, 0


def free_memory(on: "torch.device") -> None:
    """Give memory that nothing holds any more back."""
    import torch

    gc.collect()
    if on.type == "cuda":
        torch.cuda.empty_cache()


def device_lock(on: "torch.device") -> "BaseFileLock":
    """Held while a run trains on the device, across workspaces of this user. Released by the system when the process dies."""
    from filelock import FileLock

    user = os.getuid() if hasattr(os, "getuid") else getpass.getuser()  # in a container a user may have no name
    folder = Path(tempfile.gettempdir()) / f"lora-studio-{user}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return FileLock(folder / f"{on.type}-{on.index or 0}.lock", timeout=0)
