"""What leaves a run: the LoRA as diffusers reads it, and as everyone else does."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from studio.families.base import Bundle, Family
from studio.formats.adapter import write_diffusers
from studio.formats.kohya import kohya_metadata, write_kohya
from studio.formats.lora import Layer
from studio.runs.run import Run

DIFFUSERS = "pytorch_lora_weights.safetensors"


def write(run: Run, family: Family, bundle: Bundle, layers: Mapping[str, Layer], step: int) -> tuple[Path, Path]:
    """`pytorch_lora_weights.safetensors` and `exports/<name>.safetensors` in the run's folder."""
    config, state = run.config, run.state
    now = datetime.now(UTC)
    facts = {
        **config.model_dump(include={"lora_dropout", "epochs", "batch_size", "gradient_accumulation_steps", "gradient_checkpointing"}),
        **config.model_dump(include={"learning_rate", "optimizer", "lr_scheduler", "warmup_steps", "max_grad_norm", "seed"}),
        **config.model_dump(
            include={"mixed_precision", "snr_gamma", "noise_offset", "caption_dropout", "resolution", "prediction_type", "lora_rank"}
        ),
        "text_encoder_lr": config.text_encoder_lr if config.train_text_encoder else None,
        "name": run.name,
        "run": state.id,
        "kind": bundle.facts["kind"],
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
    ours, others = run.folder / DIFFUSERS, run.folder / "exports" / f"{run.name}.safetensors"
    others.parent.mkdir(exist_ok=True)
    metadata = kohya_metadata(facts)
    write_diffusers(ours, layers, family.names, metadata)
    write_kohya(others, layers, family.names, metadata)
    return ours, others
