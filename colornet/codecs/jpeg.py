"""JPEG: read strictly, but for faults that leave the picture whole.

libjpeg warns of bits that cannot be right, of metadata that is damaged, and of stray bytes where a marker belongs. Of
these only the first touches the picture, so a file with a warning is tried again without the others.
"""

import re
from dataclasses import replace

import numpy as np
import simplejpeg

from colornet.codecs import icc_profiles, jpeg_segments, pillow, pixels
from colornet.codecs.jpeg_segments import BASELINE, EXTENDED, LOSSLESS, PROGRESSIVE, Frame
from colornet.codecs.scan import Pixels, Scan
from colornet.errors import ScanError

_ARITHMETIC = (0xC9, 0xCA)
_CODINGS = (BASELINE, EXTENDED, PROGRESSIVE, LOSSLESS, *_ARITHMETIC)
_STRAY = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
_MOST_STRAY = 64
"""Stray bytes before the end of image; if there are more, bits of the picture may be missing or wrong."""
_ANY_SAMPLING = "subsampling"
"""What simplejpeg says of samplings that it does not decode."""


def read_header(data: bytes) -> Frame:
    """Read the frame header; raises ScanError if there is none, or it is of a kind that is not read."""
    frame = jpeg_segments.read_frame(data)
    if frame.marker not in _CODINGS:
        raise ScanError(f"JPEG of the coding {frame.marker:#x} is not supported")
    if frame.bits > 8:
        raise ScanError(f"JPEG of {frame.bits} bits is not supported")
    if len(frame.components) not in (1, 3, 4):
        raise ScanError(f"JPEG of {len(frame.components)} components is not supported")
    return frame


def is_lossless(data: bytes) -> bool:
    """Tell whether an encoded JPEG holds its picture without loss."""
    return jpeg_segments.read_frame(data).marker == LOSSLESS


def decode(data: bytes, frame: Frame, icc: bytes | None) -> Scan:
    """Decode a JPEG; of an MPO, which is several JPEGs in one file, the first.

    Args:
        data: the encoded bytes.
        frame: what `read_header` gives.
        icc: the profile, if there is one that can be read.

    Raises:
        ScanError: if it is damaged.
        ValueError, OSError: likewise, from the decoders.
    """
    if len(frame.components) == 4:
        # Pillow knows that Adobe stores inks the other way round.
        with pillow.open_jpeg(data) as image:
            return pixels.from_rgb(icc_profiles.cmyk_to_srgb(np.asarray(image), icc))
    samples, fault = _samples(data, "GRAY" if len(frame.components) == 1 else "RGB")
    samples = pixels.widen(samples, frame.bits)
    scan = pixels.from_gray(samples[..., 0], icc=icc) if samples.shape[2] == 1 else pixels.from_rgb(samples, icc=icc)
    return replace(scan, fault=fault)


def check(data: bytes) -> None:
    """Raise ValueError or ScanError if the picture of a JPEG of one or three components is damaged."""
    try:
        # At an eighth of the size: every coefficient is still read, and pixels are not wanted.
        simplejpeg.decode_jpeg(data, "GRAY", min_height=1, min_width=1, strict=True)
    except ValueError:
        _samples(data, "GRAY")


def _samples(data: bytes, space: str) -> tuple[Pixels, str | None]:
    """(H, W, C), and what is wrong with the file beside."""
    try:
        return simplejpeg.decode_jpeg(data, space, strict=True), None
    except ValueError as error:
        trouble = error
    bare = jpeg_segments.bare(data)
    try:
        if _ANY_SAMPLING in str(trouble):
            with pillow.open_jpeg(bare) as image:
                return np.atleast_3d(np.asarray(image.convert("L" if space == "GRAY" else "RGB"))), None
        return simplejpeg.decode_jpeg(bare, space, strict=True), "damaged metadata, or stray bytes in the header"
    except ValueError as error:
        stray = _STRAY.search(str(error))
        if not stray or int(stray[1]) > _MOST_STRAY:
            raise
    end = len(bare) - 2
    whole = bare[: end - int(stray[1])] + bare[end:]
    return simplejpeg.decode_jpeg(whole, space, strict=True), f"{stray[1]} stray bytes before the end of the picture"
