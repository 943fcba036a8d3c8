"""Good files made bad, one for each seed: cut short, bytes changed, sizes rewritten, parts moved."""

import functools
import io

import imagecodecs
import numpy as np
import tifffile

from tests import pictures


def mutated(seed: int) -> bytes:
    """A damaged file; the same for the same seed."""
    rng = np.random.default_rng([20, seed])
    files = good_files()
    data = bytearray(files[int(rng.integers(len(files)))])
    for _ in range(int(rng.integers(1, 4))):
        MUTATIONS[int(rng.integers(len(MUTATIONS)))](data, rng)
    return bytes(data)


@functools.cache
def good_files() -> tuple[bytes, ...]:
    """One small file of each kind that archives hold."""
    gray, colour = pictures.gray(90, 120), pictures.colour(90, 120)
    deep = gray.astype(np.uint16) * 257
    return (
        pictures.encoded(gray, "JPEG", dpi=(300, 300)),
        pictures.encoded(gray, "JPEG", progressive=True),
        pictures.encoded(colour, "JPEG"),
        pictures.encoded(colour, "JPEG", subsampling=0, progressive=True),
        pictures.encoded(gray, "PNG"),
        pictures.encoded(np.dstack([colour, gray]), "PNG"),
        bytes(imagecodecs.png_encode(deep)),
        tiff(gray),
        tiff(deep, compression="lzw"),
        tiff(deep, compression="zlib", predictor=True),
        tiff(colour, compression="jpeg", photometric="rgb"),
        tiff(gray, tile=(32, 32), compression="zstd"),
        tiff(gray > 128),
        tiff(gray.astype(np.float32) / 255, bigtiff=True),
        tiff(np.stack([gray, gray]), photometric="minisblack"),
        bytes(imagecodecs.jpeg2k_encode(gray, reversible=True)),
        bytes(imagecodecs.jpeg2k_encode(deep, reversible=True, codecformat="j2k")),
        bytes(imagecodecs.webp_encode(colour, level=80, lossless=False)),
        pictures.encoded(colour, "WEBP", lossless=True),
        pictures.encoded(gray, "BMP"),
    )


def tiff(pixels: np.ndarray, **options: object) -> bytes:
    """Encode with tifffile."""
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


def cut(data: bytearray, rng: np.random.Generator) -> None:
    """Cut the end off, anywhere."""
    del data[int(rng.integers(4, max(5, len(data)))) :]


def flip(data: bytearray, rng: np.random.Generator) -> None:
    """Change some bytes, anywhere."""
    for place in rng.integers(0, len(data), int(rng.integers(1, 30))):
        data[place] = int(rng.integers(256))


def rewrite_header(data: bytearray, rng: np.random.Generator) -> None:
    """Put extreme numbers among the first bytes, where headers have sizes."""
    extreme = [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\xff\xff", b"\xea\x60\xea\x60"]
    place = int(rng.integers(4, max(5, min(len(data), 400))))
    data[place : place + 4] = extreme[int(rng.integers(len(extreme)))]


def rewrite_tail(data: bytearray, rng: np.random.Generator) -> None:
    """The same among the last bytes, where TIFF has its directories."""
    place = max(0, len(data) - int(rng.integers(4, 400)))
    data[place : place + 4] = rng.bytes(4) if rng.random() < 0.5 else b"\xff\xff\xff\x7f"


def move(data: bytearray, rng: np.random.Generator) -> None:
    """Copy a part of the file over another."""
    length = int(rng.integers(1, max(2, len(data) // 4)))
    source, target = (int(rng.integers(0, max(1, len(data) - length))) for _ in range(2))
    data[target : target + length] = data[source : source + length]


MUTATIONS = (cut, flip, rewrite_header, rewrite_tail, move)
