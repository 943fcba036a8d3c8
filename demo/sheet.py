"""A contact sheet of an archive before and after, as one PNG."""

from pathlib import Path

import matplotlib
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

CELL = 300
"""Longest side of a picture on the sheet, pixels."""
GAP = 12
CAPTION = 20
PAIRS_PER_ROW = 2


def write(gray: Path, colour: Path, target: Path) -> None:
    """Draw every photograph of the archive `gray` beside its namesake in `colour`; a failed one stays without."""
    keys = sorted(path.relative_to(gray) for path in gray.rglob("*") if path.is_file())
    pairs = [_pair(gray / key, colour / key, str(key)) for key in keys]
    rows = [pairs[start : start + PAIRS_PER_ROW] for start in range(0, len(pairs), PAIRS_PER_ROW)]
    heights = [max(pair.height for pair in row) + GAP for row in rows]
    sheet = Image.new("RGB", (PAIRS_PER_ROW * (2 * CELL + 2 * GAP), sum(heights) + GAP), "white")
    top = GAP
    for row, height in zip(rows, heights, strict=True):
        for column, pair in enumerate(row):
            sheet.paste(pair, (GAP + column * (2 * CELL + 2 * GAP), top))
        top += height
    sheet.save(target)


def _pair(before: Path, after: Path, key: str) -> Image.Image:
    """Draw one photograph before and after, with a caption below."""
    pictures = [picture(path) for path in (before, after) if path.exists()]
    caption = f"{key}, {pictures[0].width} × {pictures[0].height}" + ("" if len(pictures) == 2 else ", failed")
    for each in pictures:
        each.thumbnail((CELL, CELL), Image.Resampling.LANCZOS)
    height = max(each.height for each in pictures)
    pair = Image.new("RGB", (2 * CELL, height + CAPTION), "white")
    left = 0
    for each in pictures:
        pair.paste(each, (left, 0))
        left += each.width + 2
    ImageDraw.Draw(pair).text((0, height + 3), caption, fill="black", font=_font())
    return pair


def _font() -> ImageFont.FreeTypeFont:
    """Return a font that has the sign ×; the one that comes with Pillow has not."""
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", 13)


def picture(path: Path) -> Image.Image:
    """Decode a file of the archive to 8 bits, gray or sRGB."""
    return Image.fromarray(_read(path))


def _read(path: Path) -> NDArray[np.uint8]:
    """Decode to (H, W) or (H, W, 3), 8 bits."""
    if path.suffix == ".tif":
        pixels = tifffile.imread(path)
    else:
        with Image.open(path) as picture:
            pixels = np.asarray(picture)
    return (pixels >> 8).astype(np.uint8) if pixels.dtype.itemsize > 1 else pixels
