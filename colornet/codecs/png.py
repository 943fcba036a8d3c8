"""PNG: what its chunks say of its colours and of further frames, and its samples as a Scan.

Source: Portable Network Graphics (Third Edition), W3C: 4.3 (precedence of colour spaces), 11.3.2, and 11.3.6 (frames).
"""

import struct
from dataclasses import dataclass

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from colornet.codecs import pixels
from colornet.codecs.scan import Scan
from colornet.color.srgb import linear_from_srgb
from colornet.errors import ScanError
from colornet.metadata.containers.png import SIGNATURE, chunks
from colornet.metadata.ifd import DamagedError

_ANIMATION = (b"acTL", b"fcTL", b"fdAT")
_SRGB_GAMMA = 0.45455
_SRGB_POINTS = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
"""x and y of white, red, green and blue, in cHRM's order."""
_SAME_GAMMA = 0.05
"""Of a gamma: closer to sRGB's it means sRGB, as in libpng; writers that mean sRGB put 1 / 2.2."""
_SAME_POINT = 0.005
_SANE_GAMMAS = (0.2, 5.0)
_CICP_SRGB = (1, 13, 0)
"""Primaries and transfer function of sRGB, and no matrix (ITU-T H.273)."""


@dataclass(frozen=True)
class Header:
    """What is known before decoding."""

    width: int
    height: int
    chunks: dict[bytes, bytes]
    """What the first chunk of each kind before the picture holds."""
    frames: int
    """Frames of an animation beside the picture."""


def read_header(data: bytes) -> Header:
    """Read the chunks; raises ScanError if the first is no header, or the colours are of a kind that is not read."""
    if data[12:16] != b"IHDR":
        raise ScanError("damaged PNG: it does not begin with a header")
    width, height = struct.unpack(">II", data[16:24])
    found: dict[bytes, bytes] = {}
    frames = 0
    try:
        for at, kind, length in chunks(data):
            # A frame that is announced before the picture is the picture.
            frames += kind == b"fcTL" and b"IDAT" in found
            if b"IDAT" not in found:
                found.setdefault(kind, b"" if kind == b"IDAT" else data[at + 8 : at + 8 + length])
    except DamagedError:  # of that the decoder judges
        pass
    header = Header(width, height, found, frames)
    cicp = tuple(found.get(b"cICP", b""))
    if cicp and cicp[:3] != _CICP_SRGB:
        raise ScanError(f"PNG in the colour space {'-'.join(map(str, cicp))} (cICP) is not supported")
    return header


def decode(data: bytes, header: Header, icc: bytes | None) -> Scan:
    """Decode; raises ScanError, and whatever the decoder raises on damage.

    Args:
        data: the encoded bytes.
        header: what `read_header` gives.
        icc: the profile, if there is one that can be read.
    """
    samples = imagecodecs.png_decode(_still(data) if b"acTL" in header.chunks else data)
    if header.chunks.keys() & {b"cICP", b"sRGB"}:
        return pixels.from_channels(samples, icc=None if b"cICP" in header.chunks else icc)
    gray = samples.ndim == 2 or samples.shape[2] < 3
    return pixels.from_channels(samples, icc=icc or _profile(header, gray))


def _still(data: bytes) -> bytes:
    """The picture without its animation, about which decoders are strict."""
    kept = [data[at : at + 12 + length] for at, kind, length in chunks(data) if kind not in _ANIMATION]
    return b"".join([SIGNATURE, *kept])


def _profile(header: Header, gray: bool) -> bytes | None:
    """The profile that gAMA and cHRM amount to; None if it is that of sRGB, or they say nothing that can be."""
    gamma, points = _gamma(header), _points(header)
    if gray:
        return None if gamma is None else bytes(imagecodecs.cms_profile("gray", gamma=1 / gamma))
    if gamma is None and points is None:
        return None
    white, *primaries = [(x, y, 1.0) for x, y in np.reshape(points or _SRGB_POINTS, (4, 2)).tolist()]
    curve = {"transferfunction": _srgb_curve()} if gamma is None else {"gamma": 1 / gamma}
    return bytes(imagecodecs.cms_profile("rgb", whitepoint=white, primaries=sum(primaries, ()), **curve))


def _gamma(header: Header) -> float | None:
    """What encoded samples are of light, its exponent; None for sRGB's."""
    chunk = header.chunks.get(b"gAMA", b"")
    gamma = int.from_bytes(chunk, "big") / 100_000 if len(chunk) == 4 else 0.0
    if not _SANE_GAMMAS[0] <= gamma <= _SANE_GAMMAS[1] or abs(gamma / _SRGB_GAMMA - 1) < _SAME_GAMMA:
        return None
    return gamma


def _points(header: Header) -> tuple[float, ...] | None:
    """White, red, green and blue; None for sRGB's."""
    chunk = header.chunks.get(b"cHRM", b"")
    points = tuple(value / 100_000 for value in struct.unpack(">8I", chunk)) if len(chunk) == 32 else _SRGB_POINTS
    if not all(0 < value < 1 for value in points) or np.abs(np.subtract(points, _SRGB_POINTS)).max() < _SAME_POINT:
        return None
    return points


def _srgb_curve() -> NDArray[np.float32]:
    return linear_from_srgb(np.linspace(0, 1, 4096)).astype(np.float32)
