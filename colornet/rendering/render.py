"""The finished scan: its own luminance, with colour, in the format and depth that it came in."""

import hashlib
import io
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from colornet import __version__, metadata
from colornet.codecs import DEEP, EXTENSIONS, MAX_PIXELS, Scan, Source, encode, jpeg_luma, open_source
from colornet.codecs.encode import is_lossless_webp
from colornet.codecs.scan import Pixels
from colornet.codecs.tiff import Layout, TiffOutput
from colornet.errors import InColourError
from colornet.inference.letterbox import Letterbox, shrink
from colornet.inference.predictor import Prediction
from colornet.provenance import xmp
from colornet.provenance.c2pa import Credentials, sign
from colornet.provenance.xmp import DEFAULT_SOURCE_TYPE, DigitalSourceType, Origin
from colornet.rendering.guided_upsampling import follow_lightness
from colornet.rendering.jpeg_chroma import chroma_planes
from colornet.rendering.lab_to_srgb import lab_to_srgb
from colornet.rendering.monochrome import COLOURFUL, colour_beyond_tone

OutputFormat = Literal["same", "jpeg", "png", "tiff", "jp2", "webp", "bmp"]
Colour = NDArray[np.float16]
PredictionOf = Callable[[int, Scan], Prediction]


@dataclass(frozen=True, kw_only=True)
class RenderSettings:
    """What decides, beside the bundle, what an output looks like."""

    size: int = 0
    """Side in pixels of the square that the network sees; 0 takes the size that the bundle was trained at."""
    upsampling: Literal["guided", "plain"] = "guided"
    """How colour comes to full size: along the edges of the luminance, or by plain interpolation."""
    in_colour: Literal["skip", "copy", "recolor"] = "skip"
    """What becomes of scans that are in colour already; toned prints are not. Copied ones stay as they are."""
    damaged: Literal["fail", "render"] = "fail"
    """What becomes of damaged scans: a failure with its reason, or rendered as far as they can be read, and marked."""
    output_format: OutputFormat = "same"
    """Format of the outputs; another than the scan's own appends its ending to the key."""
    quality: int = 92
    """Quality of JPEG and WebP outputs, 1 to 100. A JPEG that stays one keeps its luma: then it is the chroma's."""
    max_pixels: int = MAX_PIXELS
    """Pictures with more pixels than this are refused before they are decoded."""
    digital_source_type: DigitalSourceType = DEFAULT_SOURCE_TYPE
    """IPTC's term for what outputs are, written into their XMP."""

    def __post_init__(self) -> None:
        """Check the values; raises ValueError naming the field."""
        if self.size < 0:
            raise ValueError(f"size must be 0 or more pixels, not {self.size}")
        if not 1 <= self.quality <= 100:
            raise ValueError(f"quality must be from 1 to 100, not {self.quality}")
        if self.max_pixels < 1:
            raise ValueError(f"max-pixels must be at least 1, not {self.max_pixels}")

    @property
    def digest(self) -> str:
        """SHA-256, hexadecimal, of all that decides what an output looks like, or whether there is one."""
        decisive = asdict(self)
        del decisive["max_pixels"]  # decides about scans that fail, and those are tried again anyway
        return hashlib.sha256(repr(sorted(decisive.items())).encode()).hexdigest()

    def open(self, data: bytes) -> Source:
        """Open a scan's file; raises ScanError."""
        return open_source(data, max_pixels=self.max_pixels, salvage=self.damaged == "render")

    def format_of(self, source: str) -> str:
        """Name the format in which a scan of the format `source` is written."""
        return source if self.output_format == "same" else self.output_format

    def origin(self, source_name: str, data: bytes, bundle_digest: str) -> Origin:
        """Say what an output will be made of, and by what."""
        return Origin(
            source_name=source_name,
            source_sha256=hashlib.sha256(data).hexdigest(),
            bundle_digest=bundle_digest,
            software=f"Colornet {__version__}",
            digital_source_type=self.digital_source_type,
            settings=self.digest,
        )


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """An output and what the ledger says of it."""

    data: bytes
    format: str
    extension: str
    """What its key has behind the source's: empty, unless the format is another."""
    width: int
    height: int
    pages: int
    pixels: int
    """Of all pages."""
    mean_chroma: float | None = None
    """Mean of sqrt(a*² + b*²) over all pages, as it was predicted; None if the source's own colour was kept."""
    confidence: float | None = None
    """How sure the generator was of the page of which it was least sure, in [0, 1]; None if it does not know."""
    note: str | None = None
    """What an archivist should know of it."""


def render(
    source: Source,
    prediction_of: PredictionOf,
    settings: RenderSettings,
    origin: Origin,
    credentials: Credentials | None = None,
) -> Rendered:
    """Give every page of a scan its colour, and let the output say what it is.

    Args:
        source: the opened scan.
        prediction_of: gives, for a page's number and the page, what is predicted for `letterbox.prepare(page, S)`.
        settings: how it is rendered.
        origin: what the output says of itself.
        credentials: with which a C2PA manifest is signed, for the formats that C2PA knows.

    Raises:
        InColourError: if it is in colour already, and such scans are skipped.
        ScanError: if a page cannot be decoded, or the output not be signed.
    """
    first = source.page(0)
    if settings.in_colour != "recolor" and is_in_colour(first):
        return _unchanged(source, first, settings)
    format = settings.format_of(source.format)
    output = _picture(source, first, prediction_of, settings, format, origin)
    if credentials is not None:
        data = sign(output.data, format, source.data, source.format, credentials, origin)
        return Rendered(**{**vars(output), "data": data})
    return output


