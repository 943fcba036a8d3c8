"""Colour for a JPEG whose luma stays bit for bit what it is.

A JPEG may hold each component in scans of its own (ITU-T T.81, A.2.2: a scan of one component is its blocks from left
to right and top to bottom, without padding). So the luma scans of a gray JPEG are, byte for byte, also the luma scans
of a colour JPEG: they are carried over as they are, with the quantisation table, and the scans of two chroma planes
follow. Only where a source interleaves luma with its own chroma are the luma's quantised coefficients first written as
a gray JPEG, by libjpeg's coefficient interface.

The chroma is always 4:2:0 of the luma, whatever sampling the source has: luma blocks do not depend on it.
"""

import functools
import io
import tempfile
from pathlib import Path

import jpeglib
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from colornet.codecs.jpeg_segments import (
    BASELINE,
    DQT,
    DRI,
    EOI,
    EXTENDED,
    PROGRESSIVE,
    SOI,
    Frame,
    Plane,
    bare,
    is_complete,
    read_plane,
    rename_component,
    write_segment,
)
from colornet.errors import ScanError, SettingsError, one_line

_JFIF = b"JFIF\0" + bytes((1, 1, 0, 0, 1, 0, 1, 0, 0))
"""Version 1.1, square pixels, no resolution, no thumbnail."""


def keeps_luma(data: bytes) -> bool:
    """Tell whether the luma of a JPEG can be carried over. Only headers are read.

    Args:
        data: an encoded JPEG; damaged or of another format is no error.

    Returns:
        True for baseline, extended and progressive Huffman JPEGs with 8 bits, gray or YCbCr with a luma that has the
        picture's full size. False for RGB, CMYK and YCCK, for lossless, hierarchical and arithmetic coding, for 12
        bits, for files that leave out their Huffman tables (frames of Motion JPEG), for progressive files that end
        before the last bit of the luma (decoders guess the rest, each in its way), and where headers are damaged.
    """
    try:
        _read_source(data)
    except ScanError:
        return False
    return True


