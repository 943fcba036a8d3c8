"""PNG and WebP: colours without a profile mean what their chunks say, and frames are not dropped without a word."""

import io
import struct
import zlib

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from colornet.codecs import Scan, decode, webp
from colornet.errors import ScanError
from tests import pictures
from tests.rendered import render

GRAY = pictures.gray(64, 96)
COLOUR = pictures.colour(64, 96) // 2 + 60
RAMP = np.tile(np.arange(256, dtype=np.uint8), (4, 1))
P3 = (0.3127, 0.3290, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060)
SRGB = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
P3_LUMINANCE = np.array([0.2289746, 0.6917385, 0.0792869])  # SMPTE RP 431-2's primaries at D65 (SMPTE EG 432-1)


def lightness_of(scan: Scan) -> np.ndarray:
    return scan.lightness[scan.codes]


def lightness(luminance: np.ndarray) -> np.ndarray:
    """CIE L* of Y / Yn."""
    return np.where(luminance > 216 / 24389, 116 * np.cbrt(luminance) - 16, 24389 / 27 * luminance)


def linear(encoded: np.ndarray) -> np.ndarray:
    """Undo sRGB's transfer function, of samples above its line."""
    return ((encoded / 255 + 0.055) / 1.055) ** 2.4


def with_chunks(data: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """Put chunks behind a PNG's header."""
    written = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    return data[:33] + written + data[33:]


def gamma(value: float) -> tuple[bytes, bytes]:
    return b"gAMA", struct.pack(">I", round(value * 100_000))


def points(values: tuple[float, ...]) -> tuple[bytes, bytes]:
    return b"cHRM", struct.pack(">8I", *(round(value * 100_000) for value in values))


@pytest.mark.parametrize("exponent", [1.0, 0.5556, 0.38])
@pytest.mark.parametrize("deep", [False, True])
def test_gamma_says_what_gray_levels_mean(exponent, deep):
    data = bytes(imagecodecs.png_encode(RAMP.astype(np.uint16) * 257 if deep else RAMP))
    found = lightness_of(decode(with_chunks(data, gamma(exponent))))[0]
    assert np.abs(found - lightness((np.arange(256) / 255) ** (1 / exponent))).max() < 0.5


def test_gamma_and_primaries_say_what_colours_mean():
    data = bytes(imagecodecs.png_encode(COLOUR))
    found = lightness_of(decode(with_chunks(data, gamma(1 / 1.8), points(SRGB))))
    expected = lightness((COLOUR / 255) ** 1.8 @ np.array([0.2126, 0.7152, 0.0722]))
    assert np.abs(found - expected).max() < 0.7
    found = lightness_of(decode(with_chunks(data, points(P3))))
    assert np.abs(found - lightness(linear(COLOUR) @ P3_LUMINANCE)).max() < 0.7


def test_srgb_by_any_name_stays_as_it_is():
    plain = decode(bytes(imagecodecs.png_encode(COLOUR)))
    told = [
        [gamma(1 / 2.2), points(SRGB)],  # what writers that mean sRGB put, for readers that do not know it
        [(b"sRGB", b"\0"), gamma(1.0), points(P3)],
        [(b"cICP", bytes((1, 13, 0, 1))), gamma(1.0)],
        [gamma(0.0)],
        [gamma(900.0)],
        [(b"gAMA", b"\0")],
        [points((0.0,) * 8)],
    ]
    for chunks in told:
        scan = decode(with_chunks(bytes(imagecodecs.png_encode(COLOUR)), *chunks))
        np.testing.assert_array_equal(scan.codes, plain.codes)


def test_a_profile_comes_before_gamma():
    data = pictures.encoded(RAMP, "PNG", icc_profile=bytes(imagecodecs.cms_profile("gray", gamma=1.0)))
    found = lightness_of(decode(with_chunks(data, gamma(0.38))))[0]
    assert np.abs(found - lightness(np.arange(256) / 255)).max() < 0.5


def test_colour_spaces_that_are_not_read_are_refused():
    data = with_chunks(bytes(imagecodecs.png_encode(COLOUR)), (b"cICP", bytes((9, 16, 0, 1))))
    with pytest.raises(ScanError, match=r"colour space 9-16-0-1 .* is not supported"):
        decode(data)


# --- frames -----------------------------------------------------------------------------------------------------------


def animated(format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    first, *others = (Image.fromarray(np.roll(np.dstack([GRAY] * 3), shift, axis=1)) for shift in (0, 20, 40))
    first.save(buffer, format, save_all=True, append_images=others, **options)
    return buffer.getvalue()


def with_frame_count(data: bytes, count: int) -> bytes:
    at = data.index(b"acTL")
    body = b"acTL" + struct.pack(">II", count, 0)
    return data[:at] + body + struct.pack(">I", zlib.crc32(body)) + data[at + 16 :]


@pytest.mark.parametrize("count", [0, 1, 3, 100, 2**31])
def test_of_an_animated_png_the_first_frame_is_read_and_the_others_are_noted(count):
    data = with_frame_count(animated("PNG"), count)
    np.testing.assert_array_equal(decode(data).codes, GRAY)
    assert render(data).note == "2 further frames left out"


def test_a_picture_that_is_no_frame_leaves_all_frames_out():
    assert render(animated("PNG", default_image=True)).note == "2 further frames left out"
    assert render(pictures.encoded(GRAY, "PNG")).note is None


def test_an_animated_webp_stays_without_loss_and_the_other_frames_are_noted():
    data = animated("WEBP", lossless=True)
    np.testing.assert_array_equal(decode(data).codes, GRAY)
    rendered = render(data, colour=0)
    assert rendered.note == "2 further frames left out"
    assert webp.is_lossless(rendered.data)
    np.testing.assert_array_equal(pictures.decoded(rendered.data), np.dstack([GRAY] * 3))
    assert not webp.is_lossless(render(animated("WEBP", quality=80)).data)
    assert render(pictures.encoded(GRAY, "WEBP", lossless=True)).note is None
