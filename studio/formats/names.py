"""What the layers of a family are called in other programs' files. A family declares one `Names`; the code for files is the same for all.

Inside the studio a layer is "<part>.<module path>", the path as in diffusers and transformers today: `unet.down_blocks.0.…attn1.to_k`.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache

ORIGINAL = "diffusion_model."  # before the original names in files that keep their dots
PEFT = "base_model.model."  # before the names in the folders of PEFT, which hold one part each


@dataclass(frozen=True)
class Place:
    """Where a layer lies in a file of another program: under another name, perhaps together with others.

    In a vocabulary "{}" stands for a number, the same in all names, and what follows a name is kept.
    """

    original: str
    layers: tuple[str, ...]
    """Mostly one; several where the program keeps them as one layer, their outputs one below the other in this order."""
    shares: tuple[int, ...] = (1,)
    """How the outputs are shared among them: (1, 1, 1, 4)."""
    swapped: bool = False
    """Whether the halves of the outputs change places, where the layer makes a shift and a scale and nothing else."""
    plain: bool = False
    """Whether diffusers doesn't read alpha here, so that it has to be the rank."""


@dataclass(frozen=True)
class Names:
    """The vocabulary of one family."""

    kohya: Mapping[str, str]
    """Part → what its layers begin with in kohya files: {"unet": "lora_unet"}. The first part is meant where a file names none."""

    inserted: Mapping[str, str] = field(default_factory=dict)
    """Part → what stands before the module path in every file: {"text_encoder": "text_model."}."""

    words: tuple[str, ...] = ()
    """Words of module paths that hold an underscore. kohya writes "_" for ".", so these undo it where no base model is at hand."""

    also: Mapping[str, str] = field(default_factory=dict)
    """Beginnings that some programs write into kohya files → part: {"lora_te1": "text_encoder"}."""

    older: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Part → last word of a path in files of older diffusers → what it is now: {"unet": {"to_out": "to_out.0"}}."""

    places: Mapping[str, tuple[Place, ...]] = field(default_factory=dict)
    """Part → where kohya files use the original model's names instead of those of diffusers."""

    single: str = ""
    """What a layer begins with in kohya files that can't be joined with its neighbours: "lora_transformer", followed by its name in diffusers."""

    generic: bool = False
    """Whether files for other programs call a layer as diffusers does, behind "diffusion_model." and with its dots: ComfyUI and diffusers both
    read that. `places` are only read then."""

    apart: tuple[str, ...] | None = None
    """Words of the layers whose alpha may differ from the part's other layers: what kohya calls conv_alpha. None: every layer has its own."""

    def in_diffusers(self, layer: str) -> str:
        """A layer's name in the files of diffusers: `text_encoder.text_model.encoder.layers.0.mlp.fc1`."""
        part, path = layer.split(".", 1)
        return f"{part}.{self.inserted.get(part, '')}{path}"

    def in_kohya(self, layer: str) -> str:
        """A layer's name in the files of kohya, A1111, Forge and ComfyUI: `lora_te_text_model_encoder_layers_0_mlp_fc1`.

        Layers that the original model keeps as one have the same name.
        """
        part, path = layer.split(".", 1)
        if self.generic:
            return ORIGINAL + path
        found = self._place(layer)
        return _flat(f"{self.kohya[part]}.{found.original if found else self.inserted.get(part, '') + path}")

    def alone_in_kohya(self, layer: str) -> str:
        """The name of a layer that the original model keeps joined with others, when it is written without them."""
        return _flat(f"{self.single}.{layer.split('.', 1)[1]}")

    def place(self, layer: str) -> Place:
        """Where the layer lies in kohya files, and with which others."""
        return (None if self.generic else self._place(layer)) or _alone(layer)

    def reader(self, known: Iterable[str] | None = None) -> Callable[[str], Place | None]:
        """A function from a layer's name in a file, of whatever program, to what it stands for; None: it is called nothing here.

        `known` are the layers of a base model. With them the underscores of kohya names are resolved exactly, without by `words`.
        """
        layers = frozenset(known or ())
        table = None if known is None else {spelling: place for layer in layers for spelling, place in self._kohya_spellings(layer)}

        def find(written: str) -> Place | None:
            if written.startswith(PEFT):
                inside = [f"{part}.{written.removeprefix(PEFT)}" for part in self.kohya]
                written = next((layer for layer in inside if layer in layers), inside[0])
            if written.startswith(ORIGINAL):
                written = _flat(f"{next(iter(self.kohya.values()))}.{written.removeprefix(ORIGINAL)}")
            if (part := self.kohya_part(written)) is None:
                return self._from_diffusers(written)
            if table is not None:
                return table.get(written)
            prefix = next(prefix for prefix in (self.kohya[part], *self.also) if written.startswith(prefix + "_"))
            path = written.removeprefix(prefix + "_")
            return self._from_original(part, path, "_") or _alone(f"{part}.{self._dotted(path).removeprefix(self.inserted.get(part, ''))}")

        return find

    def kohya_part(self, written: str) -> str | None:
        """The part that a kohya name speaks of; None: it is no kohya name."""
        beginnings = {**{prefix: part for part, prefix in self.kohya.items()}, **self.also}
        return next((part for prefix, part in beginnings.items() if written.startswith(prefix + "_")), None)

    def _kohya_spellings(self, layer: str) -> list[tuple[str, Place]]:
        part, path = layer.split(".", 1)
        prefixes = [self.kohya[part], *(prefix for prefix, meant in self.also.items() if meant == part)]
        spellings = [(_flat(f"{prefix}.{inserted}{path}"), _alone(layer)) for prefix in prefixes for inserted in {self.inserted.get(part, ""), ""}]
        if found := self._place(layer):
            spellings += [(_flat(f"{prefix}.{found.original}"), found) for prefix in prefixes]
        return spellings

    def _from_diffusers(self, written: str) -> Place:
        part, _, path = written.partition(".")
        if part not in self.kohya:
            part, path = next(iter(self.kohya)), written
        if found := self._from_original(part, path, "."):
            return found
        words = path.removeprefix(self.inserted.get(part, "")).replace(".processor.", ".").split(".")
        words[-1] = self.older.get(part, {}).get(words[-1], words[-1])
        return _alone(".".join([part, *words]))

    def _place(self, layer: str) -> Place | None:
        """Where the original model has a layer; None: it has the name that diffusers gives it."""
        part, path = layer.split(".", 1)
        for place in self.places.get(part, ()):
            for name in place.layers:
                if match := _pattern(name, ".").fullmatch(path):
                    return _filled(place, part, match, match["rest"])
        return None

    def _from_original(self, part: str, path: str, separator: str) -> Place | None:
        for place in self.places.get(part, ()):
            if match := _pattern(place.original, separator).fullmatch(path):
                return _filled(place, part, match, self._dotted(match["rest"]) if separator == "_" else match["rest"])
        return None

    def _dotted(self, path: str) -> str:
        path = path.replace("_", ".")
        for word in sorted(self.words, key=len, reverse=True):
            path = re.sub(rf"(?<![^.]){re.escape(_spread(word))}(?![^.])", word, path)
        return path


@cache
def _pattern(name: str, separator: str) -> re.Pattern[str]:
    """A name with "{}" for a number, in the spelling with dots or underscores, and after it what is left of the path."""
    escaped = re.escape(name.replace(".", separator)).replace(r"\{\}", r"(?P<number>\d+)")
    return re.compile(rf"{escaped}(?P<rest>|{re.escape(separator)}.+)")


def _filled(place: Place, part: str, match: re.Match[str], rest: str) -> Place:
    number = match.groupdict().get("number") or ""
    layers = tuple(f"{part}.{name.replace('{}', number)}{rest}" for name in place.layers)
    return replace(place, original=place.original.replace("{}", number) + rest, layers=layers)


def _alone(layer: str) -> Place:
    return Place(layer, (layer,))


def _flat(path: str) -> str:
    return path.replace(".", "_")


def _spread(word: str) -> str:
    return word.replace("_", ".")
