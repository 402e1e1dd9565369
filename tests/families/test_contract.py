"""What every family owes to trainer, exports and drawing, tried on a small model of each."""

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from studio import families
from studio.config import OPTIONAL, Config
from studio.families import meaning
from studio.families.base import Batch, Bundle, Family, Picture, Prompt, Row
from studio.formats.adapter import write_diffusers
from studio.formats.kohya import write_kohya
from studio.formats.lora import KINDS, Layer, LoraLayer, read_lora
from studio.formats.metadata import kohya_metadata
from studio.training.lora import Lora, attach, attach_files, weights

MODELS = [
    *(("sd", "pocket"), ("sd", "tiny"), ("sdxl", "tiny")),
    *(("sd3", "tiny"), ("sd3", "without-t5"), ("flux", "dev"), ("flux", "schnell")),
    *(("z_image", "tiny"), ("qwen_image", "tiny"), ("flux2", "dev"), ("flux2", "klein")),
]
SETTINGS: dict[str, Any] = {"lora_rank": 4, "lora_alpha": 2.0, "conv_rank": 2, "train_text_encoder": True}
Fresh = Callable[..., Bundle]


@pytest.fixture(params=MODELS, ids=lambda model: "-".join(model))
def model(request: pytest.FixtureRequest) -> tuple[str, str]:
    return tuple(request.param)


@pytest.fixture
def family(model: tuple[str, str]) -> Family:
    return families.get(model[0])


@pytest.fixture
def bundle(model: tuple[str, str], fresh: Fresh) -> Bundle:
    return fresh(*model)


@pytest.fixture
def config(family: Family) -> Config:
    means = {key: value for key, value in SETTINGS.items() if key not in OPTIONAL or key in family.settings}
    return Config(base_model="small", train_data_dir=Path("none"), **means)


def kinds(family: Family) -> tuple[str, ...]:
    """How captions may be encoded: before, and where text encoders are trained, as tokens."""
    return ("text", "tokens") if "train_text_encoder" in family.settings else ("text",)


def joins(family: Family) -> bool:
    """Whether kohya's files hold several layers as one: then a LoRA comes back as the same matrices, in other factors."""
    return any(len(place.layers) > 1 for places in family.names.places.values() for place in places)


def rows_of(family: Family, bundle: Bundle, kind: str) -> list[Row]:
    """Two pictures with a text each."""
    size = bundle.facts["resolution"]
    noise = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), dtype=np.uint8)
    pictures = [Picture(lambda number=number: Image.fromarray(noise[number]), str(number), (size, size)) for number in range(2)]
    texts = family.encode(bundle, kind, ["a red apple", "a blue car"])  # type: ignore[arg-type]
    return [{**picture, **text} for picture, text in zip(family.encode(bundle, "picture", pictures), texts, strict=True)]


def drawn(family: Family, bundle: Bundle, config: Config, kind: str = "", at: float | None = None) -> Batch:
    batch = family.collate(rows_of(family, bundle, kind or kinds(family)[-1]), config)
    return family.draw(bundle, batch, torch.Generator().manual_seed(3), config, at)


def attached(family: Family, bundle: Bundle, config: Config, size: float = 0.1) -> Lora:
    """LoRA with random weights on everything that the family offers."""
    lora = attach(bundle, family.targets(bundle, config), config)
    rng = torch.Generator().manual_seed(1)
    for _, adapter in lora.adapters():
        adapter.up.data.uniform_(-size, size, generator=rng)
    return lora


def pictures(family: Family, bundle: Bundle, *prompts: Prompt) -> list[np.ndarray[Any, Any]]:
    found = {piece.index: np.asarray(piece.image) for piece in family.sample(bundle, prompts) if piece.image is not None}
    return [found[number].astype(int) for number in range(len(prompts))]


