import numpy as np
import pytest
from PIL import Image

from studio.pocket import STYLES, judge


@pytest.mark.parametrize("style", STYLES)
def test_every_sample_picture_is_recognised(samples, style):
    pictures, things = samples[style]
    assert judge.recognised(pictures, things) == [True] * 40


def test_pictures_under_wrong_names_are_not_recognised(samples):
    pictures, things = samples["gameboy"]
    assert not any(judge.recognised(pictures, things[1:] + things[:1]))


@pytest.mark.parametrize("style", STYLES)
def test_sample_pictures_have_all_of_their_style(samples, style):
    assert judge.style_progress(samples[style][0], style) == pytest.approx(1, abs=0.1)


def test_another_style_is_no_progress(samples):
    assert judge.style_progress(samples["blueprint"][0], "gameboy") < 0.3


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # the scheduler's, with NumPy 2
def test_the_base_draws_what_is_recognised_and_has_no_style_yet(drawn):
    pictures, things = drawn
    assert sum(judge.recognised(pictures, things)) >= 7
    assert judge.style_progress(pictures, "gameboy") == pytest.approx(0, abs=0.1)


def test_halves_of_both_are_half_the_way(samples):
    pictures, _ = samples["gameboy"]
    whole = judge.style_progress(pictures, "gameboy")
    first, second = (judge.style_progress(half, "gameboy") for half in (pictures[:20], pictures[20:]))
    assert (first + second) / 2 == pytest.approx(whole)


def test_the_held_out_things_are_in_no_sample_set(samples):
    held_out = judge.held_out()
    assert len(held_out) == 32
    assert set(held_out) <= set(judge.things())
    assert not set(held_out) & {thing for _, things in samples.values() for thing in things}


def test_arrays_and_images_are_judged_alike(samples):
    pictures, things = samples["gameboy"]
    arrays = [np.array(picture) for picture in pictures]
    assert judge.recognised(arrays, things) == judge.recognised(pictures, things)
    assert judge.style_progress(arrays, "gameboy") == judge.style_progress(pictures, "gameboy")


def test_features_of_a_plain_picture_are_one_colour_without_edges():
    [values] = judge.features([Image.new("RGB", (64, 64), (255, 0, 128))])
    assert values[3 * 16 + 0 * 4 + 2] == 1
    assert values.sum() == 1


@pytest.mark.parametrize("picture", [Image.new("RGB", (256, 256)), Image.new("L", (64, 64)), np.zeros((64, 64, 3))])
def test_other_sizes_and_kinds_are_refused(picture):
    with pytest.raises(ValueError, match="RGB uint8 of 64 × 64"):
        judge.recognised([picture], ["star"])


def test_what_the_judge_does_not_know_is_refused(samples):
    pictures, _ = samples["gameboy"]
    with pytest.raises(ValueError, match="zebra"):
        judge.recognised(pictures[:1], ["zebra"])
    with pytest.raises(ValueError, match="cubism"):
        judge.style_progress(pictures, "cubism")
