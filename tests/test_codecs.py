"""Bytes <-> Scan: what is read has the luminance of what was written; what cannot be read says why."""

import io

import imagecodecs
import numpy as np
import pytest
import skimage.color
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from colornet.codecs import Scan, decode, encode, open_source, pixels
from colornet.errors import ScanError
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
    ("data", "format"),
    [
        (pictures.encoded(GRAY, "PNG"), "png"),
        (tiff(GRAY), "tiff"),
        (tiff(GRAY, compression="zlib", tile=(16, 16)), "tiff"),
        (tiff(255 - GRAY, photometric="miniswhite"), "tiff"),
        (tiff(GRAY, bigtiff=True), "tiff"),
        (tiff(GRAY, byteorder=">"), "tiff"),
    ],
)
def test_lossless_gray_keeps_every_code(data, format):
    scan = decode(data)
    assert (open_source(data).format, scan.bits, scan.alpha) == (format, 8, None)
    expected = skimage.color.rgb2lab(np.repeat(GRAY[..., None], 3, axis=2))[..., 0]
    np.testing.assert_allclose(lightness_of(scan), expected, atol=1e-3)


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
    for layers in (np.dstack([GRAY, alpha]), np.dstack([COLOUR, alpha])):
        scan = decode(pictures.encoded(layers, "PNG"))
        np.testing.assert_array_equal(scan.alpha, alpha)
        again = pictures.decoded(encode(COLOUR, scan.alpha, "png"))
        np.testing.assert_array_equal(again, np.dstack([COLOUR, alpha]))


def test_palette_and_bilevel_png():
    bilevel = Image.fromarray(GRAY).convert("1")
    buffer = io.BytesIO()
    bilevel.save(buffer, "PNG")
    np.testing.assert_array_equal(decode(buffer.getvalue()).codes, np.asarray(bilevel.convert("L")))


@pytest.mark.parametrize("format", ["png", "jp2", "j2k", "bmp"])
def test_lossless_encoders_keep_every_level(format):
    np.testing.assert_array_equal(pictures.decoded(encode(COLOUR, None, format)), COLOUR)


