"""What a file says of itself comes through every container; exiftool, an independent reader, says so."""

import functools
import io
import struct
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from colornet import metadata
from colornet.errors import ScanError, SettingsError
from colornet.metadata import Density, Metadata, exif, icc_profiles, ifd, photoshop, xmp
from colornet.metadata.containers import jpeg
from colornet.metadata.ifd import DamagedError, Tag
from tests import exiftool, pictures

GRAY = pictures.gray(24, 40)
COLOUR = pictures.colour(24, 40)
THUMBNAIL = pictures.encoded(pictures.gray(12, 20), "JPEG")
PILLOW = {"jpeg": "JPEG", "png": "PNG", "tiff": "TIFF", "jp2": "JPEG2000", "webp": "WEBP", "bmp": "BMP"}
FORMATS_ = tuple(PILLOW)


@functools.cache
def gray(format: str) -> bytes:
    return pictures.encoded(GRAY, PILLOW[format], **({"lossless": True} if format == "webp" else {}))


@functools.cache
def colour(format: str) -> bytes:
    return pictures.encoded(COLOUR, PILLOW[format], **({"lossless": True} if format == "webp" else {}))


# --- sources, made by exiftool ---------------------------------------------------------------------------------------

IMAGE_TYPE = b"Canon EOS Test Camera\0\0\0"
EXIF_WORDS = (
    "-IFD0:Model=Reprostand 3",
    "-IFD0:Artist=Ünïcode Photographer",
    "-IFD0:ImageDescription=A bridge",
    "-IFD0:Copyright=Public domain",
    "-IFD0:Orientation#=6",
    "-ExifIFD:DateTimeOriginal=1907:05:04 10:11:12",
    "-ExifIFD:FNumber=8",
    "-ExifIFD:UserComment=glass plate",
    "-ExifIFD:ColorSpace#=65535",
    "-InteropIFD:InteropIndex=R03",
    "-GPS:GPSLatitude=40.7061",
    "-GPS:GPSLatitudeRef=N",
    "-GPS:GPSLongitude=73.9969",
    "-GPS:GPSLongitudeRef=W",
)
XMP_WORDS = ("-XMP-dc:Title=Brücke", "-XMP-dc:Subject=bridge", "-XMP-dc:Subject=river", "-XMP-photoshop:ColorMode#=1")
IPTC_WORDS = ("-IPTC:Keywords=bridge", "-IPTC:Keywords=river", "-IPTC:City=New York")
WORDS = {
    "jpeg": (*EXIF_WORDS, *XMP_WORDS, *IPTC_WORDS, "-Comment=from box 12"),
    "png": (*EXIF_WORDS, *XMP_WORDS, *IPTC_WORDS, "-PNG:Title=a title", "-PNG:Comment=Ω"),
    "tiff": (*EXIF_WORDS, *XMP_WORDS, *IPTC_WORDS, "-IFD0:DocumentName=Plate 7", "-IFD0:PageName=verso"),
    "jp2": (*EXIF_WORDS, *XMP_WORDS, *IPTC_WORDS),
    "webp": (*EXIF_WORDS, *XMP_WORDS),
}


def canon_block() -> bytes:
    """An Exif block with a maker note as Canon writes it: its offsets count from the block's first byte."""
    note = struct.pack("<HHHII", 1, 6, 2, len(IMAGE_TYPE), 0) + struct.pack("<I", 0) + IMAGE_TYPE
    tags = {
        0: [
            Tag(271, 2, b"Canon\0"),
            Tag(282, 5, struct.pack("<2I", 3000, 10)),
            Tag(283, 5, struct.pack("<2I", 600, 2)),
        ],
        ifd.EXIF_IFD: [Tag(37500, 7, note)],
    }
    tags[0].append(Tag(296, 3, struct.pack("<H", 2)))
    block = bytearray(ifd.build("<", tags))
    at = block.index(note)
    block[at + 10 : at + 14] = struct.pack("<I", at + 18)
    return bytes(block)


def profile(space: str = "LAB") -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(space)).tobytes()  # type: ignore[arg-type]


