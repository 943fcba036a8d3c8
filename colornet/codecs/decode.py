"""Bytes to Scans: the format from the first bytes, the size from the header before anything is decoded."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import imagecodecs
import numpy as np

from colornet import metadata
from colornet.codecs import bmp, jpeg, jpeg2000, jpeg_segments, pillow, pixels, png, webp
from colornet.codecs.limits import MAX_PIXELS, check_size
from colornet.codecs.scan import Scan
from colornet.codecs.tiff import TiffSource
from colornet.codecs.tiff_output import PageLayout
from colornet.errors import ScanError
from colornet.formats import FORMATS, Format
from colornet.metadata import Metadata

T = TypeVar("T")
ORIENTATION = 0x0112

_SIGNATURES: dict[bytes, Format] = {
    b"\xff\xd8\xff": "jpeg",
    b"\x89PNG\r\n\x1a\n": "png",
    b"II*\x00": "tiff",
    b"MM\x00*": "tiff",
    b"II+\x00": "tiff",
    b"MM\x00+": "tiff",
    b"\x00\x00\x00\x0cjP  \r\n\x87\n": "jp2",
    b"\xff\x4f\xff\x51": "j2k",
    b"BM": "bmp",
}


class Source(Protocol):
    """An opened file: its pages are decoded one at a time."""

    @property
    def format(self) -> Format:
        """One of FORMATS."""

    @property
    def data(self) -> bytes:
        """The encoded bytes."""

    @property
    def page_count(self) -> int:
        """Pages; 1 in all formats but TIFF."""

    @property
    def notes(self) -> Sequence[str]:
        """What of the file is in none of its pages, and will not be in an output."""

    def metadata(self) -> list[Metadata]:
        """Read what each page says of itself; damage to that is no error."""

    def page(self, index: int) -> Scan:
        """Decode one page."""

    def layout(self, index: int) -> PageLayout:
        """Say how one page would be stored in TIFF: as it is, if it is."""


@dataclass(frozen=True)
class _OnePicture:
    format: Format
    data: bytes
    decode: Callable[[], Scan]
    found: Metadata
    page_count: int = 1
    notes: Sequence[str] = ()

    def metadata(self) -> list[Metadata]:
        return [self.found]

    def page(self, index: int) -> Scan:
        return replace(self.decode(), orientation=self.found.orientation)

    def layout(self, index: int) -> PageLayout:
        return PageLayout()


@dataclass(frozen=True)
class _Strict:
    """Lets nothing out but ScanError, with a reason fit for the ledger."""

    source: Source
    salvage: bool
    max_pixels: int

    @property
    def format(self) -> Format:
        return self.source.format

    @property
    def data(self) -> bytes:
        return self.source.data

    @property
    def page_count(self) -> int:
        return self.source.page_count

    @property
    def notes(self) -> Sequence[str]:
        return self.source.notes

    def metadata(self) -> list[Metadata]:
        return self.source.metadata()

    def page(self, index: int) -> Scan:
        try:
            return _strictly(self.format, lambda: self.source.page(index))
        except ScanError as error:
            if not self.salvage or index or not str(error).startswith("damaged "):  # what is not read is not salvaged
                raise
            return _strictly(self.format, lambda: _salvaged(self.data, self.format, self.max_pixels))

    def layout(self, index: int) -> PageLayout:
        return self.source.layout(index)


def sniff(data: bytes) -> Format:
    """Name the format of encoded bytes, one of FORMATS.

    Raises:
        ScanError: if there are no bytes, or they begin like none of these.
    """
    if not data:
        raise ScanError("the file is empty")
    for signature, name in _SIGNATURES.items():
        if data.startswith(signature):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    raise ScanError(f"not a file of a known format ({', '.join(FORMATS)}): it begins with {data[:8].hex(' ')}")


def open_source(data: bytes, *, max_pixels: int = MAX_PIXELS, salvage: bool = False) -> Source:
    """Open a scan's file.

    Args:
        data: the encoded bytes.
        max_pixels: pictures with more pixels by their header are refused before they are decoded.
        salvage: of a first page that is damaged, give what can be read of it, and mark it as damaged.

    Raises:
        ScanError: for whatever is wrong with the bytes, now or when a page is decoded; the message is a reason fit for
            the ledger. MemoryError is let through: it says something of the machine, not of the scan.
    """
    format = sniff(data)
    return _Strict(_strictly(format, lambda: _OPENERS[format](data, max_pixels)), salvage, max_pixels)


def decode(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Scan:
    """Decode the first page of a scan's file; as `open_source`."""
    return open_source(data, max_pixels=max_pixels).page(0)


