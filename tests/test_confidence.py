"""Selective risk: against scipy, closed forms and brute force, and how the job tells it."""

import io
import itertools
import json
import math
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from colornet.colorize import Colorizer
from colornet.evaluation import photographs
from colornet.evaluation.confidence import (
    CORRELATED,
    COVERAGES,
    SelectiveRisk,
    rank_correlation,
    selective_risk,
    sentence,
    table,
)
from colornet.evaluation.confidence_plot import plot
from colornet.evaluation.contact_sheet import TITLES, contact_sheet
from colornet.evaluation.gallery import Gallery, Shown
from colornet.evaluation.measure import ROWS, EvaluationTask, Measure, Model, find_models
from colornet.evaluation.reference import Reference
from colornet.evaluation.report import Evaluation
from colornet.inference import bundle as bundles
from colornet.inference.bundle import Bundle
from colornet.metrics.chroma_error import BINS
from colornet.networks import build_generator
from tests import pictures

SIZE = 32


def measured(confidence: object, error: object) -> SelectiveRisk:
    sure, errors = np.array(confidence, float), np.array(error, float)
    found = selective_risk(sure, dict.fromkeys(CORRELATED, errors), -errors)
    assert found is not None
    return found


# --- the correlation --------------------------------------------------------------------------------------------------


def test_a_confidence_that_falls_with_the_error_has_minus_1_and_one_that_rises_1():
    error = np.random.default_rng(0).gamma(2, 5, 40)
    for confidence, wanted in ((1 / (1 + error), -1), (np.sqrt(error), 1)):
        found = rank_correlation(confidence, error)
        assert (found.value, found.low, found.high) == pytest.approx((wanted, wanted, wanted))
        assert found.undefined is None


def test_without_ties_it_is_the_closed_form():
    """1 - 6 Σd² / (n (n² - 1)) of the differences d of ranks."""
    confidence, error = np.array([0.1, 0.2, 0.3, 0.4, 0.5]), np.array([7.0, 9.0, 5.0, 1.0, 3.0])  # ranks 4 5 3 1 2
    assert rank_correlation(confidence, error).value == pytest.approx(1 - 6 * (9 + 9 + 0 + 9 + 9) / (5 * 24))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=3, max_size=15))
def test_equal_values_share_their_rank(pairs):
    confidence, error = np.array(pairs, float).T
    found = rank_correlation(confidence, error)
    ranks = [[sum(o < e for o in v) + (sum(o == e for o in v) + 1) / 2 for e in v] for v in (confidence, error)]
    if np.ptp(confidence) == 0 or np.ptp(error) == 0:
        assert found.value is None
    else:
        assert found.value == pytest.approx(np.corrcoef(ranks)[0, 1])
        assert -1 - 1e-9 <= found.low <= found.high <= 1 + 1e-9


def test_the_interval_is_that_of_scipy():
    random = np.random.default_rng(5)
    error = random.gamma(2, 5, 50).round()  # with ties
    confidence = -error + random.normal(0, 8, 50)
    found = rank_correlation(confidence, error)
    wanted = scipy.stats.bootstrap(
        (confidence, error),
        lambda one, other: scipy.stats.spearmanr(one, other).statistic,
        paired=True,
        vectorized=False,
        n_resamples=2000,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    assert found.low < found.value < found.high
    assert [found.low, found.high] == pytest.approx([wanted.low, wanted.high], abs=0.1 * (wanted.high - wanted.low))


def test_the_gain_over_gray_is_correlated_too():
    random = np.random.default_rng(0)
    confidence, error, over_gray = random.normal(size=(3, 30))
    found = selective_risk(confidence, dict.fromkeys(CORRELATED, error), over_gray)
    assert found.gain_correlation.value == pytest.approx(scipy.stats.spearmanr(confidence, over_gray).statistic)
    assert f"PSNR over gray, the rank correlation is {found.gain_correlation.value:.2f} [" in sentence("m", found)
    same = selective_risk(confidence, dict.fromkeys(CORRELATED, error), 0 * over_gray)
    assert same.gain_correlation.undefined == "all photographs have the same gain over gray"


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(1, 3)), min_size=3, max_size=12))
def test_a_weight_of_2_is_as_if_the_photograph_were_there_twice(drawn):
    confidence, error, weights = np.array(drawn, float).T
    times = weights.astype(int)
    one = selective_risk(confidence, dict.fromkeys(CORRELATED, error), -error, weights)
    other = measured(np.repeat(confidence, times), np.repeat(error, times))
    correlations = [each.rank_correlation["ab_distance"].value for each in (one, other)]
    assert (correlations[0] is None) == (correlations[1] is None)
    if correlations[0] is not None:
        assert correlations[0] == pytest.approx(correlations[1])
        gains = [each.gain_correlation.value for each in (one, other)]
        assert gains == pytest.approx([-each for each in correlations])
    assert one.risk == pytest.approx(other.risk)
    tripled = selective_risk(confidence, dict.fromkeys(CORRELATED, error), -error, np.full(len(error), 3.0))
    plain = measured(confidence, error)
    assert (tripled.risks, tripled.oracle_risks) == (pytest.approx(plain.risks), pytest.approx(plain.oracle_risks))


