"""Hints on their way to the network: from pixels of the upright picture to pixels of its square."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from colornet.codecs import Scan
from colornet.errors import SettingsError
from colornet.hints import Hint
from colornet.inference.letterbox import Letterbox

Cells = NDArray[np.float32]
"""(N, 4): row and column in the network's square, a* and b* in [-128, 127]. Small enough to travel."""

REACH = 1
"""Pixels around a hint's own that the network is shown with its colour: the patches of its training had 1 to 7."""


def locate(hints: Sequence[Hint], scan: Scan, letterbox: Letterbox) -> Cells | None:
    """Find the pixels of the network's square in which a page's hints lie; of those in one pixel the mean counts.

    Returns:
        One row for each pixel, in the order of rows and columns; None without hints.

    Raises:
        SettingsError: if a hint lies outside of the picture; the message names it.
    """
    if not hints:
        return None
    height, width = (scan.height, scan.width) if scan.orientation < 5 else (scan.width, scan.height)
    found: dict[tuple[int, int], list[tuple[float, float]]] = {}
    for hint in hints:
        if not (0 <= hint.x < width and 0 <= hint.y < height):
            raise SettingsError(f"{hint.place} lies outside of the picture, which has {width}×{height} pixels")
        row = letterbox.top + int((hint.y + 0.5) * letterbox.height / height)
        column = letterbox.left + int((hint.x + 0.5) * letterbox.width / width)
        found.setdefault((row, column), []).append(hint.ab)
    return np.array([(*place, *np.mean(colours, axis=0)) for place, colours in sorted(found.items())], np.float32)


def planes(cells: Cells | None, letterbox: Letterbox, size: int) -> NDArray[np.float32]:
    """Draw hints as the network takes them.

    Args:
        cells: as `locate` returns them.
        letterbox: where the picture lies; nothing is drawn on the padding around it.
        size: side of the square.

    Returns:
        (3, S, S): a* and b*, scaled as the network's output, and 1 where they are known; all 0 elsewhere.
    """
    drawn = np.zeros((3, size, size), np.float32)
    if cells is None:
        return drawn
    bottom, right = letterbox.top + letterbox.height, letterbox.left + letterbox.width
    count = np.zeros((size, size), np.float32)
    scaled = (cells[:, 2:] + 128) / 255 * 2 - 1
    rows, columns = cells[:, :2].astype(int).T
    for row, column, ab in zip(rows, columns, scaled, strict=True):
        around = (
            slice(max(row - REACH, letterbox.top), min(row + REACH + 1, bottom)),
            slice(max(column - REACH, letterbox.left), min(column + REACH + 1, right)),
        )
        drawn[:2, *around] += ab[:, None, None]
        count[around] += 1
    drawn[:2] /= np.maximum(count, 1)
    drawn[:2, rows, columns] = scaled.T  # a neighbour's patch does not change a hint's own pixel
    drawn[2] = count > 0
    return drawn
