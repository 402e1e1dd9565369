"""What every kind of adapter owes: to learn, to be saved, to draw, to be continued, and to be read by others."""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from studio import families
from studio.config import Config
from studio.events import Finding
from studio.families.base import Bundle, Prompt
from studio.formats.adapter import write_diffusers
from studio.formats.kohya import write_kohya
from studio.formats.lora import KINDS, read_lora
from studio.formats.metadata import kohya_metadata
from studio.training.continuing import change, continue_from
from studio.training.lora import Lora, attach, attach_files, weights
from tests.results import small

FAMILY = families.get("sd")
CPU = torch.device("cpu")
SETTINGS: dict[str, Any] = {"base_model": "pocket", "train_data_dir": "none", "lora_rank": 4, "lora_alpha": 2.0, "conv_rank": 2}
Picture = np.ndarray[Any, Any]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def opened() -> Bundle:
    return FAMILY.load(families.POCKET, CPU, torch.float32)


@pytest.fixture
def fresh(opened: Bundle) -> Callable[[], Bundle]:
    """The pocket model with nothing attached to it."""

    def load() -> Bundle:
        bundle = FAMILY.load(families.POCKET, CPU, torch.float32)
        bundle.loaders = {part: (lambda part=part: copy.deepcopy(opened[part])) for part in bundle.loaders}
        return bundle

    return load


def config(**settings: Any) -> Config:
    return Config.model_validate({**SETTINGS, "train_text_encoder": True, **settings})


def trained(bundle: Bundle, size: float = 0.3, **settings: Any) -> Lora:
    """An adapter of random numbers on everything that can have one."""
    made = config(**settings)
    lora = attach(bundle, FAMILY.targets(bundle, made), made)
    rng = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in lora.parameters().values():
            parameter.add_((torch.rand(parameter.shape, generator=rng) * 2 - 1) * size)
    return lora


def written(form: str, path: Path, lora: Lora) -> Path:
    if form == "diffusers":
        write_diffusers(path, lora.export(), FAMILY.names, {})
    else:
        write_kohya(
            path, lora.export(), FAMILY.names, kohya_metadata({"name": "a", "kind": "sd1", "lora_rank": 4, "lora_alpha": 2.0, "resolution": 64})
        )
    return path


def layers(path: Path, bundle: Bundle) -> dict[str, Any]:
    return read_lora(path, FAMILY.names, weights(bundle), KINDS).all


def seen(bundle: Bundle, *strengths: float) -> list[Picture]:
    prompts = [Prompt("a green tree", seed=5, steps=3, guidance=3.0, strengths=(strength,)) for strength in strengths or (1.0,)]
    found = {piece.index: np.asarray(piece.image).astype(int) for piece in FAMILY.sample(bundle, prompts) if piece.image is not None}
    return [found[number] for number in range(len(prompts))]