@pytest.mark.parametrize(
    ("confidence", "error", "words"),
    [
        ([0.2], [5], "fewer than 3 photographs"),
        ([0.2, 0.3], [5, 4], "fewer than 3 photographs"),
        ([0.3, 0.3, 0.3], [5, 4, 6], "all photographs have the same confidence"),
        ([0.2, 0.3, 0.4], [5, 5, 5], "all photographs have the same error"),
    ],
)
def test_where_there_is_no_correlation_it_is_null_and_says_why(confidence, error, words):
    found = measured(confidence, error)
    plain = json.loads(json.dumps(asdict(found), allow_nan=False))["rank_correlation"]["ab_distance"]
    assert (plain["value"], plain["low"], plain["high"]) == (None, None, None)
    assert words in plain["undefined"] and words in sentence("m", found)
    assert found.risk == pytest.approx(np.mean(error))
    assert [line[1:] for line in table({"m": found}, ["gray", "m"])[:2]] == [["–", "–"]] * 2


def test_photographs_without_a_confidence_do_not_count():
    assert selective_risk(np.full(4, np.nan), dict.fromkeys(CORRELATED, np.arange(4.0)), np.arange(4.0)) is None
    found = measured([0.1, np.nan, 0.3, 0.4, 0.5], [8, 100, 3, np.nan, 1])
    assert found == measured([0.1, 0.3, 0.5], [8, 3, 1]) and found.photographs == 3


# --- the curve --------------------------------------------------------------------------------------------------------