def test_masks_and_weights_of_examples_reach_the_loss(family: Family, bundle: Bundle, config: Config) -> None:
    rows = rows_of(family, bundle, "text")
    height, width = rows[0]["mean"].shape[-2:]
    masks = [torch.zeros(1, height, width), torch.ones(1, height, width)]
    batches = [
        family.collate([{**row, "emphasis": torch.tensor(0.5), **more} for row, more in zip(rows, extra, strict=True)], config)
        for extra in ([{"mask": mask} for mask in masks], [{}, {}])
    ]
    masked, plain = (family.draw(bundle, batch, torch.Generator().manual_seed(3), config) for batch in batches)
    assert masked["emphasis"].tolist() == [0.5, 0.5]
    with torch.no_grad():
        (nothing, all_of_it), (_, before) = family.loss(bundle, masked), family.loss(bundle, plain)
    assert nothing == 0
    assert all_of_it == before > 0


def test_every_family_has_a_small_model_here(small: dict[str, dict[str, Path]]) -> None:
    assert {family for family, _ in MODELS} == set(families.FAMILIES) == set(small)


def test_a_model_says_of_which_family_it_is(model: tuple[str, str], small: dict[str, dict[str, Path]]) -> None:
    assert families.recognise(small[model[0]][model[1]]) == model[0]


def test_pictures_and_texts_become_one_finite_loss_each(family: Family, bundle: Bundle, config: Config) -> None:
    for kind in kinds(family):
        loss = family.loss(bundle, drawn(family, bundle, config, kind))
        assert loss.shape == (2,)
        assert loss.dtype == torch.float32
        assert torch.isfinite(loss).all()


def test_a_text_that_is_encoded_before_means_the_same_as_its_tokens(family: Family, bundle: Bundle, config: Config) -> None:
    losses = [family.loss(bundle, drawn(family, bundle, config, kind)) for kind in kinds(family)]
    assert torch.allclose(losses[0], losses[-1], atol=1e-5)


def test_only_adapters_get_gradients_and_each_of_them_does(family: Family, bundle: Bundle, config: Config) -> None:
    lora = attached(family, bundle, config)
    family.loss(bundle, drawn(family, bundle, config)).sum().backward()  # type: ignore[no-untyped-call]
    ours = {id(parameter) for _, adapter in lora.adapters() for parameter in adapter.parameters()}
    everything = [parameter for part in bundle.trainable for parameter in bundle[part].parameters()]
    assert {id(parameter) for parameter in everything if parameter.grad is not None} == ours
    assert {name.partition(".")[0] for name, _ in lora.adapters()} == set(bundle.trainable)
    assert all(bool(parameter.grad.any()) for parameter in everything if parameter.grad is not None)


def test_the_same_draw_gives_the_same_loss_to_the_last_bit(family: Family, bundle: Bundle, config: Config) -> None:
    first, second = drawn(family, bundle, config), drawn(family, bundle, config)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert torch.equal(family.loss(bundle, first), family.loss(bundle, copy.deepcopy(second)))


def test_validation_fixes_the_moment_and_leaves_weights_and_offset_out(family: Family, bundle: Bundle, config: Config) -> None:
    changed = config.model_copy(update={"noise_offset": 0.5, "snr_gamma": 1.0})
    plain, other = (drawn(family, bundle, settings, at=0.5) for settings in (config, changed))
    assert len(set(plain["timesteps"].tolist())) == 1
    assert all(torch.equal(plain[name], other[name]) for name in plain)


def test_fresh_adapters_change_nothing(family: Family, bundle: Bundle, config: Config) -> None:
    batch = drawn(family, bundle, config)
    before = family.loss(bundle, batch)
    attach(bundle, family.targets(bundle, config), config)
    assert torch.equal(family.loss(bundle, batch), before)


