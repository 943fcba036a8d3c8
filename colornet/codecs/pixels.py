"""Decoded samples, whatever their kind, to a Scan."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from colornet.codecs import icc_profiles
from colornet.codecs.scan import Pixels, Scan
from colornet.color.srgb import even_lightness, gray_lightness, lightness_codes
from colornet.errors import ScanError

THUMBNAIL_SIDE = 256
_OVERSHOOT = 0.03
_SAME_LIGHTNESS = 0.5  # L*; profiles of "sRGB gray" differ by rounding


def widen(samples: NDArray[np.generic], bits: int) -> Pixels:
    """Spread unsigned samples of `bits` bits over the full range of 8 or 16 bits; bool counts as one bit.

    Args:
        samples: bool, uint8 or uint16, from 0 to 2**bits - 1.
        bits: 1 to 16.
    """
    if bits in (8, 16):
        return samples
    full = np.uint32(255 if bits < 8 else 65535)
    levels = np.uint32(2**bits - 1)
    table = (np.arange(levels + 1, dtype=np.uint32) * full + levels // 2) // levels
    return table.astype(np.uint8 if bits < 8 else np.uint16)[np.minimum(samples, levels).astype(np.uint16)]


def from_float(samples: NDArray[np.floating]) -> NDArray[np.uint16]:
    """Bring floating-point samples to 16 bits: from [0, 1], [0, 255] or [0, 65535], whichever they fill.

    They fill a range that they use at least a quarter of, or [0, 1], if they go beyond its ends by no more than
    0.03 of it: so far sharpening and rounding go. What lies beyond is clipped.

    Raises:
        ScanError: if they are not finite, or fill none of these: measurements, not luminance.
    """
    low, high = float(samples.min()), float(samples.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ScanError("floating-point samples that are not finite")
    for full, least in ((1.0, 0.0), (255.0, 255 / 4), (65535.0, 65535 / 4)):
        if low >= -_OVERSHOOT * full and least <= high <= (1 + _OVERSHOOT) * full:
            scaled = samples * np.float32(65535.0 / full) + np.float32(0.5)
            return np.clip(scaled, 0, 65535).astype(np.uint16)
    ranges = "[0, 1], [0, 255] or [0, 65535]"
    raise ScanError(f"floating-point samples from {low:g} to {high:g} are measurements, not a picture in {ranges}")


def divide_by_alpha(samples: Pixels, alpha: Pixels) -> Pixels:
    """Undo `multiply_by_alpha`, up to its rounding: (H, W, C) without alpha's factor, 0 where nothing is opaque.

    Args:
        samples: (H, W, C), uint8 or uint16, multiplied by alpha as they are encoded: so all editors do it.
        alpha: (H, W) of the same type.
    """
    full, opacity = np.uint32(np.iinfo(alpha.dtype).max), alpha.astype(np.uint32)[..., None]
    scaled = (samples * full + opacity // 2) // np.maximum(opacity, 1)
    return np.where(opacity > 0, np.minimum(scaled, full), 0).astype(samples.dtype)


def multiply_by_alpha(samples: Pixels, alpha: Pixels) -> Pixels:
    """Multiply (H, W, C) by (H, W) alpha, of the same type, over its full range; rounded."""
    full = np.uint32(np.iinfo(alpha.dtype).max)
    return ((samples * alpha.astype(np.uint32)[..., None] + full // 2) // full).astype(samples.dtype)


def from_gray(gray: Pixels, alpha: Pixels | None = None, *, icc: bytes | None = None, inverted: bool = False) -> Scan:
    """Make a Scan of (H, W) gray levels over the full range of their type.

    Args:
        gray: uint8 or uint16, encoded as sRGB gray or by `icc`.
        alpha: of the same shape and type, or None.
        icc: a gray profile.
        inverted: whether 0 is white.
    """
    bits = 8 * gray.itemsize
    table = None if icc is None else icc_profiles.gray_lightness(icc, bits)
    plain = table is None or bool(np.abs(table - gray_lightness(bits)).max() < _SAME_LIGHTNESS)
    if plain or table is None:
        table = gray_lightness(bits)
    return Scan(
        codes=np.ascontiguousarray(gray),
        lightness=table[::-1] if inverted else table,
        bits=bits,
        alpha=alpha,
        plain=plain,
    )


def from_rgb(rgb: Pixels, alpha: Pixels | None = None, *, icc: bytes | None = None) -> Scan:
    """Make a Scan of (H, W, 3) colours, uint8 or uint16, sRGB or by the RGB profile `icc`.

    Where red, green and blue agree everywhere, it is a gray scan that was saved in colour, and keeps its gray levels.
    """
    srgb = np.ascontiguousarray(rgb if icc is None else icc_profiles.rgb_to_srgb(rgb, icc))
    plain = icc is None or icc_profiles.is_srgb(icc)
    if _is_gray(srgb):
        return replace(from_gray(srgb[..., 0], alpha), plain=plain)
    return Scan(
        codes=lightness_codes(srgb),
        lightness=even_lightness(),
        bits=8 * srgb.itemsize,
        alpha=alpha,
        plain=plain,
        colours=srgb,
        thumbnail=_thumbnail(srgb),
    )


def from_channels(pixels: Pixels, *, icc: bytes | None = None) -> Scan:
    """Make a Scan of (H, W) gray, or (H, W, C) with C = 1 gray, 2 gray + alpha, 3 RGB, 4 RGB + alpha."""
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    if channels == 1:
        return from_gray(pixels.reshape(pixels.shape[:2]), icc=icc)
    if channels == 2:
        return from_gray(pixels[..., 0], np.ascontiguousarray(pixels[..., 1]), icc=icc)
    if channels == 3:
        return from_rgb(pixels, icc=icc)
    if channels == 4:
        return from_rgb(pixels[..., :3], np.ascontiguousarray(pixels[..., 3]), icc=icc)
    raise ScanError(f"{channels} channels are more than gray or RGB with alpha")


def _thumbnail(rgb: Pixels) -> NDArray[np.uint8]:
    """Reduce (H, W, 3) to at most THUMBNAIL_SIDE pixels a side, averaging: what JPEG does to single pixels is gone."""
    image = Image.fromarray(rgb if rgb.dtype == np.uint8 else (rgb >> 8).astype(np.uint8))
    image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BILINEAR, reducing_gap=2.0)
    return np.asarray(image)


def _is_gray(rgb: Pixels) -> bool:
    sample = rgb[:: max(1, rgb.shape[0] // 64)]
    if not (np.array_equal(sample[..., 0], sample[..., 1]) and np.array_equal(sample[..., 1], sample[..., 2])):
        return False
    return bool(np.array_equal(rgb[..., 0], rgb[..., 1]) and np.array_equal(rgb[..., 1], rgb[..., 2]))
