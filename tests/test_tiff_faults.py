"""TIFFs as scanners, editors and interrupted writers leave them: the right picture, or a reason; never a wrong one."""

import io
import struct

import imagecodecs
import numpy as np
import pytest
import skimage.color
import skimage.data
import tifffile
from tifffile import EXTRASAMPLE

from colornet.codecs import Scan, decode, open_source
from colornet.errors import InColourError, ScanError
from colornet.metadata import read_pages
from tests import pictures
from tests.rendered import render

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
        kind = {3: "<H", 4: "<I", 13: "<I"}[tag.dtype]
    for index, value in values.items():
        struct.pack_into(kind, changed, tag.valueoffset + index * struct.calcsize(kind), value)
    return bytes(changed)


def with_tag(data: bytes, page: int, code: int, value: int) -> bytes:
    """Give a tag of one page another value, which tifffile would not write."""
    changed = io.BytesIO(data)
    with tifffile.TiffFile(changed, mode="r+") as file:
        file.pages[page].tags[code].overwrite(value)
    return changed.getvalue()


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


# --- what is not the picture ------------------------------------------------------------------------------------------


def several(*pages: tuple[np.ndarray, dict[str, object]]) -> bytes:
    """A TIFF of pages, each with tifffile's options for it."""
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as file:
        for page, options in pages:
            file.write(page, metadata=None, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("marked", [0, 1])
def test_of_a_thumbnail_with_its_master_below_the_master_is_rendered(marked):
    """As TIFF/EP keeps it, with the thumbnail marked as one or not; what the first directory tells is kept."""
    deep = GRAY.astype(np.uint16) * 257
    thumbnail = {"subifds": 1, "subfiletype": marked, "description": "Ansicht", "resolution": (72, 72)}
    turned = {"extratags": [(274, 3, 1, 6, True)]}
    data = several((COLOUR[::4, ::4], {**thumbnail, **turned}), (deep, {"subfiletype": 0, "resolution": (600, 600)}))
    source = open_source(data)
    scan = source.page(0)
    assert (source.page_count, scan.bits, scan.orientation) == (1, 16, 6)
    np.testing.assert_array_equal(scan.codes, deep)
    rendered = render(data)
    assert (rendered.width, rendered.height, rendered.pages) == (96, 64, 1)
    assert "1 reduced" in rendered.note
    with tifffile.TiffFile(io.BytesIO(rendered.data)) as file:
        (page,) = file.pages
        assert page.shape == (64, 96, 3) and page.dtype == np.uint16 and page.description == "Ansicht"
        assert page.tags[274].value == 6 and page.tags[282].value == (600, 1)


def test_a_thumbnail_whose_master_is_lost_is_not_taken_for_it():
    data = several((GRAY[::4, ::4], {"subifds": 1, "subfiletype": 1}), (GRAY, {"subfiletype": 0}))
    with pytest.raises(ScanError, match="damaged TIFF: what lies below its thumbnail"):
        decode(with_values(data, 330, {0: 2**31}))


def canon() -> bytes:
    """A TIFF whose directory lies at its end, so that behind the header there is room for Canon's mark."""
    data = tiff(GRAY)
    return data[:4] + struct.pack("<I", len(data)) + b"CR\2\0" + data[12:] + data[8:400]


CAMERA_RAW = {
    "DNG": several((GRAY, {"extratags": [(50706, 1, 4, (1, 4, 0, 0), True)]})),
    "Nikon": several(
        (COLOUR[::4, ::4], {"subifds": 1, "subfiletype": 1, "extratags": [(271, 2, 0, "Nikon", True)]}),
        (GRAY, {"photometric": "cfa", "extratags": [(33421, 3, 2, (2, 2), True), (33422, 1, 4, b"\0\1\1\2", True)]}),
    ),
    "CR2": canon(),
}


@pytest.mark.parametrize("kind", CAMERA_RAW)
def test_camera_raw_is_refused_by_its_name(kind):
    with pytest.raises(ScanError, match=rf"camera raw \({kind}\) is not supported"):
        open_source(CAMERA_RAW[kind])


def test_levels_of_a_pyramid_and_masks_are_left_out_and_noted():
    in_chain = several((GRAY, {}), (GRAY[::2, ::2], {"subfiletype": 1}), (GRAY[::4, ::4], {"subfiletype": 1}))
    below = several((GRAY, {"subifds": 2}), *((GRAY[::n, ::n], {"subfiletype": 1}) for n in (2, 4)))
    infrared = with_tag(several((GRAY, {}), (255 - GRAY, {"subfiletype": 2}), (COLOUR[..., 0], {})), 1, 254, 4)
    for data, pages, note in (
        (in_chain, 1, "2 reduced or further versions left out"),
        (below, 1, "2 reduced or further versions left out"),
        (infrared, 2, "1 masks or infrared pages left out"),
    ):
        rendered = render(data)
        assert (rendered.pages, rendered.note) == (pages, note)
        with tifffile.TiffFile(io.BytesIO(rendered.data)) as file:
            assert [page.shape[:2] for page in file.pages] == [GRAY.shape] * pages
    with pytest.raises(ScanError, match="nothing but masks"):
        open_source(with_tag(several((GRAY, {"subfiletype": 2})), 0, 254, 4))


# --- channels beside the colour ---------------------------------------------------------------------------------------

ALPHA = np.tile(np.linspace(0, 255, 96).astype(np.uint8), (64, 1))
INFRARED = pictures.gray(64, 96, seed=9)


def channels(picture: np.ndarray, *extra: tuple[str, np.ndarray]) -> bytes:
    kinds, planes = [kind for kind, _ in extra], [plane for _, plane in extra]
    photometric = "rgb" if picture.ndim == 3 else "minisblack"
    return tiff(
        np.dstack([picture, *planes]), photometric=photometric, planarconfig="contig", extrasamples=kinds, metadata=None
    )


@pytest.mark.parametrize("picture", [GRAY, COLOUR], ids=["gray", "colour"])
def test_channels_of_unknown_meaning_stay_so(picture):
    infrared, alpha = ("unspecified", INFRARED), ("unassalpha", ALPHA)
    for extra in ([infrared], [infrared, infrared], [infrared, alpha], [alpha, infrared]):
        scan = decode(channels(picture, *extra))
        assert (scan.alpha is not None) == (alpha in extra) and scan.extra.shape[2] == extra.count(infrared)
        rendered = render(channels(picture, *extra), in_colour="recolor")
        assert rendered.note is None
        with tifffile.TiffFile(io.BytesIO(rendered.data)) as file:
            page, samples = file.pages[0], file.asarray()
        kinds = [EXTRASAMPLE[kind.upper()] for kind, _ in sorted(extra, key=lambda each: each is infrared)]
        assert list(page.extrasamples) == kinds
        for channel, kind in enumerate(kinds, start=3):
            expected = ALPHA if kind is EXTRASAMPLE.UNASSALPHA else INFRARED
            np.testing.assert_array_equal(samples[..., channel], expected)


def test_formats_without_a_place_for_unknown_channels_leave_them_out_and_say_so():
    rendered = render(channels(GRAY, ("unspecified", INFRARED)), output_format="png")
    assert rendered.note == "samples of unknown meaning left out: png has no place for them"
    assert pictures.decoded(rendered.data).shape == (64, 96, 3)
    deep = np.dstack([GRAY / 255, INFRARED / 7]).astype(np.float32)
    rendered = render(tiff(deep, photometric="minisblack", planarconfig="contig", extrasamples=["unspecified"]))
    assert rendered.note == "floating-point samples of unknown meaning left out"


def test_a_channel_of_which_the_file_says_nothing_is_no_alpha():
    """Pillow's RGBX, and writers that forget the tag."""
    data = bytearray(channels(COLOUR, ("unassalpha", INFRARED)))
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as file:
        struct.pack_into("<H", data, file.pages[0].tags[338].offset, 65000)
    scan = decode(bytes(data))
    assert scan.alpha is None
    np.testing.assert_array_equal(scan.extra[..., 0], INFRARED)


def test_more_channels_than_colour_alpha_and_infrared_are_refused():
    with pytest.raises(ScanError, match="expected 1 samples a pixel, and up to 2 more"):
        decode(channels(GRAY, *[("unspecified", INFRARED)] * 3))


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("picture", [GRAY, COLOUR], ids=["gray", "colour"])
def test_associated_alpha_is_divided_out_before_colour_and_multiplied_in_behind_it(picture, kind):
    """The same picture with unassociated alpha gives the same colours; these times alpha is what must be written."""
    full = np.iinfo(kind).max
    picture, alpha = (plane.astype(kind) * (full // 255) for plane in (picture, ALPHA))
    opacity = alpha.astype(float) / full
    multiplied = np.rint(picture * (opacity[..., None] if picture.ndim == 3 else opacity)).astype(kind)
    opaque = opacity > 0.2
    straight, associated = (
        channels(*each) for each in ((picture, ("unassalpha", alpha)), (multiplied, ("assocalpha", alpha)))
    )
    expected = render(straight, in_colour="recolor").data
    found = render(associated, in_colour="recolor").data
    with tifffile.TiffFile(io.BytesIO(found)) as file:
        assert file.pages[0].extrasamples == (EXTRASAMPLE.ASSOCALPHA,)
        found = file.asarray().astype(float)
    expected = tifffile.imread(io.BytesIO(expected)).astype(float)
    np.testing.assert_array_equal(found[..., 3], alpha)
    assert (found[..., :3] <= found[..., 3:]).all()
    difference = np.abs(found[..., :3] - expected[..., :3] * opacity[..., None])
    assert difference[opaque].max() <= 3
    to_png = render(associated, in_colour="recolor", output_format="png").data
    as_png = imagecodecs.png_decode(to_png).astype(float)
    assert np.abs(as_png[..., :3] - expected[..., :3])[opaque].max() <= 3 / 0.2


# --- pages in colour --------------------------------------------------------------------------------------------------

PHOTOGRAPH = skimage.data.astronaut()[:200, :240]


def pages_of(data: bytes) -> list[np.ndarray]:
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        return [page.asarray() for page in file.pages]


@pytest.mark.parametrize("order", [(0, 1), (1, 0), (1, 1, 0, 1, 0)], ids=["behind", "before", "mixed"])
@pytest.mark.parametrize("choice", ["skip", "copy"])
def test_each_page_is_judged_by_itself(order, choice):
    """Gray pages (0) get the colour that they get alone; pages in colour (1) keep every sample of their own."""
    data = several(*((PHOTOGRAPH if kind else GRAY, {}) for kind in order))
    rendered = render(data, in_colour=choice)
    (alone,) = pages_of(render(tiff(GRAY)).data)
    found = pages_of(rendered.data)
    assert len(found) == len(order) == rendered.pages
    for page, kind in zip(found, order, strict=True):
        np.testing.assert_array_equal(page, PHOTOGRAPH if kind else alone)
    assert rendered.note == f"{sum(order)} of {len(order)} pages in colour already: they keep their colours"
    assert rendered.mean_chroma == pytest.approx(np.hypot(10, 10), rel=1e-3)
    with tifffile.TiffFile(io.BytesIO(rendered.data)) as file:
        told = [b"DigitalSourceType" in metadata.xmp for metadata in read_pages(file) if metadata.xmp]
        assert told == [True] * order.count(0)


def test_a_page_in_colour_keeps_depth_alpha_and_what_its_profile_means():
    adobe = imagecodecs.cms_profile("adobergb")
    deep = np.dstack([PHOTOGRAPH // 2 + 60, np.full((200, 240), 99, np.uint8)]).astype(np.uint16) * 257
    data = several((GRAY, {}), (deep, {"photometric": "rgb", "extrasamples": ["unassalpha"], "iccprofile": adobe}))
    _, page = pages_of(render(data).data)
    assert page.dtype == np.uint16 and (page[..., 3] == 99 * 257).all()
    expected = imagecodecs.cms_transform(
        deep[..., :3].copy(), adobe, imagecodecs.cms_profile("srgb"), colorspace="rgb", outcolorspace="rgb"
    )
    assert np.abs(page[..., :3].astype(int) - expected).mean() < 100


def test_only_a_scan_of_nothing_but_pages_in_colour_is_skipped_or_copied():
    data = several((PHOTOGRAPH, {}), (PHOTOGRAPH[::-1], {}))
    with pytest.raises(InColourError):
        render(data)
    rendered = render(data, in_colour="copy")
    assert rendered.data == data and rendered.pixels == 2 * 200 * 240
    recolored = render(data, in_colour="recolor")
    assert recolored.note is None and not any(np.array_equal(page, PHOTOGRAPH) for page in pages_of(recolored.data))


# --- old-style JPEG ---------------------------------------------------------------------------------------------------


def old_style(jpeg: bytes, channels: int, *, whole: bool) -> bytes:
    """A TIFF of one strip of JPEG as section 22 of TIFF 6.0 has it: of a whole one, or of its coded data alone."""
    body = bytearray(b"II*\0\0\0\0\0")
    stream = jpeg if whole else jpeg[jpeg.index(b"\xff\xda") + 4 :]
    tags = [(256, 96), (257, 64), (258, 8), (259, 6), (262, 6 if channels == 3 else 1), (273, len(body))]
    tags += [(277, channels), (278, 64), (279, len(stream)), (512, 1)]
    tags += [(513, len(body)), (514, len(stream))] if whole else []
    body += stream + b"\0" * (len(stream) % 2)
    struct.pack_into("<I", body, 4, len(body))
    rows = b"".join(struct.pack("<HHII", code, 4, 1, value) for code, value in tags)
    return bytes(body) + struct.pack("<H", len(tags)) + rows + bytes(4)


@pytest.mark.parametrize("picture", [GRAY, COLOUR], ids=["gray", "YCbCr"])
def test_old_style_jpeg_is_read_or_refused_for_what_it_is(picture):
    jpeg = pictures.encoded(picture, "JPEG", quality=90)
    channels = 1 if picture.ndim == 2 else 3
    found = lightness_of(decode(old_style(jpeg, channels, whole=True)))
    assert np.abs(found - lightness(pictures.decoded(jpeg))).max() < 1.0
    with pytest.raises(ScanError, match="damaged"):
        decode(old_style(jpeg[: len(jpeg) // 2] + b"\xff\xd9", channels, whole=True))
    with pytest.raises(ScanError, match="old-style JPEG whose tables lie outside"):
        decode(old_style(jpeg, channels, whole=False))


@pytest.mark.parametrize("options", [{"rowsperstrip": 32}, {"tile": (32, 32)}], ids=["strips", "tiles"])
@pytest.mark.parametrize("picture", [GRAY, COLOUR], ids=["gray", "colour"])
def test_holes_in_strips_and_tiles_of_jpeg_are_damage(picture, options):
    """As in a JPEG file; libjpeg by itself fills them up with gray."""
    data = tiff(picture, compression="jpeg", photometric="ycbcr" if picture.ndim == 3 else "minisblack", **options)
    decode(data)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        start, length = file.pages[0].dataoffsets[1], file.pages[0].databytecounts[1]
    middle = start + length * 3 // 4
    broken = data[:middle] + b"\xff\xd9" + bytes(start + length - middle - 2) + data[start + length :]
    assert np.isfinite(tifffile.imread(io.BytesIO(broken))).all()
    with pytest.raises(ScanError, match="damaged TIFF: Corrupt JPEG data"):
        decode(broken)
