"""Luminance in, the same scan in colour out."""

import numpy as np
import pytest
import skimage.color
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from colornet.bundle import Bundle
from colornet.colorize import Colorizer, Frame, Predictor, RenderSettings, prepare, render
from colornet.networks import build_generator
from colornet.scans import decode
from tests import pictures


def bundle(seed: int = 0) -> Bundle:
    torch.manual_seed(seed)
    settings = {"width": 4}
    return Bundle(generator=build_generator("unet", settings), network="unet", settings=settings, image_size=32)


class LeftRed(nn.Module):
    """A stand-in generator with a known answer: the left half of the square is reddish, the right half bluish."""

    def forward(self, lightness):
        ab = torch.zeros(lightness.shape[0], 2, *lightness.shape[2:])
        middle = lightness.shape[3] // 2
        ab[:, 0, :, :middle] = 0.3
        ab[:, 1, :, middle:] = -0.3
        return ab.to(lightness.dtype)


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 300))
def test_frames_lie_inside_and_keep_the_aspect_ratio(height, width, size):
    frame = Frame.fit(height, width, size)
    assert frame.top >= 0 and frame.left >= 0
    assert frame.top + frame.height <= size and frame.left + frame.width <= size
    assert max(frame.height, frame.width) == size
    assert abs(frame.height - max(1.0, height * size / max(height, width))) <= 0.5
    assert abs(frame.width - max(1.0, width * size / max(height, width))) <= 0.5


@pytest.mark.parametrize("shape", [(64, 64), (40, 90), (91, 30), (5, 3)])
def test_prepare_is_the_small_picture_in_its_frame(shape):
    scan = decode(pictures.encoded(pictures.gray(*shape), "PNG"))
    small = prepare(scan, 32)
    assert small.shape == (32, 32) and small.dtype == np.float16
    frame = Frame.fit(*shape, 32)
    inner = small[frame.top : frame.top + frame.height, frame.left : frame.left + frame.width]
    mean = scan.lightness[scan.codes].mean() / 50 - 1
    assert abs(inner.astype(np.float64).mean() - mean) < 0.05
    np.testing.assert_array_equal(small[:, : frame.left + 1].T, np.tile(small[:, frame.left], (frame.left + 1, 1)))


def test_prepare_sees_a_deep_scan_as_the_shallow_one():
    gray = pictures.gray(80, 60)
    shallow = decode(pictures.encoded(gray, "PNG"))
    colour = decode(pictures.encoded(np.dstack([gray] * 3), "PNG"))
    assert colour.codes.dtype == np.uint16
    difference = prepare(shallow, 32).astype(np.float32) - prepare(colour, 32)
    assert np.abs(difference).mean() * 50 < 0.5  # averaged as codes here, as L* there


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("shape", [(70, 100), (101, 33), (1, 1), (3, 200)])
def test_output_has_the_format_size_and_lightness_of_the_scan(form, shape):
    data = pictures.encoded(pictures.gray(*shape), form)
    source = decode(data)
    result = decode(Colorizer(bundle())(data))
    assert (result.format, result.codes.shape) == (source.format, source.codes.shape)
    difference = np.abs(result.lightness[result.codes] - source.lightness[source.codes])
    assert difference.max() <= 0.5 if form != "JPEG" else difference.mean() < 2


def test_colour_lands_where_the_network_put_it():
    """Letter-boxed on both axes in turn, so that a frame that is off by its padding would show."""
    for shape in ((60, 120), (120, 60), (64, 64)):
        scan = decode(pictures.encoded(np.full(shape, 119, np.uint8), "PNG"))
        predictor = Predictor(Bundle(generator=LeftRed(), network="", settings={}, image_size=32))
        ab = predictor(prepare(scan, 32)[None])[0]
        lab = skimage.color.rgb2lab(pictures.decoded(render(scan, ab, RenderSettings())))
        quarter = shape[1] // 4
        assert lab[:, :quarter, 1].min() > 30 and lab[:, -quarter:, 2].max() < -30


def test_each_picture_is_predicted_as_if_alone():
    predictor = Predictor(bundle())
    rng = np.random.default_rng(0)
    batch = (rng.random((5, 32, 32)) * 2 - 1).astype(np.float16)
    together = predictor(batch)
    alone = np.concatenate([predictor(batch[index : index + 1]) for index in range(5)])
    np.testing.assert_array_equal(together, alone)


def test_bfloat16_is_close_to_float32():
    batch = (np.random.default_rng(0).random((1, 32, 32)) * 2 - 1).astype(np.float16)
    exact = Predictor(bundle(), precision="float32")(batch).astype(np.float32)
    fast = Predictor(bundle(), precision="bfloat16")(batch).astype(np.float32)
    assert np.abs(exact - fast).mean() < 1.0


def test_the_same_bytes_every_time():
    data = pictures.encoded(pictures.gray(50, 40), "JPEG")
    assert Colorizer(bundle())(data) == Colorizer(bundle())(data)


@pytest.mark.parametrize(("field", "value"), [("size", -1), ("quality", 0), ("quality", 101), ("max_pixels", 0)])
def test_wrong_settings_are_named(field, value):
    with pytest.raises(ValueError, match=field.replace("_", "-")):
        RenderSettings(**{field: value})
