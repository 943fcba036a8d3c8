"""ICC profiles: what a file's numbers mean, brought to sRGB. Little CMS does it, through imagecodecs.

A profile that cannot be used (damaged, or for another kind of picture) is left aside, and the numbers are taken for
sRGB, as every viewer does. The intent is relative colorimetric: paper white becomes white.
"""

import functools

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from colornet.codecs.scan import Pixels
from colornet.color.srgb import even_lightness, lightness_codes
from colornet.metadata.icc_profiles import srgb

# Left to itself, Little CMS resamples curves so coarsely that L* of dark tones is off by up to 5. In 8 bits it is off
# by a level at most, and ten times as fast.
_NO_OPTIMIZATION = 0x0100


@functools.lru_cache(maxsize=64)
def gray_lightness(icc: bytes, bits: int) -> NDArray[np.float32] | None:
    """L* in [0, 100] of each of 2**bits gray levels under a gray profile, or None if it cannot be used."""
    ramp = np.linspace(0, 65535, 2**bits).round().astype(np.uint16)[None]
    rgb = _transform(ramp, icc, "gray")
    return None if rgb is None else even_lightness()[lightness_codes(rgb)][0]


def rgb_to_srgb(pixels: Pixels, icc: bytes) -> Pixels:
    """Convert (H, W, 3) of a profile to sRGB of the same depth; unchanged if the profile is sRGB or cannot be used."""
    if is_srgb(icc):
        return pixels
    converted = _transform(pixels, icc, "rgb")
    return pixels if converted is None else converted


def cmyk_to_srgb(pixels: Pixels, icc: bytes | None) -> Pixels:
    """Convert (H, W, 4) ink, 0 for none, to sRGB (H, W, 3) of the same depth.

    Without a usable profile inks are taken for ideal: R = (1 - C)(1 - K), and so on.
    """
    converted = None if icc is None else _transform(pixels, icc, "cmyk")
    if converted is not None:
        return converted
    full = np.iinfo(pixels.dtype).max
    paper = full - pixels.astype(np.uint32)
    return (paper[..., :3] * paper[..., 3:] // full).astype(pixels.dtype)


@functools.lru_cache(maxsize=64)
def is_srgb(icc: bytes) -> bool:
    """Whether a profile changes no colour by more than a level of 255: then converting would only cost time."""
    steps = np.linspace(0, 255, 9).round().astype(np.uint8)
    grid = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(9, 81, 3)
    converted = _transform(grid, icc, "rgb")
    return converted is not None and int(np.abs(converted.astype(int) - grid).max()) <= 1


def _transform(pixels: Pixels, icc: bytes, space: str) -> Pixels | None:
    try:
        return imagecodecs.cms_transform(
            np.ascontiguousarray(pixels),
            icc,
            srgb(),
            colorspace=space,
            outcolorspace="rgb",
            outdtype=pixels.dtype.name,
            flags=None if pixels.dtype == np.uint8 else _NO_OPTIMIZATION,
        )
    except Exception:  # Little CMS refuses it: damaged, or a profile of another kind of picture
        return None
