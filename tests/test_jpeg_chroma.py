"""The chroma planes of a JPEG: against plain numpy and scikit-image."""

import numpy as np
import pytest
import skimage.color
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from colornet.color.srgb import even_lightness, gray_lightness
from colornet.rendering.jpeg_chroma import chroma_planes
from tests import pictures


def reference(codes: np.ndarray, lightness: np.ndarray, ab: np.ndarray) -> np.ndarray:
    """(2, h, w) float: Cb and Cr before rounding, for colours inside the gamut."""
    padded = np.pad(lightness[codes], [(0, length % 2) for length in codes.shape], mode="edge")
    mean = padded.reshape(padded.shape[0] // 2, 2, padded.shape[1] // 2, 2).mean(axis=(1, 3))
    planes = torch.nn.functional.interpolate(torch.from_numpy(ab)[None], mean.shape, mode="bilinear")[0].numpy()
    red, green, blue = 255 * np.moveaxis(skimage.color.lab2rgb(np.dstack([mean, *planes])), 2, 0)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return np.stack([128 + (blue - luma) / 1.772, 128 + (red - luma) / 1.402])


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (2, 1), (7, 10), (64, 48), (61, 83)])
@pytest.mark.parametrize("bits", [8, 16])
def test_agrees_with_scikit_image_inside_the_gamut(shape, bits):
    rng = np.random.default_rng(3)
    codes = rng.integers(100, 200, shape, np.uint8) if bits == 8 else rng.integers(30_000, 50_000, shape, np.uint16)
    lightness = gray_lightness(8) if bits == 8 else even_lightness()
    ab = rng.uniform(-15, 15, (2, 5, 4)).astype(np.float32)
    planes = chroma_planes(codes, lightness, ab)
    for plane, expected in zip(planes, reference(codes, lightness, ab), strict=True):
        assert plane.dtype == np.uint8
        assert np.abs(plane - expected).max() < 0.5 + 0.15


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_no_colour_is_neutral(height, width, seed):
    codes = np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)
    for plane in chroma_planes(codes, gray_lightness(8), np.zeros((2, 3, 3), np.float32)):
        assert plane.shape == ((height + 1) // 2, (width + 1) // 2)
        assert (plane == 128).all()


def test_colours_outside_the_gamut_stay_below_the_ends():
    ab = np.array([[[-128, 127], [127, -128]], [[127, 127], [-128, -128]]], np.float32)
    cb, cr = (plane.astype(int) for plane in chroma_planes(pictures.gray(90, 90), gray_lightness(8), ab))
    assert cb.min() > 0 and cr.min() > 0 and cb.max() > 200
    # sRGB blue, L* 32.3, is the colour with the highest Cb that there is: 255.5.
    blue = chroma_planes(np.full((4, 4), 76, np.uint8), gray_lightness(8), np.full((2, 1, 1), 0, np.float32) + BLUE)
    assert blue[0].min() >= 254


BLUE = np.array([79.19, -107.86], np.float32).reshape(2, 1, 1)
