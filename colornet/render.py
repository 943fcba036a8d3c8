"""The finished scan: its own luminance, with colour, in the format and depth that it came in."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from colornet.frame import Frame, shrink
from colornet.guide import follow_lightness
from colornet.join import join
from colornet.scans import DEEP, EXTENSIONS, MAX_PIXELS, Scan, Source, encode
from colornet.scans.tiff import Layout, TiffOutput

OutputFormat = Literal["same", "jpeg", "png", "tiff", "jp2", "webp", "bmp"]
Colour = NDArray[np.float16]


@dataclass(frozen=True, kw_only=True)
class RenderSettings:
    """What decides, beside the bundle, what an output looks like."""

    size: int = 0
    """Side in pixels of the square that the network sees; 0 takes the size that the bundle was trained at."""
    upsampling: Literal["guided", "plain"] = "guided"
    """How colour comes to full size: along the edges of the luminance, or by plain interpolation."""
    output_format: OutputFormat = "same"
    """Format of the outputs; another than the scan's own appends its ending to the key."""
    quality: int = 92
    """Quality of JPEG and WebP outputs, 1 to 100."""
    max_pixels: int = MAX_PIXELS
    """Pictures with more pixels than this are refused before they are decoded."""

    def __post_init__(self) -> None:
        """Check the values; raises ValueError naming the field."""
        if self.size < 0:
            raise ValueError(f"size must be 0 or more pixels, not {self.size}")
        if not 1 <= self.quality <= 100:
            raise ValueError(f"quality must be from 1 to 100, not {self.quality}")
        if self.max_pixels < 1:
            raise ValueError(f"max-pixels must be at least 1, not {self.max_pixels}")

    def form_of(self, source: str) -> str:
        """Name the format in which a scan of the format `source` is written."""
        return source if self.output_format == "same" else self.output_format

    def key_of(self, key: str, source: str) -> str:
        """Name the output of a scan: its own key, with an ending for another format, so that no two outputs collide."""
        form = self.form_of(source)
        return key if form == source else key + EXTENSIONS[form]


@dataclass(frozen=True)
class Rendered:
    """An output and what the ledger says of it."""

    data: bytes
    form: str
    width: int
    height: int
    pages: int
    pixels: int


def render(source: Source, colour_of: Callable[[int, Scan], Colour], settings: RenderSettings) -> Rendered:
    """Give every page of a scan its colour.

    Args:
        source: the opened scan.
        colour_of: gives, for a page's number and the page, (2, S, S) float16: a* and b* in [-128, 127] for
            `frame.prepare(page, S)`.
        settings: how it is rendered.

    Raises:
        ScanError: if a page cannot be decoded.
    """
    form = settings.form_of(source.form)
    if form == "tiff":
        return _render_tiff(source, colour_of, settings)
    scan = source.page(0)
    planes = colour_planes(scan, colour_of(0, scan), settings)
    bits = scan.bits if form in DEEP else 8
    rgb = join(scan.codes, scan.lightness, planes, bits)
    data = encode(rgb, _alpha(scan, bits), form, quality=settings.quality)
    return Rendered(data, form, scan.width, scan.height, 1, scan.pixels)


def colour_planes(scan: Scan, ab: Colour, settings: RenderSettings) -> NDArray[np.float32]:
    """Cut a page's colour out of the network's square, as `join` takes it: plain, or following the luminance."""
    frame = Frame.fit(scan, ab.shape[-1])
    small = frame.crop(ab.astype(np.float32))
    if settings.upsampling == "plain":
        return small
    return follow_lightness(small, shrink(scan, *frame.stored_size))


def _render_tiff(source: Source, colour_of: Callable[[int, Scan], Colour], settings: RenderSettings) -> Rendered:
    output, first, pixels = None, None, 0
    for index in range(source.page_count):
        scan = source.page(index)
        layout = source.layout(index)
        output = output or TiffOutput(layout)
        planes = colour_planes(scan, colour_of(index, scan), settings)
        output.add(_bands(scan, planes, layout), scan, layout, quality=settings.quality)
        first, pixels = first or scan, pixels + scan.pixels
    assert output is not None and first is not None  # a source has a page
    return Rendered(output.finish(), "tiff", first.width, first.height, source.page_count, pixels)


def _bands(scan: Scan, planes: NDArray[np.float32], layout: Layout) -> Iterator[NDArray[np.generic]]:
    """Render a page from top to bottom in bands of a strip's or tile's height, so that it is never whole in memory."""
    step = layout.band_rows(scan)
    for row in range(0, scan.height, step):
        codes = scan.codes[row : row + step]
        rgb = join(codes, scan.lightness, planes, scan.bits, first_row=row, height=scan.height)
        yield rgb if scan.alpha is None else np.dstack([rgb, scan.alpha[row : row + step]])


def _alpha(scan: Scan, bits: int) -> NDArray[np.uint8] | NDArray[np.uint16] | None:
    if scan.alpha is None or scan.bits == bits:
        return scan.alpha
    return (scan.alpha >> 8).astype(np.uint8)
