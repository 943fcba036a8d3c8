"""Calibration of colour: the moments of pictures, against numpy and closed forms."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from colornet.metrics import calibration
from colornet.metrics.calibration import Moments, moments, neutral_chroma

pixel_colours = st.tuples(*4 * [st.floats(-100, 100, width=32)])


def noise(pictures: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.randn(pictures, 2, 6, 5, generator=torch.Generator().manual_seed(seed)) * 20 + 5


def pooled(predicted: torch.Tensor, true: torch.Tensor) -> Moments:
    return Moments(*(each.mean(0) for each in moments(predicted, true)))


def test_what_is_pooled_is_that_of_all_pixels_by_numpy():
    true, predicted = noise(seed=1), noise(seed=2)
    predicted[:, 1] += 0.7 * true[:, 1]
    found = pooled(predicted, true)
    for channel in range(2):
        t, p = (each[:, channel].flatten().double().numpy() for each in (true, predicted))
        factor, *_ = np.linalg.lstsq(p[:, None], t, rcond=None)
        assert calibration.gain(found)[channel].item() == pytest.approx(factor.item())
        assert calibration.bias(found)[channel].item() == pytest.approx(p.mean() - t.mean())
        assert calibration.correlation(found)[channel].item() == pytest.approx(np.corrcoef(p, t)[0, 1])
    squares = ((predicted - true).double() ** 2).sum(1).numpy()
    assert calibration.squared_error(found).item() == pytest.approx(squares.mean())


def test_the_error_is_split_into_that_of_means_and_that_around_them():
    true, predicted = noise(seed=1), noise(seed=2)
    found = moments(predicted, true)
    apart = (predicted - true).double()
    around = ((apart - apart.mean((-2, -1), keepdim=True)) ** 2).sum(1).mean((-2, -1))
    within = calibration.squared_error(found) - calibration.squared_error_of_means(found)
    assert within.tolist() == pytest.approx(around.tolist())


@given(st.floats(0.05, 20), st.floats(-50, 50))
def test_a_stronger_truth_has_a_smaller_gain_and_a_shifted_one_a_bias(factor, shift):
    true = noise()
    stronger, shifted = pooled(factor * true, true), pooled(true + shift, true)
    assert calibration.gain(stronger).tolist() == pytest.approx([1 / factor] * 2, rel=1e-5)
    assert calibration.correlation(stronger).tolist() == pytest.approx([1, 1])
    assert calibration.bias(shifted).tolist() == pytest.approx([shift] * 2, abs=1e-4)
    assert calibration.squared_error(shifted).item() == pytest.approx(2 * shift**2, abs=1e-2)


@given(st.lists(pixel_colours, min_size=1, max_size=20))
def test_no_factor_has_less_error_than_the_gain(pixels):
    true_a, true_b, a, b = torch.tensor(pixels).T.double()
    true, predicted = (torch.stack(each)[None, :, None] for each in ((true_a, true_b), (a, b)))
    best = calibration.gain(moments(predicted, true))[0].nan_to_num()[:, None, None]
    least = ((best * predicted - true) ** 2).sum()
    for change in (-0.1, 0.1):
        assert least <= (((best + change) * predicted - true) ** 2).sum() + 1e-6


def test_one_colour_for_all_has_no_correlation_and_gray_no_gain():
    true = noise()
    constant = torch.tensor([4.1, -7.3])[None, :, None, None].expand_as(true)
    assert calibration.correlation(pooled(constant, true)).isnan().all()
    assert calibration.gain(pooled(constant, true)).isfinite().all()
    assert calibration.gain(pooled(0 * true, true)).isnan().all()


def test_neutral_pixels_are_those_of_little_true_chroma():
    true = torch.tensor([[[[0.0, 2.0, 4.0, 50.0]], [[0.0, 3.0, 0.0, 0.0]]]])  # chroma 0, 3.6, 4, 50
    predicted = torch.tensor([[[[3.0, 6.0, 9.0, 0.0]], [[4.0, 8.0, 0.0, 9.0]]]])  # chroma 5, 10, 9, 9
    share, painted = neutral_chroma(predicted, true)
    assert (share.item(), painted.item()) == pytest.approx((2 / 4, (5 + 10) / 4))
