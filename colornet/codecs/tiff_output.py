"""TIFF, written: colour pages one by one, each stored as its source was."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray

from colornet.codecs import pixels
from colornet.codecs.scan import Scan

STRIP_BYTES = 1 << 20
LEVELS = {"zlib": 2, "zstd": 3}
"""Levels of compression: higher ones cost much time and save little."""


@dataclass(frozen=True, kw_only=True)
class PageLayout:
    """How a page was stored: the colour page is stored likewise."""

    compression: str = "zlib"
    """Name of the compression in tifffile: a lossless one, as luminance is to be kept; "none" for none."""
    tile: tuple[int, int] | None = None
    """Height and width of tiles, or None for strips."""
    premultiplied: bool = False
    """Whether colours are multiplied by alpha (TIFF's associated alpha)."""
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


class TiffOutput:
    """A TIFF file in memory to which colour pages are added one by one."""

    def __init__(self, layout: PageLayout) -> None:
        """Open it; byte order and offset size are the first page's."""
        self._buffer = io.BytesIO()
        self._writer = tifffile.TiffWriter(self._buffer, bigtiff=layout.bigtiff, byteorder=layout.byteorder)

    def add(self, bands: Iterator[NDArray[np.generic]], scan: Scan, layout: PageLayout) -> None:
        """Append the colour page of a scan.

        Args:
            bands: (rows, W, C), of `layout.band_rows(scan)` rows each but for the last: R, G, B, alpha and the scan's
                extra samples, those that it has. R, G and B are not multiplied by alpha yet.
            scan: the page that gets its colour.
            layout: how the page is stored.
        """
        extra = 0 if scan.extra is None else scan.extra.shape[2]
        alpha = [] if scan.alpha is None else ["assocalpha" if layout.premultiplied else "unassalpha"]
        options = _compression(layout)
        if scan.alpha is not None and layout.premultiplied:
            bands = map(_multiplied, bands)
        self._writer.write(
            _tiles(bands, layout.tile) if layout.tile else _strips(bands, layout, options),
            shape=(scan.height, scan.width, 3 + len(alpha) + extra),
            dtype=np.uint8 if scan.bits == 8 else np.uint16,
            photometric="rgb",
            extrasamples=alpha + ["unspecified"] * extra,
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


def _multiplied(band: NDArray[Any]) -> NDArray[Any]:
    """Multiply R, G and B by alpha, the fourth."""
    return np.dstack([pixels.multiply_by_alpha(band[..., :3], band[..., 3]), band[..., 3:]])


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
