import hashlib
import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from studio.data.images import UPRIGHT, examine, load, probe
from studio.data.problems import FaultyDataError

Write = Callable[[str, str | bytes], Path]
Draw = Callable[..., Path]


def refusal(path: Path, resolution: int | None = 64) -> str:
    with pytest.raises(FaultyDataError) as caught:
        examine(path, resolution)
    return caught.value.what


def noise(size: int = 96) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8))


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png_header(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    return b"\x89PNG\r\n\x1a\n" + chunk + b"\0\0\x03\xc0IDAT" + b"\0" * 960


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "BMP", "TIFF", "GIF"])
def test_every_format_is_recognised_by_content_not_by_its_ending(write: Write, kind: str) -> None:
    path = write("picture.dat", encoded(noise(), kind))
    look = examine(path, 64)
    assert look.size == probe(path) == (96, 96)
    assert look.content == hashlib.sha256(path.read_bytes()).hexdigest()
    assert not look.animated
    assert load(path).mode == "RGB"


@pytest.mark.parametrize("share", [0.1, 0.3, 0.7, 0.99])
@pytest.mark.parametrize(("kind", "options"), [("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}), ("WEBP", {}), ("TIFF", {})])
def test_a_picture_that_is_cut_off_is_refused(write: Write, kind: str, options: dict[str, bool], share: float) -> None:
    raw = encoded(noise(), kind, **options)
    path = write("cut.jpg", raw[: int(len(raw) * share)])
    assert refusal(path).startswith("cut.jpg: ")
    with pytest.raises(FaultyDataError):
        load(path)


def test_a_png_with_a_flipped_bit_is_refused(write: Write) -> None:
    raw = bytearray(encoded(noise(), "PNG"))
    raw[len(raw) // 2] ^= 4
    assert "cut off or damaged" in refusal(write("flipped.png", bytes(raw)))


@pytest.mark.parametrize(
    ("width", "height", "reason"),
    [
        (10_000, 10_000, "more than 64 million pixels"),
        (60_000, 60_000, "more than 64 million pixels"),
        (8_001, 8_000, "more than 64 million pixels"),
        (17_000, 1_000, "a side is longer than 16384 pixels"),
        (2_100, 100, "more than 20 times as long as wide"),
        (65_000, 2, "a side is longer"),
        (64, 15, "a side is shorter than 16 pixels"),
        (1, 1, "a side is shorter"),
    ],
)
def test_impossible_shapes_are_refused_by_the_header_alone(write: Write, width: int, height: int, reason: str) -> None:
    path = write("bomb.png", png_header(width, height))
    assert path.stat().st_size < 1_100
    assert reason in refusal(path)
    with pytest.raises(FaultyDataError, match=reason):
        probe(path, 64)


def test_the_shortest_side_follows_the_resolution(draw: Draw) -> None:
    path = draw("a.png", size=(100, 100))
    assert probe(path, 400) == (100, 100)
    assert probe(path) == (100, 100)
    assert "shorter than 128" in refusal(path, 512)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.png", b"", "empty (0 bytes)"),
        ("a.png", b"hello, I am text", "holds text"),
        ("a.jpg", b"<!doctype html><p>404", "holds text"),
        ("a.svg", b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        ("a.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n", "EPS"),
        ("a.png", b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "Git LFS"),
        ("a.png", bytes(range(256)) * 4, "no picture that can be read"),
        ("a.psd", b"8BPS\0\1" + b"\0" * 64, "no picture that can be read"),
        ("a.jpg", b"\xff\xd8\xff\xe0\0\x10JFIF\0", "can't be read"),
    ],
)
def test_what_is_no_picture_is_refused_with_the_reason(write: Write, name: str, content: bytes, reason: str) -> None:
    assert reason in refusal(write(name, content))


def test_heic_names_the_package_that_reads_it(write: Write) -> None:
    path = write("a.jpg", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 64)
    try:
        import pillow_heif  # noqa: F401
    except ImportError:
        assert "pillow-heif" in refusal(path)
    else:
        assert "a.jpg" in refusal(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "none.png")
    assert "directory" in refusal(tmp_path)
    with pytest.raises(FaultyDataError):
        load(tmp_path / "none.png")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
def test_pictures_come_out_upright(write: Write, kind: str, orientation: int) -> None:
    upright = Image.new("RGB", (64, 32), "white")
    upright.paste("red", (0, 0, 32, 16))
    upright.paste("blue", (32, 16, 64, 32))
    undo = {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}.get(orientation, UPRIGHT.get(orientation))
    stored = upright.transpose(undo) if undo is not None else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {
        "JPEG": {"quality": 100, "subsampling": 0},
        "WEBP": {"lossless": True},
        "TIFF": {"compression": "tiff_lzw"},
        "AVIF": {"quality": 100, "subsampling": "4:4:4"},
    }.get(kind, {})
    path = write("a.jpg", encoded(stored, kind, exif=exif, **options))
    image = load(path)
    assert probe(path) == examine(path).size == image.size == (64, 32)
    assert np.abs(np.asarray(image).astype(int) - np.asarray(upright)).max() <= 3


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")
def test_a_damaged_exif_block_makes_no_damaged_picture(write: Write) -> None:
    path = write("a.jpg", encoded(noise(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12"))
    assert examine(path, 64).size == load(path).size == (96, 96)


def test_sixteen_bits_are_scaled_not_clipped(write: Write) -> None:
    values = np.linspace(0, 65535, 64 * 64).astype(np.uint16).reshape(64, 64)
    for kind in ("PNG", "TIFF"):
        pixels = np.asarray(load(write("deep.png", encoded(Image.fromarray(values), kind))))
        assert np.abs(pixels[..., 0] - values / 257.0).max() <= 0.5 + 1e-3
        assert (pixels[..., 0] == pixels[..., 2]).all()


def test_fractions_are_scaled_and_other_numbers_refused(write: Write) -> None:
    values = np.linspace(0, 1, 64 * 64, dtype=np.float32).reshape(64, 64)
    pixels = np.asarray(load(write("a.tif", encoded(Image.fromarray(values), "TIFF"))))
    assert (pixels.min(), pixels.max()) == (0, 255)
    path = write("b.tif", encoded(Image.fromarray(values * 1000), "TIFF"))
    assert "neither 8 nor 16 bits" in refusal(path)
    with pytest.raises(FaultyDataError, match="neither 8 nor 16 bits"):
        load(path)


def test_cmyk_becomes_rgb(write: Write) -> None:
    for kind in ("TIFF", "JPEG"):
        image = load(write("a.jpg", encoded(Image.new("CMYK", (64, 64), (0, 255, 255, 0)), kind)))
        red, green, blue = image.getpixel((9, 9))
        assert red > 250
        assert green < 5
        assert blue < 5


def test_one_bit_grey_and_palette_become_rgb(write: Write) -> None:
    assert load(write("a.png", encoded(Image.new("1", (64, 64), 1), "PNG"))).getpixel((0, 0)) == (255, 255, 255)
    assert load(write("b.png", encoded(Image.new("L", (64, 64), 77), "PNG"))).getpixel((0, 0)) == (77, 77, 77)
    palette = Image.new("RGB", (64, 64), (10, 200, 30)).quantize(4)
    assert load(write("c.png", encoded(palette, "PNG"))).getpixel((0, 0)) == (10, 200, 30)


def test_what_is_transparent_shows_white_not_the_colour_hidden_under_it(write: Write) -> None:
    hidden = Image.new("RGBA", (64, 64), (255, 0, 0, 0))
    hidden.putpixel((1, 0), (255, 0, 0, 255))
    hidden.putpixel((2, 0), (0, 0, 0, 128))
    for kind, options in (("PNG", {}), ("WEBP", {"lossless": True, "exact": True}), ("TIFF", {})):
        image = load(write("a.png", encoded(hidden, kind, **options)))
        assert [image.getpixel((x, 0)) for x in range(3)] == [(255, 255, 255), (255, 0, 0), (127, 127, 127)]
    grey = Image.new("LA", (64, 64), (0, 0))
    assert load(write("b.png", encoded(grey, "PNG"))).getpixel((0, 0)) == (255, 255, 255)


def test_transparent_palette_entries_and_colours_show_white(write: Write) -> None:
    palette = Image.new("P", (64, 64), 1)
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.putpixel((1, 0), 0)
    for transparency in (1, b"\xff\x00"):
        image = load(write("a.png", encoded(palette, "PNG", transparency=transparency)))
        assert image.getpixel((0, 0)) == (255, 255, 255)
        assert image.getpixel((1, 0)) == (255, 0, 0)
    plain = Image.new("RGB", (64, 64), (1, 2, 3))
    assert load(write("b.png", encoded(plain, "PNG", transparency=(1, 2, 3)))).getpixel((0, 0)) == (255, 255, 255)


def test_a_colour_profile_is_turned_into_srgb(write: Write) -> None:
    swapped = ImageCms.createProfile("LAB")
    lab = Image.new("LAB", (64, 64), (255, 128, 128))
    white = load(write("a.tif", encoded(lab, "TIFF", icc_profile=ImageCms.ImageCmsProfile(swapped).tobytes()))).getpixel((0, 0))
    assert min(white) > 250
    assert min(load(write("c.tif", encoded(lab, "TIFF"))).getpixel((0, 0))) > 250
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    same = load(write("b.png", encoded(Image.new("RGB", (64, 64), (200, 100, 50)), "PNG", icc_profile=srgb))).getpixel((0, 0))
    assert max(abs(a - b) for a, b in zip(same, (200, 100, 50), strict=True)) <= 1


def test_a_wide_gamut_profile_changes_the_numbers(write: Write) -> None:
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, green = (profile.index(tag) for tag in (b"rXYZ", b"gXYZ"))
    profile[red + 4 : red + 8], profile[green + 4 : green + 8] = profile[green + 4 : green + 8], profile[red + 4 : red + 8]
    image = load(write("a.png", encoded(Image.new("RGB", (64, 64), (255, 0, 0)), "PNG", icc_profile=bytes(profile))))
    assert image.getpixel((0, 0)) == pytest.approx((0, 255, 0), abs=3)


def test_a_broken_colour_profile_is_ignored(write: Write) -> None:
    path = write("a.png", encoded(Image.new("RGB", (64, 64), (1, 2, 3)), "PNG", icc_profile=b"no profile at all"))
    assert load(path).getpixel((0, 0)) == (1, 2, 3)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_is_used_and_that_is_told(write: Write, kind: str) -> None:
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue")]
    path = write("a.gif", encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=100))
    assert examine(path, 64).animated
    assert load(path).getpixel((9, 9)) == pytest.approx((255, 0, 0), abs=4)


def test_the_preview_that_a_phone_hides_in_a_picture_is_no_animation(write: Write) -> None:
    path = write("a.jpg", encoded(noise(), "MPO", save_all=True, append_images=[noise(48)]))
    look = examine(path, 64)
    assert (look.size, look.animated) == ((96, 96), False)
    assert load(path).size == (96, 96)


def test_the_file_is_never_changed(draw: Draw) -> None:
    path = draw("a.jpg")
    before = path.read_bytes()
    load(path)
    examine(path)
    assert path.read_bytes() == before
