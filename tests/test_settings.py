"""Every setting that is accepted does something: for each, a small run in which ignoring it would show."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from safetensors.torch import load_file

from studio.config import Config
from studio.errors import StudioError
from studio.events import Sampled, Saved, Started, Steps, Validated
from studio.pocket import SAMPLES
from studio.runs import run as runs
from studio.runs.execute import execute
from studio.runs.resolve import complete
from studio.runs.result import DIFFUSERS
from tests.families import tiny

BASE: dict[str, Any] = {
    "base_model": "pocket",
    "lora_rank": 4,
    "batch_size": 2,
    "max_steps": 3,
    "learning_rate": 1e-2,
    "caption_dropout": 0.0,
    "lr_scheduler": "constant",
    "validation_split": 0.0,
    "save_steps": 0,
    "seed": 1,
    "threads": 1,
}
Outcome = dict[str, Any]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight pictures of two shapes with tags, the same with faults, other captions, another base model and a LoRA."""
    folder = tmp_path_factory.mktemp("settings")
    lines = ["file_name,text"]
    for kind in ("pictures", "bad", "silent", "masked/masks", "prior"):
        (folder / kind).mkdir(parents=True)
    for number, path in enumerate(sorted((SAMPLES / "gameboy").glob("*.png"))[:8]):
        with Image.open(path) as opened:
            picture = opened.convert("RGB").resize((64, 64)).crop((0, 16, 64, 48) if number % 2 else (0, 0, 64, 64))
        for kind in ("pictures", "bad", "silent", "masked", "prior"):
            picture.save(folder / kind / path.name)
        Image.linear_gradient("L").save(folder / "masked" / "masks" / path.name)
        lines.append(f'{path.name},"{path.stem}, green, pixels, small"')
    text = "\n".join(lines) + "\n"
    for kind in ("pictures", "bad", "masked"):
        (folder / kind / "metadata.csv").write_text(text)
    (folder / "bad" / "metadata.csv").write_text(text + "broken.png,nothing\n")
    (folder / "bad" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (folder / "silent" / "metadata.csv").write_text("\n".join(lines[:-1]) + "\n")
    (folder / "other.csv").write_text(text.replace("green", "blue"))
    tiny.sd(folder / "tiny")
    tiny.flux(folder / "flux")
    return folder


@pytest.fixture(scope="module")
def outcome(place: Path) -> Callable[..., Outcome]:
    """What can be seen of a whole run with these settings; runs with the same settings are made once."""
    known: dict[str, Outcome] = {}

    def look(**changes: Any) -> Outcome:
        name = json.dumps(changes, sort_keys=True, default=str)
        if name not in known:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("STUDIO_HOME", str(place / "workspace"))
                known[name] = _run({**BASE, "train_data_dir": str(place / "pictures"), **changes})
        return known[name]

    return look


def _run(settings: dict[str, Any]) -> Outcome:
    try:
        config = complete(Config.model_validate(settings))
        made = runs.create(config)
        events = [event for happened in execute(made) for event in happened]
    except (StudioError, ValueError) as error:
        return {"error": str(error)}
    steps = [event for event in events if isinstance(event, Steps)]
    weights = load_file(made.folder / DIFFUSERS)
    started = next(event for event in events if isinstance(event, Started))
    return {
        "error": None,
        "losses": [loss for event in steps for loss in event.loss],
        "rates": [rate for event in steps for rate in event.learning_rate],
        "steps": started.steps,
        "threads": started.environment["threads"],
        "data": started.environment["data"],
        "layers": sorted((name, tuple(tensor.shape)) for name, tensor in weights.items()),
        "weights": hashlib.sha256(b"".join(weights[name].numpy().tobytes() for name in sorted(weights))).hexdigest(),
        "saved": [event.step for event in events if isinstance(event, Saved)],
        "kept": sorted(path.name for path in (made.folder / "checkpoints").iterdir()),
        "validated": [event.step for event in events if isinstance(event, Validated)],
        "sampled": [(event.step, event.prompts) for event in events if isinstance(event, Sampled)],
        "exports": [path.name for path in (made.folder / "exports").iterdir()],
        "folder": made.folder,
        "config": made.config,
    }


MASKED = {"train_data_dir": "masked", "masked_loss": True}
PRIOR = {"prior_data_dir": "prior", "prior_prompt": "a dog"}
# setting → (what is seen, how it is set, what it is beside)
SEEN: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "base_model": ("layers", {"base_model": "tiny"}, {}),
    "family": ("error", {"family": "other"}, {}),
    "task_type": ("error", {"task_type": "text-generation"}, {}),
    "name": ("exports", {"name": "mine"}, {"name": "yours"}),
    "purpose": ("config", {"purpose": "to see"}, {}),
    "init_lora": ("weights", {"init_lora": "LORA"}, {}),
    "train_data_dir": ("data", {"train_data_dir": "silent", "missing_captions": "empty"}, {}),
    "metadata_path": ("data", {"metadata_path": "other.csv"}, {}),
    "resolution": ("losses", {"resolution": 32}, {}),
    "enable_bucket": ("losses", {"enable_bucket": False}, {}),
    "random_flip": ("losses", {"random_flip": True}, {}),
    "num_repeats": ("steps", {"num_repeats": 2, "max_steps": None, "epochs": 1}, {"max_steps": None, "epochs": 1}),
    "bad_images": ("error", {"train_data_dir": "bad", "bad_images": "skip"}, {"train_data_dir": "bad"}),
    "missing_captions": ("error", {"train_data_dir": "silent", "missing_captions": "skip"}, {"train_data_dir": "silent"}),
    "caption_prefix": ("data", {"caption_prefix": "gb,"}, {}),
    "caption_suffix": ("data", {"caption_suffix": ", gb"}, {}),
    "caption_dropout": ("losses", {"caption_dropout": 1.0}, {}),
    "shuffle_tags": ("losses", {"shuffle_tags": True}, {}),
    "keep_tokens": ("losses", {"shuffle_tags": True, "keep_tokens": 3}, {"shuffle_tags": True}),
    "validation_split": ("validated", {"validation_split": 0.25}, {}),
    "adapter": ("layers", {"adapter": "dora"}, {"adapter": "lokr"}),
    "lokr_factor": ("layers", {"adapter": "lokr", "lokr_factor": 4}, {"adapter": "lokr"}),
    "lora_rank": ("layers", {"lora_rank": 2}, {}),
    "lora_alpha": ("weights", {"lora_alpha": 1}, {}),
    "lora_dropout": ("weights", {"lora_dropout": 0.5}, {}),
    "lora_targets": ("layers", {"lora_targets": ["to_q"]}, {}),
    "conv_rank": ("layers", {"conv_rank": 2}, {}),
    "rank_pattern": ("layers", {"rank_pattern": {"mid_block": 2}}, {}),
    "use_rslora": ("weights", {"use_rslora": True}, {}),
    "train_text_encoder": ("layers", {"train_text_encoder": True}, {}),
    "epochs": ("steps", {"max_steps": None, "epochs": 2}, {"max_steps": None, "epochs": 1}),
    "max_steps": ("steps", {"max_steps": 2}, {}),
    "batch_size": ("losses", {"batch_size": 1}, {}),
    "gradient_accumulation_steps": ("losses", {"gradient_accumulation_steps": 2}, {}),
    "optimizer": ("error", {"optimizer": "unknown"}, {}),
    "learning_rate": ("rates", {"learning_rate": 1e-3}, {}),
    "text_encoder_lr": ("weights", {"train_text_encoder": True, "text_encoder_lr": 1e-4}, {"train_text_encoder": True}),
    "lr_scheduler": ("rates", {"lr_scheduler": "cosine"}, {"lr_scheduler": "linear"}),
    "warmup_steps": ("rates", {"warmup_steps": 2}, {}),
    "weight_decay": ("weights", {"weight_decay": 5.0}, {}),
    "max_grad_norm": ("weights", {"max_grad_norm": 1e-6}, {}),
    "mixed_precision": ("losses", {"mixed_precision": "bf16"}, {}),
    "load_in": ("error", {"load_in": "4bit"}, {}),
    "seed": ("losses", {"seed": 2}, {}),
    "prediction_type": ("losses", {"prediction_type": "epsilon"}, {}),
    "zero_terminal_snr": ("losses", {"zero_terminal_snr": True}, {}),
    "snr_gamma": ("losses", {"snr_gamma": 1.0}, {}),
    "noise_offset": ("losses", {"noise_offset": 0.2}, {}),
    "ip_noise_gamma": ("losses", {"ip_noise_gamma": 0.2}, {}),
    "masked_loss": ("losses", {"train_data_dir": "masked", "masked_loss": True}, {"train_data_dir": "masked"}),
    "prior_data_dir": ("data", PRIOR, {}),
    "prior_prompt": ("data", PRIOR | {"prior_prompt": "a cat"}, PRIOR),
    "prior_weight": ("weights", PRIOR | {"prior_weight": 0.1}, PRIOR),
    "unmasked_weight": ("losses", MASKED | {"unmasked_weight": 0.5}, MASKED),
    "ema_decay": ("weights", {"ema_decay": 0.9}, {}),
    "timestep_sampling": ("losses", {"base_model": "flux", "timestep_sampling": "uniform"}, {"base_model": "flux"}),
    "flow_shift": ("losses", {"base_model": "flux", "flow_shift": 5.0}, {"base_model": "flux"}),
    "output_dir": ("folder", {"output_dir": "out"}, {}),
    "save_steps": ("saved", {"save_steps": 1}, {}),
    "keep_checkpoints": ("kept", {"save_steps": 1, "keep_checkpoints": 1}, {"save_steps": 1}),
    "validation_steps": ("validated", {"validation_split": 0.25, "validation_steps": 1}, {"validation_split": 0.25}),
    "sample_prompts": ("sampled", {"sample_prompts": ["a dog face"]}, {}),
    "sample_steps": ("sampled", {"sample_prompts": ["a dog face"], "sample_steps": 2}, {"sample_prompts": ["a dog face"]}),
    "threads": ("threads", {"threads": 2}, {}),
}
PATHS = ("train_data_dir", "metadata_path", "prior_data_dir", "output_dir")
ELSEWHERE = {"gradient_checkpointing"}  # changes memory and time, nothing else: tests/training/test_trainer.py


def test_every_setting_is_looked_at():
    assert set(SEEN) | ELSEWHERE == set(Config.model_fields)


@pytest.mark.parametrize("setting", SEEN)
def test_a_setting_is_not_ignored(setting: str, outcome: Callable[..., Outcome], place: Path):
    seen, changed, beside = SEEN[setting]

    def placed(settings: dict[str, Any]) -> dict[str, Any]:
        found = {key: str(place / value) if key in PATHS else value for key, value in settings.items()}
        if found.get("base_model") in ("tiny", "flux"):
            found["base_model"] = str(place / found["base_model"])
        if found.get("init_lora") == "LORA":
            found["init_lora"] = str(outcome()["folder"] / DIFFUSERS)
        return found

    with_it, without = outcome(**placed(changed)), outcome(**placed(beside))
    assert with_it.get(seen, with_it["error"]) != without.get(seen, without["error"])
    if seen != "error":
        assert with_it["error"] is without["error"] is None