def source(format: str, folder: Path) -> bytes:
    """A gray scan in which exiftool wrote all that it can write there."""
    density = Density(Fraction(300), Fraction(300))
    data = metadata.embed(gray(format), format, Metadata(exif=canon_block(), icc=profile(), density=density))
    arguments = list(WORDS[format])
    if format in ("jpeg", "png", "webp", "jp2"):
        thumbnail = folder / "thumbnail.jpg"
        thumbnail.write_bytes(THUMBNAIL)
        arguments.append(f"-ThumbnailImage<={thumbnail}")
    return exiftool.write(data, folder / f"source.{format}", *arguments)


def says(data: bytes, format: str, folder: Path) -> dict[str, object]:
    """What exiftool reads, less where in the file it lies."""
    found = exiftool.read(data, folder / f"read.{format}")
    places = ("Composite:", "ICC", "IFD1:", "JFIF:", "PNG:", "Jpeg2000:", "RIFF:")
    return {key: value for key, value in found.items() if not key.startswith(places)}


STRUCTURE = (
    *("ImageWidth", "ImageHeight", "BitsPerSample", "Compression", "PhotometricInterpretation", "StripOffsets"),
    *("SamplesPerPixel", "RowsPerStrip", "StripByteCounts", "PlanarConfiguration", "SubfileType"),
)


@exiftool.needed
@pytest.mark.parametrize("format", WORDS)
def test_all_words_come_through(format, tmp_path):
    data = source(format, tmp_path)
    found = metadata.read(data, format)
    assert found.notes == ()
    assert (found.orientation, found.dpi) == (6, pytest.approx((300, 300), abs=0.01))
    output = metadata.embed(colour(format), format, metadata.for_output(found, format))
    before, after = says(data, format, tmp_path), says(output, format, tmp_path)
    for names in (before, after):
        for name in STRUCTURE:
            names.pop(f"IFD0:{name}", None)
    changed = {"ExifIFD:ColorSpace": 1, "InteropIFD:InteropIndex": "R98", "XMP-photoshop:ColorMode": 3}
    assert after == {key: changed.get(key, value) for key, value in before.items()}
    assert "GPS:GPSLatitude" in after and after["IFD0:Artist"] == "Ünïcode Photographer"
    assert exiftool.complaints(output, tmp_path / "a") <= exiftool.complaints(data, tmp_path / "b")


@exiftool.needed
@pytest.mark.parametrize("format", [format for format in WORDS if format != "tiff"])
def test_thumbnail_goes_and_maker_notes_stay_valid(format, tmp_path):
    data = source(format, tmp_path)
    assert exiftool.extract(data, tmp_path / "a", "ThumbnailImage") == THUMBNAIL
    assert THUMBNAIL in data
    output = metadata.embed(colour(format), format, metadata.for_output(metadata.read(data, format), format))
    found = exiftool.read(output, tmp_path / "b")
    assert found["Canon:CanonImageType"] == "Canon EOS Test Camera"
    assert not any(key.startswith("IFD1:") for key in found)
    assert THUMBNAIL[100:] not in output
    # what is left of the block lies where it lay
    before, after = metadata.read(data, format).exif, metadata.read(output, format).exif
    assert before is not None and after is not None
    note = before.index(IMAGE_TYPE)
    assert after.index(IMAGE_TYPE) == note


@exiftool.needed
@pytest.mark.parametrize("format", ["jpeg", "png", "tiff", "jp2", "webp"])
def test_profile_is_srgb(format, tmp_path):
    source_data = metadata.embed(gray(format), format, Metadata(icc=profile()))
    before = metadata.read(source_data, format)
    assert before.icc == profile()
    output = metadata.embed(colour(format), format, metadata.for_output(before, format))
    found = exiftool.read(output, tmp_path / f"a.{format}")
    if format == "jp2":  # it has a number for sRGB
        assert found["Jpeg2000:ColorSpace"] == 16
    else:
        assert found["ICC_Profile:ProfileDescription"] == "sRGB built-in"
        assert found["ICC-header:ColorSpaceData"] == "RGB "
        assert metadata.read(output, format).icc == icc_profiles.srgb()


