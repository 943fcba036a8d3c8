"""LZW of TIFF: what encoders write is sound, and codes that mean nothing are damage before a decoder sees them."""

import io

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from colornet.codecs import lzw
from colornet.codecs.decode import decode
from colornet.errors import ScanError

CLEAR, END = 256, 257


def packed(*codes: int) -> bytes:
    """Codes of 9 bits, most significant bit first."""
    return in_bytes("".join(f"{code:09b}" for code in codes))


def old(*codes: int) -> bytes:
    """The same as writers had it before TIFF 5.0: least significant bit first."""
    number = sum(code << (9 * place) for place, code in enumerate(codes))
    return number.to_bytes(-(-9 * len(codes) // 8), "little")


def in_bytes(bits: str) -> bytes:
    size = -(-len(bits) // 8)
    return int(bits.ljust(8 * size, "0"), 2).to_bytes(size, "big")


def strips(picture: np.ndarray, **options) -> list[bytes]:
    """The strips of a TIFF that libtiff wrote, through Pillow."""
    target = io.BytesIO()
    Image.fromarray(picture).save(target, "TIFF", compression="tiff_lzw", **options)
    with tifffile.TiffFile(io.BytesIO(target.getvalue())) as file:
        page = file.pages[0]
        data = target.getvalue()
        return [data[at : at + size] for at, size in zip(page.dataoffsets, page.databytecounts, strict=True)]


@given(st.integers(0, 2**32), st.integers(1, 40_000), st.integers(1, 256))
def test_what_imagecodecs_writes_is_sound(seed, length, values):
    data = np.random.default_rng(seed).integers(0, values, length, dtype=np.uint8).tobytes()
    encoded = imagecodecs.lzw_encode(data)
    assert lzw.is_sound(encoded)
    assert all(lzw.is_sound(encoded[:end]) for end in range(0, min(len(encoded), 300)))


@pytest.mark.parametrize("values", [1, 2, 16, 256])
def test_what_libtiff_writes_is_sound(values):
    picture = np.random.default_rng(0).integers(0, values, (300, 400), dtype=np.uint8)
    assert all(map(lzw.is_sound, strips(picture)))


@pytest.mark.parametrize("pack", [packed, old])
def test_codes_must_have_been_seen(pack):
    assert lzw.is_sound(pack(CLEAR, 7, 258, 259, END))  # 258 is 7 7, which is complete with this very code
    assert not lzw.is_sound(pack(CLEAR, 258, 7, END))
    assert not lzw.is_sound(pack(CLEAR, 7, 259, END))
    assert not lzw.is_sound(pack(CLEAR, 7, 258, CLEAR, 258, END))
    assert lzw.is_sound(pack(CLEAR, 7, CLEAR, CLEAR, 7, END, 511))


def test_codes_get_longer_in_time():
    """The table has 511 strings when codes of 10 bits begin: 258, and one more with each code but the first."""
    literals = "".join(f"{code:09b}" for code in [CLEAR, *[1] * (511 - 258 + 1)])
    assert lzw.is_sound(in_bytes(literals + f"{511:010b}"))
    assert not lzw.is_sound(in_bytes(literals + f"{512:010b}"))


def test_old_codes_get_longer_one_string_later():
    literals = [CLEAR, *[1] * (512 - 258 + 1)]
    number = sum(code << (9 * place) for place, code in enumerate(literals))
    for last, sound in ((512, True), (513, False)):
        data = (number | last << (9 * len(literals))).to_bytes(-(-(9 * len(literals) + 10) // 8), "little")
        assert lzw.is_sound(data) == sound


def test_a_tiff_with_such_codes_is_damaged():
    target = io.BytesIO()
    tifffile.imwrite(target, np.zeros((8, 9), np.uint8), compression="lzw", predictor=False, metadata=None)
    data = bytearray(target.getvalue())
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        (start,) = file.pages[0].dataoffsets
    data[start : start + 3] = packed(CLEAR, 400)[:3]
    with pytest.raises(ScanError, match="damaged TIFF: a code of LZW has no meaning"):
        decode(bytes(data))
