"""What the network sees of a scan: upright, aspect ratio kept, in a square of fixed size, however large the scan is."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from colornet.codecs import Scan

_INVERSE = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}


@dataclass(frozen=True)
class Letterbox:
    """Where in the network's square the upright picture lies; the rest is padding."""

    top: int
    left: int
    height: int
    width: int
    orientation: int = 1
    """EXIF orientation of the scan: how what is stored must be turned to be upright."""

    @classmethod
    def fit(cls, scan: Scan, size: int) -> "Letterbox":
        """Centre a scan in a square of `size` pixels, as large as it goes."""
        height, width = (scan.height, scan.width) if scan.orientation < 5 else (scan.width, scan.height)
        longer = max(height, width)
        inner_height = max(1, round(height * size / longer))
        inner_width = max(1, round(width * size / longer))
        return cls((size - inner_height) // 2, (size - inner_width) // 2, inner_height, inner_width, scan.orientation)

    @property
    def stored_size(self) -> tuple[int, int]:
        """Height and width of the small picture as it is stored, not turned."""
        return (self.height, self.width) if self.orientation < 5 else (self.width, self.height)

    def pad(self, picture: NDArray[np.float32], size: int) -> NDArray[np.float32]:
        """Turn a small stored picture upright and repeat its edges outwards to (size, size)."""
        bottom, right = size - self.top - self.height, size - self.left - self.width
        return np.pad(turn(picture, self.orientation), ((self.top, bottom), (self.left, right)), mode="edge")

    def cut(self, planes: NDArray[Any]) -> NDArray[Any]:
        """Cut the picture out of (C, size, size), upright: (C, height, width)."""
        return planes[:, self.top : self.top + self.height, self.left : self.left + self.width]

    def as_stored(self, planes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Turn the small upright picture, (C, height, width), as it is stored: (C, *stored_size)."""
        return turn(planes, _INVERSE[self.orientation])


def turn(picture: NDArray[np.float32], orientation: int) -> NDArray[np.float32]:
    """Turn what is stored with an EXIF orientation (1 to 8) upright, over the last two axes. A view, not a copy.

    Source: CIPA DC-008 (Exif), tag Orientation.
    """
    if orientation >= 5:
        picture = np.swapaxes(picture, -1, -2)
    if orientation in (2, 3, 6, 7):
        picture = picture[..., ::-1]
    if orientation in (3, 4, 7, 8):
        picture = picture[..., ::-1, :]
    return picture
