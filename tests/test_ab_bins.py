"""The bins cover sRGB, and a colour that goes into a distribution comes out of it."""

import math

import numpy as np
import pytest
import skimage.color
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from colornet.networks import ab_bins
from colornet.networks.ab_bins import annealed_mean, gamut_bins, rebalancing_weights, soft_encode

CENTRES = gamut_bins()
NAMES = {(round(a), round(b)): index for index, (a, b) in enumerate(CENTRES.tolist())}


def pixel(a: float, b: float) -> torch.Tensor:
    return torch.tensor([a, b]).reshape(1, 2, 1, 1)


# --- the bins ---------------------------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(st.tuples(*[st.floats(0, 1)] * 3))
def test_every_srgb_colour_has_a_bin(rgb):
    ab = skimage.color.rgb2lab(np.array(rgb).reshape(1, 1, 3)).reshape(3)[1:]
    nearest = (CENTRES.double() - torch.from_numpy(ab)).abs().amax(dim=1).min()
    assert nearest <= 5.001


def cells(rgb: np.ndarray) -> set[tuple[int, int]]:
    ab = skimage.color.rgb2lab(rgb).reshape(-1, 3)[:, 1:]
    return {(a, b) for a, b in np.unique(np.round(ab / 10).astype(int) * 10, axis=0).tolist()}


def test_bins_are_the_cells_that_another_library_finds():
    """On another lattice over the surface of the RGB cube; the whole of a coarser cube has no more."""
    levels = np.linspace(0, 1, 400)
    face = np.stack(np.meshgrid(levels, levels, indexing="ij"), axis=-1)
    faces = [np.insert(face, axis, extreme, axis=-1) for axis in range(3) for extreme in (0, 1)]
    assert set.union(*map(cells, faces)) == set(NAMES) and len(CENTRES) == 262
    coarse = np.linspace(0, 1, 48)
    assert cells(np.stack(np.meshgrid(coarse, coarse, coarse, indexing="ij"), axis=-1)) < set(NAMES)


def test_bins_are_a_sorted_grid():
    assert CENTRES.dtype == torch.float32 and torch.equal(CENTRES % 10, torch.zeros_like(CENTRES))
    assert CENTRES.tolist() == sorted(CENTRES.tolist()) and len(NAMES) == len(CENTRES)
    assert (0, 0) in NAMES and torch.equal(gamut_bins(), CENTRES)


# --- into a distribution and out of it --------------------------------------------------------------------------------


def test_a_colour_at_a_centre_is_shared_in_closed_form():
    shares = soft_encode(pixel(20, 30), CENTRES).flatten()
    other = math.exp(-(10**2) / (2 * 5**2))
    assert shares[NAMES[20, 30]].item() == pytest.approx(1 / (1 + 4 * other))
    for neighbour in ((10, 30), (30, 30), (20, 20), (20, 40)):
        assert shares[NAMES[neighbour]].item() == pytest.approx(other / (1 + 4 * other))
    assert (shares > 0).sum() == 5


@settings(max_examples=100, deadline=None)
@given(st.tuples(*[st.integers(0, 255)] * 3))
def test_a_colour_comes_back(rgb):
    true = skimage.color.rgb2lab(np.array(rgb, dtype=np.uint8).reshape(1, 1, 3)).reshape(3)[1:]
    encoded = soft_encode(torch.from_numpy(true).float().reshape(1, 2, 1, 1), CENTRES)
    assert encoded.sum().item() == pytest.approx(1, abs=1e-5) and (encoded > 0).sum() <= 5
    back = annealed_mean(encoded.clamp(min=1e-30).log(), CENTRES).flatten()
    assert np.linalg.norm(back.numpy() - true) < 5


