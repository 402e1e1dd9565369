"""The studio's own training, as a run like any other, with the settings of the comparison."""

from pathlib import Path


def train(base: Path, pictures: Path, resolution: int, steps: int) -> None:
    """A whole run below $STUDIO_HOME."""
    from studio.config import Config
    from studio.runs.execute import execute
    from studio.runs.resolve import complete
    from studio.runs.run import create

    config = Config(
        base_model=str(base),
        train_data_dir=pictures,
        resolution=resolution,
        lora_rank=16,
        batch_size=2,
        max_steps=steps,
        lr_scheduler="constant",
        caption_dropout=0.0,
        mixed_precision="no",
        validation_steps=0,
        save_steps=0,
        threads=1,
    )
    for _ in execute(create(complete(config))):
        pass