def test_profile_is_the_same_every_time():
    icc_profiles.srgb.cache_clear()
    first = icc_profiles.srgb()
    icc_profiles.srgb.cache_clear()
    assert icc_profiles.srgb() == first and icc_profiles.plausible(first)


@exiftool.needed
@pytest.mark.parametrize(
    ("format", "tags"),
    [
        ("jpeg", ("JFIF:XResolution", "JFIF:YResolution", "JFIF:ResolutionUnit")),
        ("tiff", ("IFD0:XResolution", "IFD0:YResolution", "IFD0:ResolutionUnit")),
    ],
)
def test_density_per_centimetre_stays_exact(format, tags, tmp_path):
    density = Density(Fraction(118), Fraction(120), "cm")
    output = metadata.embed(colour(format), format, Metadata(density=density))
    assert metadata.read(output, format).density == density
    found = exiftool.read(output, tmp_path / f"a.{format}")
    assert [found[tag] for tag in tags] == [118, 120, 2 if format == "jpeg" else 3]


@exiftool.needed
def test_density_is_read_alike_everywhere(tmp_path):
    density = Density(Fraction(600), Fraction(1200))
    tags = {
        "jpeg": ("JFIF:XResolution", 600),
        "png": ("PNG-pHYs:PixelsPerUnitX", 23622),
        "tiff": ("IFD0:XResolution", 600),
        "jp2": ("Jpeg2000:CaptureXResolution", 600 / 2.54),  # exiftool divides by 10 to the exponent, which is 2
        "webp": ("IFD0:XResolution", 600),
        "bmp": ("File:PixelsPerMeterX", 23622),
    }
    for format in FORMATS_:
        output = metadata.embed(colour(format), format, metadata.for_output(Metadata(density=density), format))
        path = tmp_path / f"a.{format}"
        path.write_bytes(output)
        tag, value = tags[format]
        assert float(exiftool.run("-n", "-s3", f"-{tag}", path)) == pytest.approx(value), format
        assert metadata.read(output, format).dpi == pytest.approx((600, 1200), abs=0.02)


@pytest.mark.parametrize("format", FORMATS_)
def test_pixels_are_the_same_bytes(format):
    full = Metadata(exif=canon_block(), icc=icc_profiles.srgb(), density=Density(Fraction(300), Fraction(300)))
    output = metadata.embed(colour(format), format, metadata.for_output(full, format))
    np.testing.assert_array_equal(pictures.decoded(output), pictures.decoded(colour(format)))
    again = metadata.embed(output, format, metadata.for_output(full, format))
    assert metadata.read(again, format) == metadata.read(output, format)
    np.testing.assert_array_equal(pictures.decoded(again), pictures.decoded(colour(format)))


# --- from one format to another --------------------------------------------------------------------------------------


@exiftool.needed
@pytest.mark.parametrize("format", ["jpeg", "png", "tiff", "jp2", "webp", "bmp", "j2k"])
@pytest.mark.parametrize("origin", ["jpeg", "tiff"])
def test_words_cross_formats(origin, format, tmp_path):
    found = metadata.read(source(origin, tmp_path), origin)
    carried = metadata.for_output(found, format)
    output = metadata.embed(colour(format if format != "j2k" else "jp2"), "jp2" if format == "j2k" else format, carried)
    says_now = exiftool.read(output, tmp_path / f"a.{format if format != 'j2k' else 'jp2'}")
    lost = {note.partition(" has no place for ")[2] for note in carried.notes}
    assert ("Exif" not in lost) == ("GPS:GPSLatitude" in says_now)
    assert ("XMP" not in lost) == ("XMP-dc:Title" in says_now)
    assert ("IPTC" not in lost) == ("IPTC:Keywords" in says_now)
    everything = {"Exif", "XMP", "IPTC"}
    expected = {"webp": {"IPTC"}, "bmp": everything, "j2k": everything}.get(format, set())
    assert lost - {"jpeg:COM", "Photoshop's resources"} == expected
    if "Exif" not in lost:
        assert says_now["IFD0:Orientation"] == 6 and says_now["IFD0:Artist"] == "Ünïcode Photographer"
        assert says_now["ExifIFD:UserComment"] == "glass plate"


