"""Pictures: what a file holds is decided by its bytes, and comes out upright, 8 bits deep and in sRGB."""

import hashlib
import importlib
import io
import re
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from PIL import Image, ImageChops, ImageCms

from studio.data.looking import likeness, sharpness
from studio.data.problems import FaultyDataError, Problem, shown
from studio.language import say

FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "BMP", "TIFF", "GIF")
MOST_PIXELS = 64_000_000
LONGEST_SIDE = 16_384
STEEPEST_ASPECT = 20
SHORTEST_SIDE = 16
LARGEST_FILE = 512 * 1024**2
BACKGROUND = (255, 255, 255)
"""Shows through where a picture is transparent."""

HEIC = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# What Pillow complains about and reads nonetheless (odd EXIF data) is no news for a person. Between its limit and twice that
# it only warns of a bomb; that shall be an error for everybody in this process.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)


@dataclass(frozen=True)
class Look:
    """What a whole look at a picture shows: sha256 of its bytes in hex, upright width and height, more than one frame or not; after a close
    look also what it is compared by (see likeness.sketch) and how blurred it is (see sharpness.blur)."""

    content: str
    size: tuple[int, int]
    animated: bool
    sketch: str = ""
    blur: float = 0.0


def probe(path: Path, resolution: int | None = None) -> tuple[int, int]:
    """Upright width and height, from the header only.

    Raises FaultyDataError when it is no picture that can be read, has more than 64 million pixels, a side above 16,384,
    an aspect above 20, or a side below a quarter of `resolution`.
    """
    try:
        with path.open("rb") as file, _opened(path, file) as image:
            size = _upright_size(image)
    except OSError as error:
        raise _unreadable(path, error) from None
    _refuse_shape(path, size, resolution)
    return size


