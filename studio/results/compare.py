"""Before and after on one sheet: a row per prompt, a column per strength."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from studio.files import write_atomically

CELL = 192  # pictures smaller than this are enlarged
GAP = 12
TEXT = 16
INK, PAPER = (30, 32, 38), (250, 250, 248)
CHINESE = (
    "NotoSansCJK-Regular.ttc",
    "NotoSansSC-Regular.otf",
    "SourceHanSansSC-Regular.otf",
    "wqy-microhei.ttc",
    "wqy-zenhei.ttc",
    "msyh.ttc",
    "PingFang.ttc",
)


def sheet(pictures: Sequence[Sequence[Image.Image]], prompts: Sequence[str], heads: Sequence[str]) -> Image.Image:
    """`pictures[prompt][strength]`, all of one size, with what each row and column is. The longer side lies across."""
    if len(prompts) > len(heads):
        return _page(list(zip(*pictures, strict=True)), heads, prompts)
    return _page(pictures, prompts, heads)


def _page(pictures: Sequence[Sequence[Image.Image]], rows: Sequence[str], columns: Sequence[str]) -> Image.Image:
    first = pictures[0][0]
    scale = max(1, CELL // first.width)
    width, height = first.width * scale, first.height * scale
    band = height + GAP + TEXT + GAP
    page = Image.new("RGB", (len(columns) * (width + GAP) + GAP, GAP + TEXT + GAP + len(rows) * band), PAPER)
    pen = ImageDraw.Draw(page)
    for column, head in enumerate(columns):
        pen.text((GAP + column * (width + GAP) + width // 2, GAP), _fitting(head, width), INK, _font(head), anchor="ma")
    for row, label in enumerate(rows):
        top = GAP + TEXT + GAP + row * band
        pen.text((GAP, top), _fitting(label, page.width - 2 * GAP), INK, _font(label))
        for column, picture in enumerate(pictures[row]):
            enlarged = picture.resize((width, height), Image.Resampling.NEAREST) if scale > 1 else picture
            page.paste(enlarged, (GAP + column * (width + GAP), top + TEXT + GAP // 2))
    return page


def save(page: Image.Image, path: Path, parameters: str = "") -> None:
    """Write a PNG with what it was made from inside. Raises OSError."""
    notes = PngInfo()
    if parameters:
        notes.add_itxt("parameters", parameters)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda temporary: page.save(temporary, "PNG", pnginfo=notes))


def _font(text: str) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """A font that has the characters of `text`, as far as this machine has one: Pillow's own only knows ASCII."""
    if text.isascii():
        return ImageFont.load_default(TEXT)
    for name in CHINESE if any(character >= "\u2e80" for character in text) else ():
        with suppress(OSError):
            return ImageFont.truetype(name, TEXT)
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", TEXT)


def _fitting(text: str, width: int) -> str:
    font, line = _font(text), " ".join(text.split())
    if font.getlength(line) <= width:
        return line
    while line and font.getlength(line + "...") > width:
        line = line[:-1]
    return line + "..."
