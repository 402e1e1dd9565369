"""Time and memory of opening Stable Diffusion 1.5 and SD 3.5 Medium from one file, ours and diffusers': `python -m tests.benchmarks.opening`."""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from studio.families.clip import ASSETS, tokenizer

LAYOUT = ASSETS / "sd15"
FLOW = ASSETS / "sd35-medium"
PARTS = ("unet", "vae", "text_encoder")


def write(folder: Path, numbers: str) -> Path:
    """A checkpoint in the original layout, with random weights of the real shapes, and what diffusers needs to open it without the Hub."""
    import torch

    from tests.families import ldm

    models = ldm.random_models(LAYOUT, getattr(torch, numbers))
    shutil.copytree(LAYOUT, folder / "layout")
    tokenizer().save_pretrained(folder / "layout/tokenizer")
    return ldm.write(folder / "model.safetensors", ldm.checkpoint(models, "sd1"))


def write_flow(folder: Path, numbers: str) -> Path:
    """The transformer of SD 3.5 Medium in the original layout; all its weights are one number."""
    import torch
    from diffusers import SD3Transformer2DModel

    from tests.families import ldm

    with torch.device("meta"):
        model = SD3Transformer2DModel.from_config(SD3Transformer2DModel.load_config(FLOW / "transformer"))
    model = model.to(getattr(torch, numbers)).to_empty(device="cpu")
    for parameter in (*model.parameters(), *model.buffers()):
        parameter.data.fill_(0.01)
    return ldm.write(folder / "model.safetensors", ldm.flow_checkpoint({"transformer": model}, "sd3"))


def measure(who: str, path: Path, numbers: str) -> dict[str, float]:
    """Seconds and peak memory in GB above what the libraries take: when all parts are open, and when every weight has been read once."""
    import torch

    dtype = getattr(torch, numbers)
    prepare = {"ours": _ours, "diffusers": _diffusers, "ours, flow": _ours_flow, "diffusers, flow": _diffusers_flow}[who]
    opened = prepare(path, dtype)
    before, started = _peak(), time.perf_counter()
    parts = opened()
    found = {"seconds": time.perf_counter() - started, "peak": _peak() - before}
    with torch.no_grad():
        for part in parts:
            for parameter in part.parameters():
                parameter.sum()
    return {**found, "seconds, all read": time.perf_counter() - started, "peak, all read": _peak() - before}


def _ours(path: Path, dtype: Any) -> Any:
    import torch

    from studio import families

    family = families.get("sd")

    def opened() -> list[Any]:
        bundle = family.load(path, torch.device("cpu"), dtype)
        bundle["tokenizer"]
        return [bundle[part] for part in PARTS]

    return opened


def _diffusers(path: Path, dtype: Any) -> Any:
    from diffusers import StableDiffusionPipeline

    def opened() -> list[Any]:
        pipeline = StableDiffusionPipeline.from_single_file(
            str(path), config=str(path.parent / "layout"), dtype=dtype, local_files_only=True, safety_checker=None
        )
        return [getattr(pipeline, part) for part in PARTS]

    return opened


def _ours_flow(path: Path, dtype: Any) -> Any:
    import torch

    from studio import families

    family = families.get("sd3")
    return lambda: [family.load(path, torch.device("cpu"), dtype)["transformer"]]


def _diffusers_flow(path: Path, dtype: Any) -> Any:
    from diffusers import SD3Transformer2DModel

    known = {"config": str(FLOW), "subfolder": "transformer", "local_files_only": True}
    return lambda: [SD3Transformer2DModel.from_single_file(str(path), dtype=dtype, **known)]


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def main() -> None:
    """Write each checkpoint, open it with either in a process of its own, print, and delete it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--numbers", nargs="*", default=["float16", "float32"])
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(given.one[0], Path(given.one[1]), given.one[2])))
        return
    for numbers in given.numbers:
        _each("write", numbers, ("ours", "diffusers"))
    _each("write_flow", "bfloat16", ("ours, flow", "diffusers, flow"))


def _each(writer: str, numbers: str, measured: tuple[str, ...]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        subprocess.run([sys.executable, "-c", f"from tests.benchmarks.opening import *; {writer}(Path({folder!r}), {numbers!r})"], check=True)
        print(f"{numbers}, {path.stat().st_size / 1e9:.2f} GB")
        for who in measured:
            command = [sys.executable, "-m", "tests.benchmarks.opening", "--one", who, str(path), numbers]
            said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
            print(f"  {who:<16}", *(f"{name} {value:.2f}" for name, value in json.loads(said).items()), sep="  ")


if __name__ == "__main__":
    main()
