"""Stable Diffusion 1.x and 2.x, and the embedded pocket model, which has the same parts."""

import json
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, UNet2DConditionModel
from diffusers.loaders.single_file_utils import SingleFileComponentError
from diffusers.utils import logging as diffusers_logging
from torch import Tensor
from torch.nn import Conv2d, Linear
from torch.nn import functional as F
from transformers import CLIPTextModel, CLIPTokenizer
from transformers.utils import logging

from studio.config import Config
from studio.errors import InputError, ModelError
from studio.families import clip, diffusion
from studio.families.base import Batch, Bundle, Picture, Piece, Prompt, Row
from studio.families.clip import ASSETS
from studio.formats import fingerprints, gate
from studio.formats.names import Names
from studio.language import say

LAYOUTS = {"sd1": "sd15", "sd2": "sd21"}
TARGETS = {
    "attention": ("to_q", "to_k", "to_v", "to_out.0"),
    "feed-forward": ("ff.net.0.proj", "ff.net.2", "proj_in", "proj_out"),
}
CONVOLUTIONS = ("conv1", "conv2", "conv_shortcut", "downsamplers.0.conv", "upsamplers.0.conv")
TEXT_TARGETS = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")
PIXELS_AT_ONCE = {"cuda": 8 * 512 * 512, "cpu": 32 * 64 * 64}
logging.disable_progress_bar()
logging.set_verbosity_error()  # what is wrong with a model is said here, in one sentence
diffusers_logging.set_verbosity_error()
logging.set_verbosity_error()
_loading = threading.RLock()  # opening a model patches torch for the moment, for all threads


