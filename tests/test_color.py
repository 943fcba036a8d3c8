"""sRGB <-> CIE-LAB against scikit-image, an independent implementation, and the networks' scaling."""

import numpy as np
import skimage.color
import torch
from hypothesis import given
from hypothesis import strategies as st

from colornet.color import lab


def srgb_cube(step: int) -> torch.Tensor:
    """Colours of the 8-bit sRGB cube, every `step` levels and the last, as a (1, 3, N, 1) picture in [0, 1]."""
    levels = torch.tensor([*range(0, 255, step), 255]) / 255
    return torch.cartesian_prod(levels, levels, levels).double().T[None, :, :, None]


def test_lab_agrees_with_scikit_image_over_the_cube():
    rgb = srgb_cube(5)
    ours = lab.rgb_to_lab(rgb.float())[0, :, :, 0].T.numpy()
    theirs = skimage.color.rgb2lab(rgb[0, :, :, 0].T.numpy())
    assert np.abs(ours - theirs).max() < 0.01


def test_rgb_agrees_with_scikit_image_over_the_cube():
    reference = skimage.color.rgb2lab(srgb_cube(5)[0, :, :, 0].T.numpy())
    ours = lab.lab_to_rgb(torch.from_numpy(reference.T[None, :, :, None]).float())[0, :, :, 0].T.numpy()
    assert np.abs(ours - skimage.color.lab2rgb(reference)).max() < 0.5 / 255


def test_round_trip_within_half_a_level():
    rgb = srgb_cube(3).float()
    assert (lab.lab_to_rgb(lab.rgb_to_lab(rgb)) - rgb).abs().max() < 0.5 / 255


def test_scaling_is_the_designs():
    lightness = torch.tensor([0.0, 50.0, 100.0])
    ab = torch.tensor([-128.0, -0.5, 127.0])
    assert lab.scale_lightness(lightness).tolist() == [-1, 0, 1]
    torch.testing.assert_close(lab.scale_ab(ab), torch.tensor([-1.0, 0.0, 1.0]))


@given(st.floats(0, 100), st.floats(-128, 127))
def test_scaling_round_trips(lightness, ab):
    lightness, ab = torch.tensor(lightness), torch.tensor(ab)
    torch.testing.assert_close(lab.unscale_lightness(lab.scale_lightness(lightness)), lightness, atol=1e-4, rtol=0)
    torch.testing.assert_close(lab.unscale_ab(lab.scale_ab(ab)), ab, atol=1e-4, rtol=0)


def test_split_and_join_give_the_photograph_back():
    rgb = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    lightness, ab = lab.split_scaled(rgb)
    assert lightness.shape == (2, 1, 8, 8) and ab.shape == (2, 2, 8, 8)
    assert lightness.abs().max() <= 1 and ab.abs().max() <= 1
    assert (lab.join_scaled(lightness, ab) * 255 - rgb).abs().max() < 0.5
