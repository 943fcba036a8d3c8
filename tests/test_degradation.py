"""Degradation: each kind against an independent implementation or what it must never do, and repeatability."""

import dataclasses
import io

import numpy as np
import pytest
import scipy.ndimage
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage import data

from colornet.color import lab
from colornet.errors import SettingsError
from colornet.training import degradation
from colornet.training.degradation import DEGRADATIONS, Degradation, degrade

SIDE = 48
KINDS = tuple(degradation._DRAWS)


def photographs(count: int = 4) -> torch.Tensor:
    """Crops of a photograph in colour, uint8."""
    picture = torch.from_numpy(data.astronaut()).permute(2, 0, 1)[:, ::3, ::3]
    return torch.stack([picture[:, 20 * i : 20 * i + SIDE, 15 * i : 15 * i + SIDE] for i in range(count)])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def degraded_codes(rgb: torch.Tensor, seed: int = 0, **changes) -> torch.Tensor:
    """Degrade photographs, and return the gray's sRGB codes in [0, 1] (B, H, W)."""
    lightness = degrade(rgb, Degradation(**changes), seeded(seed))
    return lab.join_scaled(lightness, lab.scale_ab(torch.zeros(len(rgb), 2, *rgb.shape[2:])))[:, 0]


def gray(code: float, count: int = 4, side: int = SIDE) -> torch.Tensor:
    return torch.full((count, 3, side, side), code)


def ramp(count: int = 4) -> torch.Tensor:
    """Every gray from black to white, left to right."""
    return torch.linspace(0, 1, SIDE).expand(count, 3, SIDE, SIDE).contiguous()


# --- all kinds of damage together -------------------------------------------------------------------------------------


def test_no_degradation_is_the_clean_gray_without_random_numbers():
    generator = seeded()
    assert DEGRADATIONS["none"] == Degradation() and Degradation().changes_nothing
    clean = lab.split_scaled(photographs())[0]
    assert torch.equal(degrade(photographs(), DEGRADATIONS["none"], generator), clean)
    assert torch.equal(generator.get_state(), seeded().get_state())


def test_damage_that_does_not_happen_changes_nothing():
    """With a share so small that no photograph is hit, all kinds of damage are computed."""
    rare = Degradation(**dict.fromkeys(KINDS, 1e-12))
    clean = lab.split_scaled(photographs())[0]
    assert not rare.changes_nothing
    torch.testing.assert_close(degrade(photographs(), rare, seeded()), clean, atol=1e-4, rtol=0)


def test_shape_type_and_range():
    rgb = photographs()
    before = rgb.clone()
    worst = Degradation(**dict.fromkeys(KINDS, 1.0))
    result = degrade(rgb, worst, seeded())
    assert result.shape == (4, 1, SIDE, SIDE) and result.dtype == torch.float32
    assert result.min() >= -1 and result.max() <= 1 and result.isfinite().all()
    assert torch.equal(rgb, before)
    assert torch.equal(degrade(rgb / 255.0, worst, seeded()), result)
    assert degrade(rgb[..., :40, :33], worst, seeded()).shape == (4, 1, 40, 33)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([0.0, 1.0]), st.sampled_from(KINDS))
def test_no_damage_leaves_the_range_even_at_its_ends(seed, code, kind):
    result = degrade(gray(code, 2, 16), dataclasses.replace(DEGRADATIONS["archive"], **{kind: 1.0}), seeded(seed))
    assert result.abs().max() <= 1 and result.isfinite().all()


