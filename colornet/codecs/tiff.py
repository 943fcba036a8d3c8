"""TIFF, read: every page, of nearly any kind, through tifffile and imagecodecs."""

import io
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from tifffile import COMPRESSION, EXTRASAMPLE, PHOTOMETRIC, TiffPage

from colornet import metadata
from colornet.codecs import icc_profiles, jpeg, lzw, pixels, tiff_pages
from colornet.codecs.limits import check_size
from colornet.codecs.scan import Pixels, Scan
from colornet.codecs.tiff_output import PageLayout
from colornet.codecs.tiff_pages import Picture
from colornet.errors import ScanError
from colornet.formats import Format
from colornet.metadata import Metadata

_MOST_EXTRA = 2
"""Samples beyond a pixel's colour: alpha and infrared. More of them are the bands of a satellite."""
_WHOLE_JPEG, _WHOLE_JPEG_LENGTH = 513, 514
"""JPEGInterchangeFormat, and its length."""
_ALPHA = (EXTRASAMPLE.ASSOCALPHA, EXTRASAMPLE.UNASSALPHA)
_GRAY = (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE)
_KNOWN = (*_GRAY, PHOTOMETRIC.RGB, PHOTOMETRIC.YCBCR, PHOTOMETRIC.PALETTE, PHOTOMETRIC.SEPARATED)
_CHANNELS = {PHOTOMETRIC.RGB: 3, PHOTOMETRIC.YCBCR: 3, PHOTOMETRIC.SEPARATED: 4}


class TiffSource:
    """An opened TIFF file. Thumbnails that it carries as reduced-resolution pages are left out, and masks are."""

    format: Format = "tiff"

    def __init__(self, data: bytes, max_pixels: int) -> None:
        """Read the header and all pages' tags; raises ScanError or whatever tifffile raises on damage."""
        self.data = data
        self._file = tifffile.TiffFile(io.BytesIO(data))
        self.pictures, self.notes = tiff_pages.pictures(self._file)
        if any(_is_float(picture.page) and _extra_channels(picture.page)[1] for picture in self.pictures):
            self.notes.append("floating-point samples of unknown meaning left out")
        for page in (picture.page for picture in self.pictures):
            check_size(page.imagewidth, page.imagelength, max_pixels)
            check_size(page.tilewidth or 1, page.tilelength or 1, max_pixels)

    @property
    def page_count(self) -> int:
        """Pages at full resolution."""
        return len(self.pictures)

    def page(self, index: int) -> Scan:
        """Decode one page."""
        picture = self.pictures[index]
        old = picture.page.compression == COMPRESSION.OJPEG
        scan = _decode_old_jpeg(picture.page, self.data) if old else _decode(picture.page)
        return replace(scan, orientation=_orientation(picture))

    def metadata(self) -> list[Metadata]:
        """Read what each page says of itself; of a master below its thumbnail, what both say."""
        found = metadata.read_pages(self._file, [picture.described for picture in self.pictures])
        masters = metadata.read_pages(self._file, [picture.page for picture in self.pictures])
        return [
            replace(
                told, icc=own.icc or told.icc, density=own.density or told.density, orientation=_orientation(picture)
            )
            for told, own, picture in zip(found, masters, self.pictures, strict=True)
        ]

    def layout(self, index: int) -> PageLayout:
        """Say how one page is stored."""
        page = self.pictures[index].page
        return PageLayout(
            compression=_writable_compression(page),
            tile=(page.tilelength, page.tilewidth) if page.is_tiled else None,
            premultiplied=EXTRASAMPLE.ASSOCALPHA in page.extrasamples,
            bigtiff=bool(self._file.is_bigtiff),
            byteorder=self._file.byteorder,
        )


def _writable_compression(page: TiffPage) -> str:
    """The page's own compression if colour can be written in it, else a lossless one."""
    name = COMPRESSION(page.compression).name.lower()
    own = {"none": "none", "lzw": "lzw", "zstd": "zstd"}
    return own.get(name, "zlib")