def test_orientation_survives_where_exif_does_not():
    carried = metadata.for_output(Metadata(orientation=8), "png")
    assert metadata.read(metadata.embed(colour("png"), "png", carried), "png").orientation == 8


def test_orientation_from_xmp_alone():
    packet = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description rdf:about="" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="3"/>'
        b"</rdf:RDF></x:xmpmeta>"
    )
    for encoding in ("utf-8", "utf-16", "utf-16-le", "utf-32"):
        data = metadata.embed(colour("png"), "png", Metadata(xmp=packet.decode().encode(encoding)))
        assert metadata.read(data, "png").orientation == 3, encoding


# --- TIFF ------------------------------------------------------------------------------------------------------------


def pages_of(**options: object) -> bytes:
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer, **options) as writer:  # type: ignore[arg-type]
        for seed in range(3):
            writer.write(pictures.colour(20, 30, seed), photometric="rgb", metadata=None)
    return buffer.getvalue()


def of_page(number: int) -> Metadata:
    words = [Tag(270, 2, f"page {number}\0".encode()), Tag(297, 3, struct.pack(">2H", number, 3))]
    below = {ifd.EXIF_IFD: [Tag(36867, 2, b"1907:05:04 10:11:12\0")], ifd.GPS_IFD: [Tag(1, 2, b"N\0")]}
    below[ifd.GPS_IFD].append(Tag(2, 5, struct.pack(">6I", 40 + number, 1, 42, 1, 0, 1)))
    return Metadata(
        exif=ifd.build(">", {0: words, **below}),
        iptc=b"\x1c\x02\x19" + struct.pack(">H", 4) + b"key" + str(number).encode(),
        density=Density(Fraction(300 + number), Fraction(300), "cm"),
        orientation=1 + number,
        icc=icc_profiles.srgb(),
    )


@exiftool.needed
@pytest.mark.parametrize("options", [{}, {"bigtiff": True}, {"byteorder": ">"}, {"byteorder": ">", "bigtiff": True}])
def test_every_page_of_a_tiff_keeps_its_own(options, tmp_path):
    data = pages_of(**options)
    file = io.BytesIO(data)
    metadata.embed_pages(file, [of_page(0), of_page(1), of_page(2)])
    output = file.getvalue()
    assert len(output) - len(data) < 8000
    with tifffile.TiffFile(io.BytesIO(output)) as tiff:
        assert tiff.is_bigtiff == options.get("bigtiff", False) and len(tiff.pages) == 3
        for seed, page in enumerate(tiff.pages):
            np.testing.assert_array_equal(page.asarray(), pictures.colour(20, 30, seed))
        found = metadata.read_pages(tiff)
    for number, page in enumerate(found):
        assert page.orientation == 1 + number and page.density == of_page(number).density
        assert page.iptc == of_page(number).iptc and page.icc == icc_profiles.srgb() and page.notes == ()
    says_now = exiftool.read(output, tmp_path / "a.tif")
    for number in range(3):
        assert says_now[f"IFD{number}:ImageDescription"] == f"page {number}"
        assert says_now[f"IFD{number}:PageNumber"] == f"{number} 3"
        assert says_now[f"IFD{number}:XResolution"] == 300 + number
        assert "IFD0:Software" not in says_now
    assert exiftool.complaints(output, tmp_path / "a.tif") <= exiftool.complaints(data, tmp_path / "b.tif")
    with tifffile.TiffFile(io.BytesIO(output)) as tiff:  # exiftool does not read GPS in BigTIFF
        assert [page.tags["GPSTag"].value["GPSLatitude"][0] for page in tiff.pages] == [40, 41, 42]
    if not options.get("bigtiff"):
        latitudes = exiftool.run("-a", "-n", "-s3", "-ee", "-GPS:GPSLatitude", tmp_path / "a.tif").split()
        assert sorted(float(value) for value in latitudes[:3]) == pytest.approx([40.7, 41.7, 42.7])
    # once more changes nothing that is read
    metadata.embed_pages(file, found)
    with tifffile.TiffFile(io.BytesIO(file.getvalue())) as tiff:
        assert metadata.read_pages(tiff) == found


