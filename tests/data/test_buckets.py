import pytest
from PIL import Image

from studio.data.buckets import Crop, bucket_for, cut, fit


@pytest.mark.parametrize(("resolution", "step"), [(64, 8), (512, 64), (768, 64), (1024, 64), (500, 64), (1024, 8)])
def test_buckets_keep_their_promises_for_every_shape(resolution: int, step: int) -> None:
    for width in range(40, 2000, 97):
        for height in range(40, 2000, 89):
            bucket = bucket_for((width, height), resolution, step)
            assert all(side % step == 0 and resolution / 2 <= side <= 2 * resolution for side in bucket)
            assert 0.75 * resolution**2 - resolution * step <= bucket[0] * bucket[1] <= resolution**2
            assert bucket_for((height, width), resolution, step) == bucket[::-1]


def test_a_square_picture_goes_into_the_square_and_a_wide_one_into_a_wide_bucket() -> None:
    assert bucket_for((3000, 3000), 512) == (512, 512)
    assert bucket_for((1920, 1080), 512) == (640, 384)
    assert bucket_for((1080, 1920), 1024) == (768, 1344)
    assert bucket_for((96, 64), 64, step=8) == (80, 48)


def test_without_buckets_every_picture_goes_into_the_square() -> None:
    assert bucket_for((1920, 1080), 512, enable=False) == (512, 512)
    assert bucket_for((100, 100), 20) == (20, 20)


def test_a_crop_covers_the_bucket_and_keeps_the_centre() -> None:
    assert fit((1000, 500), (512, 512)) == Crop((1024, 512), (256, 0, 768, 512))
    assert fit((1000, 500), (512, 512)).kept == 0.5
    assert fit((512, 512), (512, 512)).kept == 1


@pytest.mark.parametrize("size", [(37, 731), (1, 1), (4000, 3001), (63, 64), (513, 512)])
def test_a_crop_lies_inside_the_resized_picture(size: tuple[int, int]) -> None:
    bucket = bucket_for(size, 512)
    crop = fit(size, bucket)
    left, top, right, bottom = crop.box
    assert left >= 0
    assert top >= 0
    assert right <= crop.resize[0]
    assert bottom <= crop.resize[1]
    assert (right - left, bottom - top) == bucket


def test_a_cut_picture_shows_its_middle() -> None:
    image = Image.new("RGB", (300, 100), "red")
    image.paste("blue", (100, 0, 200, 100))
    result = cut(image, fit(image.size, (50, 50)))
    assert result.size == (50, 50)
    assert result.getpixel((25, 25)) == (0, 0, 255)
    assert result.getpixel((3, 25)) == (0, 0, 255)


def test_fine_lines_become_grey_when_a_picture_is_reduced() -> None:
    image = Image.new("L", (800, 800), 0)
    for column in range(0, 800, 2):
        image.paste(255, (column, 0, column + 1, 800))
    result = cut(image, fit(image.size, (100, 100))).crop((5, 5, 95, 95))
    low, high = result.getextrema()
    assert 126 <= low <= high <= 129
