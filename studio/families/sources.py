"""Where a model's parts are read from: a diffusers folder, or one file together with the configurations that ship here."""

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from diffusers.loaders import single_file_utils
from diffusers.utils import logging as diffusers_logging
from safetensors import safe_open
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer, T5EncoderModel, T5TokenizerFast
from transformers.utils import logging

from studio.errors import ModelError
from studio.families import clip, digests, quantised
from studio.families.original import renamed
from studio.formats import gate
from studio.formats.names import Names
from studio.language import say

ENCODERS = (CLIPTextModel, CLIPTextModelWithProjection, T5EncoderModel)
QUANTISED = (".scale_weight", ".weight_scale", ".input_scale", ".scale_input", ".absmax", ".quant_map", "scaled_fp8", ".comfy_quant")
logging.disable_progress_bar()
logging.set_verbosity_error()  # what is wrong with a model is said here, in one sentence
diffusers_logging.set_verbosity_error()
logging.set_verbosity_error()
_loading = threading.RLock()  # opening a model patches torch for the moment, for all threads


@dataclass(frozen=True)
class Source:
    """A model on disk. `folder` holds its configurations, and its weights unless they are in `single`, where a part's tensors begin with
    `prefixes[part]`. What such a file leaves out is looked for beside it, in folders that are called as in diffusers, or in `files[part]`.
    `names` are the family's, where the original program's names of its layers are known."""

    folder: Path
    single: Path | None = None
    prefixes: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    names: Names | None = None

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
        place = self.at(part)
        if place.single is not None:
            file, prefix = place.single, place.prefixes[part]
            return digests.remembered([file], prefix, lambda: digests.of_tensors(file, lambda name: name.startswith(prefix)))
        beside = place.folder / tokenizer if tokenizer else None
        extra = sorted(beside.glob("*.json")) + sorted(beside.glob("*.txt")) if beside else []
        files = [*_weights(place.folder / part)[0], place.folder / part / "config.json", *extra]
        return digests.remembered(files, "whole", lambda: digests.of_files(files))

    def at(self, part: str) -> "Source":
        """Where a part lies: here, or beside the single file. Raises ModelError when it is in neither."""
        if self.single is None or part in self._inside:
            return self
        beside = self.single.parent
        if (beside / part).is_dir():
            return Source(beside)
        if part in self.files and (beside / self.files[part]).is_file():
            return Source(self.folder, beside / self.files[part], {part: ""})
        raise ModelError(
            say("{file} comes without {part}.", file=self.single.name, part=part),
            say("Put the folder {part} of the model in diffusers format beside it, into {folder}.", part=part, folder=beside),
        )

    def has(self, part: str) -> bool:
        """Whether the model comes with a part at all."""
        place = self.folder if self.single is None else self.single.parent
        return part in self._inside or any((place / part).glob("*.safetensors"))

    @cached_property
    def _inside(self) -> set[str]:
        """The parts that the single file holds."""
        tensors = gate.check_safetensors(self.single).tensors if self.single else {}
        return {part for part, prefix in self.prefixes.items() if any(name.startswith(prefix) for name in tensors)}

    def open(self, kind: Any, part: str, device: torch.device, dtype: torch.dtype, load_in: str = quantised.WHOLE) -> Any:
        """A part as a frozen model of the class `kind`, its blocks in 8 or 4 bits where `load_in` says so. Raises ModelError, which names the
        file."""
        place = self.at(part)
        with _loading, named(place.single or place.folder / part):
            model = _from_folder(kind, place.folder, part, dtype) if place.single is None else whole(place._from_single(kind, part, dtype))
            if load_in != quantised.WHOLE:
                quantised.quantise(model, load_in, dtype)
            return model.to(device).requires_grad_(False).eval()

    def tokenizer(self, part: str = "tokenizer") -> Any:
        """The CLIP tokenizer of a part; for a single file the one that ships here."""
        if self.single is None:
            return self._tokenizer(CLIPTokenizer, part, lambda found, size: found == size)
        settings = self.read(f"{part}/tokenizer_config.json")
        return clip.tokenizer(settings["pad_token"], settings["model_max_length"])

    def t5_tokenizer(self, part: str) -> Any:
        """The T5 tokenizer of a part. The text encoder has room for a few tokens more."""
        return self.at(part)._tokenizer(T5TokenizerFast, part, _roomy, self)

    def llm_tokenizer(self, kind: Any, part: str = "tokenizer") -> Any:
        """The tokenizer of a language model, as the class `kind`. The model has room for a few tokens more."""
        return self.at(part)._tokenizer(kind, part, _roomy, self)

    def chat_tokenizer(self, kind: Any, part: str = "tokenizer") -> Any:
        """The tokenizer of a language model that knows how a text is put to it. Raises ModelError where it doesn't."""
        tokenizer = self.llm_tokenizer(kind, part)
        if not tokenizer.chat_template:
            raise ModelError(
                say("{path}: doesn't say how a text is put to the language model.", path=self.folder / part),
                say("Download the model's tokenizer folder again."),
            )
        return tokenizer

    def _tokenizer(self, kind: Any, part: str, fits: Callable[[int, int], bool], model: "Source | None" = None) -> Any:
        self.read(f"{part}/tokenizer_config.json")
        with _loading, named(self.folder / part):
            tokenizer = kind.from_pretrained(self.folder / part, local_files_only=True)
        encoder = part.replace("tokenizer", "text_encoder")
        config = (model or self).at(encoder).read(f"{encoder}/config.json")
        size = config.get("vocab_size") or config.get("text_config", {}).get("vocab_size", 49408)
        if not fits(len(tokenizer), size):  # an empty folder gives a tokenizer of two tokens, and every prompt means the same
            raise ModelError(
                say("{path}: knows {found} tokens, the text encoder {size}.", path=self.folder / part, found=len(tokenizer), size=size),
                say("Download the model's tokenizer folder again."),
            )
        return tokenizer

    def _from_single(self, kind: Any, part: str, dtype: torch.dtype) -> Any:
        """A part of a checkpoint. Only its own tensors are read, which stay in the file where their type is the one that is wanted."""
        tensors, known = self._tensors(part), {"config": str(self.folder), "subfolder": part, "local_files_only": True}
        if kind is T5EncoderModel:
            model = single_file_utils.create_diffusers_t5_model_from_checkpoint(kind, tensors, torch_dtype=dtype, **known)
            model.tie_weights()  # what it looks words up in has two names, of which files may have one
            return model
        if kind in ENCODERS:
            return single_file_utils.create_diffusers_clip_model_from_ldm(kind, tensors, torch_dtype=dtype, **known)
        if self.names and part in self.names.places:
            prefix = self.prefixes[part]
            tensors = renamed({name.removeprefix(prefix): tensor for name, tensor in tensors.items()}, self.names)
            with torch.device("meta"):  # also for what is worked out: SD3's table of places takes gigabytes
                model = kind.from_config(kind.load_config(self.folder / part))
            model.load_state_dict({name: tensor.to(dtype) for name, tensor in tensors.items()}, strict=False, assign=True)
            return model
        return kind.from_single_file(tensors, dtype=dtype, **known)

    def _tensors(self, part: str) -> dict[str, torch.Tensor]:
        """The tensors of a part, mapped from the file. Raises ModelError when they mean something only together with others."""
        single = self.single or self.folder
        for name in gate.check_safetensors(single).tensors:
            if name.startswith(self.prefixes[part]) and name.endswith(QUANTISED):
                raise ModelError(
                    say("{path}: its weights are quantised in a way that can't be read here ({name}).", path=single, name=name),
                    say("Take the file with weights in 16 bits, or in plain fp8."),
                )
        with safe_open(single, framework="pt") as file:
            names = [name for name in file.keys() if name.startswith(self.prefixes[part])]  # noqa: SIM118 - no mapping
            return {name: file.get_tensor(name) for name in names}


def folder_only(source: Path, title: str) -> Source:
    """A model that is only read from a diffusers folder. Raises ModelError for a single file."""
    if not source.is_dir():
        raise ModelError(
            say("{path}: {title} is read from a folder in diffusers format, not from a single file.", path=source, title=title),
            say("Give the folder that holds model_index.json, or a Hub id."),
        )
    return Source(source)


def _roomy(found: int, size: int) -> bool:
    """Whether so many tokens are all, or nearly all, of those that an encoder has room for."""
    return 0.9 * size <= found <= size


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
    if missing := sorted({*lost, *(name for name, tensor in chain(model.named_parameters(), model.named_buffers()) if tensor.is_meta)}):
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
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, single_file_utils.SingleFileComponentError) as error:
        lines = (str(error).strip() or type(error).__name__).splitlines()
        reason = lines[len(lines) > 1 and lines[0].endswith(":")].strip()[:200]
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