def test_fewer_or_more_words_than_pages():
    file = io.BytesIO(pages_of())
    metadata.embed_pages(file, [of_page(0)])
    with tifffile.TiffFile(io.BytesIO(file.getvalue())) as tiff:
        assert [page.orientation for page in metadata.read_pages(tiff)] == [1, 1, 1]
        assert [page.iptc is None for page in metadata.read_pages(tiff)] == [False, True, True]
    with pytest.raises(DamagedError, match="3 pages, not 4"):
        metadata.embed_pages(file, [of_page(0)] * 4)


def test_iptc_as_swapped_longs():
    iptc = of_page(7).iptc
    assert iptc is not None
    padded = iptc + b"\0" * (-len(iptc) % 4)
    swapped = struct.pack(f"<{len(padded) // 4}I", *struct.unpack(f">{len(padded) // 4}I", padded))
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, GRAY, metadata=None, extratags=[(33723, 7, len(swapped), swapped, True)])
    assert metadata.read(buffer.getvalue(), "tiff").iptc == iptc


# --- JPEG ------------------------------------------------------------------------------------------------------------


@exiftool.needed
def test_long_packets_are_extended(tmp_path):
    words = "".join(chr(97 + i % 26) for i in range(90_000))
    (tmp_path / "words").write_text(words)
    arguments = ("-XMP-dc:Title=short", f"-XMP-dc:Description<={tmp_path / 'words'}")
    found = metadata.read(exiftool.write(colour("png"), tmp_path / "a.png", *arguments), "png")
    output = metadata.embed(colour("jpeg"), "jpeg", metadata.for_output(found, "jpeg"))
    assert output.count(b"http://ns.adobe.com/xmp/extension/") == 2
    says_now = exiftool.read(output, tmp_path / "b.jpg")
    assert says_now["XMP-dc:Title"] == "short" and says_now["XMP-dc:Description"] == words
    assert says_now["XMP-xmpNote:HasExtendedXMP"]
    again = metadata.read(output, "jpeg")
    assert again.notes == () and again.xmp and words.encode() in again.xmp and b"HasExtendedXMP" not in again.xmp
    broken = output.replace(words[70_000:70_100].encode(), words[70_001:70_101].encode())
    assert "extended XMP is damaged: its parts do not add up" in metadata.read(broken, "jpeg").notes


def test_large_exif_is_cut_to_what_fits():
    note, comment = Tag(37500, 7, b"n" * 70_000), Tag(37510, 7, b"c" * 70_000)
    words = [Tag(270, 2, b"kept\0"), Tag(274, 3, struct.pack("<H", 6))]
    block = ifd.build("<", {0: words, ifd.EXIF_IFD: [note, Tag(36867, 2, b"1907:05:04 10:11:12\0")]})
    carried = metadata.for_output(Metadata(exif=block, orientation=6), "jpeg")
    assert carried.exif and b"1907" in carried.exif and "maker notes are dropped" in carried.notes[0]
    block = ifd.build("<", {0: words, ifd.EXIF_IFD: [comment]})
    carried = metadata.for_output(Metadata(exif=block, orientation=6), "jpeg")
    assert carried.exif and exif.orientation(carried.exif) == 6 and "only orientation" in carried.notes[0]
    assert metadata.for_output(Metadata(exif=block), "png").exif == block
    with pytest.raises(ScanError, match="do not fit into a JPEG segment"):
        metadata.embed(colour("jpeg"), "jpeg", Metadata(exif=block))


