"""What is known of a page before its colour is predicted: what the network sees of it, and where hints lie."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from colornet.codecs import Scan
from colornet.hints import Hint
from colornet.inference.hints import Cells, locate
from colornet.inference.letterbox import Letterbox


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
