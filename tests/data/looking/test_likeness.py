import random
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from studio.data.looking import likeness, marks, sharpness
from studio.data.report import check
from tests.benchmarks.duplicates import TRANSFORMS, landscape, pictures


@pytest.fixture(scope="module")
def sets() -> tuple[list[Image.Image], list[Image.Image]]:
    return pictures(20, 1)


def groups(shown: list[Image.Image]) -> list[list[int]]:
    grey = [picture.convert("L") for picture in shown]
    return likeness.groups([likeness.sketch(one) for one in grey], lambda place: likeness.square(grey[place]), lambda done, total: None)


@pytest.mark.parametrize("change", TRANSFORMS)
def test_a_changed_copy_is_found_with_its_original_and_with_nothing_else(sets, change: str) -> None:
    originals, alike = sets
    copies = [TRANSFORMS[change](picture, random.Random(number)) for number, picture in enumerate(originals)]
    found = groups([*originals, *alike, *copies])
    right = [[number, number + 40] for number in range(20)]
    assert [group for group in found if group not in right] == []
    assert len(found) >= (13 if "text" in change else 18)


def test_look_alikes_are_no_copies(sets) -> None:
    assert groups([*sets[0], *sets[1]]) == []


def test_three_of_one_picture_are_one_group(sets) -> None:
    picture, other = sets[0][:2]
    assert groups([picture, other, picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT), picture.resize((200, 200))]) == [[0, 2, 3]]


def test_pictures_of_one_colour_are_no_news() -> None:
    assert groups([Image.new("RGB", (64, 64), colour) for colour in ("red", "blue")]) in ([], [[0, 1]])


def test_blur_grows_with_the_radius_and_not_with_the_size(sets) -> None:
    from PIL import ImageFilter

    picture = sets[0][0].convert("L")
    values = [sharpness.blur(picture.filter(ImageFilter.GaussianBlur(radius))) for radius in (0, 1, 2, 4)]
    assert values == sorted(values)
    assert values[0] < 0.3 < sharpness.BLURRED < values[3]
    assert sharpness.blur(picture.resize((picture.width * 4, picture.height * 4))) < sharpness.BLURRED


def test_a_blurred_picture_is_told_in_a_sharp_set_and_a_soft_set_only_once() -> None:
    assert sharpness.blurred({"a": 0.2, "b": 0.3, "c": 0.25, "d": 0.8}) == (["d"], False)
    assert sharpness.blurred({"a": 0.65, "b": 0.7, "c": 0.68}) == ([], True)
    assert sharpness.blurred({}) == ([], False)


def test_a_mark_on_all_pictures_is_found_where_it_is() -> None:
    shown = [landscape(random.Random(number), random.Random(number)) for number in range(12)]
    assert marks.constant_mark(picture.convert("L") for picture in shown) is None
    for picture in shown:
        ImageDraw.Draw(picture).text((picture.width * 0.6, picture.height * 0.88), "(c) example", fill="white", font_size=20)
    across, down = marks.constant_mark(picture.convert("L") for picture in shown) or (0, 0)
    assert 0.6 < across < 0.95
    assert 0.85 < down < 1


def test_the_report_tells_of_all_three_and_remembers(config, sets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import ImageFilter

    for number, picture in enumerate(sets[0][:12]):
        ImageDraw.Draw(marked := picture.copy()).text((10, picture.height * 0.88), "(c) example", fill="white", font_size=24)
        marked.save(tmp_path / f"{number:02}.png")
    marked.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "mirrored.jpg")
    landscape(random.Random(1), random.Random(1)).filter(ImageFilter.GaussianBlur(6)).save(tmp_path / "soft.png")
    found = {problem.kind: problem for problem in check(config(caption_prefix="x")).problems}
    assert (found["near-duplicate"].file, found["near-duplicate"].also) == ("11.png", ("mirrored.jpg",))
    assert found["blurred"].file == "soft.png"
    assert "bottom left" in found["watermark"].message

    monkeypatch.setattr(likeness, "groups", lambda *_: pytest.fail("looked again"))
    assert {problem.kind: problem for problem in check(config(caption_prefix="x")).problems} == found


def test_the_sample_sets_have_no_finding(config: Callable[..., object]) -> None:
    from studio import pocket

    for style in pocket.STYLES:
        assert check(config(train_data_dir=pocket.SAMPLES / style)).problems == ()  # type: ignore[arg-type]
