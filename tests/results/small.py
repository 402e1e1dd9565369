"""A run of the pocket model that is trained in a few seconds: six steps, a checkpoint every two, from four small pictures."""

from pathlib import Path

from PIL import Image

from studio.config import Config
from studio.pocket import SAMPLES
from studio.runs import run as shelf
from studio.runs.execute import execute
from studio.runs.resolve import complete
from studio.runs.run import Run


def pictures(folder: Path) -> Path:
    """Four pictures with captions."""
    folder.mkdir(parents=True)
    lines = ["file_name,text"]
    for path in sorted((SAMPLES / "gameboy").glob("*.png"))[:4]:
        with Image.open(path) as opened:
            opened.convert("RGB").resize((64, 64)).save(folder / path.name)
        lines.append(f"{path.name},{path.stem}")
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
    return folder


def config(data: Path, **settings: object) -> Config:
    """Few and large steps."""
    few = {"base_model": "pocket", "train_data_dir": data, "name": "small", "lora_rank": 2, "batch_size": 2, "max_steps": 6, "learning_rate": 0.02}
    return complete(Config.model_validate({**few, "save_steps": 2, "validation_steps": 0, "threads": 1, **settings}))


def made(data: Path, **settings: object) -> Run:
    """A finished run below $STUDIO_HOME."""
    run = shelf.create(config(data, **settings))
    for _ in execute(run):
        pass
    return run
