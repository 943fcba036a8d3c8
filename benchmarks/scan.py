"""What a scan costs here outside the network: milliseconds per megapixel of each step and format, on one core.

    python -m benchmarks.scan
    python -m benchmarks.scan --megapixels 4 --repeat 5

Scans are made up: smooth shading, edges and grain, as photographs have. Every figure is the median of its runs. The
last columns are the whole chain from bytes to bytes, with guided and with plain colour, and the memory it peaks at.
"""

import io
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import imagecodecs
import numpy as np
import simplejpeg
import tifffile
import torch
import tyro
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.archive import shading
from colornet import metadata
from colornet.codecs import encode, open_source
from colornet.inference.page import prepare
from colornet.inference.predictor import Prediction
from colornet.metadata import Metadata
from colornet.rendering.render import Rendering, RenderSettings

SIZE = 256


@dataclass(frozen=True, kw_only=True)
class BenchmarkSettings:
    """The settings of benchmarks.scan."""

    megapixels: float = 12.0
    """Size of the scans."""
    repeat: int = 3
    """Runs of each measurement, after one that is not counted."""


def benchmark(settings: BenchmarkSettings) -> int:
    """Measure, and print a table."""
    torch.set_num_threads(1)
    table = Table("scan", "bytes/pixel", "open + decode", "prepare", "guided", "plain", "peak bytes/pixel")
    for name, data in _scans(settings.megapixels):
        table.add_row(name, *(f"{figure:.1f}" for figure in _measure(data, settings.repeat)))
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table)
    console.print("milliseconds per megapixel on one core; guided and plain are the whole chain without the network")
    return 0


def _measure(data: bytes, repeat: int) -> list[float]:
    scan = open_source(data).page(0)
    prediction = Prediction(_colour(), None)
    rendering = RenderSettings(size=SIZE, in_colour="recolor")
    origin = rendering.origin("benchmark", b"", "")

    def chain(settings: RenderSettings) -> Callable[[], object]:
        def step() -> object:
            rendering = Rendering(open_source(data), settings, origin)
            for _, page in rendering.pages():
                rendering.add(prepare(page, SIZE), prediction)
            return rendering.finish()

        return step

    guided, plain = chain(rendering), chain(replace(rendering, upsampling="plain"))
    steps = [lambda: open_source(data).page(0), lambda: prepare(scan, SIZE), guided, plain]
    per_megapixel = [1000 * _median(step, repeat) / (scan.pixels / 1e6) for step in steps]
    return [len(data) / scan.pixels, *per_megapixel, _peak(guided) / scan.pixels]


def _median(step: Callable[[], object], repeat: int) -> float:
    step()
    seconds = []
    for _ in range(repeat):
        started = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def _peak(step: Callable[[], object]) -> int:
    """Bytes that Python and numpy hold at most while the step runs; codecs' own buffers are not seen."""
    tracemalloc.start()
    step()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def _colour() -> NDArray[np.float16]:
    """A predicted colour as photographs have it: smooth, muted, (2, SIZE, SIZE)."""
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    return np.stack([15 * np.sin(y / 40), 12 * np.cos(x / 30)]).astype(np.float16)


def _scans(megapixels: float) -> Iterator[tuple[str, bytes]]:
    """Make one scan of each kind: what it is, and its bytes."""
    shade = shading(megapixels)
    gray = shade.astype(np.uint8)
    sepia = np.dstack([gray, (gray * 0.9).astype(np.uint8), (gray * 0.7).astype(np.uint8)])
    deep = (shade * 257).astype(np.uint16)
    yield "JPEG, gray, luma kept", simplejpeg.encode_jpeg(gray[..., None], 92, "GRAY", "Gray")
    linear = imagecodecs.cms_profile("gray", gamma=1.8)
    jpeg = metadata.embed(simplejpeg.encode_jpeg(gray[..., None], 92, "GRAY", "Gray"), "jpeg", Metadata(icc=linear))
    yield "JPEG, gray, through pixels", jpeg
    yield "JPEG, sepia, luma kept", encode(sepia, None, "jpeg")
    yield "TIFF, 8 bits, raw", _tiff(gray, None)
    for compression in (None, "zstd", "zlib", "lzw"):
        yield f"TIFF, 16 bits, {compression or 'raw'}", _tiff(deep, compression)
    yield "PNG, 8 bits", bytes(imagecodecs.png_encode(gray))
    yield "PNG, 16 bits", bytes(imagecodecs.png_encode(deep))
    yield "JPEG 2000, 8 bits", bytes(imagecodecs.jpeg2k_encode(gray, reversible=True))
    yield "WebP, lossless", bytes(imagecodecs.webp_encode(sepia, lossless=True))
    yield "WebP, lossy", bytes(imagecodecs.webp_encode(sepia, level=90, lossless=False))


def _tiff(pixels: NDArray[np.generic], compression: str | None) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, compression=compression, predictor=compression is not None, rowsperstrip=64)
    return buffer.getvalue()


if __name__ == "__main__":
    sys.exit(benchmark(tyro.cli(BenchmarkSettings, description=__doc__)))
