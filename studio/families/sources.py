"""Where a model's parts are read from: a diffusers folder, or one file together with the configurations that ship here."""

import json
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers.loaders.single_file_utils import SingleFileComponentError
from diffusers.utils import logging as diffusers_logging
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer
from transformers.utils import logging

from studio.errors import ModelError
from studio.families import clip, diffusion
from studio.formats import gate
from studio.language import say

CLIP = (CLIPTextModel, CLIPTextModelWithProjection)
logging.disable_progress_bar()
logging.set_verbosity_error()  # what is wrong with a model is said here, in one sentence
diffusers_logging.set_verbosity_error()
logging.set_verbosity_error()
_loading = threading.RLock()  # opening a model patches torch for the moment, for all threads


@dataclass(frozen=True)
class Source:
    """A model on disk. `folder` holds its configurations, and its weights unless they are in `single`, where a part's tensors begin with
    `prefixes[part]`."""

    folder: Path
    single: Path | None = None
    prefixes: Mapping[str, str] = field(default_factory=dict)

    def read(self, name: str, *needed: str) -> dict[str, Any]:
        """A configuration such as `unet/config.json`. Raises ModelError when it is damaged or lacks one of the needed keys."""
        path = self.folder / name
        try:
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(found, dict) or not found.keys() >= set(needed):
                raise ValueError
        except (OSError, ValueError):
            raise ModelError(say("{path}: is missing or can't be read.", path=path), say("Download the model again, with all its folders.")) from None
        return found

    def identity(self, part: str, tokenizer: str = "") -> str:
        """A hash of a part's weights and configuration, and of the tokenizer that belongs to it."""
        if self.single is not None:
            return diffusion.weights_digest(self.single, lambda name: name.startswith(self.prefixes[part]))
        beside = self.folder / tokenizer if tokenizer else None
        extra = sorted(beside.glob("*.json")) + sorted(beside.glob("*.txt")) if beside else []
        return diffusion.files_digest([*_weights(self.folder / part)[0], self.folder / part / "config.json", *extra])

    def open(self, kind: Any, part: str, device: torch.device, dtype: torch.dtype) -> Any:
        """A part as a frozen model of the class `kind`. Raises ModelError, which names the file."""
        with _loading, named(self.single or self.folder / part):
            if self.single is None:
                model = _from_folder(kind, self.folder, part, dtype)
            elif kind in CLIP:
                model = whole(self._clip(kind, self.single, part, dtype))
            else:
                config = str(self.folder)
                model = whole(kind.from_single_file(str(self.single), config=config, subfolder=part, dtype=dtype, local_files_only=True))
            return model.to(device).requires_grad_(False).eval()

    def tokenizer(self, part: str = "tokenizer") -> Any:
        """The CLIP tokenizer of a part; for a single file the one that ships here."""
        settings = self.read(f"{part}/tokenizer_config.json")
        if self.single is not None:
            return clip.tokenizer(settings["pad_token"], settings["model_max_length"])
        with _loading, named(self.folder / part):
            tokenizer = CLIPTokenizer.from_pretrained(self.folder / part, local_files_only=True)
        size = self.read(f"{part.replace('tokenizer', 'text_encoder')}/config.json").get("vocab_size", 49408)
        if len(tokenizer) != size:  # an empty folder gives a tokenizer of two tokens, and every prompt means the same
            raise ModelError(
                say("{path}: knows {found} tokens, the text encoder {size}.", path=self.folder / part, found=len(tokenizer), size=size),
                say("Download the model's tokenizer folder again."),
            )
        return tokenizer

    def _clip(self, kind: Any, single: Path, part: str, dtype: torch.dtype) -> Any:
        """A CLIP text encoder of a checkpoint; only its own tensors are read."""
        from diffusers.loaders.single_file_utils import create_diffusers_clip_model_from_ldm
        from safetensors import safe_open

        with safe_open(single, framework="pt") as file:
            names = [name for name in file.keys() if name.startswith(self.prefixes[part])]  # noqa: SIM118 - no mapping
            tensors = {name: file.get_tensor(name) for name in names}
        return create_diffusers_clip_model_from_ldm(kind, tensors, config=str(self.folder), subfolder=part, torch_dtype=dtype, local_files_only=True)


def prediction(source: Source, scheduler: Mapping[str, Any]) -> tuple[str, bool]:
    """What the model predicts, and whether its noise reaches pure noise (Lin et al. 2023): what the file itself says, else its configuration."""
    kind, zero = str(scheduler.get("prediction_type", "epsilon")), bool(scheduler.get("rescale_betas_zero_snr", False))
    if source.single is not None:
        header = gate.check_safetensors(source.single)
        said = header.metadata.get("modelspec.prediction_type", "")
        if said.startswith("v") or "v_pred" in header.tensors:
            kind = "v_prediction"
        elif said == "epsilon":
            kind = "epsilon"
        zero |= "ztsnr" in header.tensors
    return kind, zero


def whole(model: Any, lost: Iterable[str] = ()) -> Any:
    """The model, unless weights are missing: the libraries only mention it, and leave them random or without memory."""
    if missing := sorted({*lost, *(name for name, parameter in model.named_parameters() if parameter.is_meta)}):
        raise ValueError(say("{name} is missing", name=missing[0]))
    return model


@contextmanager
def named(path: Path) -> Iterator[None]:
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


def _weights(folder: Path) -> tuple[list[Path], str | None]:
    """The files that hold a part's weights, and their variant: full precision first."""
    found = sorted(folder.glob("*.safetensors"))
    if not found:
        raise ModelError(
            say("{path}: holds no .safetensors file.", path=folder),
            say("Download the model in the safetensors format; .bin and .ckpt files can run code and are not opened."),
        )
    for path in found:
        gate.check_safetensors(path)
    plain = [path for path in found if path.stem in ("model", "diffusion_pytorch_model") or ("-of-" in path.name and ".fp16" not in path.name)]
    return (plain, None) if plain else (found, found[0].stem.split(".")[-1].split("-")[0])


def _from_folder(kind: Any, folder: Path, part: str, dtype: torch.dtype) -> Any:
    model, seen = kind.from_pretrained(
        folder,
        subfolder=part,
        dtype=dtype,
        use_safetensors=True,
        variant=_weights(folder / part)[1],
        local_files_only=True,
        output_loading_info=True,
    )
    return whole(model, seen["missing_keys"])
