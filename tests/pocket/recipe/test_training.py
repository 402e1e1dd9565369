import random

import numpy as np
import pytest
import torch

from studio.pocket.recipe import judge_training, latents, unet, vae
from studio.pocket.recipe.icons import COLOUR, FLAT, LINE, NOTO
from studio.pocket.recipe.latents import Words
from studio.pocket.recipe.things import THINGS


@pytest.fixture(scope="module")
def icons():
    """Forty things as noise in all icon sets."""
    noise = np.random.default_rng(0).integers(0, 256, (128, 128, 4), np.uint8)
    return {icon_set: dict.fromkeys(THINGS[:40], noise) for icon_set in (FLAT, COLOUR, NOTO, LINE)}


def test_batches_for_the_autoencoder_are_pictures(icons):
    sources = vae.Sources.of(icons)
    for seed in range(6):
        batch = vae.draw_batch(sources, random.Random(seed))
        assert batch.shape == (8, 3, 64, 64)
        assert batch.min() >= -1
        assert batch.max() <= 1


def test_every_60th_icon_is_held_out(icons):
    sources = vae.Sources.of(icons)
    assert sources.held_out.tolist() == [0, 60]
    assert not set(sources.held_out.tolist()) & {*sources.coloured.tolist(), *sources.line.tolist()}


def test_folded_latents_have_mean_0_and_deviation_1_and_decode_to_the_same():
    torch.manual_seed(0)
    model, pictures = vae.autoencoder().eval(), torch.rand(4, 3, 64, 64) * 2 - 1
    before = latents.encoded(model, pictures)
    with torch.no_grad():
        decoded = model.decode(before).sample
    latents.fold(model, before)
    after = latents.encoded(model, pictures)
    assert after.mean((0, 2, 3)).tolist() == pytest.approx([0] * 4, abs=1e-4)
    assert after.std((0, 2, 3)).tolist() == pytest.approx([1] * 4, abs=1e-4)
    with torch.no_grad():
        assert torch.allclose(model.decode(after).sample, decoded, atol=1e-3)


def test_captions_say_manner_and_ground():
    assert Words(["owl"], "", " on a red background", 1).captions()[:2] == ["an owl on a red background"] * 2
    glossy = Words(["owl"], "glossy ", "", 1).captions()
    assert glossy == ["a glossy owl", "glossy owl", "an owl, glossy", "a glossy emoji of an owl"]


def test_held_out_colours_are_in_no_caption():
    some = {FLAT: dict.fromkeys(latents.RECOLOURED, np.zeros((8, 8, 4), np.uint8)), COLOUR: {}}
    phrases = {phrase for _, words in latents.examples(some) for phrase in words.phrases}
    assert "blue car" in phrases
    assert not {f"{colour} {latents.RECOLOURED[thing]}" for thing, colour in latents.HELD_OUT_PAIRS} & phrases


def test_the_learning_rate_rises_holds_and_falls():
    assert unet.learning_rate(1, 0.0) == pytest.approx(1.6e-3 / 60)
    assert unet.learning_rate(60, 0.1) == unet.learning_rate(9000, 0.5) == pytest.approx(1.6e-3)
    assert unet.learning_rate(9000, 1.0) == pytest.approx(0.02 * 1.6e-3)


def test_the_average_follows_the_weights():
    weight = torch.nn.Parameter(torch.zeros(1))
    average = unet.Average([weight])
    weight.data += 1
    for step in range(1, 400):
        average.follow(step)
    average.take_over()
    assert weight.item() == pytest.approx(1, abs=1e-3)


def test_the_judge_learns_a_thing_in_every_manner_that_it_is_drawn_in(icons):
    shown = judge_training.examples({name: {"pizza": icons[name]["pizza"]} for name in (FLAT, COLOUR, LINE)} | {NOTO: {}})
    assert {number for _, number, _ in shown} == {THINGS.index("pizza")}
    assert [manner for manner, _, _ in shown] == [FLAT, "coloured ground", COLOUR, "coloured ground", "ink", "pixel", "gameboy", "blueprint"]


def test_moved_pictures_keep_their_shape():
    batch = torch.rand(8, 3, 64, 64)
    assert all(judge_training.moved(batch, random.Random(seed)).shape == batch.shape for seed in range(4))
