"""A contact sheet: photographs in gray, as they are colorized, and as they were, in one JPEG."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from colornet.training.report.panels import jpeg

TITLES = ("gray", "colorized", "true")
BESIDE = 2
"""Photographs beside each other, each three pictures wide."""
_HEADER, _GAP, _WIDE_GAP = 24, 4, 16


def contact_sheet(photographs: Sequence[Sequence[NDArray[np.uint8]]]) -> bytes:
    """Lay out photographs row by row, two in each.

    Args:
        photographs: of each the pictures that `TITLES` names, (S, S, 3) sRGB uint8, all of one size.

    Returns:
        A JPEG; of nothing but its margins if there are no photographs.
    """
    side = len(photographs[0][0]) if photographs else 0
    columns, rows = min(BESIDE, len(photographs)), -(-len(photographs) // BESIDE)
    width = len(TITLES) * (side + _GAP) - _GAP + _WIDE_GAP
    sheet = Image.new("RGB", (_WIDE_GAP + columns * width, _HEADER + rows * (side + _GAP) + _WIDE_GAP - _GAP), "white")
    draw = ImageDraw.Draw(sheet)
    for number, pictures in enumerate(photographs):
        row, column = divmod(number, BESIDE)
        for place, (title, picture) in enumerate(zip(TITLES, pictures, strict=True)):
            left = _WIDE_GAP + column * width + place * (side + _GAP)
            sheet.paste(Image.fromarray(picture), (left, _HEADER + row * (side + _GAP)))
            if row == 0:
                middle = (left + side / 2, _HEADER / 2)
                draw.text(middle, title, fill="black", anchor="mm", font=ImageFont.load_default(14))
    return jpeg(sheet)