def test_each_pixel_is_encoded_for_itself():
    torch.manual_seed(0)
    ab = torch.rand(2, 2, 3, 4) * 100 - 50
    together = soft_encode(ab, CENTRES)
    assert together.shape == (2, len(CENTRES), 3, 4)
    alone = soft_encode(ab[1:, :, 2:, 1:2], CENTRES)
    torch.testing.assert_close(together[1:, :, 2:, 1:2], alone)


def test_annealed_mean_is_between_mean_and_mode():
    shares = torch.full((len(CENTRES),), 1e-30)
    shares[NAMES[0, 0]], shares[NAMES[50, 0]] = 0.75, 0.25
    annealed = [0.75 ** (1 / 0.38), 0.25 ** (1 / 0.38)]
    mean = annealed_mean(shares.log().reshape(1, -1, 1, 1), CENTRES).flatten()
    assert mean.tolist() == pytest.approx([50 * annealed[1] / sum(annealed), 0], abs=1e-4)


def test_annealed_mean_keeps_its_precision_in_autocast():
    torch.manual_seed(0)
    logits = torch.randn(1, len(CENTRES), 4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        low = annealed_mean(logits, CENTRES)
    assert torch.equal(low, annealed_mean(logits, CENTRES))


def test_certainty_in_closed_form():
    uniform = torch.zeros(1, len(CENTRES), 2, 2)
    sure = torch.nn.functional.one_hot(torch.tensor([[[3, 3], [3, 3]]]), len(CENTRES)).movedim(-1, 1) * 1000.0
    half = sure.clone()
    half[:, 7] = half[:, 3]
    pictures = torch.cat([uniform, sure, half])
    expected = [0, 1, 1 - math.log(2) / math.log(len(CENTRES))]
    known = ab_bins.certainty(pictures)
    assert known.shape == (3, 2, 2)
    torch.testing.assert_close(known, torch.tensor(expected).reshape(3, 1, 1).expand(3, 2, 2), atol=1e-5, rtol=0)


# --- rare colours -----------------------------------------------------------------------------------------------------


def test_pixels_are_counted_by_nearest_bin():
    ab = torch.tensor([[0.0, 4.0, 56.0], [1.0, -4.0, 12.0]]).reshape(1, 2, 1, 3)
    counts = ab_bins.count_bins(ab, CENTRES)
    assert counts.sum() == 3 and counts[NAMES[0, 0]] == 2 and counts[NAMES[60, 10]] == 1


@pytest.mark.parametrize("uniform_share", [0.1, 0.5, 1.0])
def test_rebalancing_weights_have_mean_one_and_follow_the_formula(uniform_share):
    torch.manual_seed(0)
    counts = (torch.rand(len(CENTRES)) ** 8 * 1e6).long()
    weights = rebalancing_weights(counts, CENTRES, uniform_share=uniform_share)
    # The smoothed frequencies, bin by bin.
    centres, smooth = CENTRES.numpy().astype(float), np.zeros(len(CENTRES))
    for centre, count in zip(centres, counts.tolist(), strict=True):
        bump = np.exp(-((centres - centre) ** 2).sum(axis=1) / 50)
        smooth += count * bump / bump.sum()
    smooth /= smooth.sum()
    assert float(weights.double() @ torch.from_numpy(smooth)) == pytest.approx(1, abs=1e-5)
    inverse = 1 / weights.double().numpy()
    expected = (1 - uniform_share) * smooth + uniform_share / len(CENTRES)
    np.testing.assert_allclose(inverse / inverse.sum(), expected / expected.sum(), rtol=1e-5)


def test_rare_colours_weigh_more():
    counts = torch.ones(len(CENTRES))
    counts[NAMES[0, 0]] = 1e6
    weights = rebalancing_weights(counts, CENTRES)
    assert weights.argmin() == NAMES[0, 0] and weights[NAMES[60, 60]] > 50 * weights[NAMES[0, 0]]
    assert torch.allclose(rebalancing_weights(counts, CENTRES, uniform_share=1.0), torch.ones(len(CENTRES)))