def is_in_colour(scan: Scan) -> bool:
    """Tell whether a scan has more colour than a toned print."""
    return scan.thumbnail is not None and colour_beyond_tone(scan.thumbnail) > COLOURFUL


def colour_planes(scan: Scan, ab: Colour, settings: RenderSettings) -> NDArray[np.float32]:
    """Cut a page's colour out of the network's square, as `join` takes it: plain, or following the luminance."""
    letterbox = Letterbox.fit(scan, ab.shape[-1])
    small = letterbox.crop(ab.astype(np.float32))
    if settings.upsampling == "plain":
        return small
    return follow_lightness(small, shrink(scan, *letterbox.stored_size))


class _Predicted:
    """Asks for each page's colour, and keeps the mean of its chroma and the least confidence."""

    def __init__(self, prediction_of: PredictionOf) -> None:
        self.prediction_of = prediction_of
        self.total, self.pixels = 0.0, 0
        self.confidence: float | None = None

    def __call__(self, index: int, scan: Scan) -> Colour:
        ab, confidence = self.prediction_of(index, scan)
        a, b = Letterbox.fit(scan, ab.shape[-1]).crop(ab.astype(np.float32))
        self.total += float(np.hypot(a, b).mean()) * scan.pixels
        self.pixels += scan.pixels
        self.confidence = min((each for each in (self.confidence, confidence) if each is not None), default=None)
        return ab

    @property
    def mean_chroma(self) -> float:
        return self.total / self.pixels


def _unchanged(source: Source, first: Scan, settings: RenderSettings) -> Rendered:
    if settings.in_colour == "skip":
        raise InColourError("already in colour")
    return Rendered(
        data=source.data,
        format=source.format,
        extension="",
        width=first.width,
        height=first.height,
        pages=source.page_count,
        pixels=first.pixels,
        note="already in colour: copied",
    )


def _picture(
    source: Source, first: Scan, prediction_of: PredictionOf, settings: RenderSettings, format: str, origin: Origin
) -> Rendered:
    predicted = _Predicted(prediction_of)

    def words() -> list[metadata.Metadata]:
        described = [xmp.describe(page, origin, predicted.confidence) for page in source.metadata()]
        return [metadata.for_output(each, format) for each in described]

    if format == "tiff":
        file, pixels = _render_tiff(source, first, predicted, settings)
        metadata.embed_pages(file, words())
        data, pages = file.getvalue(), source.page_count
    else:
        bare = _render_one(source, first, predicted(0, first), settings, format)
        data, pages, pixels = metadata.embed(bare, format, words()[0]), 1, first.pixels
    return Rendered(
        data=data,
        format=format,
        extension="" if format == source.format else EXTENSIONS[format],
        width=first.width,
        height=first.height,
        pages=pages,
        pixels=pixels,
        mean_chroma=predicted.mean_chroma,
        confidence=predicted.confidence,
        note=_note(first, source.page_count - pages, format),
    )


def _note(first: Scan, left_out: int, format: str) -> str | None:
    """Say in the ledger what is not as it should be."""
    notes = []
    if first.damaged:
        notes.append("damaged: rendered as far as it could be read")
    if left_out:
        notes.append(f"{left_out} pages left out: {format} holds one")
    return "; ".join(notes) or None


def _render_one(source: Source, scan: Scan, ab: Colour, settings: RenderSettings, format: str) -> bytes:
    planes = colour_planes(scan, ab, settings)
    if format == source.format == "jpeg" and scan.plain and not scan.damaged and jpeg_luma.keeps_luma(source.data):
        cb, cr = chroma_planes(scan.codes, scan.lightness, planes)
        return jpeg_luma.recolor(source.data, cb, cr, quality=settings.quality)
    bits = scan.bits if format in DEEP else 8
    rgb = lab_to_srgb(scan.codes, scan.lightness, planes, bits)
    lossless = format == source.format == "webp" and is_lossless_webp(source.data)
    return encode(rgb, _alpha(scan, bits), format, quality=settings.quality, lossless=lossless)


def _render_tiff(
    source: Source, first: Scan, predicted: _Predicted, settings: RenderSettings
) -> tuple[io.BytesIO, int]:
    output, pixels = TiffOutput(source.layout(0)), 0
    for index in range(source.page_count):
        scan = first if index == 0 else source.page(index)
        layout = source.layout(index)
        planes = colour_planes(scan, predicted(index, scan), settings)
        output.add(_bands(scan, planes, layout), scan, layout)
        pixels += scan.pixels
    return output.finish(), pixels


def _bands(scan: Scan, planes: NDArray[np.float32], layout: Layout) -> Iterator[NDArray[np.generic]]:
    """Render a page from top to bottom in bands of a strip's or tile's height, so that it is never whole in memory."""
    step = layout.band_rows(scan)
    for row in range(0, scan.height, step):
        codes = scan.codes[row : row + step]
        rgb = lab_to_srgb(codes, scan.lightness, planes, scan.bits, first_row=row, height=scan.height)
        yield rgb if scan.alpha is None else np.dstack([rgb, scan.alpha[row : row + step]])


def _alpha(scan: Scan, bits: int) -> Pixels | None:
    if scan.alpha is None or scan.bits == bits:
        return scan.alpha
    return (scan.alpha >> 8).astype(np.uint8)
