"""Every setting of a run, declared once. The sentence under a field is its help in YAML, `--help`, the app and the README."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict, model_validator

from studio.language import say

ALIASES = {"network_alpha": "lora_alpha"}
TASKS = {"sd": "image-generation", "llm": "text-generation"}
OPTIONAL = frozenset(  # not for each family
    {"prediction_type", "zero_terminal_snr", "snr_gamma", "noise_offset", "timestep_sampling", "flow_shift"}
    | {"train_text_encoder", "text_encoder_lr", "conv_rank", "masked_loss", "unmasked_weight", "prior_data_dir", "prior_prompt", "prior_weight"}
    | {"ip_noise_gamma"}
)
USUAL = {"learning_rate": (1e-7, 1e-2), "text_encoder_lr": (1e-8, 1e-2), "lora_rank": (1, 256), "noise_offset": (0.0, 0.2)}
BLANK = re.compile(r"\[[a-z]+\]")


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _as_ranks(value: Any) -> Any:
    """`mid_block: 32, *.to_q: 4` as a mapping: one line or several, and no quotes needed where YAML would want them."""
    if not isinstance(value, str):
        return value
    pairs = [part.rpartition(":") for part in value.replace("\n", ",").split(",") if part.strip()]
    return {name.strip(" \"'"): int(rank) if rank.strip().isdecimal() else rank for name, _, rank in pairs}


def _known_task(value: Any) -> Any:
    return TASKS.get(value, value) if isinstance(value, str) else value


FilePath = Annotated[Path, Strict(False)]
Texts = Annotated[tuple[str, ...], Strict(False), BeforeValidator(_as_list)]
Ranks = Annotated[dict[Annotated[str, Field(min_length=1)], Annotated[int, Field(ge=1, le=1024)]], BeforeValidator(_as_ranks)]
Name = Annotated[str, Field(pattern=r"^[^\s./\\:*?\"<>|\x00-\x1f-][^/\\:*?\"<>|\x00-\x1f]{0,63}$")]


class Settings(BaseModel):
    """A group of settings."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True, allow_inf_nan=False)


class Model(Settings):
    """What is trained"""

    base_model: Annotated[str, Field(min_length=1)]
    """The model to start from: a .safetensors file, a diffusers folder, a Hub id such as org/name, or `pocket`, the small one inside."""
    family: str | None = None
    """Kind of model. Recognised from the base model when absent."""
    task_type: Annotated[Literal["image-generation", "text-generation"], BeforeValidator(_known_task)] | None = None
    """What the model makes. Follows from the family when absent; sd and llm are short forms."""
    name: Name | None = None
    """Name of the exported file, and what <lora:NAME:1> calls it. The last part of output_dir, else the run's id, when absent."""
    purpose: str = ""
    """What this run is meant to find out or make, in a sentence. Kept in its record."""
    init_lora: FilePath | None = None
    """A LoRA file to continue from, made here or elsewhere, of any rank."""