def test_large_profiles_and_photoshop_blocks_are_chunked():
    icc = icc_profiles.srgb() + bytes(200_000)
    blocks = photoshop.join(None, b"8BIM" + struct.pack(">HHI", 2000, 0, 150_000) + bytes(150_000))
    output = metadata.embed(colour("jpeg"), "jpeg", Metadata(icc=icc, photoshop=blocks, iptc=of_page(1).iptc))
    found = metadata.read(output, "jpeg")
    assert (found.icc, found.photoshop, found.iptc) == (icc, blocks, of_page(1).iptc)
    np.testing.assert_array_equal(pictures.decoded(output), pictures.decoded(colour("jpeg")))


def test_photoshop_keeps_all_but_thumbnails_and_profiles():
    def resource(code: int) -> bytes:
        return b"8BIM" + struct.pack(">H", code) + b"\3abc" + struct.pack(">I", 5) + b"12345\0"

    blocks = b"".join(resource(code) for code in (1005, 1033, 1036, 1039, 1060, 2000))
    found = metadata.read(metadata.embed(gray("jpeg"), "jpeg", Metadata(photoshop=blocks)), "jpeg")
    assert found.photoshop == blocks
    assert metadata.for_output(found, "tiff").photoshop == resource(1005) + resource(2000)


def test_adobe_jpegs_get_no_second_header():
    image = Image.fromarray(COLOUR).convert("CMYK")
    buffer = io.BytesIO()
    image.save(buffer, "JPEG")
    output = metadata.embed(buffer.getvalue(), "jpeg", Metadata(density=Density(Fraction(300), Fraction(300))))
    assert next(segment.marker for segment in jpeg.segments(output)) == 0xEE
    assert np.array_equal(pictures.decoded(output), np.asarray(Image.open(buffer)))


# --- XMP -------------------------------------------------------------------------------------------------------------


@exiftool.needed
def test_what_xmp_says_of_samples_is_left_out(tmp_path):
    words = ("-XMP-tiff:SamplesPerPixel=1", "-XMP-tiff:BitsPerSample=8", "-XMP-photoshop:ICCProfileName=Dot Gain 20%")
    words += ("-XMP-dc:Format=image/png", "-XMP-tiff:Make=Agfa", "-XMP-exif:ColorSpace#=65535")
    thumbnail = "-XMP-xmp:Thumbnails={Format=JPEG,Width=1,Height=1,Image=AAAA}"
    data = exiftool.write(gray("png"), tmp_path / "a.png", *words, thumbnail)
    assert b"Thumbnails" in data
    output = metadata.embed(colour("tiff"), "tiff", metadata.for_output(metadata.read(data, "png"), "tiff"))
    found = exiftool.read(output, tmp_path / "b.tif")
    kept = {key: value for key, value in found.items() if key.startswith("XMP-") and key != "XMP-x:XMPToolkit"}
    assert kept == {"XMP-dc:Format": "image/tiff", "XMP-tiff:Make": "Agfa", "XMP-exif:ColorSpace": 1}


BOMB = b"""<?xpacket begin='' id=''?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="&b;"/></rdf:RDF></x:xmpmeta>"""


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (BOMB, "document type"),
        (BOMB.replace(b'<!ENTITY a "aaaaaaaaaa">', b'<!ENTITY a SYSTEM "file:///etc/passwd">'), "document type"),
        (b"<a>" * 5000, "XMP is damaged"),
        (b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>", "no rdf:RDF"),
        (b"\0" * 100, "XMP is damaged"),
        (b"\xff\xfe\xff\xff" * 30, "XMP is damaged"),
        (b"words", "no XML"),
        (b"<" + b" " * (17 << 20), "more than the bound"),
    ],
)
def test_hostile_packets_are_dropped_and_named(packet, reason):
    found = metadata.read(metadata.embed(colour("png"), "png", Metadata(xmp=packet)), "png")
    assert found.xmp is None and any(reason in note for note in found.notes)


# --- hostile files ---------------------------------------------------------------------------------------------------


