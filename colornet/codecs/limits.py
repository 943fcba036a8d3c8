"""Bounds that are checked by the header, before anything is decoded."""

from colornet.errors import ScanError

MAX_PIXELS = 400_000_000
"""The default bound on the pixels of one picture: what one worker can hold."""


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Refuse a picture without pixels, or with more than `max_pixels`; raises ScanError naming its size."""
    if width < 1 or height < 1:
        raise ScanError(f"the picture has no pixels: {width}×{height}")
    if width * height > max_pixels:
        raise ScanError(f"too large: {width}×{height} pixels, more than the bound of {max_pixels:,}")
