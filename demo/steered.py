"""One photograph of the archive, corrected by somebody who knows three of its colours."""

import csv
from pathlib import Path

from PIL import Image, ImageDraw

from colornet.hints import Hint
from demo.sheet import GAP, picture

KEY = "things/coffee.tif"
"""The photograph, by its place in the archive."""
HINTS = (
    Hint(131, 268, "#b03014", by="the demo", note="the saucer"),
    Hint(540, 250, "#a4521f", by="the demo", note="the table"),
    Hint(287, 145, "#c08040", by="the demo", note="the coffee"),
)
WIDTH = 420
"""Of each picture, pixels."""
_DOT = 5


def write_hints(target: Path) -> None:
    """Write the table that `jobs.colorize --hints` takes."""
    with target.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["source", "x", "y", "color", "by", "note"])
        table.writerows([KEY, hint.x, hint.y, hint.color, hint.by, hint.note] for hint in HINTS)


def draw(before: Path, after: Path, target: Path) -> None:
    """Draw the photograph as the model made it, and with the hints, whose places are marked."""
    pictures = [picture(each) for each in (before, after)]
    scale = WIDTH / pictures[0].width
    pictures = [each.resize((WIDTH, round(scale * each.height)), Image.Resampling.LANCZOS) for each in pictures]
    canvas = ImageDraw.Draw(pictures[1])
    for hint in HINTS:
        x, y = (scale * each for each in (hint.x, hint.y))
        canvas.ellipse((x - _DOT, y - _DOT, x + _DOT, y + _DOT), fill=str(hint.color), outline="white", width=2)
    pair = Image.new("RGB", (2 * WIDTH + 3 * GAP, pictures[0].height + 2 * GAP), "white")
    for number, each in enumerate(pictures):
        pair.paste(each, (GAP + number * (WIDTH + GAP), GAP))
    pair.save(target)
