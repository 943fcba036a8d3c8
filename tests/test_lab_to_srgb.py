"""Joining keeps L*, agrees with scikit-image inside the gamut, and reduces nothing but chroma outside of it."""

import os
import subprocess
import sys

import numpy as np
import pytest
import skimage.color
import skimage.transform
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from colornet.color.srgb import PRIMARIES, even_lightness, gray_lightness, lightness_codes
from colornet.rendering.lab_to_srgb import lab_to_srgb

DEPTHS = {8: np.uint8, 16: np.uint16}


def lab_of(rgb: np.ndarray) -> np.ndarray:
    return skimage.color.rgb2lab(rgb / np.iinfo(rgb.dtype).max)


@pytest.mark.parametrize("bits", [8, 16])
def test_no_colour_gives_the_codes_back(bits):
    codes = np.arange(2**bits, dtype=DEPTHS[bits]).reshape(16, -1)
    rgb = lab_to_srgb(codes, gray_lightness(bits), np.zeros((2, 3, 5), np.float32), bits)
    np.testing.assert_array_equal(rgb, np.repeat(codes[..., None], 3, axis=2))


@pytest.mark.parametrize(("bits", "rounding"), [(8, 0.5), (16, 0.01)])
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_lightness_is_kept_whatever_the_colour(bits, rounding, data):
    shape = data.draw(arrays.array_shapes(min_dims=2, max_dims=2, max_side=24))
    codes = data.draw(arrays.arrays(DEPTHS[bits], shape))
    small = data.draw(st.tuples(st.just(2), st.integers(1, 9), st.integers(1, 9)))
    ab = data.draw(arrays.arrays(np.float32, small, elements=st.floats(-128, 127, width=32)))
    rgb = lab_to_srgb(codes, gray_lightness(bits), ab, bits)
    assert np.abs(lab_of(rgb)[..., 0] - gray_lightness(bits)[codes]).max() <= rounding


def test_agrees_with_scikit_image_inside_the_gamut():
    lab = lab_of(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8))
    codes = np.round(lab[..., 0] * 655.35).astype(np.uint16)
    rgb = lab_to_srgb(codes, even_lightness(), lab[..., 1:].transpose(2, 0, 1).astype(np.float32), 8)
    assert np.abs(rgb - skimage.color.lab2rgb(lab) * 255).max() <= 1


def test_out_of_gamut_colours_keep_their_hue_and_the_chroma_that_fits():
    codes = np.full((1, 1), 119, np.uint8)
    lightness = gray_lightness(8)
    for angle in np.linspace(0, 2 * np.pi, 24, endpoint=False):
        ab = np.array([np.cos(angle), np.sin(angle)], np.float32) * 120
        _, a, b = lab_of(lab_to_srgb(codes, lightness, ab[:, None, None], 16))[0, 0]
        found = np.arctan2(b, a)
        assert np.abs(np.angle(np.exp(1j * (found - angle)))) < 0.01
        # A little more chroma at this hue and L* must lie outside the cube.
        more = np.array([lightness[119], *(1.02 * np.hypot(a, b) * np.array([np.cos(angle), np.sin(angle)]))])
        xyz = skimage.color.lab2xyz(more)
        linear = np.linalg.solve(PRIMARIES, xyz)
        assert linear.min() < 0 or linear.max() > 1


def test_colour_is_brought_up_bilinearly():
    rng = np.random.default_rng(1)
    ab = (rng.random((2, 5, 7), np.float32) - 0.5) * 20
    codes = np.full((50, 70), 119, np.uint8)
    found = lab_of(lab_to_srgb(codes, gray_lightness(8), ab, 16))[..., 1:]
    expected = skimage.transform.resize(ab.transpose(1, 2, 0), (50, 70), order=1, mode="edge", anti_aliasing=False)
    assert np.abs(found - expected).max() < 0.05


def test_processes_that_compile_and_load_the_kernel_at_once(tmp_path):
    """Workers start together on a cold cache of compiled code: all of them must find their kernel."""
    command = [sys.executable, "-c", JOIN_ONCE]
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    for _ in range(2):  # the second round loads what the first has stored
        started = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) for _ in range(3)]
        for process in started:
            _, errors = process.communicate(timeout=120)
            assert process.returncode == 0, errors.decode()


JOIN_ONCE = """
import numpy as np
from colornet.color.srgb import gray_lightness
from colornet.rendering.lab_to_srgb import lab_to_srgb
for bits, kind in ((8, np.uint8), (16, np.uint16), (8, np.uint16)):
    codes = np.full((4, 4), 100, kind)
    lab_to_srgb(codes, gray_lightness(8 * codes.itemsize), np.zeros((2, 2, 2), np.float32), bits)
"""


def test_lightness_codes_agree_with_scikit_image():
    for kind in (np.uint8, np.uint16):
        rgb = np.random.default_rng(2).integers(0, np.iinfo(kind).max + 1, (40, 40, 3), dtype=kind)
        lightness = even_lightness()[lightness_codes(rgb)]
        assert np.abs(lightness - lab_of(rgb)[..., 0]).max() < 0.01


def test_gray_lightness_agrees_with_scikit_image():
    levels = np.arange(256, dtype=np.uint8)
    expected = lab_of(np.repeat(levels[None, :, None], 3, axis=2))[0, :, 0]
    np.testing.assert_allclose(gray_lightness(8), expected, atol=1e-3)
