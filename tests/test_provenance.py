"""Every output says what it is; exiftool, an independent reader, hears it."""

import hashlib
import html
import os
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colornet import metadata
from colornet.errors import SettingsError
from colornet.hints import Hint
from colornet.metadata import Metadata, xmp
from colornet.provenance import xmp as provenance
from colornet.provenance.xmp import Origin
from tests import exiftool, pictures

PILLOW = {"jpeg": "JPEG", "png": "PNG", "tiff": "TIFF", "jp2": "JPEG2000", "webp": "WEBP", "bmp": "BMP"}
GRAY = pictures.gray(24, 40)
COLOUR = pictures.colour(24, 40)
SOURCE = pictures.encoded(GRAY, "JPEG")
ORIGIN = Origin(
    source_name="box 12/plate & 7.tif",
    source_sha256=hashlib.sha256(SOURCE).hexdigest(),
    bundle_digest="ab" * 32,
    software="Colornet 0.1.0",
)
TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"


def output(format: str, found: Metadata | None = None, origin: Origin = ORIGIN) -> bytes:
    carried = metadata.for_output(provenance.describe(found or Metadata(), origin), format)
    return metadata.embed(pictures.encoded(COLOUR, PILLOW[format]), format, carried)


# --- XMP -------------------------------------------------------------------------------------------------------------


@exiftool.needed
@pytest.mark.parametrize("format", ["jpeg", "png", "tiff", "jp2", "webp"])
def test_every_format_says_what_it_is(format, tmp_path):
    found = exiftool.read(output(format), tmp_path / f"a.{format}")
    assert found["XMP-iptcExt:DigitalSourceType"] == TYPE
    assert found["XMP-xmpMM:DerivedFrom"] == {
        "DocumentID": f"sha256:{ORIGIN.source_sha256}",
        "FilePath": "plate & 7.tif",
    }
    (event,) = found["XMP-xmpMM:History"]
    assert (event["Action"], event["SoftwareAgent"]) == ("edited", "Colornet 0.1.0")
    assert event["Parameters"] == f"colorized; bundle {'ab' * 32}" and "When" not in event
    assert found["XMP-colornet:SourceSHA256"] == ORIGIN.source_sha256
    assert found["XMP-colornet:BundleDigest"] == "ab" * 32
    assert found["XMP-xmpMM:InstanceID"] == event["InstanceID"]


@exiftool.needed
def test_it_says_how_sure_the_generator_was(tmp_path):
    def confidence(found: Metadata, *known: float) -> float | None:
        data = metadata.embed(SOURCE, "jpeg", metadata.for_output(provenance.describe(found, ORIGIN, *known), "jpeg"))
        return exiftool.read(data, tmp_path / "a.jpg").get("XMP-colornet:Confidence")

    assert confidence(Metadata(), 0.75) == 0.75 and confidence(Metadata(), 0.0) == 0
    assert confidence(Metadata()) is None
    once = provenance.describe(Metadata(), ORIGIN, 0.75)  # an output as a source: its confidence is not the new one's
    assert confidence(once, 0.5) == 0.5 and confidence(once) is None


@exiftool.needed
def test_it_says_what_strength_somebody_chose(tmp_path):
    louder = replace(ORIGIN, strength=1.1)
    assert exiftool.read(output("jpeg", origin=louder), tmp_path / "a.jpg")["XMP-colornet:Strength"] == 1.1
    once = provenance.describe(Metadata(), louder)  # an output as a source: its strength is not the new one's
    for origin, found in ((ORIGIN, Metadata()), (ORIGIN, once)):
        assert "XMP-colornet:Strength" not in exiftool.read(output("jpeg", found, origin), tmp_path / "b.jpg")


HOSTILE = "<b>&amp;</b> ]]> \"'=HYPERLINK(A1)\n\u202e\x1b é"


@exiftool.needed
def test_it_says_which_colours_people_chose(tmp_path):
    hints = (
        Hint(3, 4, "#A04020", by=HOSTILE, note=HOSTILE),
        Hint(5, 6, (1.5, -2)),
        Hint(7, 8, "#000000", page=1, by="B"),
    )
    origin = Origin(**{**ORIGIN.__dict__, "hints": hints, "settings": "d"})

    def read(found: Metadata, origin: Origin, page: int = 0) -> dict:
        described = metadata.for_output(provenance.describe(found, origin, page=page), "jpeg")
        return exiftool.read(metadata.embed(SOURCE, "jpeg", described), tmp_path / "a.jpg", "-E", "-struct")

    found = read(Metadata(), origin)
    first, second = found["XMP-colornet:Hints"]
    said = html.unescape(first["By"])
    assert said == html.unescape(first["Note"]) == HOSTILE.replace("\x1b", "\ufffd")
    assert (first["Color"], first["X"], first["Y"]) == ("#a04020", 3, 4)
    assert second == {"Color": "ab(1.5, -2)", "X": 5, "Y": 6}
    (event,) = found["XMP-xmpMM:History"]
    assert (
        html.unescape(event["Parameters"])
        == f"colorized; bundle {'ab' * 32}; settings d; colours at 2 places chosen by {said}"
    )
    (only,) = read(Metadata(), origin, 1)["XMP-colornet:Hints"]
    assert (only["By"], only["X"]) == ("B", 7)
    assert "XMP-colornet:Hints" not in read(Metadata(), origin, 2)
    again = read(
        provenance.describe(Metadata(), origin), ORIGIN
    )  # an output as a source: its hints are not the new one's
    assert "XMP-colornet:Hints" not in again and len(again["XMP-xmpMM:History"]) == 2