@pytest.mark.parametrize("format", ["diffusers", "kohya"])
def test_an_exported_lora_has_the_same_loss_in_a_fresh_model(
    format: str, tmp_path: Path, family: Family, bundle: Bundle, config: Config, model: tuple[str, str], fresh: Fresh
) -> None:
    lora, path = attached(family, bundle, config, size=1.0), tmp_path / "a.safetensors"
    batch = drawn(family, fresh(*model), config)
    expected = family.loss(bundle, batch)
    write_lora(format, path, lora.export(), family)
    other = fresh(*model)
    attach_files(other, [read_lora(path, family.names, weights(other)).layers])
    exact = format == "diffusers" or not joins(family)
    torch.testing.assert_close(family.loss(other, batch), expected, rtol=0 if exact else 1e-5, atol=0)
    assert not torch.allclose(family.loss(fresh(*model), batch), expected, rtol=1e-4)


@pytest.mark.parametrize("format", ["diffusers", "kohya"])
def test_each_export_comes_back_unchanged(format: str, tmp_path: Path, family: Family, bundle: Bundle, config: Config) -> None:
    layers, path = attached(family, bundle, config).export(), tmp_path / "a.safetensors"
    assert all(layer.alpha != layer.rank for layer in layers.values())
    write_lora(format, path, layers, family)
    back = read_lora(path, family.names, weights(bundle))
    assert back.warnings == ()
    assert back.layers.keys() >= layers.keys()
    for name, found in back.layers.items():
        layer = layers.get(name)
        if layer is None or (format == "kohya" and joins(family)):
            expected = torch.zeros(()) if layer is None else matrix(layer)
            torch.testing.assert_close(matrix(found), expected.expand_as(matrix(found)), rtol=1e-5, atol=1e-7)
        else:
            assert torch.equal(found.down, layer.down)
            assert torch.equal(found.up * found.alpha / found.rank, layer.up * layer.alpha / layer.rank)


def matrix(layer: LoraLayer) -> torch.Tensor:
    """What a LoRA adds to its layer."""
    return layer.up.flatten(1) @ layer.down.flatten(1) * (layer.alpha / layer.rank)


@pytest.mark.parametrize("format", ["diffusers", "kohya"])
@pytest.mark.parametrize("adapter", ["dora", "lokr"])
def test_another_kind_of_adapter_has_the_same_loss_in_a_fresh_model(
    adapter: str, format: str, tmp_path: Path, family: Family, bundle: Bundle, config: Config, model: tuple[str, str], fresh: Fresh
) -> None:
    settings = config.model_copy(update={"adapter": adapter})
    lora, path = attach(bundle, family.targets(bundle, settings), settings), tmp_path / "a.safetensors"
    rng = torch.Generator().manual_seed(1)
    for parameter in lora.parameters().values():
        parameter.data.add_(torch.empty_like(parameter).uniform_(-0.1, 0.1, generator=rng))
    batch = drawn(family, fresh(*model), config)
    expected, plain = family.loss(bundle, batch), family.loss(fresh(*model), batch)
    write_lora(format, path, lora.export(), family)
    other = fresh(*model)
    attach_files(other, [read_lora(path, family.names, weights(other), KINDS).all])
    assert torch.allclose(family.loss(other, batch), expected, rtol=1e-5)
    assert not torch.allclose(plain, expected, rtol=1e-4)


def write_lora(format: str, path: Path, layers: Mapping[str, Layer], family: Family) -> None:
    if format == "diffusers":
        write_diffusers(path, layers, family.names, {})
    else:
        kind = next(kind for kind, name in families.BASES.items() if name == family.name)
        facts = {"name": "a", "kind": kind, "lora_rank": 4, "lora_alpha": 2.0, "resolution": 64}
        write_kohya(path, layers, family.names, kohya_metadata(facts))


def test_what_a_checkpoint_holds_has_the_same_loss_in_a_fresh_model(
    family: Family, bundle: Bundle, config: Config, model: tuple[str, str], fresh: Fresh
) -> None:
    lora, other = attached(family, bundle, config), fresh(*model)
    batch = drawn(family, fresh(*model), config)
    attach(other, family.targets(other, config), config).load_state(lora.state())
    assert torch.equal(family.loss(other, batch), family.loss(bundle, batch))


