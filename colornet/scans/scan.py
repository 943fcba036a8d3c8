"""A Scan: one picture as it came from the archive, reduced to what colour is added to."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Scan:
    """The luminance of a scan at its full size.

    Luminance is held as the source's own codes and a table that says what L* each code means, so that nothing is
    converted per pixel before the one pass that joins it with colour, and no depth is lost.
    """

    codes: NDArray[np.uint8] | NDArray[np.uint16]
    """(H, W), the luminance code of each pixel."""
    lightness: NDArray[np.float32]
    """(256,) or (65536,), L* in [0, 100] of each code."""
    bits: int
    """Bits per channel of the source, 8 or 16: the depth in which the colour picture is written."""
    format: str
    """What the source was encoded as: "jpeg", "png" or "tiff"."""
    alpha: NDArray[np.uint8] | NDArray[np.uint16] | None = None
    """(H, W), opacity in the source's depth, or None where there is none."""

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
