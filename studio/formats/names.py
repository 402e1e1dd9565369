"""What the layers of a family are called in other programs' files. A family declares one `Names`; the code for files is the same for all.

Inside the studio a layer is "<part>.<module path>", the path as in diffusers and transformers today: `unet.down_blocks.0.…attn1.to_k`.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field


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

    apart: tuple[str, ...] = ()
    """Words of the layers whose alpha may differ from the part's other layers: what kohya calls conv_alpha."""

    def in_diffusers(self, layer: str) -> str:
        """A layer's name in the files of diffusers: `text_encoder.text_model.encoder.layers.0.mlp.fc1`."""
        part, path = layer.split(".", 1)
        return f"{part}.{self.inserted.get(part, '')}{path}"

    def in_kohya(self, layer: str) -> str:
        """A layer's name in the files of kohya, A1111, Forge and ComfyUI: `lora_te_text_model_encoder_layers_0_mlp_fc1`."""
        part, path = layer.split(".", 1)
        return _flat(f"{self.kohya[part]}.{self.inserted.get(part, '')}{path}")

    def reader(self, known: Iterable[str] | None = None) -> Callable[[str], str | None]:
        """A function from a layer's name in a file, of whatever program, to its name in the studio; None: it is called nothing here.

        `known` are the layers of a base model. With them the underscores of kohya names are resolved exactly, without by `words`.
        """
        table = None if known is None else {spelling: layer for layer in known for spelling in self._kohya_spellings(layer)}

        def name(written: str) -> str | None:
            if (part := self.kohya_part(written)) is None:
                return self._from_diffusers(written)
            if table is not None:
                return table.get(written)
            return f"{part}.{self._dotted(written, part)}"

        return name

    def kohya_part(self, written: str) -> str | None:
        """The part that a kohya name speaks of; None: it is no kohya name."""
        beginnings = {**{prefix: part for part, prefix in self.kohya.items()}, **self.also}
        return next((part for prefix, part in beginnings.items() if written.startswith(prefix + "_")), None)

    def _kohya_spellings(self, layer: str) -> list[str]:
        part, path = layer.split(".", 1)
        prefixes = [self.kohya[part], *(prefix for prefix, meant in self.also.items() if meant == part)]
        return [_flat(f"{prefix}.{inserted}{path}") for prefix in prefixes for inserted in {self.inserted.get(part, ""), ""}]

    def _from_diffusers(self, written: str) -> str:
        part, _, path = written.partition(".")
        if part not in self.kohya:
            part, path = next(iter(self.kohya)), written
        words = path.removeprefix(self.inserted.get(part, "")).replace(".processor.", ".").split(".")
        words[-1] = self.older.get(part, {}).get(words[-1], words[-1])
        return ".".join([part, *words])

    def _dotted(self, written: str, part: str) -> str:
        prefix = next(prefix for prefix in (self.kohya[part], *self.also) if written.startswith(prefix + "_"))
        path = written.removeprefix(prefix + "_").replace("_", ".")
        for word in sorted(self.words, key=len, reverse=True):
            path = re.sub(rf"(?<![^.]){re.escape(_spread(word))}(?![^.])", word, path)
        return path.removeprefix(self.inserted.get(part, ""))


def _flat(path: str) -> str:
    return path.replace(".", "_")


def _spread(word: str) -> str:
    return word.replace("_", ".")