@pytest.mark.parametrize("form", ["diffusers", "kohya"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_draws_what_the_trained_adapter_draws(kind: str, form: str, fresh: Callable[[], Bundle], tmp_path: Path):
    lora = trained(bundle := fresh(), adapter=kind)
    path = written(form, tmp_path / "a.safetensors", lora)
    other = fresh()
    attach_files(other, [layers(path, other)])
    plain, none, full, half = (*seen(fresh()), *seen(other, 0.0, 1.0, 0.5))
    assert np.array_equal(none, plain), "strength 0 is the base model bit for bit"
    assert np.abs(seen(bundle)[0] - full).max() <= 1
    assert np.abs(full - plain).mean() > 5
    assert not np.array_equal(full, half)


def test_files_of_all_kinds_are_blended_each_by_its_own_strength(fresh: Callable[[], Bundle]):
    exported = [trained(fresh(), adapter=kind).export() for kind in KINDS]
    attach_files(together := fresh(), exported)
    for number, one in enumerate(exported):
        attach_files(alone := fresh(), [one])
        strengths = tuple(0.7 * (slot == number) for slot in range(len(KINDS)))
        prompts = [Prompt("a cat", steps=2, guidance=3.0, strengths=wanted) for wanted in (strengths, (0.0,) * len(KINDS))]
        first, second = (piece.image for piece in sorted(FAMILY.sample(together, prompts), key=lambda piece: piece.index) if piece.image)
        single = next(piece.image for piece in FAMILY.sample(alone, [Prompt("a cat", steps=2, guidance=3.0, strengths=(0.7,))]) if piece.image)
        assert np.abs(np.asarray(first).astype(int) - np.asarray(single)).max() <= 1
        assert first != second


@pytest.mark.parametrize(("kind", "size"), [("lora", 0.3), ("dora", 0.22)])
def test_diffusers_makes_the_same_picture_of_the_file(kind: str, size: float, fresh: Callable[[], Bundle], tmp_path: Path):
    from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline

    def picture(pipeline: Any) -> Picture:
        pipeline.set_progress_bar_config(disable=True)
        pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
        rng = torch.Generator().manual_seed(5)
        return pipeline("a green tree", num_inference_steps=3, guidance_scale=3.0, generator=rng, output_type="np").images[0]

    bundle = fresh()
    path = written("diffusers", tmp_path / "a.safetensors", trained(bundle, size, adapter=kind))
    theirs = StableDiffusionPipeline.from_pretrained(families.POCKET, local_files_only=True, dtype=torch.float32)
    plain = picture(theirs)
    ours = picture(StableDiffusionPipeline(**{**theirs.components, "unet": bundle["unet"], "text_encoder": bundle["text_encoder"]}))
    theirs.load_lora_weights(path.parent, weight_name=path.name, adapter_name="probe")
    assert np.abs(picture(theirs) - ours).max() < 1e-5
    assert np.abs(ours - plain).mean() > 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_makes_a_difference_in_training_only(kind: str, fresh: Callable[[], Bundle]):
    lora = trained(bundle := fresh(), adapter=kind, lora_dropout=0.5)
    layer = lora.layers["unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"]
    x = torch.randn(2, 3, layer.base.in_features)
    lora.train(True)
    assert not torch.equal(layer(x), layer(x))
    lora.train(False)
    assert torch.equal(layer(x), layer(x))
    assert bundle.blend


@pytest.mark.parametrize("now", KINDS)
@pytest.mark.parametrize("before", KINDS)
def test_any_kind_goes_on_from_any_other(before: str, now: str, fresh: Callable[[], Bundle], tmp_path: Path):
    path = written("kohya", tmp_path / "a.safetensors", trained(fresh(), adapter=before))
    plain, settings = fresh(), config(adapter=now, lora_alpha=8.0)
    found = layers(path, plain)
    lora = attach(bundle := fresh(), FAMILY.targets(bundle, settings), settings)
    continue_from(lora, found)
    missed = total = 0.0
    for name, layer in lora.export().items():
        weight = lora.layers[name].weight
        wanted, got = change(found[name], weight), change(layer, weight)
        missed, total = missed + float((got - wanted).square().sum()), total + float(wanted.square().sum())
    if before == now or (before, now) == ("lora", "dora"):
        assert missed / total < 1e-9
        assert lora.notes == []
    else:
        assert 0.001 < missed / total < 0.999
        assert [note for note in lora.notes if "of it is kept" in note and "this run trains" in note]


@pytest.mark.parametrize(
    ("kind", "settings", "said"),
    [("dora", {"lora_rank": 2}, "a higher rank"), ("lokr", {"lora_rank": 1}, "a higher rank"), ("lokr", {"lokr_factor": 2}, "another lokr_factor")],
)
def test_what_is_lost_on_the_way_is_said(kind: str, settings: dict[str, Any], said: str, fresh: Callable[[], Bundle], tmp_path: Path):
    path = written("kohya", tmp_path / "a.safetensors", trained(fresh(), adapter=kind))
    changed = config(adapter=kind, **settings)
    lora = attach(bundle := fresh(), FAMILY.targets(bundle, changed), changed)
    continue_from(lora, layers(path, fresh()))
    assert [note for note in lora.notes if said in note]


@pytest.mark.parametrize(("kind", "said"), [("lora", None), ("dora", "A1111 something else"), ("lokr", "diffusers doesn't")])
def test_a_run_says_which_programs_read_its_kind(kind: str, said: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("STUDIO_HOME", str(tmp_path / "home"))
    run = small.made(small.pictures(tmp_path / "data"), adapter=kind, max_steps=1)
    found = [record.event.text for record in run.events() if isinstance(record.event, Finding)]
    told = [text for text in found if text.startswith(("DoRA", "LoKr"))]
    assert len(told) == (said is not None)
    assert all(said in text for text in told if said)
