"""Pixels to bytes, for the formats that hold one picture; TIFF is written by `codecs.tiff_output`."""

import io

import imagecodecs
import numpy as np
import simplejpeg
from PIL import Image

from colornet.codecs.scan import Pixels
from colornet.errors import SettingsError
from colornet.formats import Format


def encode(rgb: Pixels, alpha: Pixels | None, format: Format, *, quality: int = 92, lossless: bool = False) -> bytes:
    """Encode a colour picture.

    Args:
        rgb: (H, W, 3) sRGB, uint8, or uint16 for the formats in DEEP.
        alpha: (H, W) of the same type, or None. JPEG and BMP have no place for it.
        format: "jpeg" (4:2:0) and "webp" at `quality`; "png", "jp2", "j2k" and "bmp" without loss.
        quality: 1 to 100.
        lossless: of JPEG (T.81, annex H) and WebP, which can be either.

    Raises:
        SettingsError: if the format is not among these.
    """
    pixels = rgb if alpha is None else np.dstack([rgb, alpha])
    if format == "jpeg" and lossless:
        return bytes(imagecodecs.jpeg8_encode(rgb, lossless=True))
    if format == "jpeg":
        return simplejpeg.encode_jpeg(rgb, quality=quality, colorspace="RGB", colorsubsampling="420")
    if format == "png":
        return bytes(imagecodecs.png_encode(pixels, level=2))
    if format in ("jp2", "j2k"):
        return bytes(imagecodecs.jpeg2k_encode(pixels, reversible=True, codecformat=format))
    if format == "webp":
        return bytes(imagecodecs.webp_encode(pixels, level=quality, lossless=lossless, method=4))
    if format == "bmp":
        buffer = io.BytesIO()
        Image.fromarray(rgb).save(buffer, "BMP")
        return buffer.getvalue()
    raise SettingsError(f"no one-picture format is called {format!r}")