class Data(Settings):
    """What it learns from"""

    train_data_dir: FilePath
    """Folder or zip with the pictures."""
    metadata_path: FilePath | None = None
    """File with the captions (.csv or .jsonl). When absent: metadata.jsonl, metadata.csv or one .txt beside each picture."""
    resolution: Annotated[int, Field(ge=16, le=4096)] | None = None
    """Side in pixels that pictures are trained at. The base model's own when absent."""
    enable_bucket: bool = True
    """Keep each picture's shape by sorting pictures into aspect-ratio buckets of about the same area. Off: crop the centre square."""
    random_flip: bool = False
    """Show each picture mirrored half of the time. Not for faces, text or anything with a left and a right."""
    num_repeats: Annotated[int, Field(ge=1, le=10_000)] = 1
    """How often each picture is shown in one epoch."""
    bad_images: Literal["refuse", "skip"] = "refuse"
    """What to do when a picture can't be read: refuse to start, or go on without it."""
    missing_captions: Literal["refuse", "skip", "empty"] = "refuse"
    """What to do when a picture has no caption: refuse to start, go on without it, or train it with an empty caption."""
    caption_prefix: str = ""
    """Put before every caption, a trigger word for example."""
    caption_suffix: str = ""
    """Put after every caption."""
    caption_dropout: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Share of steps in which a picture is shown without its caption, so that guidance keeps working."""
    shuffle_tags: bool = False
    """Shuffle the comma-separated tags of a caption each time it is shown. For tags, not for sentences."""
    keep_tokens: Annotated[int, Field(ge=0, le=75)] = 0
    """How many tags at the front stay where they are when shuffle_tags is on."""
    prior_data_dir: FilePath | None = None
    """Folder or zip with pictures of the class, any dog say, that the model shall still draw as before: as many are shown as training pictures."""
    prior_prompt: str = ""
    """Caption of the class pictures that have none, such as a dog."""
    validation_split: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    """Share of the pictures that is kept out of training to measure the loss on."""


class Adapter(Settings):
    """The LoRA itself"""

    adapter: Literal["lora", "dora", "lokr"] = "lora"
    """Kind of adapter: lora; dora, which also trains how long each row of a weight is; or lokr, a Kronecker product, for the smallest files."""
    lora_rank: Annotated[int, Field(ge=1, le=1024)] = 16
    """Rank of the LoRA matrices: how much it can hold, and how large the file is."""
    lora_alpha: Annotated[float, Field(gt=0, le=4096)] | None = None
    """The LoRA acts with alpha / rank. Equal to the rank when absent. network_alpha is the same setting."""
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of a LoRA layer's inputs that is zeroed in training, against over-fitting."""
    lora_targets: Annotated[Texts, Field(min_length=1)] = ("attention",)
    """Which layers of the image model get LoRA: attention, feed-forward, or the ends of layer names such as to_q."""
    conv_rank: Annotated[int, Field(ge=0, le=1024)] = 0
    """Rank of LoRA on the 3 × 3 convolutions. 0: none there."""
    rank_pattern: Ranks = {}
    """Ranks of single layers, at the same strength: mid_block: 32 for those with that word in the name. * and ? fit anything; the last fit counts."""
    lokr_factor: Annotated[int, Field(ge=2, le=1024)] | None = None
    """Into how many parts lokr splits the sides of a weight, at most. More parts make a smaller file that holds less. 8 when absent."""
    use_rslora: bool = False
    """Act with alpha / √rank instead of alpha / rank, so that a higher rank doesn't weaken the LoRA."""
    train_text_encoder: bool = False
    """Train LoRA on the text encoder too. Its outputs can't be cached then."""


class Optimisation(Settings):
    """How it learns"""

    epochs: Annotated[int, Field(ge=1, le=100_000)] = 10
    """How often the whole data is gone through."""
    max_steps: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    """Number of optimizer steps. Wins over epochs."""
    batch_size: Annotated[int, Field(ge=1, le=1024)] = 2
    """Pictures that go through the model at once."""
    gradient_accumulation_steps: Annotated[int, Field(ge=1, le=1024)] = 1
    """Batches that are added up before a step: the effect of a larger batch without its memory."""
    optimizer: Literal["adamw"] = "adamw"
    """The rule that turns gradients into steps."""
    learning_rate: Annotated[float, Field(gt=0, le=1e4)] = 1e-4
    """Learning rate at its peak."""
    text_encoder_lr: Annotated[float, Field(gt=0, le=1e4)] | None = None
    """Learning rate of the text encoder's LoRA. Half of learning_rate when absent."""
    lr_scheduler: Literal["constant", "cosine", "linear"] = "cosine"
    """How the learning rate moves after the warm-up: stays, falls along a cosine, or falls along a line, to zero at the end."""
    warmup_steps: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """Steps in which the learning rate rises from zero to its peak."""
    weight_decay: Annotated[float, Field(ge=0, le=10)] = 0.01
    """Pull of the LoRA weights towards zero (AdamW)."""
    max_grad_norm: Annotated[float, Field(ge=0)] = 1.0
    """Gradients longer than this are shortened to it. 0: never."""
    mixed_precision: Literal["no", "fp16", "bf16"] | None = None
    """Precision of the base model; the LoRA is trained in 32 bits. Absent: bf16 where the device has it, else fp16 on CUDA, else no."""
    load_in: Literal["16bit", "8bit", "4bit"] = "16bit"
    """Bits of the base model's weights: 8 halve its memory, 4 nearly quarter it, at some cost in quality. Both need CUDA and bitsandbytes."""
    gradient_checkpointing: bool = False
    """Compute activations twice instead of keeping them: much less memory, about a third more time."""
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 42
    """All randomness of a run follows from it."""


