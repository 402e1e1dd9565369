"""DoRA and LoKr as plain LoRA: what they change in the weights of their base model, brought to a rank."""

from collections.abc import Mapping
from pathlib import Path

from studio import families
from studio.device import device
from studio.errors import InputError
from studio.families.base import Family
from studio.formats.lora import KINDS, LoraLayer, read_lora
from studio.formats.ranks import of_change
from studio.language import say
from studio.results.baked import changed
from studio.results.precision import stored
from studio.training.lora import weights


def plain(path: Path, family: Family, base_model: str, rank: int) -> tuple[dict[str, LoraLayer], Mapping[str, str], float]:
    """The layers of a file as the nearest LoRA of `rank` to what each changes; the file's metadata; and the energy that is lost.

    Raises InputError where the base model is of another family or shape than the file.
    """
    source = families.find(base_model)
    if families.recognise(source) != family.name:
        raise InputError(
            say("{file} is made for {title}, but {base} is something else.", file=path.name, title=family.title, base=base_model),
            say("Give the base model that it was trained on."),
        )
    bundle = family.load(source, device(), stored(source))
    read = read_lora(path, family.names, weights(bundle), KINDS, bundle.facts["kind"])
    layers: dict[str, LoraLayer] = {}
    lost = 0.0
    for name, layer in read.all.items():
        if isinstance(layer, LoraLayer) and layer.magnitude is None:
            layers[name] = layer
            continue
        part, _, place = name.partition(".")
        weight = bundle[part].get_submodule(place).weight.detach()
        near = of_change(changed(weight, layer) - weight.float(), rank, (layer.down if isinstance(layer, LoraLayer) else layer.w1).dtype)
        layers[name], lost = near.layer, lost + near.all - near.kept
    return layers, read.metadata, lost
