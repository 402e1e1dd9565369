"""Masks are found beside their pictures, and are never taken for pictures."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from studio.data.album import open_album
from studio.data.examples import Dataset, gather
from studio.data.listing import scan
from studio.data.problems import FaultyDataError

Write = Callable[[str, str | bytes], Path]
Draw = Callable[..., Path]


def told(data: Dataset) -> list[str]:
    """What is said of the masks."""
    return [str(problem) for problem in data.findings if "mask" in problem.kind]


@pytest.mark.parametrize("mask", ["masks/a.png", "a.mask.png", "a-masklabel.png", "masks/a.webp"])
def test_a_mask_lies_beside_its_picture_and_is_no_picture(config, draw: Draw, mask: str) -> None:
    folder = draw("a.jpg").parent
    draw(mask)
    listing = scan(folder)
    assert listing.pictures == ("a.jpg",)
    assert listing.masks == {"a.jpg": mask}
    assert [name for name, _ in open_album(folder).rows] == ["a.jpg"]
    (example,) = gather(config(masked_loss=True, caption_prefix="x")).examples
    assert example.mask.path == folder / mask


def test_masks_of_folders_lie_in_them_or_at_the_top(draw: Draw, tmp_path: Path) -> None:
    for name in ("cats/1.png", "cats/masks/1.png", "dogs/1.png", "masks/dogs/1.png", "masks/2.png"):
        draw(name)
    listing = scan(tmp_path)
    assert listing.masks == {"cats/1.png": "cats/masks/1.png", "dogs/1.png": "masks/dogs/1.png"}
    assert listing.pictures == ("cats/1.png", "dogs/1.png", "masks/2.png"), "a picture of a mask is a picture"


def test_transparency_is_a_mask_where_no_file_is(config, draw: Draw, tmp_path: Path) -> None:
    draw("a.png")
    picture = Image.new("RGBA", (64, 64), (255, 0, 0, 0))
    picture.paste((0, 0, 255, 255), (0, 0, 32, 64))
    picture.save(tmp_path / "b.png")
    data = gather(config(masked_loss=True, caption_prefix="x"))
    assert [example.mask is None for example in data.examples] == [True, False]
    mask = data.examples[1].mask.read()
    assert (mask.getpixel((0, 0)), mask.getpixel((63, 63))) == (255, 0)
    assert told(data) == ["a.png: The picture has no mask: all of it is learned."]


def test_a_mask_is_as_light_as_it_looks_on_black(config, draw: Draw, tmp_path: Path) -> None:
    draw("a.png")
    (tmp_path / "masks").mkdir()
    mask = Image.new("RGBA", (32, 32), (255, 255, 255, 0))
    mask.paste((255, 255, 255, 255), (0, 0, 16, 32))
    mask.save(tmp_path / "masks" / "a.png")
    data = gather(config(masked_loss=True, caption_prefix="x"))
    assert told(data) == [], "another size is no fault"
    read = data.examples[0].mask.read()
    assert (read.mode, read.getpixel((0, 0)), read.getpixel((31, 31))) == ("L", 255, 0)


def test_a_mask_of_another_shape_is_said(config, draw: Draw) -> None:
    draw("a.png", size=(64, 64))
    draw("masks/a.png", size=(64, 32))
    data = gather(config(masked_loss=True, caption_prefix="x"))
    assert told(data) == ["masks/a.png: The mask is 64 × 32, its picture 64 × 64: it is stretched."]


def test_a_mask_that_cant_be_read_is_refused_or_left_out_with_its_picture(config, draw: Draw, write: Write) -> None:
    draw("a.png")
    draw("b.png")
    draw("masks/b.png")
    write("masks/a.png", b"\x89PNG\r\n\x1a\n")
    with pytest.raises(FaultyDataError, match=r"masks/a\.png: .*damaged"):
        gather(config(masked_loss=True, caption_prefix="x"))
    data = gather(config(masked_loss=True, caption_prefix="x", bad_images="skip"))
    assert [example.name for example in data.examples] == ["b.png"]


def test_no_mask_at_all_is_a_mistake(config, draw: Draw) -> None:
    draw("a.png")
    with pytest.raises(FaultyDataError, match="masked_loss: no picture has a mask"):
        gather(config(masked_loss=True, caption_prefix="x"))


def test_masks_that_nobody_asked_for_are_said(config, draw: Draw) -> None:
    draw("a.png")
    draw("masks/a.png")
    data = gather(config(caption_prefix="x"))
    assert [example.mask for example in data.examples] == [None]
    assert "1 pictures have a mask" in told(data)[0]


def test_a_mask_with_a_caption_is_a_picture(config, draw: Draw, write: Write) -> None:
    draw("a.png")
    draw("masks/a.png")
    write("metadata.csv", "a.png,a face\nmasks/a.png,a mask of Venice\n")
    assert [example.name for example in gather(config()).examples] == ["a.png", "masks/a.png"]


def test_another_mask_is_other_data(config, draw: Draw) -> None:
    draw("a.png")
    draw("masks/a.png")
    settings = config(masked_loss=True, caption_prefix="x")
    before = gather(settings).fingerprint
    draw("masks/a.png", size=(32, 32))
    assert gather(settings).fingerprint != before
