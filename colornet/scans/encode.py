"""Pixels to bytes, in the format that the scan came in."""

import io

import numpy as np
import simplejpeg
import tifffile
from numpy.typing import NDArray
from PIL import Image

CONTENT_TYPES = {"jpeg": "image/jpeg", "png": "image/png", "tiff": "image/tiff"}
"""Format names and their media types."""


def encode(rgb: NDArray[np.uint8], alpha: NDArray[np.uint8] | None, form: str, *, quality: int = 92) -> bytes:
    """Encode a colour picture.

    Args:
        rgb: (H, W, 3) uint8, sRGB.
        alpha: (H, W) uint8, or None. JPEG has no place for it.
        form: "jpeg" (4:2:0 at `quality`), "png" or "tiff" (both without loss).
        quality: of JPEG, 1 to 100.

    Raises:
        ValueError: if there is no such format.
    """
    if form == "jpeg":
        return simplejpeg.encode_jpeg(rgb, quality=quality, colorspace="RGB", colorsubsampling="420")
    pixels = rgb if alpha is None else np.dstack([rgb, alpha])
    buffer = io.BytesIO()
    if form == "png":
        Image.fromarray(pixels).save(buffer, "PNG", compress_level=4)
    elif form == "tiff":
        extra = [] if alpha is None else ["unassalpha"]
        tifffile.imwrite(
            buffer, pixels, photometric="rgb", extrasamples=extra, compression="zlib", predictor=True, metadata=None
        )
    else:
        raise ValueError(f"no format is called {form!r}; there are: {', '.join(CONTENT_TYPES)}")
    return buffer.getvalue()
