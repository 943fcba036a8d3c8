"""What of a scan its output has not is told, in the words that the ledger keeps."""

import io
import struct

import numpy as np
import pytest
import tifffile
from PIL import Image, PngImagePlugin

from tests import pictures
from tests.rendered import render

GRAY = pictures.gray(40, 60)


def with_text() -> bytes:
    text = PngImagePlugin.PngInfo()
    text.add_text("Title", "Marktplatz")
    return pictures.encoded(GRAY, "PNG", pnginfo=text)


def test_metadata_that_has_no_place_in_the_output_is_named():
    assert render(with_text()).note is None
    assert render(with_text(), output_format="jpeg").note == "JPEG has no place for png:tEXt"
    exif = Image.Exif()
    exif[0x010E] = "Marktplatz"
    note = render(pictures.encoded(GRAY, "JPEG", exif=exif), output_format="bmp").note
    assert note == "BMP has no place for Exif"


def test_metadata_that_is_damaged_is_named():
    data = pictures.encoded(GRAY, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert render(data).note.startswith("Exif is damaged: ")
    profile = pictures.encoded(GRAY, "JPEG", icc_profile=b"nonsense" * 40)
    assert render(profile).note.startswith("the ICC profile is damaged: ")


def test_notes_of_many_pages_are_told_once_and_not_without_end():
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as file:
        for page in range(30):
            broken = (33432, 2, 0, f"{page}" * 9, True)
            file.write(np.roll(GRAY, page), metadata=None, extratags=[broken])
    data = bytearray(buffer.getvalue())
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as file:
        for number, page in enumerate(file.pages):
            tag = page.tags[33432]
            struct.pack_into("<I", data, tag.offset + 8, 2**31 + (0 if number < 9 else number))
    note = render(bytes(data)).note
    assert note.count("tag 33432 is damaged") == 10 and note.endswith("more of such notes on metadata")


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP", "BMP"])
def test_of_what_is_kept_whole_nothing_is_told(format):
    assert render(pictures.encoded(GRAY, format)).note is None
