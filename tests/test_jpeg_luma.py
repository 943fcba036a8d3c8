"""Colour for JPEGs that keep their luma: its coefficients, table and pixels are the source's; damage is a ScanError."""

import io
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import imagecodecs
import jpeglib
import numpy as np
import pytest
import simplejpeg
import skimage.color
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from colornet.codecs.jpeg_luma import chroma_shape, keeps_luma, recolor
from colornet.color.srgb import gray_lightness
from colornet.errors import ScanError, SettingsError
from colornet.rendering.jpeg_chroma import chroma_planes
from tests import pictures

GRAY = pictures.gray(61, 83)
COLOUR = pictures.colour(61, 83)
INTERLEAVED = pictures.encoded(COLOUR, "JPEG")


def planes(data: bytes, seed: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Smooth chroma that fits a JPEG."""
    height, width, _, _ = simplejpeg.decode_jpeg_header(data)
    small = np.random.default_rng(seed).integers(60, 200, (2, 3, 3), np.uint8)
    size = chroma_shape(height, width)[::-1]
    cb, cr = (np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.BICUBIC)) for plane in small)
    return cb, cr


def coloured(data: bytes, quality: int = 90) -> bytes:
    return recolor(data, *planes(data), quality=quality)


def luma(data: bytes) -> np.ndarray:
    return simplejpeg.decode_jpeg(data, "GRAY", strict=True)[..., 0]


def luma_with_pillow(data: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(data))
    image.draft("L", image.size)
    assert image.mode == "L"
    return np.asarray(image)


def luma_table(data: bytes) -> list[int]:
    return Image.open(io.BytesIO(data)).quantization[0]


def luma_coefficients(data: bytes, folder: Path) -> np.ndarray:
    path = folder / "picture.jpeg"
    path.write_bytes(data)
    return jpeglib.read_dct(str(path)).Y


def assert_keeps_luma(source: bytes, result: bytes) -> None:
    np.testing.assert_array_equal(luma(result), luma(source))
    np.testing.assert_array_equal(luma_with_pillow(result), luma_with_pillow(source))
    assert luma_table(result) == luma_table(source)
    assert simplejpeg.decode_jpeg_header(result)[2:] == ("YCbCr", "420")


def deep_table(progressive: bool = False) -> bytes:
    """A gray JPEG with steps over 255, which need 16 bits each."""
    buffer = io.BytesIO()
    Image.fromarray(GRAY).save(buffer, "JPEG", qtables=[list(range(1, 65))], progressive=progressive)
    data = buffer.getvalue()
    at = data.index(b"\xff\xdb")
    steps = b"".join((300 + step).to_bytes(2, "big") for step in range(64))
    data = data[:at] + b"\xff\xdb" + (131).to_bytes(2, "big") + b"\x10" + steps + data[at + 69 :]
    return data.replace(b"\xff\xc0", b"\xff\xc1")


def gray_sampled_twice() -> bytes:
    """A gray JPEG whose one component claims a sampling of 2 × 2, as some scanners write."""
    data = bytearray(pictures.encoded(GRAY, "JPEG"))
    data[data.index(b"\xff\xc0") + 11] = 0x22
    return bytes(data)


def without_jfif(data: bytes) -> bytes:
    assert data[2:4] == b"\xff\xe0"
    return data[:2] + data[20:]


def filled(data: bytes) -> bytes:
    """Something behind the last block: no decoder minds at the end of a file."""
    return data[:-2] + b"\0" + data[-2:]


SOURCES = {
    "gray": pictures.encoded(GRAY, "JPEG"),
    "gray, progressive": pictures.encoded(GRAY, "JPEG", progressive=True),
    "gray, own Huffman tables": pictures.encoded(GRAY, "JPEG", optimize=True),
    "gray, restarts": pictures.encoded(GRAY, "JPEG", restart_marker_blocks=7),
    "gray, progressive, restarts": pictures.encoded(GRAY, "JPEG", progressive=True, restart_marker_rows=1),
    "gray, sampling 2 × 2": gray_sampled_twice(),
    "gray, 16-bit table": deep_table(),
    "gray, progressive, 16-bit table": deep_table(progressive=True),
    "gray, filled": filled(pictures.encoded(GRAY, "JPEG")),
    "gray, progressive, filled": filled(pictures.encoded(GRAY, "JPEG", progressive=True)),
    "4:4:4": pictures.encoded(COLOUR, "JPEG", subsampling="4:4:4"),
    "4:2:2": pictures.encoded(COLOUR, "JPEG", subsampling="4:2:2"),
    "4:2:0": pictures.encoded(COLOUR, "JPEG", subsampling="4:2:0"),
    "4:4:0": simplejpeg.encode_jpeg(COLOUR, colorsubsampling="440"),
    "4:1:1": simplejpeg.encode_jpeg(COLOUR, colorsubsampling="411"),
    "colour, progressive": pictures.encoded(COLOUR, "JPEG", progressive=True),
    "colour, restarts": pictures.encoded(COLOUR, "JPEG", restart_marker_blocks=3),
    "colour, without JFIF": without_jfif(INTERLEAVED),
    "colour, not interleaved": coloured(pictures.encoded(GRAY, "JPEG")),
}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES.keys())
def test_luma_is_the_source_s(source, tmp_path):
    assert keeps_luma(source)
    result = coloured(source)
    assert_keeps_luma(source, result)
    np.testing.assert_array_equal(luma_coefficients(result, tmp_path), luma_coefficients(source, tmp_path))


@given(
    st.integers(1, 70),
    st.integers(1, 70),
    st.integers(1, 100),
    st.sampled_from([None, "4:4:4", "4:2:2", "4:2:0"]),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["shaded", "noise", "black and white"]),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=150, deadline=None)
def test_luma_is_the_source_s_whatever_it_shows(height, width, quality, sampling, progressive, optimize, kind, seed):
    shape = (height, width) if sampling is None else (height, width, 3)
    noise = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    shaded = (pictures.gray if sampling is None else pictures.colour)(height, width, seed % 100)
    pixels = {"shaded": shaded, "noise": noise, "black and white": np.where(noise < 128, 0, 255).astype(np.uint8)}[kind]
    options = {} if sampling is None else {"subsampling": sampling}
    source = pictures.encoded(pixels, "JPEG", quality=quality, progressive=progressive, optimize=optimize, **options)
    assert keeps_luma(source)
    cb, cr = np.random.default_rng(seed).integers(0, 256, (2, *chroma_shape(height, width)), np.uint8)
    assert_keeps_luma(source, recolor(source, cb, cr, quality=quality))


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES.keys())
def test_chroma_is_what_was_asked_for(source):
    cb, cr = planes(source)
    result = recolor(source, cb, cr, quality=95)
    image = Image.open(io.BytesIO(result))
    image.draft("YCbCr", image.size)
    read = np.asarray(image)
    assert image.mode == "YCbCr"
    assert np.abs(read[::2, ::2, 1].astype(int) - cb).mean() < 2.5
    assert np.abs(read[::2, ::2, 2].astype(int) - cr).mean() < 2.5


def test_chroma_quality_is_libjpeg_s():
    for quality in (1, 30, 92, 100):
        expected = simplejpeg.encode_jpeg(COLOUR, quality=quality)
        tables = [Image.open(io.BytesIO(data)).quantization[1] for data in (expected, coloured(INTERLEAVED, quality))]
        assert tables[0] == tables[1]
    assert len(coloured(INTERLEAVED, 20)) < len(coloured(INTERLEAVED, 95))


def test_colours_come_out_as_predicted():
    pixels = (pictures.gray(96, 128) // 3 + 80).astype(np.uint8)
    source = pictures.encoded(pixels, "JPEG", quality=95)
    ab = np.stack([np.linspace(-20, 25, 48).reshape(6, 8), np.linspace(30, -25, 48).reshape(6, 8)]).astype(np.float32)
    cb, cr = chroma_planes(luma(source), gray_lightness(8), ab)
    result = pictures.decoded(recolor(source, cb, cr, quality=95))
    found = skimage.color.rgb2lab(result)[..., 1:].reshape(6, 16, 8, 16, 2).mean(axis=(1, 3))
    assert np.abs(found - ab.transpose(1, 2, 0)).mean() < 3


def test_result_has_one_header_and_no_metadata():
    exif = Image.Exif()
    exif[0x010E] = "a description"
    source = pictures.encoded(GRAY, "JPEG", exif=exif, comment=b"a comment", icc_profile=b"p" * 70_000, dpi=(300, 300))
    assert b"a description" in source
    result = coloured(source)
    markers = [result[at + 1] for at in range(result.index(b"\xff\xda")) if result[at] == 0xFF]
    assert [marker for marker in markers if marker >= 0xE0] == [0xE0]
    assert result.count(b"JFIF\0") == 1
    assert Image.open(io.BytesIO(result)).info == {
        "jfif": 257,
        "jfif_version": (1, 1),
        "jfif_unit": 0,
        "jfif_density": (1, 1),
    }


def test_other_decoders_read_the_result():
    for name in ("gray", "gray, progressive", "4:2:0"):
        result = coloured(SOURCES[name])
        expected = simplejpeg.decode_jpeg(result, "RGB", strict=True)
        np.testing.assert_array_equal(imagecodecs.jpeg8_decode(result), expected)
        np.testing.assert_array_equal(pictures.decoded(result), expected)


def rgb_jpeg() -> bytes:
    return pictures.encoded(COLOUR, "JPEG", keep_rgb=True)


def cmyk_jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(COLOUR).convert("CMYK").save(buffer, "JPEG")
    return buffer.getvalue()


def small_luma() -> bytes:
    """Claims half the sampling for the luma, and the full one for the first chroma plane."""
    data = bytearray(INTERLEAVED)
    frame = data.index(b"\xff\xc0")
    data[frame + 11], data[frame + 14] = 0x11, 0x22
    return bytes(data)


def without_huffman_tables(data: bytes) -> bytes:
    """Rename the tables' segments: most decoders then take the standard tables, as for a frame of Motion JPEG."""
    return data.replace(b"\xff\xc4", b"\xff\xfe")


def unfinished(data: bytes) -> bytes:
    """Cut the last scan off, and end the file properly: what a broken download, repaired, looks like."""
    return data[: data.rindex(b"\xff\xc4")] + b"\xff\xd9"


REFUSED = {
    "empty": b"",
    "3 bytes": b"\xff\xd8\xff",
    "PNG": pictures.encoded(GRAY, "PNG"),
    "RGB": rgb_jpeg(),
    "CMYK": cmyk_jpeg(),
    "lossless": imagecodecs.jpeg8_encode(GRAY, lossless=True),
    "12 bits": imagecodecs.jpeg8_encode(GRAY.astype(np.uint16) * 16, bitspersample=12),
    "arithmetic": SOURCES["gray"].replace(b"\xff\xc0", b"\xff\xc9"),
    "cut in the header": SOURCES["gray"][:300],
    "small luma": small_luma(),
    "no Huffman tables": without_huffman_tables(SOURCES["gray"]),
    "no Huffman tables, colour": without_huffman_tables(SOURCES["4:2:0"]),
    "unfinished": unfinished(SOURCES["gray, progressive"]),
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_not_carried_over_is_refused(data):
    assert not keeps_luma(data)
    with pytest.raises(ScanError) as caught:
        recolor(data, np.zeros((1, 1), np.uint8), np.zeros((1, 1), np.uint8), quality=90)
    assert str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["gray", "gray, progressive", "4:2:0", "colour, progressive", "colour, not interleaved"]
)
def test_damage_is_a_scan_error(name, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    source = SOURCES[name]
    middle = source.index(b"\xff\xda") + 60
    broken = source[:middle] + bytes(200) + source[middle + 200 :]
    cut = source[: len(source) // 2] + b"\xff\xd9"
    for data in (broken, cut, source[:-300]):
        with pytest.raises(ScanError):
            recolor(data, *planes(source), quality=90)
    assert list(tmp_path.iterdir()) == []


def test_coefficients_without_a_huffman_code_are_a_scan_error(tmp_path, monkeypatch):
    """DC differences all of one sign walk out of the range; libjpeg decodes that without a warning."""
    data = bytearray(pictures.encoded(np.zeros((64, 2048, 3), np.uint8), "JPEG", quality=100, subsampling="4:4:4"))
    start = data.index(b"\xff\xda") + 14
    data[start:-2] = b"\xaa" * (len(data) - start - 2)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(ScanError):
        recolor(bytes(data), *planes(bytes(data)), quality=90)
    assert list(tmp_path.iterdir()) == []


def test_no_temporary_file_stays(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for source in SOURCES.values():
        coloured(source)
    assert list(tmp_path.iterdir()) == []


def test_wrong_arguments_are_named():
    cb, cr = planes(INTERLEAVED)
    for quality in (0, 101):
        with pytest.raises(SettingsError, match="quality must be from 1 to 100"):
            recolor(INTERLEAVED, cb, cr, quality=quality)
    for other in (cr[1:], cr.astype(np.float32)):
        with pytest.raises(SettingsError, match="Cr must be uint8 of"):
            recolor(INTERLEAVED, cb, other, quality=90)


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Bytes changed, cut out, put in and cut off; half of the time, only where the coded data is."""
    changed, first = bytearray(data), data.index(b"\xff\xda") if rng.random() < 0.5 else 0
    for _ in range(rng.randint(1, 3)):
        at, kind = rng.randrange(first, len(changed)), rng.randrange(4)
        if kind == 0:
            changed[at] = rng.randrange(256)
        elif kind == 1:
            changed[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            del changed[at : at + rng.randint(1, 30)]
        else:
            changed[at:at] = rng.randbytes(rng.randint(1, 10))
        first = min(first, len(changed) - 1)
    return bytes(changed[: rng.randrange(len(changed))] if rng.random() < 0.1 else changed)


def outcome(data: bytes) -> str:
    """What becomes of one file: "refused", "damaged" or "kept"; anything else raises."""
    if not keeps_luma(data):
        return "refused"
    height, width, _, _ = simplejpeg.decode_jpeg_header(data)
    if height * width > 10**6:
        return "refused"
    gray = np.full(chroma_shape(height, width), 128, np.uint8)
    try:
        result = recolor(data, gray, gray, quality=80)
    except ScanError:
        return "damaged"
    # Whether filling behind the last block is warned of depends on how far ahead the decoder has read.
    np.testing.assert_array_equal(luma(result), simplejpeg.decode_jpeg(data, "GRAY", strict=False)[..., 0])
    return "kept"


def fuzz(seed: int, count: int) -> None:
    """Run by `test_nothing_kills_the_process`, in a process of its own, from several threads."""
    rng = random.Random(seed)
    files = [mutated(rng.choice(list(SOURCES.values())), rng) for _ in range(count)]
    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(outcome, files))
    print(*sorted(set(outcomes)))


@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_kills_the_process(seed):
    """jpeglib, left to itself, falls over damaged headers with a segmentation fault: nothing damaged may reach it."""
    code = f"from tests.test_jpeg_luma import fuzz; fuzz({seed}, 400)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert (ran.returncode, ran.stdout) == (0, "damaged kept refused\n"), ran.stderr[-2000:]
