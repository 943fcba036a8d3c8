"""TIFF: every page, of nearly any kind, through tifffile and imagecodecs."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from tifffile import COMPRESSION, EXTRASAMPLE, PHOTOMETRIC, TiffPage

from colornet import metadata
from colornet.codecs import icc_profiles, pixels
from colornet.codecs.limits import check_size
from colornet.codecs.scan import Scan
from colornet.errors import ScanError
from colornet.formats import Format
from colornet.metadata import Metadata

MAX_PAGES = 10_000
STRIP_BYTES = 1 << 20
LEVELS = {"zlib": 2, "zstd": 3}
"""Levels of compression: higher ones cost much time and save little."""
_GRAY = (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE)
_KNOWN = (*_GRAY, PHOTOMETRIC.RGB, PHOTOMETRIC.YCBCR, PHOTOMETRIC.PALETTE, PHOTOMETRIC.SEPARATED)
_CHANNELS = {PHOTOMETRIC.RGB: 3, PHOTOMETRIC.YCBCR: 3, PHOTOMETRIC.SEPARATED: 4}


@dataclass(frozen=True, kw_only=True)
class PageLayout:
    """How a page was stored: the colour page is stored likewise."""

    compression: str = "zlib"
    """Name of the compression in tifffile: a lossless one, as luminance is to be kept; "none" for none."""
    tile: tuple[int, int] | None = None
    """Height and width of tiles, or None for strips."""
    extrasample: str = "unassalpha"
    """What tifffile calls the alpha channel: "unassalpha" or "assocalpha"."""
    bigtiff: bool = False
    """Whether the file has 64-bit offsets."""
    byteorder: Literal["<", ">"] = "<"
    """Of all numbers in the file."""

    def band_rows(self, scan: Scan) -> int:
        """Rows that are written at a time: a row of tiles, or a strip of about a megabyte."""
        if self.tile:
            return self.tile[0]
        rows = STRIP_BYTES // (scan.width * 3 * scan.bits // 8)
        return max(16, rows - rows % 16)


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


def _from_palette(page: TiffPage, index: Any) -> Scan:
    if page.colormap is None:
        raise ScanError("TIFF with a palette that is missing")
    table = (np.asarray(page.colormap, np.uint16) >> 8).astype(np.uint8).T
    return pixels.from_rgb(table[np.minimum(index, len(table) - 1)])


def _orientation(page: TiffPage) -> int:
    tag = page.tags.get(274)
    return tag.value if tag is not None and tag.value in range(1, 9) else 1


def _dtype_name(page: TiffPage) -> str:
    return "of an unknown type" if page.dtype is None else page.dtype.name


class TiffOutput:
    """A TIFF file in memory to which colour pages are added one by one."""

    def __init__(self, layout: PageLayout) -> None:
        """Open it; byte order and offset size are the first page's."""
        self._buffer = io.BytesIO()
        self._writer = tifffile.TiffWriter(self._buffer, bigtiff=layout.bigtiff, byteorder=layout.byteorder)

    def add(self, bands: Iterator[NDArray[np.generic]], scan: Scan, layout: PageLayout) -> None:
        """Append the colour page of a scan.

        Args:
            bands: (rows, W, C) with C = 3, or 4 with alpha, of `layout.band_rows(scan)` rows each but for the last.
            scan: the page that gets its colour.
            layout: how the page is stored.
        """
        channels = 3 if scan.alpha is None else 4
        options = _compression(layout)
        self._writer.write(
            _tiles(bands, layout.tile) if layout.tile else _strips(bands, layout, options),
            shape=(scan.height, scan.width, channels),
            dtype=np.uint8 if scan.bits == 8 else np.uint16,
            photometric="rgb",
            extrasamples=[] if scan.alpha is None else [layout.extrasample],
            tile=layout.tile,
            rowsperstrip=None if layout.tile else min(layout.band_rows(scan), scan.height),
            metadata=None,
            maxworkers=1,
            **options,
        )

    def finish(self) -> io.BytesIO:
        """End the file and return it, open for reading and writing."""
        self._writer.close()
        return self._buffer


def _tiles(bands: Iterator[NDArray[np.generic]], tile: tuple[int, int]) -> Iterator[NDArray[np.generic]]:
    """Cut bands into tiles, those at the edges filled up by repeating the last row and column."""
    height, width = tile
    for band in bands:
        padding = ((0, -band.shape[0] % height), (0, -band.shape[1] % width), (0, 0))
        padded = np.pad(band, padding, mode="edge")
        for column in range(0, padded.shape[1], width):
            yield np.ascontiguousarray(padded[:, column : column + width])


def _strips(bands: Iterator[NDArray[np.generic]], layout: PageLayout, options: dict[str, Any]) -> Iterator[Any]:
    """Encode each band as one strip: of a page without tiles, tifffile takes no bands that are arrays."""
    compression = options.get("compression")
    for band in bands:
        samples = imagecodecs.delta_encode(band, axis=1) if compression else band
        raw: bytes | bytearray = samples.astype(samples.dtype.newbyteorder(layout.byteorder), copy=False).tobytes()
        if compression == "lzw":
            raw = imagecodecs.lzw_encode(raw)
        elif compression == "zlib":
            raw = imagecodecs.zlib_encode(raw, level=LEVELS["zlib"])
        elif compression == "zstd":
            raw = imagecodecs.zstd_encode(raw, level=LEVELS["zstd"])
        yield bytes(raw)


def _compression(layout: PageLayout) -> dict[str, Any]:
    """Give tifffile's options for a page."""
    if layout.compression == "none":
        return {}
    if layout.compression == "lzw":
        return {"compression": "lzw", "predictor": True}
    name = "zstd" if layout.compression == "zstd" else "zlib"
    return {"compression": name, "predictor": True, "compressionargs": {"level": LEVELS[name]}}
