"""TIFFs as scanners, editors and interrupted writers leave them: the right picture, or a reason; never a wrong one."""

import io
import struct

import numpy as np
import pytest
import skimage.color
import tifffile

from colornet.codecs import Scan, decode
from colornet.errors import ScanError
from tests import pictures

GRAY = pictures.gray(64, 96)
COLOUR = pictures.colour(64, 96)


def tiff(pixels: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


def with_values(data: bytes, code: int, values: dict[int, int]) -> bytes:
    """Overwrite some values of a tag of the first page, by their index."""
    changed = bytearray(data)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        tag = file.pages[0].tags[code]
        kind = {3: "<H", 4: "<I"}[tag.dtype]
    for index, value in values.items():
        struct.pack_into(kind, changed, tag.valueoffset + index * struct.calcsize(kind), value)
    return bytes(changed)


def lightness(rgb: np.ndarray) -> np.ndarray:
    """L* of 8-bit sRGB, (H, W) or (H, W, 3), by scikit-image."""
    return skimage.color.rgb2lab(np.dstack([rgb] * 3) if rgb.ndim == 2 else rgb)[..., 0]


def lightness_of(scan: Scan) -> np.ndarray:
    return scan.lightness[scan.codes]


# --- what was never written -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"rowsperstrip": 8}, {"tile": (16, 16)}], ids=["strips", "tiles"])
@pytest.mark.parametrize("compression", [None, "lzw", "zlib"])
@pytest.mark.parametrize("zeroed", ["offsets", "counts", "both"])
def test_strips_and_tiles_that_were_never_written_are_damage(options, compression, zeroed):
    data = tiff(GRAY, compression=compression, **options)
    np.testing.assert_array_equal(decode(data).codes, GRAY)
    tiled = "tile" in options
    places, last = (324 if tiled else 273, 325 if tiled else 279), {5: 0, 6: 0}
    for code in {"offsets": places[:1], "counts": places[1:], "both": places}[zeroed]:
        data = with_values(data, code, last)
    with pytest.raises(ScanError, match=f"damaged TIFF: 2 of .* {'tiles' if tiled else 'strips'} were never written"):
        decode(data)


def test_a_tiff_without_any_pixels_is_damaged():
    data = tiff(COLOUR, compression="jpeg", photometric="ycbcr", rowsperstrip=16)
    for code in (273, 279):
        data = with_values(data, code, dict.fromkeys(range(4), 0))
    with pytest.raises(ScanError, match="damaged TIFF: 4 of 4 strips were never written"):
        decode(data)


# --- ranges -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("full", [1.0, 255.0, 65535.0])
@pytest.mark.parametrize("beyond", [3.05e-5, 0.02])
def test_small_over_and_undershoot_of_floats_is_clipped(full, beyond):
    """As Photoshop CS6 (1.0000305) and sharpening (1.02) leave them."""
    unit = GRAY.astype(np.float32) / 255
    unit[0, :3] = 1 + beyond, -beyond, 0
    found = lightness_of(decode(tiff(unit * np.float32(full))))
    assert np.abs(found - lightness(np.clip(unit, 0, 1))).max() < 0.01
    assert (found[0, 0], found[0, 1]) == (100, 0)


@pytest.mark.parametrize(("low", "high"), [(0, 1.3), (0, 20), (0, 600), (0, 4095), (0, 80_000), (-0.2, 1), (-30, 255)])
def test_floats_of_an_unclear_range_are_refused(low, high):
    samples = np.linspace(low, high, GRAY.size, dtype=np.float32).reshape(GRAY.shape)
    with pytest.raises(ScanError, match="are measurements, not a picture"):
        decode(tiff(samples))


@pytest.mark.parametrize("full", [255, 65535])
def test_a_palette_of_8_bits_is_read_as_one_of_16(full):
    """Some writers put 0 to 255 where 0 to 65535 belongs."""
    colours = np.random.default_rng(0).integers(0, 256, (3, 256))
    data = tiff(GRAY, photometric="palette", colormap=(colours * (full // 255)).astype(np.uint16))
    assert np.abs(lightness_of(decode(data)) - lightness(colours.T[GRAY].astype(np.uint8))).max() < 0.01
