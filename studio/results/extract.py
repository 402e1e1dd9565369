"""What a tuned model has learned, as a LoRA: the difference to its base model, layer by layer."""

from collections.abc import Callable

from torch import Tensor, nn

from studio import families
from studio.device import device
from studio.errors import ModelError
from studio.families.base import Bundle
from studio.formats.fingerprints import TITLES
from studio.formats.lora import LoraLayer
from studio.formats.ranks import of_change
from studio.language import say
from studio.results.lorafile import Made
from studio.results.precision import stored

Progress = Callable[[int, int], None]
SAME, ROUNDED = 1e-6, 5e-4  # up to this part of its weight a change is none; the latter where one of the models was rounded to 16 bits


def extract(tuned: str, base_model: str, rank: int, progress: Progress) -> Made:
    """A LoRA of `rank` that turns the base model into nearly the tuned one. Parts are open one at a time, in the precision of their files.

    Raises ModelError where the two are of different kinds or shapes.
    """
    after, before = (families.find(name) for name in (tuned, base_model))
    names = [families.recognise(path) for path in (after, before)]
    types = [stored(path) for path in (after, before)]
    left, right = (families.get(name).load(path, device(), kind) for name, path, kind in zip(names, (after, before), types, strict=True))
    if left.facts["kind"] != right.facts["kind"]:
        raise ModelError(
            say(
                "{one} is {this}, {other} is {that}: no LoRA lies between them.",
                one=after.name,
                this=TITLES[left.facts["kind"]],
                other=before.name,
                that=TITLES[right.facts["kind"]],
            ),
            say("Give the base model that the tuned one was made from."),
        )
    least = SAME if types[0] == types[1] else ROUNDED
    layers: dict[str, LoraLayer] = {}
    kept = whole = beyond = 0.0
    for number, part in enumerate(left.trainable):
        tuned_weights, base_weights = _weights(left, part), _weights(right, part)
        _same_shapes(tuned_weights, base_weights)
        for count, (name, weight) in enumerate(base_weights.items()):
            progress(number * len(base_weights) + count, len(left.trainable) * len(base_weights))
            change = tuned_weights[name].float() - weight.float()
            if float(change.norm()) > least * float(weight.float().norm()):
                near = of_change(change, rank, tuned_weights[name].dtype)
                layers[name], kept, whole = near.layer, kept + near.kept, whole + near.all
        beyond += _others(left, right, part, least)
        left.release(part)
        right.release(part)
    return Made(
        kind=str(left.facts["kind"]),
        family=families.get(names[0]),
        layers=dict(sorted(layers.items())),
        kept=kept / whole if whole else 1.0,
        merged_from=f"{after.name} - {before.name}",
        resolution=int(left.facts["resolution"]),
        dtype=types[0],
        facts={"base_model": before.name, "version": left.facts.get("version"), "prediction_type": left.facts.get("prediction_type")},
        notes=(say("Norms and biases differ too. A LoRA can't hold that; it is left out."),) if beyond else (),
    )


def _weights(bundle: Bundle, part: str) -> dict[str, Tensor]:
    """What a LoRA can change in a part: the weights of its linear and convolutional layers, by their names in the studio."""
    return {f"{part}.{name}": layer.weight for name, layer in bundle[part].named_modules() if isinstance(layer, (nn.Linear, nn.Conv2d))}


def _others(left: Bundle, right: Bundle, part: str, least: float) -> int:
    """How many of a part's other parameters differ: norms, biases, embeddings."""
    known = {f"{name.partition('.')[2]}.weight" for name in _weights(left, part)}
    theirs = dict(right[part].named_parameters())
    return sum(
        float((value.float() - theirs[name].float()).norm()) > least * float(value.float().norm())
        for name, value in left[part].named_parameters()
        if name not in known
    )


def _same_shapes(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    for name in [*right, *left]:
        if name not in left or name not in right or left[name].shape != right[name].shape:
            raise ModelError(
                say("The layer {name} is not the same in both models, so there is no difference to take.", name=name),
                say("Give the base model that the tuned one was made from."),
            )