class StableDiffusion:
    """UNet with cross-attention, a VAE and one CLIP text encoder (Rombach et al. 2022)."""

    name: ClassVar[str] = "sd"
    title: ClassVar[str] = "Stable Diffusion 1.x / 2.x"
    task: ClassVar[Literal["image-generation", "text-generation"]] = "image-generation"
    defaults: ClassVar[dict[str, Any]] = {}
    settings: ClassVar[frozenset[str]] = frozenset(
        {"prediction_type", "snr_gamma", "noise_offset", "train_text_encoder", "text_encoder_lr", "conv_rank"}
    )
    names: ClassVar[Names] = Names(
        kohya={"unet": "lora_unet", "text_encoder": "lora_te"},
        inserted={"text_encoder": "text_model."},
        words=(
            *("down_blocks", "mid_block", "up_blocks", "transformer_blocks", "to_q", "to_k", "to_v", "to_out", "proj_in", "proj_out"),
            *("time_emb_proj", "conv_shortcut", "conv_in", "conv_out", "time_embedding", "linear_1", "linear_2"),
            *("text_model", "self_attn", "q_proj", "k_proj", "v_proj", "out_proj"),
        ),
        also={"lora_te1": "text_encoder"},
        older={
            "unet": {"to_out": "to_out.0"},
            "text_encoder": {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"},
        },
        apart=("resnets", "downsamplers", "upsamplers"),
    )

    def load(self, source: Path, device: torch.device, dtype: torch.dtype) -> Bundle:
        """A diffusers folder or a single .safetensors file."""
        folder, single = (source, None) if source.is_dir() else (ASSETS / LAYOUTS[_layout(source)], source)
        read = partial(_read_json, folder)
        unet = read("unet/config.json", "block_out_channels", "sample_size", "cross_attention_dim")
        vae, scheduler = read("vae/config.json", "block_out_channels"), read("scheduler/scheduler_config.json")
        factor = 2 ** (len(vae["block_out_channels"]) - 1)
        facts = {
            "title": source.stem,
            "tokens": read("tokenizer/tokenizer_config.json").get("model_max_length", clip.LIMIT),
            "resolution": unet["sample_size"] * factor,
            "factor": factor,
            "step": factor * 2 ** (len(unet["block_out_channels"]) - 1),
            "prediction_type": _prediction(single, scheduler),
            "scheduler": scheduler,
            "scaling": vae.get("scaling_factor", 0.18215),
            "kind": "sd2" if unet["cross_attention_dim"] == 1024 else "sd1",
        }
        return Bundle(
            source=source,
            device=device,
            dtype=dtype,
            loaders={
                "unet": lambda: _open(UNet2DConditionModel, folder, single, "unet", device, dtype),
                "vae": lambda: _open(AutoencoderKL, folder, single, "vae", device, torch.float32),
                "text_encoder": lambda: _open(CLIPTextModel, folder, single, "text_encoder", device, dtype),
                "tokenizer": lambda: _open_tokenizer(folder),
                "alphas": lambda: diffusion.cumulative_alphas(scheduler),
            },
            identities={
                "vae": lambda: _identity(folder, single, "vae", "first_stage_model."),
                "text_encoder": lambda: _identity(folder, single, "text_encoder", "cond_stage_model."),
            },
            trainable=("unet", "text_encoder"),
            facts=facts,
        )

    def targets(self, bundle: Bundle, config: Config) -> list[str]:
        """Linear layers of the UNet by `lora_targets`, convolutions with `conv_rank`, and the text encoder's if it is trained."""
        found: list[str] = []
        layers = {name: layer for name, layer in bundle["unet"].named_modules() if isinstance(layer, (Linear, Conv2d))}
        for target in config.lora_targets:
            inside = target in TARGETS
            ends = TARGETS.get(target, (target,))
            matched = [name for name in layers if _ends(name, ends) and ("attentions" in name or not inside)]
            if not matched:
                raise InputError(
                    say("lora_targets: no layer of this model ends in {name}.", name=target),
                    say("Take attention, feed-forward or the end of a layer's name such as to_q."),
                )
            found += matched
        if config.conv_rank:
            found += [name for name in layers if _ends(name, CONVOLUTIONS) and "attentions" not in name]
        chosen = set(found)
        names = [f"unet.{name}" for name in layers if name in chosen]
        if config.train_text_encoder:
            names += [
                f"text_encoder.{name}"
                for name, layer in bundle["text_encoder"].named_modules()
                if isinstance(layer, Linear) and _ends(name, TEXT_TARGETS)
            ]
        return names

    def encode(self, bundle: Bundle, kind: Literal["picture", "text", "tokens"], items: Sequence[Picture | str]) -> list[Row]:
        """picture → mean and deviation [C, h, w]; text → embedding [77, D]; tokens → tokens [77]."""
        if kind == "picture":
            pixels = diffusion.pixels([item.read() for item in items if isinstance(item, Picture)])
            mean, deviation = diffusion.encode_latents(bundle["vae"], pixels)
            return [{"mean": mean[i], "deviation": deviation[i]} for i in range(len(items))]
        tokens = _tokens(bundle, [str(item) for item in items])
        if kind == "tokens":
            return [{"tokens": row} for row in tokens]
        with torch.no_grad():
            embedding = bundle["text_encoder"](tokens.to(bundle.device), return_dict=False)[0].cpu()
        return [{"embedding": row} for row in embedding]

    def collate(self, rows: Sequence[Row], config: Config) -> Batch:
        """Rows stacked; every example counts one."""
        batch = {key: torch.stack([row[key] for row in rows]) for key in rows[0]}
        return {**batch, "count": torch.ones(len(rows))}

    def draw(self, bundle: Bundle, batch: Batch, rng: torch.Generator, config: Config, at: float | None = None) -> Batch:
        """Noisy latents, what the model is to say of them, timesteps and weights, on the CPU."""
        mean, prediction = batch["mean"], bundle.facts["prediction_type"]
        latents = (mean + batch["deviation"] * torch.randn(mean.shape, generator=rng)) * bundle.facts["scaling"]
        noise = diffusion.noise_like(latents, rng, config.noise_offset if at is None else 0.0)
        times = diffusion.timesteps(len(mean), len(bundle["alphas"]), rng, at)
        alpha_bar = bundle["alphas"][times]
        noisy, target = diffusion.noisy_and_target(latents, noise, alpha_bar, prediction)
        weight = diffusion.snr_weights(alpha_bar, config.snr_gamma if at is None else None, prediction)
        text: Batch = {key: batch[key] for key in ("embedding", "tokens") if key in batch}
        return {**text, "noisy": noisy.to(bundle.dtype), "target": target, "timesteps": times, "weight": weight, "count": batch["count"]}

    def loss(self, bundle: Bundle, batch: Batch) -> Tensor:
        """Weighted mean square error per example, [B], in float32."""
        if "embedding" in batch:
            text = batch["embedding"].to(bundle.dtype)
        else:
            text = bundle["text_encoder"](batch["tokens"], return_dict=False)[0]
        said = bundle["unet"](batch["noisy"], batch["timesteps"], text, return_dict=False)[0]
        return F.mse_loss(said.float(), batch["target"], reduction="none").mean((1, 2, 3)) * batch["weight"]

    @torch.no_grad()
    def sample(self, bundle: Bundle, prompts: Sequence[Prompt]) -> Iterator[Piece]:
        """Pictures by DPM-Solver++ with guidance; prompts of one size, number of steps and guidance go through together."""
        size = bundle.facts["resolution"]
        numbered = [(index, prompt, prompt.width or size, prompt.height or size) for index, prompt in enumerate(prompts)]
        for (width, height, steps, guidance), group in groupby(numbered, lambda item: (item[2], item[3], item[1].steps, item[1].guidance)):
            members = [(index, prompt) for index, prompt, *_ in group]
            most = max(1, PIXELS_AT_ONCE.get(bundle.device.type, PIXELS_AT_ONCE["cpu"]) // (width * height))
            for start in range(0, len(members), most):
                yield from self._draw_pictures(bundle, members[start : start + most], width, height, steps, guidance)

    def _draw_pictures(
        self, bundle: Bundle, members: list[tuple[int, Prompt]], width: int, height: int, steps: int, guidance: float
    ) -> Iterator[Piece]:
        indices, prompts = [index for index, _ in members], [prompt for _, prompt in members]
        factor, device, dtype = bundle.facts["factor"], bundle.device, bundle.dtype
        strengths = [prompt.strengths for prompt in prompts]
        scheduler = DPMSolverMultistepScheduler.from_config(bundle.facts["scheduler"], prediction_type=bundle.facts["prediction_type"])
        scheduler.set_timesteps(steps, device=device)
        bundle.blend(strengths)
        text = self._embedding(bundle, [prompt.text for prompt in prompts])
        if guidance > 1:
            text = torch.cat([self._embedding(bundle, [prompt.negative for prompt in prompts]), text])
            bundle.blend(strengths * 2)
        shape = (bundle["unet"].config.in_channels, height // factor, width // factor)
        noise = torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(prompt.seed)) for prompt in prompts])
        latents = noise.to(device) * scheduler.init_noise_sigma
        for done, time in enumerate(scheduler.timesteps, 1):
            noisy = scheduler.scale_model_input(torch.cat([latents] * 2) if guidance > 1 else latents, time)
            said = bundle["unet"](noisy.to(dtype), time, text, return_dict=False)[0].float()
            if guidance > 1:
                without, with_text = said.chunk(2)
                said = without + guidance * (with_text - without)
            latents = scheduler.step(said, time, latents, return_dict=False)[0]
            yield Piece(indices[0], done=done, total=steps)
        for index, latent in zip(indices, latents / bundle.facts["scaling"], strict=True):
            yield Piece(index, diffusion.picture(bundle["vae"].decode(latent[None].float(), return_dict=False)[0][0]))

    def _embedding(self, bundle: Bundle, texts: list[str]) -> Tensor:
        embedding: Tensor = bundle["text_encoder"](_tokens(bundle, texts).to(bundle.device), return_dict=False)[0]
        return embedding.to(bundle.dtype)


