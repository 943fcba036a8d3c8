"""What the network sees of a scan: upright, aspect ratio kept, in a square of fixed size, however large the scan is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from colornet.codecs import Scan
from colornet.hints import Hint
from colornet.inference.hints import Cells, locate

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


def shrink(scan: Scan, height: int, width: int) -> NDArray[np.float32]:
    """Resize a scan's luminance by area-true averaging; returns (height, width) float32, L* in [0, 100], as stored."""
    image = Image.fromarray(scan.codes if scan.codes.dtype == np.uint8 else scan.codes.astype(np.float32))
    small = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0), np.float32)
    return np.interp(small, np.arange(len(scan.lightness)), scan.lightness).astype(np.float32)


@dataclass(frozen=True)
class PreparedPage:
    """A page with all that prediction and rendering want to know of it: its full size is gone through once."""

    scan: Scan
    letterbox: Letterbox
    """Where in the network's square it lies."""
    lightness: NDArray[np.float32]
    """(height, width) of `letterbox.stored_size`, L* in [0, 100]: the small picture as it is stored."""
    seen: NDArray[np.float16]
    """(S, S), scaled L* in [-1, 1]: what the network sees, upright, padded with the picture's edges."""
    hints: Cells | None = None
    """What people know of its colour."""


def prepare(scan: Scan, size: int, hints: Sequence[Hint] = ()) -> PreparedPage:
    """Reduce a scan of any size to what the network sees, in a square of `size` pixels.

    Raises:
        SettingsError: if a hint lies outside of the picture.
    """
    letterbox = Letterbox.fit(scan, size)
    located = locate(hints, scan, letterbox)
    lightness = shrink(scan, *letterbox.stored_size)
    seen = letterbox.pad(lightness / 50.0 - 1.0, size).astype(np.float16)
    return PreparedPage(scan, letterbox, lightness, seen, located)
