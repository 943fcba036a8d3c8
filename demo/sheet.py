"""A contact sheet of an archive before and after, as one PNG."""

from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

CELL = 300
"""Longest side of a picture on the sheet, pixels."""
GAP = 12
CAPTION = 24
PAIRS_PER_ROW = 2


def write(gray: Path, colour: Path, target: Path) -> None:
    """Draw every photograph of the archive `gray` beside its namesake in `colour`; a failed one stays without."""
    keys = sorted(path.relative_to(gray) for path in gray.rglob("*") if path.is_file())
    rows = -(-len(keys) // PAIRS_PER_ROW)
    width, height = 2 * CELL + 3 * GAP, CELL + CAPTION + GAP
    sheet = Image.new("RGB", (PAIRS_PER_ROW * width, rows * height + GAP), "white")
    for position, key in enumerate(keys):
        row, column = divmod(position, PAIRS_PER_ROW)
        _draw_pair(sheet, (column * width + GAP, row * height + GAP), gray / key, colour / key, str(key))
    sheet.save(target)


def _draw_pair(sheet: Image.Image, corner: tuple[int, int], before: Path, after: Path, key: str) -> None:
    left, top = corner
    size = (0, 0)
    for path in (before, after):
        if path.exists():
            pixels = _read(path)
            size = (pixels.shape[1], pixels.shape[0])
            small = Image.fromarray(pixels)
            small.thumbnail((CELL, CELL), Image.Resampling.LANCZOS)
            sheet.paste(small, (left, top + (CELL - small.height) // 2))
        left += CELL + GAP // 2
    caption = f"{key}, {size[0]} × {size[1]}" + ("" if after.exists() else ", failed")
    draw = ImageDraw.Draw(sheet)
    draw.text((corner[0], top + CELL + 4), caption, fill="black", font=ImageFont.load_default(14))


def _read(path: Path) -> NDArray[np.uint8]:
    """Decode to (H, W) or (H, W, 3), 8 bits."""
    if path.suffix == ".tif":
        pixels = tifffile.imread(path)
    else:
        with Image.open(path) as picture:
            pixels = np.asarray(picture)
    return (pixels >> 8).astype(np.uint8) if pixels.dtype.itemsize > 1 else pixels
