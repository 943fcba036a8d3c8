"""Metadata in BMP: its header has pixels per metre, and in version 5 a place for an ICC profile."""

import struct
from fractions import Fraction

from colornet.metadata.ifd import DamagedError
from colornet.metadata.record import Density, Metadata

_HEADER = 14
"""Where the information header begins: BITMAPINFOHEADER, or BITMAPV5HEADER of 124 bytes."""
_DENSITY = _HEADER + 24
_V5 = 124
_MAX_PROFILE = 16 << 20


def read(data: bytes) -> Metadata:
    """Read the density, and the profile if it is within the file."""
    if len(data) < _DENSITY + 8:
        return Metadata(notes=("the BMP is cut short",))
    (size,) = struct.unpack_from("<I", data, _HEADER)
    if size < 40:
        return Metadata()
    x, y = struct.unpack_from("<ii", data, _DENSITY)
    density = Density.sane(Fraction(x), Fraction(y), "m") if x > 0 and y > 0 else None
    return Metadata(density=density, icc=_profile(data) if size >= _V5 else None)


def _profile(data: bytes) -> bytes | None:
    if len(data) < _HEADER + _V5 or data[_HEADER + 56 : _HEADER + 60] != b"DEBM":  # "MBED", little-endian
        return None
    start, size = struct.unpack_from("<II", data, _HEADER + 112)
    profile = data[_HEADER + start : _HEADER + start + min(size, _MAX_PROFILE)]
    return profile if len(profile) == size else None


def embed(data: bytes, metadata: Metadata) -> bytes:
    """Write the density, to the nearest pixel per metre; raises DamagedError if there is no place for it."""
    metres = metadata.density.per("m") if metadata.density else None
    if metres is None:
        return data
    if len(data) < _DENSITY + 8 or struct.unpack_from("<I", data, _HEADER)[0] < 40:
        raise DamagedError("the BMP's header has no place for a density")
    return data[:_DENSITY] + struct.pack("<ii", *(max(1, round(value)) for value in metres)) + data[_DENSITY + 8 :]