def test_directories_that_all_name_the_same_bytes():
    """4,000 rows of a mebibyte each, in a file of one mebibyte: a reader without a bound would take four gigabytes."""
    rows = b"".join(struct.pack("<HHII", 37510, 7, 1 << 20, 0) for _ in range(4000))
    block = b"II*\0" + struct.pack("<IHHHIII", 8, 1, ifd.EXIF_IFD, 4, 1, 26, 0) + struct.pack("<H", 4000) + rows
    data = block.ljust(1 << 20, b"\0")
    found = metadata.read(data, "tiff")
    assert any("more bytes than the file has" in note for note in found.notes)
    assert len(found.exif or b"") < 4 << 20


def test_directories_in_a_loop():
    loop = b"II*\0" + struct.pack("<IHHHIII", 8, 1, 270, 2, 1, 65, 8)
    assert metadata.read(loop, "tiff").notes == ()
    with pytest.raises(ScanError):
        metadata.embed(b"II*\0" + struct.pack("<I", 99), "tiff", Metadata())
    with pytest.raises(SettingsError, match="no format is called 'gif'"):
        metadata.read(b"GIF89a", "gif")


def test_thumbnail_that_claims_the_camera_s_words():
    """A second directory whose thumbnail is the first: blanking it would blank what is kept."""
    block = bytearray(ifd.build("<", {0: [Tag(271, 2, b"A camera with a long name\0")]}))
    second = struct.pack("<H", 2) + struct.pack("<HHII", 513, 4, 1, 8) + struct.pack("<HHII", 514, 4, 1, 60)
    block[8 + 2 + 12 : 8 + 2 + 12 + 4] = struct.pack("<I", len(block))
    carried = metadata.for_output(Metadata(exif=bytes(block) + second + bytes(4)), "png")
    assert carried.exif and b"A camera with a long name" in carried.exif


def everything(format: str) -> bytes:
    rdf = xmp.empty()
    xmp.describe_more(rdf, {"tiff": xmp.NAMESPACES["tiff"]}).set(xmp.name("tiff:Make"), "Agfa")
    full = Metadata(
        exif=canon_block(),
        xmp=xmp.serialize(rdf),
        iptc=of_page(1).iptc,
        photoshop=b"8BIM" + struct.pack(">HHI", 2000, 0, 4) + b"path",
        icc=icc_profiles.srgb(),
        density=Density(Fraction(300), Fraction(299)),
        orientation=6,
        extras=(("jpeg:COM", b"words"), ("png:tEXt", b"Title\0words"), ("jp2:xml ", b"<a/>")),
    )
    return metadata.embed(colour(format), format, full)


WHOLE = {format: everything(format) for format in FORMATS_}


@given(st.sampled_from(FORMATS_), st.data())
@settings(max_examples=400, deadline=None)
def test_mutated_files_never_fail_a_scan(format, draw):
    data = bytearray(WHOLE[format])
    for _ in range(draw.draw(st.integers(1, 6))):
        width = draw.draw(st.sampled_from([1, 2, 4]))
        at = draw.draw(st.integers(0, max(0, len(data) - width)))
        value = draw.draw(st.sampled_from([0, 1, 255]) | st.integers(0, 255))
        data[at : at + width] = bytes([value]) * width
    cut = draw.draw(st.sampled_from([len(data)] * 3 + [draw.draw(st.integers(0, len(data)))]))
    found = metadata.read(bytes(data[:cut]), format)
    assert all(note and "\n" not in note for note in found.notes)
    assert 1 <= found.orientation <= 8
    for target in FORMATS_:
        carried = metadata.for_output(found, target)
        output = metadata.embed(colour(target), target, carried)
        again = metadata.read(output, target)
        assert (again.exif is None) == (carried.exif is None) or target == "tiff"
        assert (again.xmp, again.iptc) == (carried.xmp, carried.iptc)


@given(st.binary(max_size=200), st.sampled_from(FORMATS_))
@settings(max_examples=200, deadline=None)
def test_noise_never_fails_a_scan(noise, format):
    magic = WHOLE[format][:12]
    metadata.read(magic + noise, format)
    for block in (b"II*\0\x08\0\0\0" + noise, b"MM\0*\0\0\0\x08" + noise):
        carried = metadata.for_output(replace(Metadata(), exif=block), "png")
        assert carried.exif is None or len(carried.exif) <= len(block) + 4
