"""Pictures: the base untouched at strength 0, any checkpoint as LoRA, several together, and nothing else in the process disturbed."""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL.Image import Image
from safetensors.torch import load_file, save_file

from studio import fields
from studio.errors import InputError, ModelError
from studio.fields import Given
from studio.pocket import SAMPLES
from studio.results.export import export
from studio.results.generate import Look, LoraChoice, Request, draw, settled, tags
from studio.runs import run as shelf
from studio.runs.execute import execute
from studio.runs.resolve import complete
from studio.runs.result import DIFFUSERS
from studio.runs.run import Run

LOOK = Look(steps=2, guidance=4.0)
TEXT = "a red apple"


def trained(**settings: object) -> Run:
    given = {"base_model": "pocket", "train_data_dir": str(SAMPLES / "gameboy"), "max_steps": 6, "save_steps": 2, "lora_rank": 4, "conv_rank": 2}
    given |= {"learning_rate": 1e-2, "batch_size": 2, "validation_steps": 0, "threads": 1, "lora_dropout": 0.1}
    run = shelf.create(complete(fields.build({key: Given(value, "") for key, value in {**given, **settings}.items()})))
    for _ in execute(run):
        pass
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STUDIO_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("STUDIO_DEVICE", "cpu")
        yield trained()


def drawn(*requests: Request, loras: tuple[LoraChoice, ...] = ()) -> list[Image]:
    return [piece.image for piece in sorted(draw("pocket", loras, requests, LOOK), key=lambda piece: piece.index) if piece.image is not None]


def same(one: Image, other: Image) -> bool:
    return bool(np.array_equal(np.asarray(one), np.asarray(other)))


@pytest.mark.parametrize("strengths", [(0.0,), (0.0, 0.5, 1.0), (-1.0, 0.0, 2.0)])
def test_strength_0_is_the_base_model_bit_for_bit(run: Run, strengths: tuple[float, ...]):
    base = drawn(*[Request(TEXT, seed=3) for _ in strengths])
    mixed = drawn(*[Request(TEXT, strength, 3) for strength in strengths], loras=(LoraChoice(run.folder / DIFFUSERS),))
    assert [same(one, other) for one, other in zip(base, mixed, strict=True)] == [strength == 0 for strength in strengths]


def test_a_checkpoint_draws_what_its_exported_file_draws(run: Run):
    straight = drawn(Request(TEXT, loras=(LoraChoice(run.folder, step=4),)), Request(TEXT, loras=(LoraChoice(run.folder, step=6),)))
    final = drawn(Request(TEXT), Request(TEXT), loras=(LoraChoice(run.folder / DIFFUSERS),))
    export(run, 4)
    earlier = drawn(Request(TEXT), Request(TEXT), loras=(LoraChoice(run.folder / DIFFUSERS),))
    export(run)
    assert same(straight[0], earlier[0])
    assert same(straight[1], final[1])
    assert not same(straight[0], straight[1])


def test_two_halves_are_a_whole(run: Run):
    path = run.folder / DIFFUSERS
    whole, halves = drawn(Request(TEXT, loras=(LoraChoice(path),)), Request(TEXT, loras=(LoraChoice(path, 0.5), LoraChoice(path, 0.5))))
    assert same(whole, halves)


def test_a_tag_in_a_prompt_means_what_the_caller_finds(run: Run):
    text, inside = tags("a <lora:mine:0.8> cat, <lora:other>", lambda name: Path(name))
    assert (text, inside) == ("a cat", [LoraChoice(Path("mine"), 0.8), LoraChoice(Path("other"), 1.0)])
    tagged, plain = drawn(Request(f"{TEXT} <lora:{run.folder}:0.5>"), Request(TEXT, 0.5, loras=(LoraChoice(run.folder / DIFFUSERS),)))
    assert same(tagged, plain)


@pytest.mark.parametrize("text", ["<lora:x:y>", "<lora:x:9>", "<lora:nothing-of-that-name>"])
def test_a_tag_that_means_nothing_is_said(text: str):
    with pytest.raises(InputError):
        tags(text)


def test_the_process_randomness_is_not_touched(run: Run):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    drawn(Request(TEXT), loras=(LoraChoice(run.folder / DIFFUSERS),))
    assert torch.equal(torch.rand(3), expected)


def test_drawing_beside_a_training_doesnt_change_it_by_a_bit(run: Run):
    ended, count = threading.Event(), 0

    def keep_drawing() -> None:
        nonlocal count
        while not ended.is_set():
            drawn(Request(TEXT), loras=(LoraChoice(run.folder / DIFFUSERS),))
            count += 1

    thread = threading.Thread(target=keep_drawing)
    thread.start()
    try:
        beside = trained()
    finally:
        ended.set()
        thread.join()
    assert count
    left, right = load_file(run.folder / DIFFUSERS), load_file(beside.folder / DIFFUSERS)
    assert all(left[name].equal(right[name]) for name in left)


def test_a_model_that_is_opened_beside_spoils_no_training(run: Run):
    ended = threading.Event()

    def keep_opening() -> None:
        from studio import families

        while not ended.is_set():
            bundle = families.get("sd").load(families.POCKET, torch.device("cpu"), torch.float32)
            for part in ("vae", "text_encoder", "unet"):
                bundle[part]

    thread = threading.Thread(target=keep_opening)
    thread.start()
    try:
        beside = [trained(max_steps=1, save_steps=0) for _ in range(3)]
    finally:
        ended.set()
        thread.join()
    assert [run.state.status for run in beside] == ["finished"] * 3


def test_what_a_look_leaves_open_is_the_base_models_own() -> None:
    own = settled(Look(), "pocket")
    assert (own.steps, own.guidance) == (20, 7.0)
    assert settled(Look(steps=3), "pocket") == Look(steps=3, guidance=7.0)


def test_a_lora_for_another_kind_of_model_is_refused_with_both_names(tmp_path: Path) -> None:
    path, layer = tmp_path / "flux.safetensors", "lora_unet_double_blocks_0_img_attn_qkv"
    save_file({f"{layer}.lora_down.weight": torch.zeros(4, 3072), f"{layer}.lora_up.weight": torch.zeros(9216, 4)}, path)
    with pytest.raises(ModelError, match=r"is a LoRA for FLUX\.1, but the base model is Stable Diffusion 1\.x"):
        list(draw("pocket", [LoraChoice(path)], [Request("a cat")], Look(steps=1)))
