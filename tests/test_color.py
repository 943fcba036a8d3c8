"""sRGB <-> CIE-LAB against scikit-image, an independent implementation, and the networks' scaling; what is gray."""

import numpy as np
import skimage.color
import skimage.data
import torch
from hypothesis import given
from hypothesis import strategies as st

from colornet.color import lab, srgb
from colornet.color.chroma import is_nearly_gray


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


def test_gray_of_lightness_agrees_with_the_tables_for_scans():
    """kornia's functions, the networks' gray and the tables of whole scans mean the same numbers."""
    levels = np.arange(256) / 255
    lightness = torch.from_numpy(srgb.gray_lightness(8))
    np.testing.assert_allclose(lab.gray_of_lightness(lightness), levels, atol=1e-5)
    gray = torch.from_numpy(levels).float().expand(3, 1, -1)
    np.testing.assert_allclose(lab.rgb_to_lab(gray)[0, 0], lightness, atol=1e-3)


# --- nearly gray ------------------------------------------------------------------------------------------------------


def test_nearly_gray():
    ab = torch.zeros(6, 2, 20, 20)
    ab[1] = 3.0  # a tint: chroma 4.2
    ab[2] = 4.0  # chroma 5.7
    ab[3, 0, :2, :5] = 60.0  # a red coat in the snow: 2.5 % of the pixels, mean chroma 1.5
    ab[4, 0, 0, :7] = 60.0  # a speck: 1.75 %
    ab[5] = torch.randn(2, 20, 20, generator=torch.Generator().manual_seed(0)) * 2.0  # a JPEG's noise
    assert is_nearly_gray(ab).tolist() == [True, True, False, False, True, True]


def test_photographs_are_not_gray_but_their_gray_is():
    picture = torch.from_numpy(skimage.data.astronaut()).permute(2, 0, 1)[:, ::3, ::3]
    photographs = torch.stack([picture[:, 20 * i : 20 * i + 96, 15 * i : 15 * i + 96] for i in range(4)])
    assert not is_nearly_gray(lab.unscale_ab(lab.split_scaled(photographs)[1])).any()
    alike = photographs[:, :1].expand(-1, 3, -1, -1)
    assert is_nearly_gray(lab.unscale_ab(lab.split_scaled(alike)[1])).all()
