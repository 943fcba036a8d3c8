"""Calibration of colour: of pictures and of all photographs together, against numpy and closed forms."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from colornet.evaluation import breakdown, kinds
from colornet.evaluation import calibration as pooling
from colornet.evaluation.bootstrap import estimate, estimate_draws, resampled_means
from colornet.evaluation.metrics import METRICS
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


# --- of all photographs -----------------------------------------------------------------------------------------------

PHOTOGRAPHS = 12


def photographs(seed: int) -> torch.Tensor:
    """Pictures that differ in how much colour they have."""
    strength = torch.linspace(0.05, 2, PHOTOGRAPHS)[:, None, None, None]
    return torch.randn(PHOTOGRAPHS, 2, 6, 5, generator=torch.Generator().manual_seed(seed)) * 10 * strength + 3


def row_table(true: torch.Tensor, colorizers: dict[str, torch.Tensor]) -> pa.Table:
    random = np.random.default_rng(0)
    rows = []
    for name, predicted in colorizers.items():
        found = {each: values.tolist() for each, values in pooling.measure(predicted, true).items()}
        metrics = {metric: random.uniform(10, 30, len(true)).tolist() for metric in METRICS}
        rows += [
            {"row": row, "colorizer": name, "balance": 1.0 + row, **{k: v[row] for k, v in (found | metrics).items()}}
            for row in range(len(true))
        ]
    return pa.Table.from_pylist(rows)


TRUE = photographs(1)
PREDICTED = 0.6 * TRUE + 0.4 * photographs(2) + torch.tensor([2.0, -1.0])[None, :, None, None]
ROWS = row_table(TRUE, {"m": PREDICTED, "n": TRUE, "gray": 0 * TRUE, "mean colour": torch.full_like(TRUE, 3.0)})
NAMES = ["m", "n", "gray", "mean colour"]


def calibrate(weights: np.ndarray) -> tuple:
    return pooling.calibrate(ROWS, NAMES, NAMES[:2], ("gray", "mean colour"), weights)


def of(name: str, column: str) -> np.ndarray:
    return ROWS.filter(pc.equal(ROWS["colorizer"], name))[column].to_numpy()


@pytest.mark.parametrize("weights", [np.ones(PHOTOGRAPHS), np.arange(1.0, PHOTOGRAPHS + 1)])
def test_pooled_measures_are_those_of_all_pixels(weights):
    found = {name: each.mean for name, each in calibrate(weights)[0]["m"].items()}
    pixels = np.repeat(weights, 30)
    t, p = (each.double().transpose(0, 1).flatten(1).numpy() for each in (TRUE, PREDICTED))
    for channel, name in enumerate("ab"):
        root = np.sqrt(pixels)
        factor, *_ = np.linalg.lstsq((root * p[channel])[:, None], root * t[channel], rcond=None)
        assert found[f"gain_{name}"] == pytest.approx(factor.item())
        assert found[f"bias_{name}"] == pytest.approx(np.average(p[channel] - t[channel], weights=pixels))
        covariance = np.cov(p[channel], t[channel], aweights=pixels)
        assert found[f"correlation_{name}"] == pytest.approx(
            covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1])
        )
    means = [each.double().mean((-2, -1)).numpy() for each in (TRUE, PREDICTED)]
    between = np.average(((means[1] - means[0]) ** 2).sum(1), weights=weights)
    assert found["error_between"] == pytest.approx(between)
    assert found["error_between"] + found["error_within"] == pytest.approx(
        np.average(((p - t) ** 2).sum(0), weights=pixels)
    )
    chroma = [each.norm(dim=1).mean((-2, -1)).double().numpy() for each in (TRUE, PREDICTED)]
    covariance = np.cov(*chroma, aweights=weights)
    assert found["chroma_correlation"] == pytest.approx(
        covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]), rel=1e-5
    )
    neutral = (TRUE.norm(dim=1) < 4).flatten().numpy()
    painted = PREDICTED.norm(dim=1).flatten().double().numpy()
    assert found["neutral_chroma"] == pytest.approx(np.average(painted[neutral], weights=pixels[neutral]), rel=1e-5)
    gained = of("m", "psnr") - of("gray", "psnr")
    assert found["psnr_over_gray"] == pytest.approx(np.average(gained, weights=weights))
    assert found["worse_than_gray"] == pytest.approx(100 * np.average(gained < -1, weights=weights))
    balance = weights * of("m", "balance")
    area = np.average(of("m", "auc_balanced") - of("gray", "auc_balanced"), weights=balance)
    assert found["auc_balanced_over_gray"] == pytest.approx(area)
    true = of("m", "colourfulness") - of("m", "colourfulness_difference")
    share = np.average(of("m", "colourfulness"), weights=weights) / np.average(true, weights=weights)
    assert found["colourfulness_of_true"] == pytest.approx(100 * share)


def test_the_truth_is_calibrated_and_gray_and_one_colour_have_what_they_can_have():
    results, _ = calibrate(np.ones(PHOTOGRAPHS))
    truth, gray, constant = (results[name] for name in NAMES[1:])
    for channel in "ab":
        assert [truth[f"{name}_{channel}"].mean for name in ("gain", "bias", "correlation")] == pytest.approx([1, 0, 1])
        assert np.isnan(gray[f"gain_{channel}"].mean) and np.isnan(gray[f"correlation_{channel}"].mean)
        assert np.isnan(constant[f"correlation_{channel}"].mean) and np.isfinite(constant[f"gain_{channel}"].low)
    assert truth["chroma_correlation"].mean == pytest.approx(1)
    assert truth["error_within"].mean == pytest.approx(0, abs=1e-9) and truth["error_between"].mean == 0
    assert gray["neutral_chroma"].mean == gray["psnr_over_gray"].mean == gray["worse_than_gray"].mean == 0


def test_weights_count_by_their_shares_alone():
    one, same = calibrate(np.ones(PHOTOGRAPHS)), calibrate(np.full(PHOTOGRAPHS, 7.0))
    for name in NAMES:
        for measure, found in one[0][name].items():
            other = same[0][name][measure]
            assert [found.mean, found.low, found.high] == pytest.approx(
                [other.mean, other.low, other.high], nan_ok=True, abs=1e-9
            )


def test_differences_are_of_the_same_draws():
    results, differences = calibrate(np.ones(PHOTOGRAPHS))
    assert list(differences) == ["n - m"]
    for name, found in differences["n - m"].items():
        assert found.mean == pytest.approx(results["n"][name].mean - results["m"][name].mean)
    shift = differences["n - m"]["bias_a"]  # means of what does not vary much from one photograph to the next
    assert shift.low < shift.mean < shift.high


def test_draws_are_those_of_scipys_bootstrap():
    random = np.random.default_rng(4)
    values, weights = random.gamma(2, 5, 60), random.uniform(0.5, 2, 60)
    draws = resampled_means(np.stack([values, values**2]), weights)
    first = estimate_draws(float(np.average(values, weights=weights)), draws[0], 60)
    wanted = estimate(values, weights)
    width = wanted.high - wanted.low
    assert [first.low, first.high] == pytest.approx([wanted.low, wanted.high], abs=0.1 * width)
    spread = scipy.stats.bootstrap(
        (values,), np.std, vectorized=True, n_resamples=2000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    even = resampled_means(np.stack([values, values**2]), np.ones(60))
    found = estimate_draws(float(values.std()), np.sqrt(even[1] - even[0] ** 2), 60)
    assert [found.low, found.high] == pytest.approx([spread.low, spread.high], abs=0.1 * (spread.high - spread.low))


def test_one_photograph_has_no_interval_and_undefined_draws_do_not_count():
    alone = estimate_draws(3.0, np.full(5, 3.0), 1)
    assert (alone.mean, alone.photographs) == (3, 1) and np.isnan(alone.low)
    assert estimate_draws(3.0, np.array([np.nan, 2.0, 2.0]), 4).high == 2
    assert np.isnan(estimate_draws(np.nan, np.full(5, np.nan), 4).high)


# --- kinds and quarters -----------------------------------------------------------------------------------------------


@given(st.lists(st.sampled_from(["scene", "people", "food", kinds.OTHER]), min_size=1, max_size=40))
def test_with_equal_weights_every_kind_has_the_same_share(shown):
    weights = kinds.equal_weights(shown)
    shares = {kind: sum(w for w, k in zip(weights, shown, strict=True) if k == kind) for kind in set(shown)}
    assert list(shares.values()) == pytest.approx([len(shown) / len(shares)] * len(shares))
    if len(shares) == 1:
        assert weights.tolist() == [1] * len(shown)


def test_a_kind_is_the_photographs_own_before_that_of_its_source():
    by_source = {"caltech101": "object", "a=b": "scene"}
    asked = [("people", "caltech101"), (None, "caltech101"), ("", "a=b"), (None, "elsewhere"), (None, None)]
    assert [kinds.kind_of(*each, by_source) for each in asked] == ["people", "object", "scene", "other", "other"]


@settings(deadline=None)
@given(st.lists(st.floats(0, 60), min_size=4, max_size=50, unique=True))
def test_quarters_have_a_fourth_of_the_photographs_each_in_order_of_chroma(drawn):
    chroma = np.array(drawn)
    found = breakdown.quarters(chroma, np.ones(len(chroma)))
    assert np.all(np.diff(found[np.argsort(chroma)]) >= 0)
    assert np.all(np.abs(np.bincount(found, minlength=4) - len(chroma) / 4) < 1)


def test_quarters_have_a_fourth_of_the_weight():
    weights = np.array([3.0, 1, 1, 1, 3, 3])
    assert breakdown.quarters(np.arange(6.0), weights).tolist() == [0, 1, 1, 1, 2, 3]


def test_parts_gain_what_their_photographs_gain():
    chroma, gained = np.array([1.0, 30.0, 2.0, 20.0, 40.0]), np.array([-3.0, 2.0, -1.0, 1.0, 4.0])
    weights = np.array([1.0, 1, 1, 1, 2])
    shown = ["food", "scene", "food", "scene", "other"]
    parts = list(breakdown.by_kind(shown, chroma, {"m": gained}))
    assert [(part.name, part.photographs, part.true_chroma) for part in parts] == [
        ("food", 2, 1.5),
        ("other", 1, 40),
        ("scene", 2, 25),
    ]
    assert [part.psnr_over_gray["m"].mean for part in parts] == [-2, 4, 1.5]
    quarters = list(breakdown.by_chroma(chroma, {"m": gained}, weights))
    assert sum(part.photographs for part in quarters) == 5 and quarters[0].name == "least colourful quarter"
    assert [quarters[place].psnr_over_gray["m"].mean for place in (0, 3)] == [-3, 4]
    few = list(breakdown.by_chroma(chroma[:1], {"m": gained[:1]}, weights[:1]))
    told = json.loads(json.dumps([breakdown.to_json(part) for part in few], allow_nan=False))
    assert sorted(part["photographs"] for part in told) == [0, 0, 0, 1]
    head, lines = breakdown.table(quarters + few)
    assert head == ["", "photographs", "true chroma", "m"] and ["–", "–"] in [line[2:] for line in lines]