def chroma_shape(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of the chroma planes of a picture, 4:2:0: half of each, rounded up."""
    return (height + 1) // 2, (width + 1) // 2


def recolor(data: bytes, cb: NDArray[np.uint8], cr: NDArray[np.uint8], *, quality: int) -> bytes:
    """Replace, or add, the chroma of a JPEG; the quantised luma coefficients and their table stay as they are.

    Args:
        data: an encoded JPEG for which `keeps_luma` holds.
        cb: uint8 of `chroma_shape(H, W)`, Cb by JFIF over the full range; 128 is neutral.
        cr: uint8 of the same shape, Cr.
        quality: of the chroma, 1 to 100: libjpeg's scale of the chrominance table of T.81, K.2.

    Returns:
        A JFIF file, 4:2:0, without any metadata; progressive if the source holds its luma in progressive scans of its
        own. It decodes without a warning, and to gray it gives exactly the pixels that the source gives.

    Raises:
        ScanError: if the source is damaged or its luma cannot be carried over.
        SettingsError: if the planes do not fit the picture, or there is no such quality.
    """
    if not 1 <= quality <= 100:
        raise SettingsError(f"quality must be from 1 to 100, not {quality}")
    luma = _read_source(data)
    _check_planes(luma.frame, cb, cr)
    colour = len(luma.frame.components) > 1
    if colour:
        _check_decodes(data)
    if not luma.interleaved:
        result = _with_chroma(luma, cb, cr, quality)
        if _damage(result) is None:
            return result
        if not colour:
            # What decoders let pass at the end of a file, filling behind the last block, they do not before more scans.
            _check_decodes(data)
    return _with_chroma(_separate(data, luma), cb, cr, quality)


def _with_chroma(luma: Plane, cb: NDArray[np.uint8], cr: NDArray[np.uint8], quality: int) -> bytes:
    progressive = luma.frame.marker == PROGRESSIVE
    return _assemble(luma, [_encode_plane(plane, quality, progressive) for plane in (cb, cr)])


def _check_decodes(data: bytes) -> None:
    damage = _damage(data)
    if damage is not None:
        raise ScanError(f"damaged JPEG: {damage}")


def _damage(data: bytes) -> str | None:
    """Decode the luma, every warning taken for an error: what is wrong, if anything is."""
    try:
        # At an eighth of the size: every coefficient is still read, and pixels are not wanted.
        simplejpeg.decode_jpeg(data, "GRAY", min_height=1, min_width=1, strict=True)
    except ValueError as error:
        return one_line(error)
    return None


def _read_source(data: bytes) -> Plane:
    """Read the luma of a source. Raises ScanError if it cannot be carried over."""
    try:
        height, width, colorspace, _ = simplejpeg.decode_jpeg_header(data, strict=True)
    except (ValueError, KeyError) as error:  # KeyError: of samplings for which simplejpeg has no name
        raise ScanError(f"damaged JPEG: {one_line(error)}") from error
    if colorspace not in ("Gray", "YCbCr"):
        raise ScanError(f"the luma of a JPEG in {colorspace} cannot be carried over")
    luma = read_plane(data)
    frame, full = luma.frame, luma.frame.components[0]
    if frame.marker not in (BASELINE, EXTENDED, PROGRESSIVE) or frame.bits != 8:
        raise ScanError(f"the luma of a JPEG with {frame.bits} bits and frame {frame.marker:#x} cannot be carried over")
    if any(part.horizontal > full.horizontal or part.vertical > full.vertical for part in frame.components):
        raise ScanError("the luma of a JPEG with more chroma than luma cannot be carried over")
    if (height, width) != (frame.height, frame.width) or not is_complete(luma):
        raise ScanError("damaged JPEG: it ends before the last bit of its luma")
    return luma


def _check_planes(frame: Frame, cb: NDArray[np.uint8], cr: NDArray[np.uint8]) -> None:
    shape = chroma_shape(frame.height, frame.width)
    for name, plane in (("Cb", cb), ("Cr", cr)):
        if plane.shape != shape or plane.dtype != np.uint8:
            raise SettingsError(f"{name} must be uint8 of {shape}, not {plane.dtype} of {plane.shape}")


def _separate(data: bytes, luma: Plane) -> Plane:
    """Take the luma out of scans that hold other components too; the table stays the source's own."""
    gray = read_plane(_write_gray(_luma_coefficients(bare(data), luma.frame), luma.frame))
    marker = EXTENDED if luma.frame.marker == EXTENDED or len(luma.table) == 128 else BASELINE
    frame = Frame(marker, 8, luma.frame.height, luma.frame.width, luma.frame.components[:1])
    return Plane(
        frame, luma.table, [rename_component(segment, frame.components[0].name) for segment in gray.scans], False
    )


def _luma_coefficients(data: bytes, frame: Frame) -> NDArray[np.int16]:
    """(rows of blocks, columns of blocks, 8, 8) int16: the quantised luma coefficients."""
    # Said to be gray, so that only the first component is copied. jpeglib.read_dct would decode all pixels as well, and
    # keep what it finds in global variables, which threads share.
    source = jpeglib.DCTJPEG(
        path="JPEG",
        content=data,
        height=frame.height,
        width=frame.width,
        block_dims=np.array([[-(-frame.height // 8), -(-frame.width // 8)]]),
        samp_factor=np.array([[1, 1]]),
        markers=[],
        huffmans=[],
        jpeg_color_space=jpeglib.Colorspace.JCS_GRAYSCALE,
        progressive_mode=False,
        num_scans=1,
        Y=None,
        Cb=None,
        Cr=None,
        K=None,
        qt=None,
        quant_tbl_no=None,
    )
    try:
        return source.Y
    except OSError as error:
        raise ScanError(f"damaged JPEG: {one_line(error)}") from error


def _write_gray(coefficients: NDArray[np.int16], frame: Frame) -> bytes:
    if not _is_codable(coefficients.reshape(-1, 64)):
        raise ScanError("damaged JPEG: its coefficients are out of range")
    gray = jpeglib.from_dct(coefficients, qt=np.ones((1, 8, 8), np.uint16))
    gray.height, gray.width = frame.height, frame.width
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "gray.jpeg"
        try:
            gray.write_dct(str(path))
        except OSError as error:
            raise ScanError(f"damaged JPEG: {one_line(error)}") from error
        return path.read_bytes()


def _is_codable(blocks: NDArray[np.int16]) -> bool:
    """Whether 8-bit Huffman coding has codes for (N, 64) coefficients: AC of 10 bits, DC differences of 11 (T.81, F.1).

    jpeglib would find out too, but leave a temporary file behind.
    """
    if _is_below(blocks, 1024):
        return True
    return _is_below(blocks[:, 1:], 1024) and _is_below(np.diff(blocks[:, 0].astype(np.int32), prepend=0), 2048)


def _is_below(values: NDArray, bound: int) -> bool:
    return bool(values.min() > -bound and values.max() < bound)


def _encode_plane(plane: NDArray[np.uint8], quality: int, progressive: bool) -> Plane:
    buffer = io.BytesIO()
    Image.fromarray(plane).save(
        buffer, "JPEG", qtables=[_chroma_table(quality)], optimize=True, progressive=progressive
    )
    return read_plane(buffer.getvalue())


@functools.cache
def _chroma_table(quality: int) -> tuple[int, ...]:
    """The chrominance table of libjpeg at this quality, row by row."""
    sample = simplejpeg.encode_jpeg(np.zeros((8, 8, 3), np.uint8), quality=quality, colorsubsampling="420")
    with Image.open(io.BytesIO(sample), formats=["JPEG"]) as image:
        return tuple(image.quantization[1])  # type: ignore[attr-defined]


def _assemble(luma: Plane, chroma: list[Plane]) -> bytes:
    frame, deep = luma.frame, len(luma.table) == 128
    size = frame.height.to_bytes(2, "big") + frame.width.to_bytes(2, "big")
    parts: list[bytes | memoryview] = [bytes((0xFF, SOI)), write_segment(0xE0, _JFIF)]
    parts.append(write_segment(DQT, bytes((0x10 if deep else 0x00,)) + luma.table))
    parts.append(write_segment(DQT, b"\x01" + chroma[0].table))
    parts.append(write_segment(frame.marker, bytes((8,)) + size + bytes((3, 1, 0x22, 0, 2, 0x11, 1, 3, 0x11, 1))))
    for name, plane in enumerate((luma, *chroma), start=1):
        # A restart interval holds until the next one; the planes' own follow, if they have any.
        parts.append(write_segment(DRI, b"\0\0") if name == 2 and _restarts(luma) else b"")
        for scan in plane.scans:
            scan = rename_component(scan, name)
            parts += write_segment(scan.marker, scan.body), scan.coded
    parts.append(bytes((0xFF, EOI)))
    return b"".join(parts)


def _restarts(plane: Plane) -> bool:
    return any(segment.marker == DRI for segment in plane.scans)
