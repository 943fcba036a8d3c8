"""A page joined with its colour: encoded whole, or for TIFF in bands, so that it is never whole in memory."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from colornet.codecs import DEEP, Format, Scan, Source, encode, jpeg, jpeg_luma, webp
from colornet.codecs.scan import Pixels
from colornet.codecs.tiff_output import PageLayout
from colornet.rendering.jpeg_chroma import chroma_planes
from colornet.rendering.lab_to_srgb import lab_to_srgb


def encoded(source: Source, scan: Scan, planes: NDArray[np.float32], format: Format, quality: int) -> bytes:
    """Join a page with its colour and encode it, in a format of one page; without metadata."""
    if (
        format == source.format == "jpeg"
        and scan.plain
        and not scan.fault
        and not scan.damaged
        and jpeg_luma.keeps_luma(source.data)
    ):
        cb, cr = chroma_planes(scan.codes, scan.lightness, planes)
        return jpeg_luma.recolor(source.data, cb, cr, quality=quality)
    bits = scan.bits if format in DEEP else 8
    rgb = lab_to_srgb(scan.codes, scan.lightness, planes, bits)
    lossless = format == source.format and _is_lossless(source)
    return encode(rgb, _alpha(scan, bits), format, quality=quality, lossless=lossless)


def _is_lossless(source: Source) -> bool:
    """Whether a scan in a format that can be either is held without loss."""
    if source.format == "jpeg":
        return jpeg.is_lossless(source.data)
    return source.format == "webp" and webp.is_lossless(source.data)


def bands(scan: Scan, planes: NDArray[np.float32], layout: PageLayout) -> Iterator[NDArray[np.generic]]:
    """Render a page from top to bottom in bands of a strip's or tile's height, so that it is never whole in memory."""
    step = layout.band_rows(scan)
    for row in range(0, scan.height, step):
        codes = scan.codes[row : row + step]
        rgb = lab_to_srgb(codes, scan.lightness, planes, scan.bits, first_row=row, height=scan.height)
        yield _with_channels(rgb, scan, row)


def own_bands(scan: Scan, layout: PageLayout) -> Iterator[NDArray[np.generic]]:
    """Cut a page that keeps its colours into such bands."""
    assert scan.colours is not None
    step = layout.band_rows(scan)
    for row in range(0, scan.height, step):
        yield _with_channels(scan.colours[row : row + step], scan, row)


def _with_channels(rgb: Pixels, scan: Scan, row: int) -> Pixels:
    """Put a scan's alpha and extra samples beside a band of colours that begins with `row`."""
    rows = slice(row, row + len(rgb))
    beside = [plane[rows] for plane in (scan.alpha, scan.extra) if plane is not None]
    return np.dstack([rgb, *beside]) if beside else rgb


def _alpha(scan: Scan, bits: int) -> Pixels | None:
    if scan.alpha is None or scan.bits == bits:
        return scan.alpha
    return (scan.alpha >> 8).astype(np.uint8)