def test_a_perfect_confidence_keeps_the_best():
    error = np.random.default_rng(0).permutation(np.arange(1.0, 41))
    found = measured(-error, error)
    assert found.coverages == (5, 10, *range(15, 100, 5), 100)
    assert found.risks == pytest.approx([(2 * coverage // 5 + 1) / 2 for coverage in COVERAGES])  # means of 1, 2, 3, …
    assert found.oracle_risks == pytest.approx(found.risks)
    assert (found.most_confident_half, found.risk, found.least_confident_tenth) == pytest.approx((10.5, 20.5, 38.5))
    assert [each.error for each in found.deciles] == pytest.approx([38.5 - 4 * place for place in range(10)])
    assert [each.confidence for each in found.deciles] == pytest.approx([-38.5 + 4 * place for place in range(10)])


def test_a_confidence_that_never_changes_gains_nothing():
    error = np.random.default_rng(0).gamma(2, 5, 23)
    found = measured(np.full(23, 0.4), error)
    means = [
        *found.risks,
        found.most_confident_half,
        found.least_confident_tenth,
        *(each.error for each in found.deciles),
    ]
    assert means == pytest.approx([error.mean()] * len(means))


@pytest.mark.parametrize("count", [1, 3, 7])
def test_the_curve_is_the_mean_of_all_orders_that_the_confidence_allows(count):
    random = np.random.default_rng(count)
    confidence, error = random.integers(0, 3, count) / 4, random.gamma(2, 5, count)
    orders = [
        order
        for order in itertools.permutations(range(count))
        if all(confidence[one] >= confidence[other] for one, other in itertools.pairwise(order))
    ]
    found = measured(confidence, error)
    for coverage, risk, oracle in zip(found.coverages, found.risks, found.oracle_risks, strict=True):
        kept = math.ceil(coverage * count / 100)
        assert risk == pytest.approx(np.mean([error[list(order[:kept])].mean() for order in orders]))
        assert oracle == pytest.approx(min(np.mean(chosen) for chosen in itertools.combinations(error, kept)))
    half, tenth = math.ceil(count / 2), math.ceil(count / 10)
    assert found.most_confident_half == pytest.approx(np.mean([error[list(order[:half])].mean() for order in orders]))
    assert found.least_confident_tenth == pytest.approx(
        np.mean([error[list(order[-tenth:])].mean() for order in orders])
    )


@settings(max_examples=12, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.floats(0, 100)), min_size=1, max_size=40), st.randoms())
def test_no_confidence_beats_the_best_order_and_all_end_at_the_mean(pairs, random):
    found = measured(*np.array(pairs, float).T)
    assert np.all(np.array(found.risks) >= np.array(found.oracle_risks) - 1e-9)
    assert found.risks[-1] == pytest.approx(found.risk) and found.oracle_risks[-1] == pytest.approx(found.risk)
    assert sum(each.photographs * each.error for each in found.deciles) == pytest.approx(len(pairs) * found.risk)
    random.shuffle(pairs)
    assert measured(*np.array(pairs, float).T).risks == pytest.approx(found.risks)


# --- the pictures -----------------------------------------------------------------------------------------------------


def test_the_plot_has_a_row_for_each_model_whatever_it_is_called():
    confidences = [np.array([0.3, np.nan, 0.2]), np.array([0.5])]
    errors = [np.array([4.0, 5.0, 6.0]), np.array([0.0])]
    found = [measured(sure, error) for sure, error in zip(confidences, errors, strict=True)]
    one = Image.open(io.BytesIO(plot({"m": found[0]}, confidences[:1], errors[:1])))
    two = Image.open(io.BytesIO(plot({"$\\frac{\n\x00<m>": found[0], "$": found[1]}, confidences, errors)))
    assert (one.format, one.width, two.width) == ("PNG", 1500, 1500) and two.height == 2 * one.height


@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_sheet_holds_every_picture_in_its_place(count):
    levels = np.linspace(30, 220, 3 * count).round().reshape(count, 3)
    given = [[np.full((16, 16, 3), level, np.uint8) for level in each] for each in levels]
    encoded = contact_sheet(given)
    sheet = np.asarray(Image.open(io.BytesIO(encoded)).convert("L")).astype(float)
    middles = [sheet[24 + 8 + 20 * row, 16 + 8 + 20 * column + (12 if column > 2 else 0)]
               for row in range(-(-count // 2)) for column in range(3 * min(2, count))]  # fmt: skip
    assert middles[: 3 * count] == pytest.approx(levels.flatten().tolist(), abs=3)
    assert set(middles[3 * count :]) <= {255} and len(TITLES) == 3
    assert Image.open(io.BytesIO(encoded)).format == "JPEG"


def test_a_sheet_of_nothing_is_a_picture():
    assert Image.open(io.BytesIO(contact_sheet([]))).format == "JPEG"


def test_the_worst_and_the_least_confident_are_shown(monkeypatch):
    random = np.random.default_rng(0)
    error, confidence = random.permutation(40) + 10.0, random.permutation(40) / 40
    rows = [
        {"row": row, "photograph": str(row), "colorizer": name, "ab_distance": distance, "confidence": sure}
        for row in range(40)
        for name, distance, sure in (("m", error[row], confidence[row]), ("gray", 20.0, None))
    ]
    reference = Reference("training photographs", 1, 0.0, 0.0, np.ones(BINS, np.float32))
    gallery = Gallery(EvaluationTask((Model("m", "", ""),), reference, 4), pa.Table.from_pylist(rows, ROWS))
    picture = np.zeros((4, 4, 3), np.uint8)
    monkeypatch.setattr(
        gallery,
        "_colorize",
        lambda positions: (
            Shown(each, str(each), picture + each, {"gray": picture, "m": picture}) for each in positions
        ),
    )
    reasons = {int(title): reason for title, _, reason in (each.title.partition(" ") for each in gallery.examples())}

    def shown(reason: str) -> set[int]:
        return {position for position, words in reasons.items() if reason in words}

    assert shown("least confident") == set(np.argsort(confidence)[:8])
    assert len(shown("chosen blindly")) == len(shown("largest error")) == 8
    assert set(np.argsort(-error)[:8]) <= shown("largest error") | shown("chosen blindly")
    monkeypatch.setattr("colornet.evaluation.gallery.contact_sheet", list)
    assert [true[0, 0, 0] for _, _, true in gallery.worst()] == np.argsort(-error)[:8].tolist()


# --- the job's rows and results ---------------------------------------------------------------------------------------


def saved(place: Path, network: str, settings: dict) -> str:
    torch.manual_seed(0)
    generator = build_generator(network, settings)
    if network == "backbone":
        torch.nn.init.normal_(generator.out.weight)  # as trained: not all bins about as likely everywhere
    bundles.save(Bundle(generator=generator, network=network, settings=settings, image_size=SIZE), str(place))
    return str(place)


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> list[str]:
    """One that predicts a distribution, and one that does not."""
    folder = tmp_path_factory.mktemp("models")
    sure = saved(folder / "<sure>", "backbone", {"encoder": "mobilenetv3_small_050", "width": 2, "head": "bins"})
    return [sure, saved(folder / "plain", "unet", {"width": 2})]


@pytest.fixture(scope="module")
def grays() -> list[bytes]:
    """Square scans of the bundles' size; sizes and crops have tests of their own."""
    return [pictures.encoded(pictures.gray(SIZE, SIZE, seed), "PNG") for seed in range(5)]


@pytest.fixture(scope="module")
def evaluation(models, grays, tmp_path_factory) -> Evaluation:
    folder = tmp_path_factory.mktemp("data")
    pq.write_table(pa.table({"image": grays}), folder / "val-00000.parquet")
    found, size = find_models(models)
    reference = Reference("training photographs", 1, 0.0, 0.0, np.ones(BINS, np.float32))
    task = EvaluationTask(models=found, reference=reference, size=size)
    return Evaluation(str(folder), task, Measure(task)(photographs.find(str(folder)).items()).drop_columns("features"))


def test_the_rows_have_the_confidence_that_the_archive_gets(evaluation, models, grays):
    colorizer = Colorizer.from_bundle(models[0])
    archive = [colorizer.render(scan).confidence for scan in grays]
    rows = evaluation.measured.to_pylist()
    measured = [row["confidence"] for row in rows if row["colorizer"] == "<sure>"]
    assert measured == pytest.approx(archive, abs=1e-3) and np.ptp(measured) > 5e-3
    assert {row["confidence"] for row in rows if row["colorizer"] != "<sure>"} == {None}


def test_the_results_have_the_selective_risk(evaluation, tmp_path):
    evaluation.write(str(tmp_path))
    rows = pq.read_table(tmp_path / "evaluation.parquet").to_pylist()
    sure = [row for row in rows if row["colorizer"] == "<sure>"]
    confidence = [row["confidence"] for row in sure]
    results = json.loads((tmp_path / "evaluation.json").read_text())
    assert list(results["confidence"]) == ["<sure>"] and results["confidence_level"] == 0.95
    found = results["confidence"]["<sure>"]
    for metric in ("ab_distance", "ciede2000"):
        wanted = scipy.stats.spearmanr(confidence, [row[metric] for row in sure]).statistic
        assert found["rank_correlation"][metric]["value"] == pytest.approx(wanted)
    assert found["risk"] == pytest.approx(results["results"]["<sure>"]["ab_distance"]["mean"])
    assert found["least_confident_tenth"] == pytest.approx(min(sure, key=lambda row: row["confidence"])["ab_distance"])
    assert Image.open(tmp_path / "confidence.png").format == "PNG"
    assert Image.open(tmp_path / "worst.jpg").height == 24 + 3 * (SIZE + 4) - 4 + 16  # five photographs, two in a row
    page = (tmp_path / "comparison.html").read_text()
    assert page.count("data:image/png;base64,") == 1 and page.count("least confident;") == 5
    assert f"confidence {min(confidence):.2f}" in page and "rank correlation with confidence" in page
    assert "The confidence of &lt;sure&gt; and its mean a*b* distance" in page


def test_models_without_a_confidence_have_no_plot_and_no_lines(models, evaluation, tmp_path):
    task = EvaluationTask(models=find_models(models[1:])[0], reference=evaluation.task.reference, size=SIZE)
    plain = Evaluation(evaluation.data, task, evaluation.rows)
    plain.write(str(tmp_path))
    assert json.loads((tmp_path / "evaluation.json").read_text())["confidence"] == {}
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "comparison.html",
        "evaluation.json",
        "evaluation.parquet",
        "worst.jpg",
    ]
    page = (tmp_path / "comparison.html").read_text()
    assert "confidence" not in page and "largest error" not in page  # there are fewer than are chosen blindly
