"""Guided colour keeps to the edges of the luminance; where there are none it is the plain resize."""

import numpy as np
import skimage.color

from colornet.color.srgb import even_lightness
from colornet.rendering.guided_upsampling import follow_lightness
from colornet.rendering.lab_to_srgb import lab_to_srgb

SIDE, FACTOR = 1024, 8


def shrink(plane: np.ndarray) -> np.ndarray:
    return plane.reshape(SIDE // FACTOR, FACTOR, SIDE // FACTOR, FACTOR).mean((1, 3)).astype(np.float32)


def test_bleeding_at_edges_falls_by_more_than_half():
    """Known truth: discs and slanted stripes, two colours on two grays, with grain; the small a*b* is the true mean."""
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    inside = ((x - 500) ** 2 + (y - 550) ** 2 < 300**2) ^ ((x + y) % 450 < 150)
    lightness = np.where(inside, 65.0, 40.0) + np.random.default_rng(0).normal(0, 1, inside.shape)
    truth = np.stack([np.where(inside, 25.0, -15.0), np.where(inside, -10.0, 20.0)])
    small = np.stack([shrink(truth[0]), shrink(truth[1])])
    codes = np.round(lightness * 655.35).astype(np.uint16)

    def error(colour: np.ndarray) -> np.ndarray:
        found = skimage.color.rgb2lab(lab_to_srgb(codes, even_lightness(), colour, 16) / 65535)[..., 1:]
        return np.hypot(*(found.transpose(2, 0, 1) - truth))

    near = np.abs(np.gradient(small[0])).max(0).repeat(FACTOR, 0).repeat(FACTOR, 1) > 1
    plain, guided = error(small), error(follow_lightness(small, shrink(lightness)))
    assert guided[near].mean() < 0.5 * plain[near].mean()
    assert guided[~near].mean() < 1.0


def test_without_edges_it_is_the_plain_colour():
    ab = np.stack(np.meshgrid(np.linspace(-30, 30, 40), np.linspace(20, -20, 32))).astype(np.float32)
    planes = follow_lightness(ab, np.full((32, 40), 50, np.float32))
    found = planes[:2] * 50 + planes[2:]
    assert np.abs(found - ab)[:, 2:-2, 2:-2].max() < 1e-3


def test_a_colour_that_is_a_line_in_lightness_is_found_exactly():
    lightness = np.random.default_rng(1).uniform(0, 100, (20, 30)).astype(np.float32)
    ab = np.stack([0.3 * lightness - 10, 5 - 0.2 * lightness])
    planes = follow_lightness(ab, lightness, epsilon=1e-9)
    np.testing.assert_allclose(planes[:2] * lightness + planes[2:], ab, atol=1e-2)


def test_tiny_pictures():
    planes = follow_lightness(np.ones((2, 1, 1), np.float32), np.ones((1, 1), np.float32))
    assert planes.shape == (4, 1, 1) and np.isfinite(planes).all()
