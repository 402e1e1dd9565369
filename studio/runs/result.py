"""What leaves a run: the LoRA as diffusers reads it, and as everyone else does."""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path

from studio.families.base import Bundle, Family
from studio.formats.adapter import write_diffusers
from studio.formats.kohya import write_kohya
from studio.formats.lora import Layer
from studio.formats.metadata import kohya_metadata
from studio.runs.run import Run

FORMATS = ("diffusers", "kohya")
DIFFUSERS = "pytorch_lora_weights.safetensors"


def write(run: Run, family: Family, bundle: Bundle, layers: Mapping[str, Layer], step: int, formats: Collection[str] = FORMATS) -> list[Path]:
    """`pytorch_lora_weights.safetensors` and `exports/<name>.safetensors` in the run's folder; or only the one for `diffusers` or `kohya`."""
    about, paths = metadata(run, bundle, step), places(run)
    paths["kohya"].parent.mkdir(exist_ok=True)
    for name, writer in (("diffusers", write_diffusers), ("kohya", write_kohya)):
        if name in formats:
            writer(paths[name], layers, family.names, about)
    return [path for name, path in paths.items() if name in formats]


def places(run: Run) -> dict[str, Path]:
    """Where a run's files for other programs are, by format."""
    return {"diffusers": run.folder / DIFFUSERS, "kohya": run.folder / "exports" / f"{run.name}.safetensors"}


def metadata(run: Run, bundle: Bundle, step: int, private: Mapping[str, object] | None = None) -> dict[str, str]:
    """What the files say of how they came about. Of paths only their last part gets in, and of the data only what `private` has of it."""
    config, state = run.config, run.state
    now = datetime.now(UTC)
    facts = {
        **config.model_dump(include={"lora_dropout", "batch_size", "gradient_accumulation_steps", "gradient_checkpointing"}),
        **config.model_dump(include={"learning_rate", "optimizer", "lr_scheduler", "warmup_steps", "max_grad_norm", "seed"}),
        **config.model_dump(
            include={
                "mixed_precision",
                "snr_gamma",
                "noise_offset",
                "caption_dropout",
                "resolution",
                "prediction_type",
                "lora_rank",
                "adapter",
                "lokr_factor",
            }
        ),
        "epochs": None if config.max_steps else config.epochs,
        "text_encoder_lr": config.text_encoder_lr if config.train_text_encoder else None,
        "name": run.name,
        "run": state.id,
        "kind": bundle.facts["kind"],
        "version": bundle.facts.get("version"),
        "lora_alpha": config.alpha,
        "conv_rank": config.conv_rank or None,
        "conv_alpha": config.alpha * config.conv_rank / config.lora_rank if config.conv_rank else None,
        "steps": step,
        "started": state.created,
        "finished": now.timestamp(),
        "date": now.isoformat(timespec="seconds"),
        "base_model": config.base_model,
        "trigger_phrase": config.caption_prefix.strip(" ,") or None,
    }
    return kohya_metadata({**facts, **(private or {})}, private is not None)