class Loss(Settings):
    """What counts as an error"""

    prediction_type: Literal["epsilon", "v_prediction"] | None = None
    """What the base model predicts. Read from the base model when absent."""
    zero_terminal_snr: bool | None = None
    """Whether the noise ends in pure noise, for models that were trained so. Read from the base model when absent."""
    snr_gamma: Annotated[float, Field(gt=0, le=1000)] | None = None
    """Min-SNR weighting: evens out the timesteps. 5 is usual; off when absent."""
    noise_offset: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Shifts the noise of whole channels, for very dark or very bright pictures. 0.03 to 0.1 is usual."""
    ip_noise_gamma: Annotated[float, Field(ge=0, le=1)] = 0.0
    """More noise than the model is told of, so that its own errors matter less while it draws. 0: none; 0.1 is usual."""
    masked_loss: bool = False
    """Learn only where masks are white: grey pictures of the same names in a folder masks, or NAME.mask.png, or the pictures' transparency."""
    unmasked_weight: Annotated[float, Field(ge=0, le=1)] | None = None
    """How much that which is masked counts. 0.1 when absent, so that the rest of a picture still fits it; 0: nothing is learned there."""
    prior_weight: Annotated[float, Field(gt=0, le=100)] | None = None
    """How much the pictures in prior_data_dir count beside the training pictures. 1 when absent."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """How much of a running average of the LoRA each step leaves; that is what is measured, drawn and exported. 0: off. 0.99 suits short runs."""
    timestep_sampling: Literal["logit_normal", "uniform"] = "logit_normal"
    """Which amounts of noise are trained on, for models that learn a flow: most often middling ones, or all alike."""
    flow_shift: Annotated[float, Field(gt=0, le=100)] | None = None
    """Above 1 it trains more on much noise, for models that learn a flow. The usual one for the model when absent; for FLUX it grows with size."""


class Running(Settings):
    """While it runs"""

    output_dir: FilePath | None = None
    """Folder of the run. A folder of its own below the workspace when absent."""
    save_steps: Annotated[int, Field(ge=0)] = 250
    """Steps between checkpoints. 0: only at the end."""
    keep_checkpoints: Annotated[int, Field(ge=0)] = 4
    """How many of the newest checkpoints are kept. 0: all."""
    validation_steps: Annotated[int, Field(ge=0)] = 50
    """Steps between measurements of the validation loss. 0: never."""
    sample_prompts: Texts = ()
    """Prompts that are drawn while training, to see it learn."""
    sample_steps: Annotated[int, Field(ge=0)] = 250
    """Steps between such pictures. 0: only at the end."""
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    """CPU threads. Chosen from the machine when absent, and kept when a run is resumed."""


GROUPS: tuple[type[Settings], ...] = (Model, Data, Adapter, Optimisation, Loss, Running)


class Config(Running, Loss, Optimisation, Adapter, Data, Model):  # pydantic gathers fields from the last base to the first
    """All settings of one run."""

    @model_validator(mode="after")
    def _consistent(self) -> "Config":
        if self.keep_tokens and not self.shuffle_tags:
            raise ValueError(say("keep_tokens: only means something together with shuffle_tags: true."))
        if self.unmasked_weight is not None and not self.masked_loss:
            raise ValueError(say("unmasked_weight: only means something together with masked_loss: true."))
        if self.text_encoder_lr is not None and not self.train_text_encoder:
            raise ValueError(say("text_encoder_lr: only means something together with train_text_encoder: true."))
        if self.lokr_factor is not None and self.adapter != "lokr":
            raise ValueError(say("lokr_factor: only means something together with adapter: lokr."))
        return self

    @property
    def alpha(self) -> float:
        """`lora_alpha`, which is the rank when absent."""
        return float(self.lora_rank if self.lora_alpha is None else self.lora_alpha)

    @property
    def factor(self) -> int:
        """`lokr_factor`, which is 8 when absent."""
        return self.lokr_factor or 8


def unfilled(config: Config) -> dict[str, str]:
    """Setting → what stands there in brackets, such as [name], and waits to be filled in."""
    texts = {key: BLANK.search(getattr(config, key)) for key in ("caption_prefix", "caption_suffix")}
    return {key: found[0] for key, found in texts.items() if found}


def unusual(config: Config) -> list[str]:
    """A sentence for each value that is allowed but far from what is in use."""
    found = []
    for key, (low, high) in USUAL.items():
        value = getattr(config, key)
        if value is not None and not low <= value <= high:
            found.append(say("{key}: {value} is unusual; {low} to {high} is in use.", key=key, value=f"{value:g}", low=f"{low:g}", high=f"{high:g}"))
    return found
