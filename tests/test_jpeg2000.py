"""JPEG 2000: channels are what the file says that they are, or it is refused by the name of what it says."""

import imagecodecs
import numpy as np
import pytest
import skimage.color
from PIL import Image

from colornet.codecs import Scan, decode, open_source
from colornet.errors import ScanError
from tests import pictures
from tests.codestreams import codestream, jp2
from tests.rendered import render

GRAY = pictures.gray(64, 96)
COLOUR = pictures.colour(64, 96)
SRGB, GRAYSCALE, SYCC, CMYK = 16, 17, 18, 12
OPACITY, PREMULTIPLIED, UNKNOWN = 1, 2, 65535


def planes(picture: np.ndarray) -> list[np.ndarray]:
    return [np.ascontiguousarray(plane) for plane in np.moveaxis(picture, 2, 0)]


def lightness_of(scan: Scan) -> np.ndarray:
    return scan.lightness[scan.codes]


def lightness(rgb: np.ndarray) -> np.ndarray:
    return skimage.color.rgb2lab(rgb)[..., 0]


def test_inks_are_read_as_inks():
    """CMYK, of which 0 is none: ideal inks without a profile, and with one what Little CMS makes of them."""
    inks = np.asarray(Image.fromarray(COLOUR).convert("CMYK"))
    expected = np.asarray(Image.fromarray(inks, "CMYK").convert("RGB"))
    found = lightness_of(decode(jp2(codestream(planes(inks)), space=CMYK)))
    assert np.abs(found - lightness(expected)).max() < 1.0


@pytest.mark.parametrize("step", [(1, 1), (2, 1), (2, 2)], ids=["4:4:4", "4:2:2", "4:2:0"])
def test_luma_and_chroma_are_read_as_such(step):
    chroma = [np.full((-(-64 // step[1]), -(-96 // step[0])), value, np.uint8) for value in (100, 180)]
    data = jp2(codestream([GRAY, *chroma], [(1, 1), step, step]), space=SYCC)
    full = np.dstack([GRAY, np.full_like(GRAY, 100), np.full_like(GRAY, 180)])
    expected = np.asarray(Image.fromarray(full, "YCbCr").convert("RGB"))
    assert np.abs(lightness_of(decode(data)) - lightness(expected)).max() < 1.0


@pytest.mark.parametrize(
    ("space", "name"), [(14, "CIELab"), (24, "e-sYCC"), (13, "YCCK"), (1, "YCbCr"), (0, "bilevel"), (77, "unknown")]
)
def test_other_colour_spaces_are_refused_by_their_names(space, name):
    with pytest.raises(ScanError, match=rf"colour space .*{name}.*\({space}\) is not supported"):
        decode(jp2(codestream(planes(COLOUR)), space=space))


def test_a_profile_of_another_kind_of_picture_is_refused():
    lab = bytes(imagecodecs.cms_profile("lab4"))
    with pytest.raises(ScanError, match="colour space Lab is not supported"):
        decode(jp2(codestream(planes(COLOUR)), space=lab))


def test_a_sampling_that_is_not_read_is_unsupported_and_not_damaged():
    chroma = [np.full((64, 24), value, np.uint8) for value in (100, 180)]
    with pytest.raises(ScanError, match="JPEG 2000 of this kind is not supported: subsampling"):
        decode(jp2(codestream([GRAY, *chroma], [(1, 1), (4, 1), (4, 1)]), space=SYCC))


@pytest.mark.parametrize("picture", [GRAY[..., None], COLOUR], ids=["gray", "colour"])
def test_the_channel_definition_says_what_is_alpha(picture):
    count = picture.shape[2]
    space = SRGB if count == 3 else GRAYSCALE
    alpha = np.tile(np.linspace(60, 255, 96).astype(np.uint8), (64, 1))
    colours = [(channel, 0, channel + 1) for channel in range(count)]
    expected = lightness(np.broadcast_to(picture, (64, 96, 3)))

    straight = decode(jp2(codestream([*planes(picture), alpha]), space=space, channels=[*colours, (count, OPACITY, 0)]))
    np.testing.assert_array_equal(straight.alpha, alpha)
    assert np.abs(lightness_of(straight) - expected).max() < 0.01

    multiplied = np.rint(picture * (alpha / 255)[..., None]).astype(np.uint8)
    file = jp2(codestream([*planes(multiplied), alpha]), space=space, channels=[*colours, (count, PREMULTIPLIED, 0)])
    np.testing.assert_array_equal(decode(file).alpha, alpha)
    assert np.abs(lightness_of(decode(file)) - expected).max() < 1.5

    file = jp2(codestream([*planes(picture), alpha]), space=space, channels=[*colours, (count, UNKNOWN, UNKNOWN)])
    assert decode(file).alpha is None
    np.testing.assert_array_equal(decode(file).extra[..., 0], alpha)
    rendered = render(file, in_colour="recolor")
    assert rendered.note == "samples of unknown meaning left out: jp2 has no place for them"
    assert imagecodecs.jpeg2k_decode(rendered.data).shape == (64, 96, 3)


def test_what_is_not_supported_is_not_salvaged():
    """Pillow would show it in wrong colours."""
    chroma = [np.full((64, 24), value, np.uint8) for value in (100, 180)]
    data = jp2(codestream([GRAY, *chroma], [(1, 1), (4, 1), (4, 1)]), space=SYCC)
    with pytest.raises(ScanError, match="not supported"):
        open_source(data, salvage=True).page(0)
