"""The ICC profile that every output carries."""

import functools

from PIL import ImageCms

_CREATED = slice(24, 36)
"""Where ICC.1 puts a profile's date: six numbers of 16 bits, big-endian."""
_NEW_YEAR_2000 = bytes.fromhex("07d0 0001 0001 0000 0000 0000")


@functools.cache
def srgb() -> bytes:
    """An sRGB profile, made by LittleCMS. Its date is fixed, so that equal pictures give equal files."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[_CREATED] = _NEW_YEAR_2000
    return bytes(profile)


def plausible(profile: bytes) -> bool:
    """True if these bytes have an ICC profile's header: its signature, and a size that fits."""
    return len(profile) >= 132 and profile[36:40] == b"acsp" and int.from_bytes(profile[:4]) <= len(profile)
