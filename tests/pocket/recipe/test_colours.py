import numpy as np
import pytest

from studio.pocket.recipe import colours
from studio.pocket.recipe.things import THINGS


def test_one_colour_of_every_recoloured_thing_is_held_out():
    assert sorted(thing for thing, _ in colours.HELD_OUT_PAIRS) == sorted(colours.RECOLOURED)
    assert {colour for _, colour in colours.HELD_OUT_PAIRS} == set(colours.COLOURS)
    assert set(colours.RECOLOURED) <= set(THINGS)


def test_hues_come_back_through_hsv():
    picture = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    assert np.abs(colours.from_hsv(*colours.to_hsv(picture)).astype(int) - picture).max() <= 1


@pytest.mark.parametrize("colour", colours.COLOURS)
def test_a_red_picture_takes_the_colour(colour):
    hue, _, _ = colours.to_hsv(colours.recolour(np.full((4, 4, 3), (220, 40, 40), np.uint8), colour))
    # The hue's own place in its 10° bin goes along.
    assert abs((hue[0, 0] - colours.COLOURS[colour] + 180) % 360 - 180) < 5


def test_what_is_grey_or_of_another_hue_stays():
    picture = np.full((4, 4, 3), (220, 40, 40), np.uint8)
    picture[0, 0], picture[0, 1] = (128, 128, 128), (40, 40, 220)
    blue = colours.recolour(picture, "green")
    assert blue[0, 0].tolist() == [128, 128, 128]
    assert blue[0, 1].tolist() == [40, 40, 220]