def test_the_same_seed_gives_the_same_pictures_and_another_does_not():
    first, again, other = (degrade(photographs(), DEGRADATIONS["archive"], seeded(seed)) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert all(not torch.equal(*pair) for pair in zip(first, other, strict=True))


def test_a_photograph_does_not_depend_on_its_batch():
    worst = Degradation(**dict.fromkeys(KINDS, 1.0))
    batch = photographs(4)
    whole = degrade(batch, worst, seeded())
    half = degrade(batch[:2], worst, seeded())
    other = degrade(torch.cat([batch[:2], 255 - batch[2:]]), worst, seeded())
    torch.testing.assert_close(half, whole[:2], atol=1e-4, rtol=0)
    torch.testing.assert_close(other[:2], whole[:2], atol=1e-4, rtol=0)
    assert not torch.equal(*degrade(batch[:1].expand(2, -1, -1, -1), worst, seeded()))


def test_a_share_is_a_share():
    many = gray(0.5, 400, 16)
    changed = (degraded_codes(many, fading=0.3) - 0.5).abs().amax(dim=(1, 2)) > 1e-4
    assert 90 <= int(changed.sum()) <= 150  # 120 expected; either bound is more than three standard deviations away


def test_archive_has_all_kinds_of_damage():
    archive = DEGRADATIONS["archive"]
    assert all(0 < getattr(archive, kind) < 1 for kind in KINDS)
    clean = lab.split_scaled(photographs())[0]
    difference = degrade(photographs(), archive, seeded()) - clean
    assert 0.01 < difference.square().mean().sqrt() < 0.5


# --- in linear light --------------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31))
def test_emulsions_and_filters_keep_gray(seed):
    torch.testing.assert_close(degraded_codes(ramp(2), seed, emulsion=1.0), ramp(2)[:, 0], atol=2e-3, rtol=0)


def test_emulsions_give_colours_other_tones():
    red, blue = (torch.zeros(200, 3, 16, 16) for _ in range(2))
    red[:, 0], blue[:, 2] = 1.0, 1.0
    red_codes, blue_codes = degraded_codes(red, emulsion=1.0)[:, 0, 0], degraded_codes(blue, emulsion=1.0)[:, 0, 0]
    black = (red_codes < 0.01).float().mean()
    assert 0.5 < black < 0.83  # two of three emulsions
    luminance_of_red, luminance_of_blue = degraded_codes(red[:1])[0, 0, 0], degraded_codes(blue[:1])[0, 0, 0]
    assert (red_codes > luminance_of_red).any()
    assert (blue_codes > luminance_of_blue).float().mean() > 0.8
    assert len(blue_codes.unique()) > 50  # filters make many of three


def test_vignettes_darken_away_from_the_middle():
    flat = gray(0.7, 8)
    codes = degraded_codes(flat, vignette=1.0)
    assert codes.max() <= 0.7 + 1e-4
    middle = codes[:, 20:28, 20:28].mean(dim=(1, 2))
    corners = codes[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert (corners < middle[:, None]).all()
    assert codes.min() > 0.05


@pytest.mark.parametrize("sigma", [0.5, 1.3, 2.0])
def test_blur_agrees_with_scipy(sigma):
    picture = torch.rand(2, 1, 40, 30, generator=seeded())
    ours = degradation._smooth(picture, torch.full((2, 1, 1, 1), sigma))
    theirs = scipy.ndimage.gaussian_filter(picture[0, 0].double().numpy(), sigma, mode="mirror", radius=6)
    np.testing.assert_allclose(ours[0, 0].numpy(), theirs, atol=1e-5)


def test_blur_is_of_light_not_of_codes():
    edge = gray(0.0, 1)
    edge[..., SIDE // 2 :] = 1.0
    codes = degraded_codes(edge, blur=1.0, blur_size=2.0, seed=1)
    light = np.where(codes <= 0.04045, codes / 12.92, ((codes + 0.055) / 1.055) ** 2.4)
    np.testing.assert_allclose(light.mean(), 0.5, atol=2e-3)
    assert codes.mean() > 0.505


# --- in sRGB codes ----------------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31))
def test_tone_curves_keep_black_white_and_the_order_of_tones(seed):
    codes = degraded_codes(ramp(2), seed, tone=1.0)[:, 0]
    torch.testing.assert_close(codes[:, 0], torch.zeros(2), atol=1e-3, rtol=0)
    torch.testing.assert_close(codes[:, -1], torch.ones(2), atol=1e-3, rtol=0)
    assert (codes.diff(dim=1) > -1e-4).all()


def test_tone_curves_in_closed_form():
    codes = torch.tensor([0.1, 0.5, 0.8]).reshape(1, 1, 1, 3)
    draws = torch.tensor([0.0, 0.75, 1.0]).reshape(1, 3, 1, 1)  # it happens, half of the power, all of the curve
    bent = degradation._tone(Degradation(tone=1.0, tone_power=2.0, tone_curve=0.4), codes, draws).flatten()
    squares = np.array([0.01, 0.25, 0.64])
    expected = 0.6 * squares + 0.4 * (3 * squares**2 - 2 * squares**3)
    np.testing.assert_allclose(bent.numpy(), expected, rtol=1e-5)


def test_grain_is_in_the_middle_tones():
    strength = 0.1
    codes = degraded_codes(gray(0.5, 16), grain=1.0, grain_strength=strength)
    deviations = codes.std(dim=(1, 2))
    assert deviations.max() < 1.3 * strength and 0.3 * strength < deviations.mean() < 0.7 * strength
    assert (codes.mean(dim=(1, 2)) - 0.5).abs().max() < 0.02
    for code in (0.0, 1.0):
        torch.testing.assert_close(degraded_codes(gray(code), grain=1.0), gray(code)[:, 0], atol=1e-3, rtol=0)


@pytest.mark.parametrize("sigma", [0.0, 0.7, 1.5])
def test_grain_is_noise_of_variance_one_that_a_gaussian_has_correlated(sigma):
    noise = torch.randn(2, 1, 200, 200, generator=seeded())
    ours = degradation._correlated(noise, torch.full((2, 1, 1, 1), sigma))
    assert ours.std().item() == pytest.approx(1.0, abs=0.05)
    # The autocorrelation of a Gaussian of this width is one of √2 times the width: exp(-d² / 4σ²) at distance d.
    neighbours = (ours[..., 1:] * ours[..., :-1]).mean().item()
    taps = np.exp(-(np.arange(-6, 7) ** 2) / (2 * sigma**2)) if sigma else np.eye(13)[6]
    assert neighbours == pytest.approx((taps[1:] * taps[:-1]).sum() / (taps**2).sum(), abs=0.03)


def test_fading_lifts_black_and_moves_white():
    codes = degraded_codes(ramp(64), fading=1.0, fading_black=0.25, fading_white=0.2)
    black, white = codes[:, 0, 0], codes[:, 0, -1]
    assert -1e-4 <= black.min() < 0.05 and 0.2 < black.max() <= 0.25 + 1e-3
    assert 0.8 - 1e-3 <= white.min() < 0.85 and white.max() <= 1
    bleached = (codes[:, 0] > 0.9999).sum(dim=1)
    assert (bleached > 3).any() and (white < 0.99).any()
    assert (codes[:, 0].diff(dim=1) > -1e-4).all()


def test_dust_is_little_light_and_dark():
    codes = degraded_codes(gray(0.5, 32, 64), dust=1.0)
    touched = (codes - 0.5).abs() > 0.01
    assert 0 < touched.float().mean() < 0.01
    assert codes.max() > 0.7 and codes.min() < 0.3


def test_scratches_are_thin_and_upright():
    codes = degraded_codes(gray(0.5, 32), scratches=1.0)
    touched = (codes - 0.5).abs() > 0.01
    assert touched.any(dim=1).any(dim=1).float().mean() > 0.7  # not all pictures have a line
    assert touched.sum(dim=2).max() <= 3 * 4  # pixels across, in any row
    runs = touched.float().sum(dim=1).amax(dim=1)  # pixels down the fullest column
    assert runs.max() > SIDE / 3
    assert codes.max() > 0.6 and codes.min() < 0.4


@pytest.mark.parametrize("quality", [30, 60, 90])
def test_jpeg_agrees_with_a_real_one(quality):
    picture = np.asarray(Image.fromarray(data.camera()).resize((128, 112)))
    stored = io.BytesIO()
    Image.fromarray(picture).save(stored, "JPEG", quality=quality)
    theirs = np.asarray(Image.open(stored)).astype(float)
    codes = torch.from_numpy(picture.astype(np.float32) / 255)[None, None]
    ours = degradation._through_jpeg(codes, torch.tensor([float(quality)]))[0, 0].numpy() * 255
    damage = np.abs(theirs - picture).mean()
    assert np.abs(ours - theirs).mean() < 0.25 * damage + 0.3  # its rounding is soft, and it does not round to 8 bits


# --- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [("grain", 1.1), ("scratches", -0.1), ("blur_size", 2.5), ("jpeg_quality", 0.0), ("tone", float("nan"))],
)
def test_values_out_of_range_are_named(name, value):
    with pytest.raises(SettingsError, match=f"^{name} should be"):
        Degradation(**{name: value})