def _strictly(format: Format, work: Callable[[], T]) -> T:
    try:
        return work()
    except (ScanError, MemoryError):
        raise
    except Exception as error:  # decoders raise OSError, ValueError, TypeError, SyntaxError, struct.error and more
        raise ScanError(f"damaged {format.upper()}: {_one_line(error)}") from error


def _one_line(error: Exception) -> str:
    """Put a decoder's words on one line, without the addresses that would make equal reasons differ."""
    if isinstance(error, UnicodeDecodeError):  # imagecodecs stumbles over libpng's own message
        return "the decoder refuses it"
    sentence = re.sub(r"<(\S+) object at 0x[0-9a-f]+>", r"\1", " ".join(str(error).split()))
    return sentence[:300] or type(error).__name__


def _salvaged(data: bytes, format: Format, max_pixels: int) -> Scan:
    """Decode as far as it goes, with Pillow, which fills up what is missing."""
    with pillow.open_damaged(data, format) as image:
        check_size(image.width, image.height, max_pixels)
        pillow.load_what_is_there(image)
        scan = pixels.from_channels(np.asarray(image.convert("L" if image.mode in ("1", "L") else "RGB")))
        orientation = image.getexif().get(ORIENTATION, 1)
    return replace(scan, damaged=True, orientation=orientation if orientation in range(1, 9) else 1)


def _open_jpeg(data: bytes, max_pixels: int) -> Source:
    frame = jpeg.read_header(data)
    check_size(frame.width, frame.height, max_pixels)
    found = metadata.read(data, "jpeg")
    notes = ["further pictures of an MPO left out"] if jpeg_segments.has_more_pictures(data) else []
    return _OnePicture("jpeg", data, lambda: jpeg.decode(data, frame, found.icc), found, notes=notes)


def _open_png(data: bytes, max_pixels: int) -> Source:
    header = png.read_header(data)
    check_size(header.width, header.height, max_pixels)
    found = metadata.read(data, "png")
    return _OnePicture("png", data, lambda: png.decode(data, header, found.icc), found, notes=_frames(header.frames))


def _frames(left_out: int) -> list[str]:
    """The note on what an animation has beside its first picture."""
    return [f"{left_out} further frames left out"] if left_out else []


def _open_jpeg2000(data: bytes, max_pixels: int, format: Format) -> Source:
    """A JP2 file, or the bare codestream ("j2k") that such a file wraps."""
    header = jpeg2000.read_header(data)
    check_size(header.width, header.height, max_pixels)
    found = metadata.read(data, format)
    return _OnePicture(format, data, lambda: jpeg2000.decode(data, header, found.icc), found)


def _open_webp(data: bytes, max_pixels: int) -> Source:
    width, height = webp.size(data)
    check_size(width, height, max_pixels)
    found = metadata.read(data, "webp")

    def work() -> Scan:
        return pixels.from_channels(imagecodecs.webp_decode(data), icc=found.icc)

    return _OnePicture("webp", data, work, found, notes=_frames(webp.frames(data) - 1))


def _open_bmp(data: bytes, max_pixels: int) -> Source:
    header = bmp.read_header(data)
    check_size(header.width, header.height, max_pixels)
    return _OnePicture("bmp", data, lambda: bmp.decode(data, header), metadata.read(data, "bmp"))


_OPENERS: dict[Format, Callable[[bytes, int], Source]] = {
    "jpeg": _open_jpeg,
    "png": _open_png,
    "tiff": TiffSource,
    "jp2": lambda data, max_pixels: _open_jpeg2000(data, max_pixels, "jp2"),
    "j2k": lambda data, max_pixels: _open_jpeg2000(data, max_pixels, "j2k"),
    "webp": _open_webp,
    "bmp": _open_bmp,
}