@exiftool.needed
def test_what_the_source_said_is_kept(tmp_path):
    words = (
        "-XMP-dc:Title=A bridge",
        "-XMP-xmpMM:DocumentID=xmp.did:1",
        "-XMP-xmpMM:InstanceID=xmp.iid:2",
        "-XMP-xmp:CreatorTool=ScanTool 3",
        "-XMP-iptcExt:DigitalSourceType=http://cv.iptc.org/newscodes/digitalsourcetype/negativeFilm",
        "-XMP-xmpMM:History={Action=created,SoftwareAgent=ScanTool 3}",
        "-XMP-xmpMM:DerivedFrom={DocumentID=xmp.did:0}",
    )
    source = metadata.read(exiftool.write(pictures.encoded(GRAY, "PNG"), tmp_path / "a.png", *words), "png")
    found = exiftool.read(output("png", source), tmp_path / "b.png")
    assert found["XMP-dc:Title"] == "A bridge" and found["XMP-xmp:CreatorTool"] == "ScanTool 3"
    assert found["XMP-iptcExt:DigitalSourceType"] == TYPE
    assert found["XMP-colornet:SourceDigitalSourceType"].endswith("negativeFilm")
    assert [event["SoftwareAgent"] for event in found["XMP-xmpMM:History"]] == ["ScanTool 3", "Colornet 0.1.0"]
    derived = found["XMP-xmpMM:DerivedFrom"]
    assert (derived["DocumentID"], derived["InstanceID"]) == ("xmp.did:1", "xmp.iid:2")
    assert found["XMP-xmpMM:OriginalDocumentID"] == "xmp.did:1"
    assert found["XMP-colornet:SourceDerivedFrom"] == {"DocumentID": "xmp.did:0"}
    # and once more, of the output itself
    again = exiftool.read(output("png", metadata.read(output("png", source), "png")), tmp_path / "c.png")
    assert len(again["XMP-xmpMM:History"]) == 3 and again["XMP-xmpMM:OriginalDocumentID"] == "xmp.did:1"
    assert again["XMP-xmpMM:DerivedFrom"]["DocumentID"] == found["XMP-xmpMM:DocumentID"]


def test_two_runs_give_the_same_bytes():
    for format in PILLOW:
        assert output(format) == output(format)
    other = Origin(**{**ORIGIN.__dict__, "settings": "quality 80"})
    assert other.identity != ORIGIN.identity
    dated = Origin(**{**ORIGIN.__dict__, "created": datetime(2026, 1, 2, tzinfo=UTC)})
    assert b"<stEvt:when>2026-01-02T00:00:00+00:00</stEvt:when>" in output("png", origin=dated)


def test_formats_without_a_place_say_so():
    carried = metadata.for_output(provenance.describe(Metadata(), ORIGIN), "bmp")
    assert carried.xmp is None and "BMP has no place for XMP" in carried.notes


def test_source_types_are_iptc_s():
    assert len(provenance.DIGITAL_SOURCE_TYPES) == 17
    for term in provenance.DIGITAL_SOURCE_TYPES:
        assert provenance.source_type_uri(term).endswith(f"/digitalsourcetype/{term}")
    with pytest.raises(SettingsError, match=r"^digital_source_type should be 'compositeWith.*, not 'painting'$"):
        Origin(source_name="", source_sha256="", bundle_digest="", software="", digital_source_type="painting")


def test_a_name_that_is_no_unicode_is_written_as_far_as_it_is():
    """A file name in another encoding than the system's, as Python gives it."""
    name = os.fsdecode(b"folder/caf\xe9.tif")
    origin = Origin(source_name=name, source_sha256="00", bundle_digest="00", software="Colornet 0")
    assert origin.file_name == "caf\ufffd.tif"
    assert "caf\ufffd.tif".encode() in (provenance.describe(Metadata(), origin).xmp or b"")


@given(st.text(st.characters(), max_size=40))
@settings(max_examples=100, deadline=None)
def test_any_name_is_written_as_a_name_only(name):
    origin = Origin(source_name="folder/" + name, source_sha256="00", bundle_digest="00", software="Colornet 0")
    described = provenance.describe(Metadata(), origin)
    assert described.xmp is not None
    xmp.parse(described.xmp)
    assert "/" not in origin.file_name and "\\" not in origin.file_name


def test_damaged_words_do_not_keep_provenance_out():
    described = provenance.describe(Metadata(xmp=b"<x"), ORIGIN)
    assert described.xmp and TYPE.encode() in described.xmp and "XMP is damaged" in described.notes[0]