def _decode(page: TiffPage) -> Scan:
    photometric = PHOTOMETRIC(page.photometric)
    kind = f"{page.bitspersample} bits × {page.samplesperpixel} {photometric.name} {_dtype_name(page)}"
    if photometric not in _KNOWN or page.dtype is None or page.dtype.kind not in "bufd":
        raise ScanError(f"TIFF of {kind} is no picture that Colornet knows")
    if photometric is PHOTOMETRIC.YCBCR and page.compression != COMPRESSION.JPEG:
        raise ScanError(f"TIFF of {kind} that is not JPEG-compressed is not supported")
    colours = _colours(page)
    if not colours <= page.samplesperpixel <= colours + _MOST_EXTRA:
        raise ScanError(f"TIFF of {kind}: expected {colours} samples a pixel, and up to {_MOST_EXTRA} more")
    samples = _samples(page)
    opacity, unknown = _extra_channels(page)
    alpha = None if opacity is None else _to_range(page, samples[..., opacity])
    colour = _to_range(page, samples[..., :colours])
    if alpha is not None and EXTRASAMPLE.ASSOCALPHA in page.extrasamples:
        colour = pixels.divide_by_alpha(colour, alpha)
    scan = _without_extra(page, photometric, colour, alpha)
    # Floating-point samples of an unknown meaning have no range either.
    return (
        replace(scan, extra=_to_range(page, samples[..., unknown])) if unknown and samples.dtype.kind != "f" else scan
    )


def _decode_old_jpeg(page: TiffPage, data: bytes) -> Scan:
    """Decode JPEG as TIFF 6.0 (section 22) had it, before there was a better way: read where it is a whole JPEG."""
    tags = (page.tags.valueof(_WHOLE_JPEG), page.tags.valueof(_WHOLE_JPEG_LENGTH))
    start, length = tags if all(isinstance(value, int) for value in tags) else (page.dataoffsets[0], None)
    stream = data[start : start + (length or page.databytecounts[0])]
    if not stream.startswith(b"\xff\xd8"):
        raise ScanError("TIFF with old-style JPEG whose tables lie outside of its stream is not supported")
    frame = jpeg.read_header(stream)
    if (frame.height, frame.width) != (page.imagelength, page.imagewidth):
        raise ScanError("TIFF with old-style JPEG in several streams is not supported")
    return jpeg.decode(stream, frame, _profile(page))


def _profile(page: TiffPage) -> bytes | None:
    found = page.tags.valueof(34675)
    return found if isinstance(found, bytes) else None


def _without_extra(page: TiffPage, photometric: PHOTOMETRIC, colour: Pixels, alpha: Pixels | None) -> Scan:
    icc = _profile(page)
    if photometric is PHOTOMETRIC.PALETTE:
        return _from_palette(page, colour[..., 0], alpha)
    if photometric in _GRAY:
        return pixels.from_gray(colour[..., 0], alpha, icc=icc, inverted=photometric is PHOTOMETRIC.MINISWHITE)
    if photometric is PHOTOMETRIC.SEPARATED:
        return pixels.from_rgb(icc_profiles.cmyk_to_srgb(np.ascontiguousarray(colour), icc), alpha)
    return pixels.from_rgb(colour, alpha, icc=icc)


def _colours(page: TiffPage) -> int:
    return _CHANNELS.get(PHOTOMETRIC(page.photometric), 1)


def _is_float(page: TiffPage) -> bool:
    return page.dtype is not None and page.dtype.kind == "f"


def _extra_channels(page: TiffPage) -> tuple[int | None, list[int]]:
    """Which channel is alpha, if any, and which are of unknown meaning: those of which the file says nothing too."""
    colours = _colours(page)
    kinds = dict(enumerate(page.extrasamples, start=colours))
    extra = range(colours, page.samplesperpixel)
    opacity = next((channel for channel in extra if kinds.get(channel) in _ALPHA), None)
    return opacity, [channel for channel in extra if channel != opacity]


