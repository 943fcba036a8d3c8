"""Bytes to a Scan: the format from the first bytes, the size from the header before anything is decoded."""

import io
import logging
import re
from collections.abc import Callable

import numpy as np
import simplejpeg
import tifffile
from numpy.typing import NDArray
from PIL import Image

from colornet import join
from colornet.errors import ScanError
from colornet.scans.scan import Scan

MAX_PIXELS = 400_000_000
"""The default bound on a scan's pixels: what one worker can hold."""

# What tifffile logs about damaged tags is said by the ScanError, or does not matter.
logging.getLogger("tifffile").setLevel(logging.CRITICAL)

_SIGNATURES = {
    b"\xff\xd8\xff": "jpeg",
    b"\x89PNG\r\n\x1a\n": "png",
    b"II*\x00": "tiff",
    b"MM\x00*": "tiff",
    b"II+\x00": "tiff",
    b"MM\x00+": "tiff",
}


def sniff(data: bytes) -> str:
    """Name the format of encoded bytes: "jpeg", "png" or "tiff".

    Raises:
        ScanError: if there are no bytes, or they begin like none of these.
    """
    if not data:
        raise ScanError("the file is empty")
    for signature, name in _SIGNATURES.items():
        if data.startswith(signature):
            return name
    raise ScanError(f"not a JPEG, PNG or TIFF file: it begins with {data[:8].hex(' ')}")


def decode(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Scan:
    """Decode a scan.

    Args:
        data: an encoded JPEG, PNG or 8-bit TIFF, gray or colour.
        max_pixels: scans with more pixels by their header are refused before they are decoded.

    Returns:
        The scan's luminance at full size.

    Raises:
        ScanError: for whatever is wrong with the bytes; the message is a reason fit for the ledger.
    """
    name = sniff(data)
    try:
        return _DECODERS[name](data, max_pixels)
    except ScanError:
        raise
    except MemoryError:
        raise
    except Exception as error:  # decoders raise OSError, ValueError, TypeError, SyntaxError, struct.error and more
        raise ScanError(f"damaged {name.upper()}: {_one_line(error)}") from error


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width < 1 or height < 1:
        raise ScanError(f"the picture has no pixels: {width}×{height}")
    if width * height > max_pixels:
        raise ScanError(f"too large: {width}×{height} pixels, more than the bound of {max_pixels:,}")


def _decode_jpeg(data: bytes, max_pixels: int) -> Scan:
    height, width, colorspace, _ = simplejpeg.decode_jpeg_header(data, strict=True)
    _check_size(width, height, max_pixels)
    if colorspace == "Gray":
        return _from_pixels(simplejpeg.decode_jpeg(data, "GRAY", strict=True)[..., 0], "jpeg")
    if colorspace in ("CMYK", "YCCK"):
        return _decode_with_pillow(data, max_pixels, "jpeg")
    return _from_pixels(simplejpeg.decode_jpeg(data, "RGB", strict=True), "jpeg")


def _decode_png(data: bytes, max_pixels: int) -> Scan:
    return _decode_with_pillow(data, max_pixels, "png")


def _decode_with_pillow(data: bytes, max_pixels: int, name: str) -> Scan:
    with Image.open(io.BytesIO(data), formats=[name.upper()]) as image:
        _check_size(image.width, image.height, max_pixels)
        image.load()
        if image.mode.startswith("I") or image.mode == "F":
            raise ScanError(f"{name.upper()} of mode {image.mode} is not supported yet: more than 8 bits a channel")
        transparent = "A" in image.mode or "transparency" in image.info
        if image.mode in ("1", "L", "LA"):
            pixels = np.asarray(image.convert("LA" if transparent else "L"))
        else:
            pixels = np.asarray(image.convert("RGBA" if transparent else "RGB"))
    return _from_pixels(pixels, name)


def _decode_tiff(data: bytes, max_pixels: int) -> Scan:
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        if len(file.pages) != 1:
            raise ScanError(f"TIFF of {len(file.pages)} pages is not supported yet")
        page = file.pages.first
        _check_size(page.imagewidth, page.imagelength, max_pixels)
        photometric = tifffile.PHOTOMETRIC(page.photometric)
        eight_bits = page.dtype == np.uint8 and page.bitspersample == 8
        channels = (1, 2) if photometric.name in ("MINISBLACK", "MINISWHITE") else (3, 4)
        known = photometric.name in ("MINISBLACK", "MINISWHITE", "RGB", "YCBCR") and page.planarconfig == 1
        if not (eight_bits and known and page.samplesperpixel in channels):
            raise ScanError(
                f"TIFF of {page.bitspersample} bits × {page.samplesperpixel} {photometric.name} is not supported yet"
            )
        pixels = page.asarray()
    if photometric.name == "MINISWHITE":
        pixels = 255 - pixels
    return _from_pixels(pixels, "tiff")


def _from_pixels(pixels: NDArray[np.uint8], name: str) -> Scan:
    """Make a Scan of sRGB pixels: (H, W), or (H, W, C) with gray, gray + alpha, RGB, or RGB + alpha."""
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    alpha = np.ascontiguousarray(pixels[..., -1]) if channels in (2, 4) else None
    if channels <= 2:
        codes = pixels if pixels.ndim == 2 else np.ascontiguousarray(pixels[..., 0])
        return Scan(codes=codes, lightness=join.gray_lightness(8), bits=8, format=name, alpha=alpha)
    codes = join.lightness_codes(np.ascontiguousarray(pixels[..., :3]))
    return Scan(codes=codes, lightness=join.even_lightness(), bits=8, format=name, alpha=alpha)


def _one_line(error: Exception) -> str:
    """Put a decoder's words on one line, without the addresses that would make equal reasons differ."""
    words = re.sub(r"<(\S+) object at 0x[0-9a-f]+>", r"\1", " ".join(str(error).split()))
    return words[:300] or type(error).__name__


_DECODERS: dict[str, Callable[[bytes, int], Scan]] = {
    "jpeg": _decode_jpeg,
    "png": _decode_png,
    "tiff": _decode_tiff,
}