def test_sampling_counts_its_steps_and_gives_one_picture_per_prompt(family: Family, bundle: Bundle) -> None:
    pieces = list(family.sample(bundle, [Prompt("a cat", seed=seed, steps=3, guidance=3.0) for seed in range(2)]))
    size = bundle.facts["resolution"]
    assert [piece.image.size for piece in pieces if piece.image] == [(size, size)] * 2
    assert sorted(piece.index for piece in pieces if piece.image) == [0, 1]
    assert [(piece.done, piece.total) for piece in pieces if not piece.image] == [(1, 3), (2, 3), (3, 3)]


def test_strength_zero_is_the_base_model_to_the_last_bit(
    family: Family, bundle: Bundle, config: Config, model: tuple[str, str], fresh: Fresh
) -> None:
    layers, plain = attached(family, bundle, config, size=1.0).export(), fresh(*model)
    attach_files(bundle := fresh(*model), [layers])
    prompt = {"text": "a green tree", "steps": 3, "guidance": 3.0, "seed": 5}
    with_lora, base = pictures(family, bundle, Prompt(strengths=(1.0,), **prompt), Prompt(strengths=(0.0,), **prompt))
    assert np.array_equal(base, pictures(family, plain, Prompt(**prompt), Prompt(**prompt))[1])
    assert not np.array_equal(base, with_lora)
    batch = drawn(family, plain, config)
    bundle.blend([(0.0,)] * 2)
    assert torch.equal(family.loss(bundle, batch), family.loss(plain, batch))


def test_strengths_side_by_side_are_what_they_are_alone(family: Family, bundle: Bundle, config: Config, model: tuple[str, str], fresh: Fresh) -> None:
    layers = attached(family, bundle, config, size=1.0).export()
    attach_files(bundle := fresh(*model), [layers])
    prompts = [Prompt("a green tree", seed=5, steps=3, guidance=3.0, strengths=(strength,)) for strength in (0.0, 0.5, 1.0, -1.0)]
    together, alone = pictures(family, bundle, *prompts), [pictures(family, bundle, prompt)[0] for prompt in prompts]
    assert all(np.abs(one - other).max() <= 1 for one, other in zip(together, alone, strict=True))
    assert len({picture.tobytes() for picture in together}) == 4


def test_two_files_are_blended_each_by_its_own_strength(family: Family, bundle: Bundle, config: Config, model: tuple[str, str], fresh: Fresh) -> None:
    layers = attached(family, bundle, config, size=1.0).export()
    other = {name: LoraLayer(layer.down.flip(0), -layer.up, layer.alpha) for name, layer in list(layers.items())[::2]}
    attach_files(both := fresh(*model), [layers, other])
    attach_files(single := fresh(*model), [other])
    prompt = {"text": "a cat", "steps": 2, "guidance": 3.0}
    first = pictures(family, both, Prompt(strengths=(0.0, 0.5), **prompt))
    assert np.array_equal(first, pictures(family, single, Prompt(strengths=(0.5,), **prompt)))


def test_half_precision_keeps_the_loss_in_full(family: Family, model: tuple[str, str], config: Config, fresh: Fresh) -> None:
    half, full = fresh(*model, torch.bfloat16), fresh(*model)
    low, high = (family.loss(bundle, drawn(family, bundle, config)) for bundle in (half, full))
    assert low.dtype == torch.float32
    assert torch.allclose(low, high, rtol=0.1)


def test_settings_of_the_family_are_known_settings(family: Family) -> None:
    assert family.settings <= Config.model_fields.keys()
    assert family.settings == meaning.settings(family.name)
    assert family.defaults.keys() <= Config.model_fields.keys()
    assert "gradient_accumulation_steps" not in family.defaults, "it would multiply a batch_size that somebody set"