def _samples(page: TiffPage) -> NDArray[Any]:
    """Decode to (H, W, C), in the type and range that it is stored in."""
    _check_written(page)
    if page.compression == COMPRESSION.JPEG and page.bitspersample == 8 and page.samplesperpixel in (1, 3):
        _check_jpegs(page)
    if page.compression == COMPRESSION.LZW:
        _check_lzw(page)
    array = page.asarray()
    if page.planarconfig == 2 and array.ndim == 3:
        array = np.moveaxis(array, 0, 2)
    if array.shape[:2] != (page.imagelength, page.imagewidth):
        raise ScanError(f"TIFF whose pixels have the shape {array.shape}")
    return array.reshape(page.imagelength, page.imagewidth, -1)


def _to_range(page: TiffPage, samples: NDArray[Any]) -> Pixels:
    """Bring samples to the full range of uint8 or uint16; but indices of a palette stay as they are."""
    if samples.dtype.kind == "f":
        return pixels.from_float(samples)
    bits = 1 if samples.dtype == bool else int(page.bitspersample)
    if bits > 16 or samples.dtype.itemsize > 2:
        raise ScanError(f"TIFF of {bits}-bit integers: measurements, not a picture")
    if page.photometric == PHOTOMETRIC.PALETTE:
        return samples.astype(np.uint8) if samples.dtype == bool else samples
    return np.ascontiguousarray(pixels.widen(samples, bits))


def _check_written(page: TiffPage) -> None:
    """Refuse strips and tiles that were reserved and never written: decoders pass them as black."""
    segments = math.prod(page.chunked)
    written = sum(1 for place in zip(page.dataoffsets, page.databytecounts, strict=False) if all(place))
    # Without compression one run of bytes is read, however many strips it is said to be.
    if written < min(segments, len(page.dataoffsets) if page.is_contiguous else segments):
        missing = f"{segments - written} of {segments} {'tiles' if page.is_tiled else 'strips'}"
        raise ScanError(f"damaged TIFF: {missing} were never written")


def _check_jpegs(page: TiffPage) -> None:
    """Refuse damaged strips and tiles of JPEG: the decoder fills up what it cannot read."""
    tables = page.jpegtables or b""
    for stream in _segments(page):
        jpeg.check(tables[:-2] + stream[2:] if tables else stream)


def _check_lzw(page: TiffPage) -> None:
    """Refuse strips and tiles of LZW with codes that mean nothing: the decoder may crash on them."""
    for stream in _segments(page):
        if not lzw.is_sound(imagecodecs.bitorder_decode(stream) if page.fillorder == 2 else stream):
            raise ScanError("damaged TIFF: a code of LZW has no meaning")


def _segments(page: TiffPage) -> Iterator[bytes]:
    """Yield the encoded strips or tiles of a page."""
    for start, length in zip(page.dataoffsets, page.databytecounts, strict=False):
        page.parent.filehandle.seek(start)
        yield page.parent.filehandle.read(length)


def _from_palette(page: TiffPage, index: Pixels, alpha: Pixels | None) -> Scan:
    if page.colormap is None:
        raise ScanError("TIFF with a palette that is missing")
    entries = np.asarray(page.colormap, np.uint16)
    # A writer that leaves the upper half unused has taken the map's 16 bits for 8: every reader guesses so.
    table = (entries >> (8 if entries.max(initial=0) > 255 else 0)).astype(np.uint8).T
    return pixels.from_rgb(table[np.minimum(index, len(table) - 1)], alpha)


def _orientation(picture: Picture) -> int:
    tags = (page.tags.get(274) for page in (picture.described, picture.page))
    return next((tag.value for tag in tags if tag is not None and tag.value in range(1, 9)), 1)


def _dtype_name(page: TiffPage) -> str:
    return "of an unknown type" if page.dtype is None else page.dtype.name