def _ends(name: str, ends: Sequence[str]) -> bool:
    return any(name == end or name.endswith("." + end) for end in ends)


def _tokens(bundle: Bundle, texts: list[str]) -> Tensor:
    tokens: Tensor = bundle["tokenizer"](texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
    return tokens


def _read_json(folder: Path, name: str, *needed: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((folder / name).read_text(encoding="utf-8"))
        if not isinstance(found, dict) or not found.keys() >= set(needed):
            raise ValueError
    except (OSError, ValueError):
        raise ModelError(
            say("{path}: is missing or can't be read.", path=folder / name), say("Download the model again, with all its folders.")
        ) from None
    return found


def _layout(single: Path) -> str:
    kind = fingerprints.check_base(single)
    if kind not in LAYOUTS:
        raise ModelError(say("{path}: is no Stable Diffusion 1.x or 2.x checkpoint.", path=single), say("Choose another base model."))
    return kind


def _prediction(single: Path | None, scheduler: dict[str, Any]) -> str:
    """What the file itself says of it, else its configuration."""
    if single is not None:
        header = gate.check_safetensors(single)
        said = header.metadata.get("modelspec.prediction_type", "")
        if said.startswith("v") or "v_pred" in header.tensors:
            return "v_prediction"
        if said == "epsilon":
            return "epsilon"
    return str(scheduler.get("prediction_type", "epsilon"))


def _weights(folder: Path, part: str) -> tuple[list[Path], str | None]:
    """The files that hold a part's weights, and their variant: full precision first."""
    found = sorted((folder / part).glob("*.safetensors"))
    if not found:
        raise ModelError(
            say("{path}: holds no .safetensors file.", path=folder / part),
            say("Download the model in the safetensors format; .bin and .ckpt files can run code and are not opened."),
        )
    for path in found:
        gate.check_safetensors(path)
    plain = [path for path in found if path.stem in ("model", "diffusion_pytorch_model") or ("-of-" in path.name and ".fp16" not in path.name)]
    return (plain, None) if plain else (found, found[0].stem.split(".")[-1].split("-")[0])


def _identity(folder: Path, single: Path | None, part: str, prefix: str) -> str:
    if single is not None:
        return diffusion.weights_digest(single, lambda name: name.startswith(prefix))
    extra = sorted((folder / "tokenizer").glob("*.json")) + sorted((folder / "tokenizer").glob("*.txt")) if part == "text_encoder" else []
    return diffusion.files_digest([*_weights(folder, part)[0], folder / part / "config.json", *extra])


def _open(kind: Any, folder: Path, single: Path | None, part: str, device: torch.device, dtype: torch.dtype) -> Any:
    with _loading, _named(single or folder / part):
        if single is None:
            model = _from_folder(kind, folder, part, dtype)
        elif kind is CLIPTextModel:
            model = _whole(_text_encoder_from(single, folder, dtype))
        else:
            model = _whole(kind.from_single_file(str(single), config=str(folder), subfolder=part, dtype=dtype, local_files_only=True))
        return model.to(device).requires_grad_(False).eval()


def _from_folder(kind: Any, folder: Path, part: str, dtype: torch.dtype) -> Any:
    model, seen = kind.from_pretrained(
        folder,
        subfolder=part,
        dtype=dtype,
        use_safetensors=True,
        variant=_weights(folder, part)[1],
        local_files_only=True,
        output_loading_info=True,
    )
    return _whole(model, seen["missing_keys"])


def _whole(model: Any, lost: Iterable[str] = ()) -> Any:
    """The model, unless weights are missing: the libraries only mention it, and leave them random or without memory."""
    if missing := sorted({*lost, *(name for name, parameter in model.named_parameters() if parameter.is_meta)}):
        raise ValueError(say("{name} is missing", name=missing[0]))
    return model


def _text_encoder_from(single: Path, folder: Path, dtype: torch.dtype) -> Any:
    """The CLIP part of a checkpoint; only its own tensors are read."""
    from diffusers.loaders.single_file_utils import create_diffusers_clip_model_from_ldm
    from safetensors import safe_open

    with safe_open(single, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys() if name.startswith("cond_stage_model.")}  # noqa: SIM118 - no mapping
    return create_diffusers_clip_model_from_ldm(
        CLIPTextModel, tensors, config=str(folder), subfolder="text_encoder", torch_dtype=dtype, local_files_only=True
    )


def _open_tokenizer(folder: Path) -> Any:
    settings = _read_json(folder, "tokenizer/tokenizer_config.json")
    if folder.is_relative_to(ASSETS):
        return clip.tokenizer(settings["pad_token"], settings["model_max_length"])
    with _loading, _named(folder / "tokenizer"):
        tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
    size = _read_json(folder, "text_encoder/config.json").get("vocab_size", 49408)
    if len(tokenizer) != size:  # an empty folder gives a tokenizer of two tokens, and every prompt means the same
        raise ModelError(
            say("{path}: knows {found} tokens, the text encoder {size}.", path=folder / "tokenizer", found=len(tokenizer), size=size),
            say("Download the model's tokenizer folder again."),
        )
    return tokenizer


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Turns what the libraries raise on opening a file into one sentence that names it."""
    try:
        yield
    except (ModelError, torch.OutOfMemoryError):
        raise
    except NotImplementedError as error:  # torch can't move what has no memory, because the file had nothing to put there
        raise ModelError(say("{path}: lacks some of its weights.", path=path), say("Download the model again.")) from error
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SingleFileComponentError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise ModelError(say("{path}: can't be opened: {reason}", path=path, reason=reason), say("Download the model again.")) from error
