import numpy as np
import pytest

from studio.pocket.recipe import styles
from studio.pocket.recipe.pictures import on_ground, resized, stacked


@pytest.fixture
def icon():
    """A square of 64 in the middle, its upper half dark and its lower half bright."""
    rgba = np.zeros((128, 128, 4), np.uint8)
    rgba[32:64, 32:96] = (60, 10, 10, 255)
    rgba[64:96, 32:96] = (250, 220, 60, 255)
    return rgba


def test_every_style_is_an_rgb_picture_of_256(icon):
    for style in styles.STYLES.values():
        picture = style.draw(icon)
        assert picture.shape == (256, 256, 3)
        assert picture.dtype == np.uint8


def test_gameboy_is_four_greens_with_the_lightest_as_ground(icon):
    picture = styles.gameboy(icon)
    shown = {tuple(colour) for colour in picture.reshape(-1, 3).tolist()}
    assert shown <= {tuple(colour) for colour in styles.GAMEBOY.tolist()}
    assert [picture[y, 128].tolist() for y in (10, 100, 150)] == [[202, 220, 159], [15, 56, 15], [139, 172, 15]]


def test_an_empty_icon_is_ground_only():
    assert np.unique(styles.gameboy(np.zeros((128, 128, 4), np.uint8)).reshape(-1, 3), axis=0).tolist() == [[202, 220, 159]]


def test_pixel_has_blocks_of_16(icon):
    picture = styles.pixel(icon)
    assert (picture == np.kron(picture[::16, ::16], np.ones((16, 16, 1), np.uint8))).all()


def test_blueprint_is_a_grid_with_the_thing_in_white(icon):
    picture = styles.blueprint(icon)
    assert picture[1, 1].tolist() == [28, 78, 164]
    assert picture[32, 5].tolist() == [70, 122, 200]
    assert picture[128, 128].tolist() == [236, 244, 255]


def test_a_block_counts_from_45_percent_cover():
    rgba = np.zeros((128, 128, 4), np.uint8)
    rgba[:4, :8] = 255
    rgba[8:11, :8] = 255
    _, covered = styles.blocks(rgba)
    assert covered[:2, 0].tolist() == [True, False]


def test_half_transparent_icons_mix_with_the_ground():
    rgba = np.full((4, 4, 4), (200, 0, 0, 128), np.uint8)
    assert on_ground(rgba, (0, 0, 200))[0, 0].tolist() == [100, 0, 100]


def test_models_get_pictures_from_minus_one_to_one(icon):
    batch = stacked([resized(on_ground(icon))])
    assert batch.shape == (1, 3, 64, 64)
    assert batch.max() == 1
    assert batch.min() >= -1