@pytest.mark.parametrize("format", ["png", "jp2", "tiff"])
@pytest.mark.parametrize("colour", [False, True])
def test_sixteen_bits_are_read_with_all_of_them(format, colour):
    deep = (COLOUR if colour else GRAY).astype(np.uint16) * 251 + 7
    data = tiff(deep) if format == "tiff" else encode(deep if colour else np.dstack([deep] * 3), None, format)
    scan = decode(data)
    assert scan.bits == 16
    rgb = deep if colour else np.dstack([deep] * 3)
    expected = skimage.color.rgb2lab(rgb / 65535)[..., 0]
    assert np.abs(lightness_of(scan) - expected).max() < 0.005


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits_spread_over_the_range(bits):
    samples = np.arange(64, dtype=np.uint8).reshape(8, 8) % 2**bits
    data = imagecodecs.png_encode(samples * (255 // (2**bits - 1)))
    assert {0.0, 100.0} <= set(lightness_of(decode(data)).round(3).ravel().tolist())
    as_bool = decode(tiff(samples == samples.max()))
    assert set(lightness_of(as_bool).round(3).ravel().tolist()) == {0.0, 100.0}


@given(st.integers(1, 16), st.data())
def test_widening_is_even_and_reaches_both_ends(bits, data):
    kind = np.uint8 if bits <= 8 else np.uint16
    value = data.draw(st.integers(0, 2**bits - 1))
    full = 255 if bits <= 8 else 65535
    found = int(pixels.widen(np.array([[value]], kind), bits)[0, 0])
    assert abs(found - value * full / (2**bits - 1)) <= 0.5


def test_float_tiffs_are_brought_to_16_bits():
    for full in (1.0, 255.0, 65535.0):
        unit = GRAY.astype(np.float32) / 255
        scan = decode(tiff(unit * np.float32(full)))
        assert scan.bits == 16
        np.testing.assert_allclose(scan.codes / 65535, unit, atol=1e-4)


def test_a_gray_profile_is_honoured():
    """Gamma 1.0 data is linear light: L* of half the levels is that of half the luminance."""
    linear = imagecodecs.cms_profile("gray", gamma=1.0)
    ramp = np.tile(np.arange(256, dtype=np.uint8), (4, 1))
    for data in (pictures.encoded(ramp, "PNG", icc_profile=linear), tiff(ramp, iccprofile=linear)):
        expected = 116 * np.cbrt(np.arange(256) / 255) - 16
        found = lightness_of(decode(data))[0]
        assert np.abs(found - expected)[5:].max() < 0.5
    plain = lightness_of(decode(pictures.encoded(ramp, "PNG")))[0]
    assert np.abs(plain - expected).max() > 10


def test_an_rgb_profile_is_honoured_and_a_broken_one_left_aside():
    adobe = imagecodecs.cms_profile("adobergb")
    muted = COLOUR // 2 + 60  # inside sRGB, whatever the profile
    with_profile = lightness_of(decode(pictures.encoded(muted, "PNG", icc_profile=adobe)))
    luminance = (muted / 255) ** 2.19921875 @ np.array([0.2973769, 0.6273491, 0.0752741])  # Adobe RGB (1998), 4.3.4
    assert np.abs(with_profile - (116 * np.cbrt(luminance) - 16)).max() < 0.7
    assert np.abs(with_profile - lightness_of(decode(pictures.encoded(muted, "PNG")))).max() > 1.5
    broken = lightness_of(decode(pictures.encoded(COLOUR, "PNG", icc_profile=b"nonsense" * 40)))
    np.testing.assert_array_equal(broken, lightness_of(decode(pictures.encoded(COLOUR, "PNG"))))


def test_gray_saved_in_colour_keeps_its_gray_levels():
    scan = decode(pictures.encoded(np.dstack([GRAY] * 3), "PNG"))
    np.testing.assert_array_equal(scan.codes, GRAY)
    assert scan.thumbnail is None


def test_mpo_gives_its_first_picture():
    buffer = io.BytesIO()
    first, second = (Image.fromarray(pictures.gray(40, 50, seed)) for seed in (1, 2))
    first.save(buffer, "MPO", save_all=True, append_images=[second])
    np.testing.assert_array_equal(decode(buffer.getvalue()).codes, pictures.decoded(buffer.getvalue()))


def test_reduced_pages_of_a_tiff_are_left_out():
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as file:
        file.write(GRAY)
        file.write(GRAY[::4, ::4], subfiletype=1)
        file.write(GRAY)
    source = open_source(buffer.getvalue())
    assert [source.page(index).codes.shape for index in range(source.page_count)] == [GRAY.shape] * 2


def test_jpeg_encoder_stays_close():
    smooth = np.dstack([np.tile(np.arange(64, dtype=np.uint8) * 3, (48, 1))] * 3)
    assert np.abs(pictures.decoded(encode(smooth, None, "jpeg")).astype(int) - smooth).max() < 12


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"II*\0 broken", "damaged TIFF: it has no page"),
        (b"GIF89a" + b"\0" * 100, "not a file of a known format"),
        (pictures.encoded(GRAY, "JPEG")[:-200], "damaged JPEG"),
        (pictures.encoded(GRAY, "PNG")[:-200], "damaged PNG"),
        (tiff(GRAY)[:-200], "damaged TIFF"),
        (tiff(GRAY.astype(np.int16)), "int16 is no picture"),
        (tiff(GRAY.astype(np.uint32)), "32-bit integers"),
        (tiff(GRAY.astype(np.float32) - 10), "measurements"),
        (tiff(GRAY.astype(np.float32) * np.nan), "not finite"),
        (tiff(np.dstack([GRAY] * 7), photometric="minisblack", planarconfig="contig"), "expected 1 samples"),
        (imagecodecs.jpeg2k_encode(GRAY)[:-300], "damaged JP2"),
        (imagecodecs.webp_encode(COLOUR)[:-100], "damaged WEBP"),
        (pictures.encoded(GRAY, "BMP")[:-100], "damaged BMP"),
    ],
)
def test_what_cannot_be_read_says_why(data, reason):
    with pytest.raises(ScanError, match=reason):
        decode(data)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF"])
def test_too_large_is_refused_by_the_header(format):
    with pytest.raises(ScanError, match=r"53×37 pixels, more than the bound of 1,000"):
        decode(pictures.encoded(GRAY, format), max_pixels=1000)


def test_a_bomb_is_refused_before_it_is_decoded():
    """A few hundred bytes that claim 60,000 × 60,000 pixels: the header says so, and nothing else is looked at."""
    data = bytearray(pictures.encoded(GRAY, "JPEG"))
    letterbox = data.index(b"\xff\xc0")
    data[letterbox + 5 : letterbox + 9] = (60_000).to_bytes(2, "big") * 2
    with pytest.raises(ScanError, match="too large: 60000×60000"):
        decode(bytes(data))


ENCODED = [
    pictures.encoded(COLOUR, "JPEG"),
    pictures.encoded(GRAY, "PNG"),
    tiff(GRAY, compression="lzw"),
    imagecodecs.jpeg2k_encode(GRAY),
    imagecodecs.webp_encode(COLOUR),
    pictures.encoded(COLOUR, "BMP"),
]


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
