"""Damaged scans are rendered as far as they can be read, and no other decode in the process notices."""

import io
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageFile

from colornet.codecs import decode, open_source
from colornet.errors import ScanError
from tests import pictures

GRAY = pictures.gray(120, 90)


def cut(format: str, **options: object) -> bytes:
    """The first two thirds of an encoded picture."""
    data = pictures.encoded(GRAY, format, **options)
    return data[: 2 * len(data) // 3]


def cut_cmyk() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pictures.colour(120, 90)).convert("CMYK").save(buffer, "JPEG")
    return buffer.getvalue()[: 2 * len(buffer.getvalue()) // 3]


STRICTLY_BY_PILLOW = {"BMP": cut("BMP"), "CMYK JPEG": cut_cmyk()}
"""Scans of the kinds that are decoded with Pillow, cut short."""


@pytest.mark.parametrize("kind", STRICTLY_BY_PILLOW)
def test_a_scan_that_is_salvaged_does_not_let_others_pass_as_sound(kind, monkeypatch):
    """While one thread is in the midst of salvaging, another decodes what is damaged, and must say so."""
    salvaging, decoded = threading.Event(), threading.Event()
    load = ImageFile.ImageFile.load

    def held(image: ImageFile.ImageFile) -> object:
        if threading.current_thread().name.startswith("salvage") and not salvaging.is_set():
            salvaging.set()
            assert decoded.wait(20)
        return load(image)

    monkeypatch.setattr(ImageFile.ImageFile, "load", held)
    with ThreadPoolExecutor(1, thread_name_prefix="salvage") as other:
        salvaged = other.submit(lambda: open_source(cut("JPEG"), salvage=True).page(0))
        assert salvaging.wait(20)
        try:
            with pytest.raises(ScanError, match="damaged"):
                decode(STRICTLY_BY_PILLOW[kind])
        finally:
            decoded.set()
        assert salvaged.result().damaged


@pytest.mark.parametrize("kind", STRICTLY_BY_PILLOW)
def test_what_is_cut_short_is_damaged_whatever_the_host_has_told_pillow(kind, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(ScanError, match="damaged"):
        decode(STRICTLY_BY_PILLOW[kind])


def as_tiff(**options: object) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, GRAY, **options)
    return buffer.getvalue()


def tiff_before_its_end(**options: object) -> bytes:
    """A TIFF whose last strips point behind its end."""
    data = as_tiff(rowsperstrip=10, **options)
    return data[: -GRAY.size // 3]


DAMAGED = {
    "jpeg": cut("JPEG"),
    "progressive jpeg": cut("JPEG", progressive=True),
    "png": cut("PNG"),
    "bmp": cut("BMP"),
    "tiff": tiff_before_its_end(),
    "turned tiff": tiff_before_its_end(extratags=[(274, 3, 1, 6, True)]),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_what_is_salvaged_is_what_pillow_makes_of_truncated_files(kind, monkeypatch):
    """The same pixels as with Pillow's switch for the whole process, which is not touched."""
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with Image.open(io.BytesIO(DAMAGED[kind])) as image:
        expected = np.asarray(image.convert("L"))
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", False)
    with pytest.raises(ScanError, match="damaged"):
        decode(DAMAGED[kind])
    scan = open_source(DAMAGED[kind], salvage=True).page(0)
    assert scan.damaged and len(np.unique(scan.codes)) > 9
    np.testing.assert_array_equal(scan.codes, expected)


def test_a_large_scan_is_bounded_by_our_own_limit_and_not_by_pillows(monkeypatch):
    """Pillow's own bound may be whatever it is: sound and salvaged scans are as large as `max_pixels` lets them be."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    webp = pictures.encoded(GRAY, "WEBP", lossless=True)
    for data in (pictures.encoded(GRAY, "BMP"), webp, *DAMAGED.values()):
        scan = open_source(data, salvage=True).page(0)
        assert sorted(scan.codes.shape) == sorted(GRAY.shape)
        with pytest.raises(ScanError, match=r"more than the bound of 1,000"):
            open_source(data, salvage=True, max_pixels=1000).page(0)


@pytest.mark.parametrize(
    "options",
    [{}, {"lossless": True}, {"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"}],
    ids=["VP8", "VP8L", "VP8X"],
)
@pytest.mark.parametrize("shape", [(1, 1), (3, 300), (257, 16)])
def test_the_size_of_a_webp_is_in_its_header(options, shape):
    data = pictures.encoded(pictures.colour(*shape), "WEBP", **options)
    with pytest.raises(ScanError, match=f"{shape[1]}×{shape[0]} pixels"):
        open_source(data, max_pixels=shape[0] * shape[1] - 1) if shape != (1, 1) else open_source(data, max_pixels=0)
    assert decode(data).codes.shape == shape
