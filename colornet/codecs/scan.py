"""A Scan: one picture as it came from the archive, reduced to what colour is added to."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[Any]
"""uint8 or uint16, over the full range of the type."""


@dataclass(frozen=True, kw_only=True)
class Scan:
    """The luminance of one picture at its full size.

    Luminance is held as codes and a table that says what L* each code means, so that nothing is converted per pixel
    before the one pass that joins it with colour, and no depth is lost.
    """

    codes: Pixels
    """(H, W), the luminance code of each pixel, as stored: not turned upright."""
    lightness: NDArray[np.float32]
    """(256,) or (65536,), L* in [0, 100] of each code."""
    bits: int
    """8 or 16: bits per channel in which the colour picture is written."""
    alpha: Pixels | None = None
    """(H, W), opacity in that depth, or None where there is none. Codes are never multiplied by it."""
    extra: Pixels | None = None
    """(H, W, n), samples in that depth of which the file does not say what they mean, such as infrared; or None."""
    plain: bool = True
    """Whether the file's numbers are sRGB as they stand; false where a profile gave them another meaning."""
    fault: str | None = None
    """What is wrong with the file, though the picture is whole; None if nothing is."""
    damaged: bool = False
    """Whether it is what could be salvaged of a damaged file: parts may be missing or wrong."""
    orientation: int = 1
    """EXIF orientation, 1 to 8: how the picture must be turned to be upright."""
    colours: Pixels | None = None
    """(H, W, 3), the source's own colours in sRGB, in that depth; None where all is gray."""
    thumbnail: NDArray[np.uint8] | None = None
    """(h, w, 3), the same in 8 bits, 256 pixels on the longer side; None where all is gray."""

    @property
    def height(self) -> int:
        """Rows of pixels."""
        return self.codes.shape[0]

    @property
    def width(self) -> int:
        """Columns of pixels."""
        return self.codes.shape[1]

    @property
    def pixels(self) -> int:
        """Height times width."""
        return self.codes.size
