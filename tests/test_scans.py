"""Bytes <-> Scan: what is read has the luminance of what was written; what cannot be read says why."""

import io

import numpy as np
import pytest
import skimage.color
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from colornet.errors import ScanError
from colornet.scans import Scan, decode, encode
from tests import pictures


def lightness_of(scan: Scan) -> np.ndarray:
    return scan.lightness[scan.codes]


GRAY = pictures.gray(37, 53)
COLOUR = pictures.colour(37, 53)


def tiff(pixels: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "form"),
    [
        (pictures.encoded(GRAY, "PNG"), "png"),
        (tiff(GRAY), "tiff"),
        (tiff(GRAY, compression="zlib", tile=(16, 16)), "tiff"),
        (tiff(255 - GRAY, photometric="miniswhite"), "tiff"),
        (tiff(GRAY, bigtiff=True), "tiff"),
        (tiff(GRAY, byteorder=">"), "tiff"),
    ],
)
def test_lossless_gray_keeps_every_code(data, form):
    scan = decode(data)
    assert (scan.format, scan.bits, scan.alpha) == (form, 8, None)
    np.testing.assert_array_equal(scan.codes, GRAY)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 40}])
def test_gray_jpeg_reads_as_pillow_reads_it(options):
    data = pictures.encoded(GRAY, "JPEG", **options)
    np.testing.assert_array_equal(decode(data).codes, pictures.decoded(data))


@pytest.mark.parametrize("data", [pictures.encoded(COLOUR, "PNG"), tiff(COLOUR, photometric="rgb")])
def test_colour_modes_are_read_as_their_lightness(data):
    expected = skimage.color.rgb2lab(COLOUR)[..., 0]
    assert np.abs(lightness_of(decode(data)) - expected).max() < 0.01


def test_colour_jpeg_and_cmyk_are_read_as_their_lightness():
    image = Image.fromarray(COLOUR)
    for mode in ("RGB", "CMYK"):
        buffer = io.BytesIO()
        image.convert(mode).save(buffer, "JPEG", quality=95, subsampling=0)
        expected = skimage.color.rgb2lab(np.asarray(Image.open(buffer).convert("RGB")))[..., 0]
        assert np.abs(lightness_of(decode(buffer.getvalue())) - expected).max() < 1.0


def test_alpha_is_kept():
    alpha = np.arange(GRAY.size, dtype=np.uint32).reshape(GRAY.shape).astype(np.uint8)
    for pixels in (np.dstack([GRAY, alpha]), np.dstack([COLOUR, alpha])):
        scan = decode(pictures.encoded(pixels, "PNG"))
        np.testing.assert_array_equal(scan.alpha, alpha)
        again = pictures.decoded(encode(COLOUR, scan.alpha, "png"))
        np.testing.assert_array_equal(again, np.dstack([COLOUR, alpha]))


def test_palette_and_bilevel_png():
    bilevel = Image.fromarray(GRAY).convert("1")
    buffer = io.BytesIO()
    bilevel.save(buffer, "PNG")
    np.testing.assert_array_equal(decode(buffer.getvalue()).codes, np.asarray(bilevel.convert("L")))


@pytest.mark.parametrize("form", ["png", "tiff"])
def test_lossless_encoders_keep_every_level(form):
    reread = pictures.decoded(encode(COLOUR, None, form)) if form == "png" else None
    if reread is None:
        reread = tifffile.imread(io.BytesIO(encode(COLOUR, None, form)))
    np.testing.assert_array_equal(reread, COLOUR)


def test_jpeg_encoder_stays_close():
    smooth = np.dstack([np.tile(np.arange(64, dtype=np.uint8) * 3, (48, 1))] * 3)
    assert np.abs(pictures.decoded(encode(smooth, None, "jpeg")).astype(int) - smooth).max() < 12


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"GIF89a" + b"\0" * 100, "not a JPEG, PNG or TIFF file: it begins with 47 49 46"),
        (pictures.encoded(GRAY, "JPEG")[:-200], "damaged JPEG"),
        (pictures.encoded(GRAY, "PNG")[:-200], "damaged PNG"),
        (tiff(GRAY)[:-200], "damaged TIFF"),
        (tiff(GRAY.astype(np.uint16)), "16 bits"),
        (tiff(np.stack([GRAY, GRAY])), "2 pages"),
    ],
)
def test_what_cannot_be_read_says_why(data, reason):
    with pytest.raises(ScanError, match=reason):
        decode(data)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF"])
def test_too_large_is_refused_by_the_header(form):
    with pytest.raises(ScanError, match=r"53×37 pixels, more than the bound of 1,000"):
        decode(pictures.encoded(GRAY, form), max_pixels=1000)


def test_a_bomb_is_refused_before_it_is_decoded():
    """A few hundred bytes that claim 60,000 × 60,000 pixels: the header says so, and nothing else is looked at."""
    data = bytearray(pictures.encoded(GRAY, "JPEG"))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = (60_000).to_bytes(2, "big") * 2
    with pytest.raises(ScanError, match="too large: 60000×60000"):
        decode(bytes(data))


ENCODED = [pictures.encoded(COLOUR, "JPEG"), pictures.encoded(GRAY, "PNG"), tiff(GRAY, compression="lzw")]


@given(st.sampled_from(ENCODED), st.data())
@settings(max_examples=300, deadline=None)
def test_mutated_files_decode_or_raise_scan_error(data, draw):
    mutated = bytearray(data)
    for _ in range(draw.draw(st.integers(1, 8))):
        mutated[draw.draw(st.integers(0, len(mutated) - 1))] = draw.draw(st.integers(0, 255))
    cut = draw.draw(st.integers(0, len(mutated)))
    try:
        scan = decode(bytes(mutated[: max(cut, 8)]), max_pixels=10**7)
    except ScanError as error:
        assert str(error) and "\n" not in str(error)
    else:
        assert scan.codes.ndim == 2 and scan.codes.size > 0
