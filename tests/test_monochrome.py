"""Toned prints are monochrome, photographs in colour are not."""

import io

import numpy as np
import pytest
from PIL import Image
from skimage import data

from colornet.rendering.monochrome import COLOURFUL, colour_beyond_tone
from tests import pictures


def through_jpeg(rgb: np.ndarray) -> np.ndarray:
    image = Image.open(io.BytesIO(pictures.encoded(rgb.clip(0, 255).astype(np.uint8), "JPEG", quality=75)))
    image.thumbnail((256, 256))
    return np.asarray(image)


@pytest.mark.parametrize("exponents", [(0.7, 0.9, 1.2), (1.1, 0.95, 0.8), (0.8, 1.0, 1.0)])
def test_toned_and_unevenly_faded_prints_are_monochrome(exponents):
    gray = pictures.gray(600, 800).astype(float) / 255
    toned = 255 * gray[..., None] ** np.array(exponents)
    stain = np.linspace(0, 12, 800)[None, :, None] * np.array([1, 0.6, 0])
    assert colour_beyond_tone(through_jpeg(toned + stain)) < COLOURFUL


@pytest.mark.parametrize("photograph", [data.astronaut, data.coffee, data.cat])
def test_photographs_in_colour_are_recognised(photograph):
    assert colour_beyond_tone(through_jpeg(photograph())) > COLOURFUL


def test_gray_has_none():
    assert colour_beyond_tone(np.dstack([pictures.gray(100, 100)] * 3)) < 0.1
