"""TIFF, read: every page, of nearly any kind, through tifffile and imagecodecs."""

import io
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import tifffile
from tifffile import COMPRESSION, EXTRASAMPLE, PHOTOMETRIC, TiffPage

from colornet import metadata
from colornet.codecs import icc_profiles, pixels
from colornet.codecs.limits import check_size
from colornet.codecs.scan import Scan
from colornet.codecs.tiff_output import PageLayout
from colornet.errors import ScanError
from colornet.formats import Format
from colornet.metadata import Metadata

MAX_PAGES = 10_000
_GRAY = (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE)
_KNOWN = (*_GRAY, PHOTOMETRIC.RGB, PHOTOMETRIC.YCBCR, PHOTOMETRIC.PALETTE, PHOTOMETRIC.SEPARATED)
_CHANNELS = {PHOTOMETRIC.RGB: 3, PHOTOMETRIC.YCBCR: 3, PHOTOMETRIC.SEPARATED: 4}


class TiffSource:
    """An opened TIFF file. Thumbnails that it carries as reduced-resolution pages are left out."""

    format: Format = "tiff"

    def __init__(self, data: bytes, max_pixels: int) -> None:
        """Read the header and all pages' tags; raises ScanError or whatever tifffile raises on damage."""
        self.data = data
        self._file = tifffile.TiffFile(io.BytesIO(data))
        if len(self._file.pages) > MAX_PAGES:
            raise ScanError(f"TIFF of {len(self._file.pages)} pages, more than the bound of {MAX_PAGES}")
        self.tiff_pages: Sequence[TiffPage] = _full_pages(self._file)
        if not self.tiff_pages:
            raise ScanError("damaged TIFF: it has no page")
        for page in self.tiff_pages:
            check_size(page.imagewidth, page.imagelength, max_pixels)
            check_size(page.tilewidth or 1, page.tilelength or 1, max_pixels)

    @property
    def page_count(self) -> int:
        """Pages at full resolution."""
        return len(self.tiff_pages)

    def page(self, index: int) -> Scan:
        """Decode one page."""
        page = self.tiff_pages[index]
        return replace(_decode(page), orientation=_orientation(page))

    def metadata(self) -> list[Metadata]:
        """Read what each page says of itself."""
        kept = {page.offset for page in self.tiff_pages}
        found = zip(self._file.pages, metadata.read_pages(self._file), strict=True)
        return [described for page, described in found if page.offset in kept]

    def layout(self, index: int) -> PageLayout:
        """Say how one page is stored."""
        page = self.tiff_pages[index]
        return PageLayout(
            compression=_writable_compression(page),
            tile=(page.tilelength, page.tilewidth) if page.is_tiled else None,
            extrasample="assocalpha" if EXTRASAMPLE.ASSOCALPHA in page.extrasamples else "unassalpha",
            bigtiff=bool(self._file.is_bigtiff),
            byteorder=self._file.byteorder,
        )


def _full_pages(file: tifffile.TiffFile) -> list[TiffPage]:
    pages = [page for page in file.pages if isinstance(page, TiffPage)]
    if len(pages) != len(file.pages):
        raise ScanError("TIFF pages that cannot be read")
    return [page for page in pages if not page.is_reduced] or pages


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
    colours = _CHANNELS.get(photometric, 1)
    if not colours <= page.samplesperpixel <= colours + 1:
        raise ScanError(f"TIFF of {kind}: expected {colours} samples a pixel, and alpha")
    samples = _samples(page)
    icc = page.tags[34675].value if 34675 in page.tags and isinstance(page.tags[34675].value, bytes) else None
    alpha = np.ascontiguousarray(samples[..., colours]) if samples.shape[2] > colours else None
    colour = samples[..., :colours]
    if photometric is PHOTOMETRIC.PALETTE:
        return _from_palette(page, colour[..., 0])
    if photometric in _GRAY:
        return pixels.from_gray(colour[..., 0], alpha, icc=icc, inverted=photometric is PHOTOMETRIC.MINISWHITE)
    if photometric is PHOTOMETRIC.SEPARATED:
        return pixels.from_rgb(icc_profiles.cmyk_to_srgb(np.ascontiguousarray(colour), icc), alpha)
    return pixels.from_rgb(colour, alpha, icc=icc)


def _samples(page: TiffPage) -> pixels.Pixels:
    """Decode to (H, W, C), over the full range of uint8 or uint16."""
    _check_written(page)
    array = page.asarray()
    if page.planarconfig == 2 and array.ndim == 3:
        array = np.moveaxis(array, 0, 2)
    if array.shape[:2] != (page.imagelength, page.imagewidth):
        raise ScanError(f"TIFF whose pixels have the shape {array.shape}")
    array = array.reshape(page.imagelength, page.imagewidth, -1)
    if array.dtype.kind == "f":
        return pixels.from_float(array)
    bits = 1 if array.dtype == bool else int(page.bitspersample)
    if bits > 16 or array.dtype.itemsize > 2:
        raise ScanError(f"TIFF of {bits}-bit integers: measurements, not a picture")
    if page.photometric == PHOTOMETRIC.PALETTE:
        return array.astype(np.uint8) if array.dtype == bool else array
    return pixels.widen(array, bits)


def _check_written(page: TiffPage) -> None:
    """Refuse strips and tiles that were reserved and never written: decoders pass them as black."""
    segments = math.prod(page.chunked)
    written = sum(1 for place in zip(page.dataoffsets, page.databytecounts, strict=False) if all(place))
    # Without compression one run of bytes is read, however many strips it is said to be.
    if written < min(segments, len(page.dataoffsets) if page.is_contiguous else segments):
        missing = f"{segments - written} of {segments} {'tiles' if page.is_tiled else 'strips'}"
        raise ScanError(f"damaged TIFF: {missing} were never written")


def _from_palette(page: TiffPage, index: Any) -> Scan:
    if page.colormap is None:
        raise ScanError("TIFF with a palette that is missing")
    entries = np.asarray(page.colormap, np.uint16)
    # A writer that leaves the upper half unused has taken the map's 16 bits for 8: every reader guesses so.
    table = (entries >> (8 if entries.max(initial=0) > 255 else 0)).astype(np.uint8).T
    return pixels.from_rgb(table[np.minimum(index, len(table) - 1)])


def _orientation(page: TiffPage) -> int:
    tag = page.tags.get(274)
    return tag.value if tag is not None and tag.value in range(1, 9) else 1


def _dtype_name(page: TiffPage) -> str:
    return "of an unknown type" if page.dtype is None else page.dtype.name