def examine(path: Path, resolution: int | None = None, closely: bool = False) -> Look:
    """Decode the whole picture once, to know that it can be. Raises FaultyDataError as `probe` does, and when the file is damaged."""
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise _refused(path, say("The file is larger than {limit} MB.", limit=LARGEST_FILE // 1024**2))
        raw = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from None
    with _opened(path, io.BytesIO(raw)) as image:
        _refuse_shape(path, _upright_size(image), resolution)
        size = image.size
        if image.format == "PNG":
            _verify(path, raw)
        if image.format == "JPEG":
            smallest = sharpness.SIDE if closely else 1  # an eighth of the size: all bytes are parsed, in a third of the time
            image.draft(image.mode, (smallest, smallest))
        _decode(path, image)
        if _is_deep(image):
            _eight_bits(path, image)
        turned = _orientation(image) >= 5
        animated = image.format != "MPO" and bool(getattr(image, "is_animated", False))  # phones hide a preview in an MPO
        grey = _grey(path, image) if closely else None
    look = Look(hashlib.sha256(raw).hexdigest(), _turned(size, turned), animated)
    return replace(look, sketch=likeness.sketch(grey), blur=sharpness.blur(grey)) if grey else look


def load(path: Path) -> Image.Image:
    """The picture (its first frame) as 8-bit RGB: upright, its colour profile turned into sRGB (a broken one is ignored),
    16 bits scaled down, transparency laid on white. Raises FaultyDataError when it can't be decoded."""
    colours, alpha, profile, orientation = _decoded(path)
    return _upright(_flat(_in_srgb(colours, profile), alpha), orientation)


def load_mask(path: Path, alpha: bool = False) -> Image.Image:
    """A mask as 8 bits of grey, upright: how light the picture is, black where it is transparent; or only how opaque it is, with `alpha`.
    Raises FaultyDataError when it can't be decoded."""
    colours, opacity, _, orientation = _decoded(path)
    mask: Image.Image = Image.new("L", colours.size, 255) if alpha else _in_srgb(colours, None).convert("L")
    return _upright(ImageChops.multiply(mask, opacity) if opacity else mask, orientation)


def is_transparent(path: Path) -> bool:
    """Whether a picture has an alpha channel, from its header. Raises FaultyDataError when that can't be read."""
    try:
        with path.open("rb") as file, _opened(path, file) as image:
            return bool(image.has_transparency_data)
    except OSError as error:
        raise _unreadable(path, error) from None


def _decoded(path: Path) -> tuple[Any, Any, bytes | None, int]:
    """Colours, alpha channel or None, colour profile and orientation of the first frame."""
    try:
        with path.open("rb") as file, _opened(path, file) as image:
            _refuse_shape(path, image.size, None)
            _decode(path, image)
            profile, orientation = image.info.get("icc_profile"), _orientation(image)
            return *_parts(path, image), profile, orientation
    except OSError as error:
        raise _unreadable(path, error) from None


def _grey(path: Path, image: Any) -> Image.Image:
    """A decoded picture as it is compared with others: its profile plays no part."""
    colours, alpha = _parts(path, image)
    return _upright(_flat(colours.convert("RGB"), alpha).convert("L"), _orientation(image))


def _flat(picture: Image.Image, alpha: Any) -> Image.Image:
    if alpha is None:
        return picture
    flat = Image.new("RGB", picture.size, BACKGROUND)
    flat.paste(picture, mask=alpha)
    return flat


def _upright(picture: Image.Image, orientation: int) -> Image.Image:
    return picture.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else picture


def _opened(path: Path, file: IO[bytes]) -> Any:
    """The picture, its header read. The formats are listed, so that no other decoder of Pillow sees foreign bytes."""
    head = file.read(4096)
    formats = _formats(path, head)
    file.seek(0)
    try:
        return Image.open(file, formats=formats)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _refused(path, say("It has more than {limit} million pixels.", limit=MOST_PIXELS // 10**6)) from None
    except Image.UnidentifiedImageError:
        raise _refused(path, say("It is no picture that can be read, or its first bytes are damaged.")) from None
    except Exception as error:  # decoders answer damaged bytes with whatever they stumble over
        raise _refused(path, say("The header can't be read: {reason}", reason=shown(error, 120))) from error


def _formats(path: Path, head: bytes) -> tuple[str, ...]:
    """Which decoders may try, by the first bytes. Raises FaultyDataError for what is known to be something else."""
    if not head:
        raise _refused(path, say("The file is empty (0 bytes)."))
    if head[4:8] == b"ftyp" and head[8:12] in HEIC and b"avif" not in head[8:64]:
        if not _heif_opens():
            fix = say("Save it as JPEG or PNG, or install pillow-heif.")
            raise _refused(path, say("It is a HEIC picture; reading those needs the package pillow-heif."), fix)
        return ("HEIF",)
    match = re.match(rb"(?:\xef\xbb\xbf)?\s*(<)|(%!PS|\xc5\xd0\xd3\xc6)|(version https://git-lfs)", head)
    if match:
        raise _refused(path, _foreign(head, match.lastindex), say("Save it as JPEG or PNG."))
    if _is_text(head):
        raise _refused(path, say("It holds text, not a picture."))
    return FORMATS


def _foreign(head: bytes, kind: int | None) -> str:
    if kind == 1:
        is_svg = b"<svg" in head.lower()
        return say("It is an SVG drawing, not a picture of pixels.") if is_svg else say("It holds text, not a picture.")
    if kind == 2:
        return say("It is an EPS drawing, not a picture of pixels.")
    return say("It is a Git LFS pointer: the picture itself was never downloaded (git lfs pull).")


def _is_text(head: bytes) -> bool:
    if b"\0" in head:
        return False
    try:
        head[:-4].decode("utf-8") if len(head) == 4096 else head.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return not head.startswith((b"GIF8", b"BM"))


def _heif_opens() -> bool:
    try:
        importlib.import_module("pillow_heif").register_heif_opener()
    except ImportError:
        return False
    return True


def _decode(path: Path, image: Any) -> None:
    try:
        image.load()
    except Exception as error:  # decoders answer damaged bytes with whatever they stumble over
        raise _refused(path, say("The file is cut off or damaged: {reason}", reason=shown(error, 120))) from error


def _verify(path: Path, raw: bytes) -> None:
    """A PNG carries checksums, which decoding ignores."""
    with _opened(path, io.BytesIO(raw)) as image:
        try:
            image.verify()
        except Exception as error:  # as in _decode
            raise _refused(path, say("The file is cut off or damaged: {reason}", reason=shown(error, 120))) from error


def _refuse_shape(path: Path, size: tuple[int, int], resolution: int | None) -> None:
    width, height = size
    shortest = resolution // 4 if resolution else SHORTEST_SIDE
    shape = {"width": width, "height": height}
    if width * height > MOST_PIXELS:
        raise _refused(path, say("It is {width} × {height}: more than {limit} million pixels.", limit=MOST_PIXELS // 10**6, **shape))
    if max(size) > LONGEST_SIDE:
        raise _refused(path, say("It is {width} × {height}: a side is longer than {limit} pixels.", limit=LONGEST_SIDE, **shape))
    if max(size) > STEEPEST_ASPECT * min(size):
        raise _refused(path, say("It is {width} × {height}: more than {limit} times as long as wide.", limit=STEEPEST_ASPECT, **shape))
    if min(size) < shortest:
        raise _refused(path, say("It is {width} × {height}: a side is shorter than {limit} pixels.", limit=shortest, **shape))


def _orientation(image: Any) -> int:
    """EXIF's word on how the camera was held, 1 to 8."""
    if image.format == "TIFF":  # Pillow turns these itself
        return 1
    try:
        value = image.getexif().get(0x0112, 1)
    except Exception:  # a damaged EXIF block makes no damaged picture
        return 1
    return value if isinstance(value, int) and value in UPRIGHT else 1


def _turned(size: tuple[int, int], turned: bool) -> tuple[int, int]:
    return (size[1], size[0]) if turned else size


def _upright_size(image: Any) -> tuple[int, int]:
    return _turned(image.size, _orientation(image) >= 5)


def _parts(path: Path, image: Any) -> tuple[Any, Any]:
    """Colours with 8 bits a channel (L, RGB, CMYK or LAB), and the alpha channel (L) or None."""
    if _is_deep(image):
        return _eight_bits(path, image), None
    alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    if image.mode == "La":
        image = image.convert("LA")
    if image.mode in ("1", "L", "LA"):
        return image.convert("L"), alpha
    if image.mode in ("CMYK", "LAB"):
        return image, alpha
    # By way of RGBA where there is alpha: the colours under it are no longer multiplied by it, and palettes are resolved.
    return (image.convert("RGBA") if alpha else image).convert("RGB"), alpha


def _is_deep(image: Any) -> bool:
    return image.mode in ("I", "F") or str(image.mode).startswith("I;")


def _eight_bits(path: Path, image: Any) -> Any:
    """A grey picture of 16 bits, or of fractions from 0 to 1, scaled to 8: Pillow's own conversion clips."""
    import numpy as np

    values = np.asarray(image)
    scale = 255.0 if image.mode == "F" else 255.0 / 65535.0
    with np.errstate(all="ignore"):
        scaled = values.astype(np.float32) * scale
    if not np.isfinite(scaled).all() or scaled.min() < -0.01 or scaled.max() > 255.01:
        raise _refused(path, say("Its values are neither 8 nor 16 bits, nor fractions from 0 to 1."), say("Save it with 8 bits a channel."))
    return Image.fromarray(np.rint(scaled.clip(0, 255)).astype(np.uint8))


def _in_srgb(colours: Any, profile: bytes | None) -> Any:
    if profile is None and colours.mode != "LAB":
        return colours.convert("RGB")
    target = ImageCms.createProfile("sRGB")
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile)) if profile else ImageCms.createProfile("LAB")
        return ImageCms.profileToProfile(colours, source, target, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return _in_srgb(colours, None) if profile else colours.convert("RGB")


def _refused(path: Path, message: str, fix: str = "") -> FaultyDataError:
    return FaultyDataError([Problem(shown(path.name), None, message, fix or say("Replace the picture or take it out."), kind="unreadable")])


def _unreadable(path: Path, error: OSError) -> FaultyDataError:
    return _refused(path, say("The file can't be read: {reason}", reason=error.strerror or error))
