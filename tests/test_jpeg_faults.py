"""JPEGs as scanners, phones and editors leave them: read where the picture is whole, and refused for a true reason."""

import io

import imagecodecs
import numpy as np
import pytest
import simplejpeg
import skimage.color
from PIL import Image

from colornet.codecs import Scan, decode, open_source
from colornet.codecs.jpeg_segments import BASELINE, DQT, read_plane, rename_component, write_segment
from colornet.errors import ScanError
from tests import pictures
from tests.rendered import render

GRAY = pictures.gray(64, 96)
COLOUR = pictures.colour(64, 96)
APP2, COM = 0xE2, 0xFE


def lightness_of(scan: Scan) -> np.ndarray:
    return scan.lightness[scan.codes]


def with_segments(data: bytes, *segments: bytes) -> bytes:
    """Put bytes between the start of image and what follows it."""
    return data[:2] + b"".join(segments) + data[2:]


def icc(number: int, count: int) -> bytes:
    return write_segment(APP2, b"ICC_PROFILE\0" + bytes((number, count)) + b"chunk" * 40)


# --- faults beside the picture ----------------------------------------------------------------------------------------

BESIDE = {
    "an ICC chunk twice": lambda data: with_segments(data, icc(1, 2), icc(1, 2)),
    "an ICC chunk that is missing": lambda data: with_segments(data, icc(1, 3), icc(3, 3)),
    "an ICC chunk of number 0": lambda data: with_segments(data, icc(0, 1)),
    "stray bytes between markers": lambda data: with_segments(data, write_segment(COM, b"hello"), b"\0\0\0"),
    "stray bytes before the end": lambda data: data[:-2] + b"astray" + data[-2:],
    "both": lambda data: with_segments(data, icc(1, 2), b"stray")[:-2] + bytes(40) + data[-2:],
}


@pytest.mark.parametrize("fault", BESIDE)
@pytest.mark.parametrize("picture", [GRAY, COLOUR], ids=["gray", "colour"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}], ids=["baseline", "progressive"])
def test_faults_beside_the_picture_do_not_cost_it(picture, fault, options):
    sound = pictures.encoded(picture, "JPEG", **options)
    faulty = BESIDE[fault](sound)
    with pytest.raises(ValueError, match="Corrupt JPEG data"):
        simplejpeg.decode_jpeg(faulty, strict=True)
    np.testing.assert_array_equal(decode(faulty).codes, decode(sound).codes)
    rendered = render(faulty, in_colour="recolor")
    assert "read in spite of" in rendered.note
    Image.open(io.BytesIO(rendered.data)).load()


def test_many_stray_bytes_are_damage_for_bits_of_the_picture_may_be_among_them():
    data = pictures.encoded(GRAY, "JPEG")
    faulty = data[:-2] + b"s" * 80 + data[-2:]
    with pytest.raises(ScanError, match=r"damaged JPEG: Corrupt JPEG data: .* extraneous bytes"):
        decode(faulty)
    salvaged = open_source(faulty, salvage=True).page(0)
    assert salvaged.damaged
    np.testing.assert_array_equal(salvaged.codes, decode(data).codes)


def test_damage_is_still_damage_beside_other_faults():
    data = BESIDE["an ICC chunk twice"](pictures.encoded(GRAY, "JPEG"))
    with pytest.raises(ScanError, match="damaged JPEG"):
        decode(data[: len(data) * 2 // 3] + b"\xff\xd9")
    assert open_source(data[: len(data) * 2 // 3], salvage=True).page(0).damaged


# --- kinds ------------------------------------------------------------------------------------------------------------


def sampled(factors: tuple[int, int]) -> bytes:
    """A JPEG with so much less of chroma, which is (100, 180), put together of three gray ones."""
    chroma = [np.full((-(-64 // factors[1]), -(-96 // factors[0])), value, np.uint8) for value in (100, 180)]
    planes = [read_plane(pictures.encoded(plane, "JPEG", quality=95)) for plane in (GRAY, *chroma)]
    parts = [b"\xff\xd8", write_segment(0xE0, b"JFIF\0" + bytes((1, 1, 0, 0, 1, 0, 1, 0, 0)))]
    parts.append(write_segment(DQT, b"\0" + planes[0].table))
    rows = bytes((1, factors[0] << 4 | factors[1], 0, 2, 0x11, 0, 3, 0x11, 0))
    parts.append(write_segment(BASELINE, bytes((8, 0, 64, 0, 96, 3)) + rows))
    for name, plane in enumerate(planes, start=1):
        for segment in plane.scans:
            segment = rename_component(segment, name)
            parts += [write_segment(segment.marker, segment.body), bytes(segment.coded)]
    return b"".join([*parts, b"\xff\xd9"])


@pytest.mark.parametrize("factors", [(4, 2), (1, 4), (2, 4), (4, 4), (3, 1), (4, 1), (2, 2), (1, 2)])
def test_any_sampling_of_chroma_is_read(factors):
    """4:1:0, 4:4:1, 2×4 and so on: the luma is coded alone, and so known by itself."""
    luma = pictures.decoded(pictures.encoded(GRAY, "JPEG", quality=95))
    full = np.dstack([luma, np.full_like(luma, 100), np.full_like(luma, 180)])
    expected = skimage.color.rgb2lab(np.asarray(Image.fromarray(full, "YCbCr").convert("RGB")))[..., 0]
    assert np.abs(lightness_of(decode(sampled(factors))) - expected).max() < 1.5
    assert render(sampled(factors), in_colour="recolor").note is None
    with pytest.raises(ScanError, match="damaged JPEG"):
        decode(sampled(factors)[:-400])


@pytest.mark.parametrize("bits", [2, 4, 5, 8])
@pytest.mark.parametrize("colour", [False, True])
def test_lossless_jpegs_are_read_over_their_range_and_stay_without_loss(bits, colour):
    picture = (COLOUR if colour else GRAY) >> (8 - bits)
    data = bytes(imagecodecs.jpeg8_encode(picture, lossless=True, bitspersample=bits))
    full = np.rint(picture * (255 / (2**bits - 1))).astype(np.uint8)
    expected = skimage.color.rgb2lab(full if colour else np.dstack([full] * 3))[..., 0]
    assert np.abs(lightness_of(decode(data)) - expected).max() < 0.01
    found = simplejpeg.decode_jpeg(render(data, in_colour="recolor", colour=0).data, "RGB", strict=True)
    assert np.abs(skimage.color.rgb2lab(found)[..., 0] - expected).max() < 0.5
    if not colour:
        np.testing.assert_array_equal(found, np.dstack([full] * 3))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (bytes(imagecodecs.jpeg8_encode(GRAY.astype(np.uint16) * 257, lossless=True, bitspersample=16)), "of 16 bits"),
        (bytes(imagecodecs.jpegls_encode(GRAY)), "JPEG-LS"),
        (pictures.encoded(GRAY, "JPEG").replace(b"\xff\xc0", b"\xff\xc5"), "of the coding 0xc5"),
    ],
    ids=["16 bits", "JPEG-LS", "hierarchical"],
)
def test_what_is_not_read_is_unsupported_and_not_damaged(data, reason):
    with pytest.raises(ScanError, match=rf"^JPEG.*{reason}.* is not supported|^{reason} is not supported"):
        decode(data)


def test_further_pictures_of_an_mpo_are_noted():
    buffer = io.BytesIO()
    first, second = (Image.fromarray(pictures.gray(40, 50, seed)) for seed in (1, 2))
    first.save(buffer, "MPO", save_all=True, append_images=[second])
    assert render(buffer.getvalue()).note == "further pictures of an MPO left out"
